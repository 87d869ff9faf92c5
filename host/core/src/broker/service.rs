use super::types::{RequestId, ServiceStatus};
use crate::message::PeerId;
use crate::name::ServiceName;
use crate::settings::ServiceSettings;
use std::collections::{BTreeMap, BTreeSet};

/// One service: who offers it, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) settings: ServiceSettings,
    /// Whether a plugin offers it.
    pub(super) plugin: bool,
    /// Runs that the driver has not confirmed as finished, those of a withdrawn plugin included.
    pub(super) running: usize,
    /// Idle workers, the longest idle first.
    pub(super) idle: BTreeMap<u64, PeerId>,
    /// Workers serving a request.
    pub(super) busy: usize,
    /// Requests waiting, in order of arrival: one that is given back has the lowest number, and so goes first.
    pub(super) queue: BTreeSet<RequestId>,
    /// Whether a worker is next where both a plugin and a worker could serve.
    worker_is_next: bool,
    pub(super) replied: u64,
    pub(super) failed: u64,
}

/// Who serves the next request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Plugin,
    Worker(PeerId),
}

impl Service {
    pub(super) fn new(settings: ServiceSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Whether anybody offers it.
    pub(super) fn is_reachable(&self) -> bool {
        self.plugin || self.busy > 0 || !self.idle.is_empty()
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_forgettable(&self) -> bool {
        !self.is_reachable() && self.running == 0 && self.queue.is_empty()
    }

    /// Takes the provider whose turn it is: plugin and workers alternate, and among the workers the longest idle is
    /// first. `None` while all are occupied.
    pub(super) fn take_provider(&mut self) -> Option<Provider> {
        let plugin_is_free = self.plugin && self.running < self.settings.concurrency;
        if plugin_is_free && (self.idle.is_empty() || !self.worker_is_next) {
            self.worker_is_next = true;
            self.running += 1;
            return Some(Provider::Plugin);
        }
        let (_, peer) = self.idle.pop_first()?;
        self.worker_is_next = false;
        self.busy += 1;
        Some(Provider::Worker(peer))
    }

    pub(super) fn status(&self, name: &ServiceName) -> ServiceStatus {
        ServiceStatus {
            name: name.clone(),
            plugin: self.plugin,
            running: self.running,
            workers_idle: self.idle.len(),
            workers_busy: self.busy,
            queued: self.queue.len(),
            replied: self.replied,
            failed: self.failed,
        }
    }
}
