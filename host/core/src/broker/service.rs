use super::deadlines::Terms;
use super::fair_queue::{FairQueue, StartTag};
use super::request::{Destination, RequestId};
use super::status::ServiceStatus;
use crate::connection::{ConnectionId, LinkId};
use crate::message::peer::Traits;
use crate::name::{Address, Label, Location, ServiceName};
use crate::settings::{NodeSettings, ServiceSettings};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A service: its providers, and the requests that wait for it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) settings: ServiceSettings,
    /// Whether a plugin offers it.
    pub(super) plugin: bool,
    /// End of its plugin's quarantine after crashes.
    pub(super) quarantined_until: Time,
    /// Deadlines of its requests.
    pub(super) terms: Terms,
    /// Whether [`super::Event::Shared`] was reported.
    pub(super) is_shared_reported: bool,
    /// Traits that this node advertises, if it serves the service.
    pub(super) advertised: Option<Traits>,
    /// Runs that the driver has not confirmed as finished, those of a withdrawn plugin included.
    pub(super) running: usize,
    /// Idle workers, longest idle first.
    pub(super) idle: BTreeMap<u64, ConnectionId>,
    /// Workers serving a request.
    pub(super) busy: usize,
    /// Peers that offer it, in order.
    pub(super) peers: Vec<LinkId>,
    /// Those of the peers that have only workers for it.
    pub(super) by_workers: BTreeSet<LinkId>,
    pub(super) fair_queue: FairQueue,
    /// Requests waiting for any provider.
    pub(super) anywhere: Queue,
    /// Requests waiting for this node.
    pub(super) here: Queue,
    /// Requests waiting for a certain peer or zone.
    pub(super) there: BTreeMap<Destination, Queue>,
    /// Routes to it in other zones.
    pub(super) remote_zones: BTreeMap<Label, RemoteZone>,
    /// Whether a worker is next where both a plugin and a worker could serve.
    worker_is_next: bool,
    pub(super) replied: u64,
    pub(super) failed: u64,
}

/// Requests in order of their start tags. A request that is given back keeps its tag, and so goes first.
pub(super) type Queue = BTreeSet<StartTag>;

/// Links to a service of another zone, each with its cost and whether only workers serve the service there.
#[derive(Debug, Default)]
pub(super) struct RemoteZone(BTreeMap<LinkId, (u32, bool)>);

impl RemoteZone {
    pub(super) fn put(&mut self, link: LinkId, cost: u32, by_workers: bool) {
        self.0.insert(link, (cost, by_workers));
    }

    pub(super) fn is_by_workers(&self) -> bool {
        self.0.values().all(|(_, by_workers)| *by_workers)
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.0.keys().copied()
    }

    pub(super) fn cost(&self) -> u32 {
        self.0.values().map(|(cost, _)| *cost).min().unwrap_or(u32::MAX)
    }

    pub(super) fn cost_of(&self, link: LinkId) -> u32 {
        self.0.get(&link).map_or(u32::MAX, |(cost, _)| *cost)
    }

    /// Returns the links of the lowest cost, in order.
    pub(super) fn cheapest(&self) -> Vec<LinkId> {
        let least = self.cost();
        self.0.iter().filter(|(_, (cost, _))| *cost == least).map(|(link, _)| *link).collect()
    }
}

/// Provider of this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Plugin,
    Worker(ConnectionId),
}

impl Service {
    pub(super) fn new(settings: &NodeSettings, name: &ServiceName) -> Self {
        Self {
            settings: settings.of(name).clone(),
            plugin: false,
            quarantined_until: Time::ZERO,
            terms: Terms::new(settings, name),
            is_shared_reported: false,
            advertised: None,
            running: 0,
            idle: BTreeMap::new(),
            busy: 0,
            peers: Vec::new(),
            by_workers: BTreeSet::new(),
            fair_queue: FairQueue::default(),
            anywhere: Queue::new(),
            here: Queue::new(),
            there: BTreeMap::new(),
            remote_zones: BTreeMap::new(),
            worker_is_next: false,
            replied: 0,
            failed: 0,
        }
    }

    /// Returns how this node serves it, if it does.
    pub(super) fn traits(&self) -> Option<Traits> {
        self.is_local().then_some(Traits { idempotent: self.settings.idempotent, by_workers: !self.plugin })
    }

    /// Returns `true` if this node serves it itself.
    pub(super) fn is_local(&self) -> bool {
        self.plugin || self.busy > 0 || !self.idle.is_empty()
    }

    /// Returns `true` if workers take requests that the plugin would serve.
    pub(super) fn is_shared(&self) -> bool {
        self.plugin && (self.busy > 0 || !self.idle.is_empty())
    }

    /// Returns `true` if its plugin is in quarantine, and no worker is idle.
    pub(super) fn is_quarantined(&self, now: Time) -> bool {
        self.plugin && self.idle.is_empty() && self.quarantined_until > now
    }

    /// Returns `true` if a request could be started or forwarded without waiting.
    pub(super) fn is_ready(&self) -> bool {
        let plugin_is_free = self.plugin && self.running < self.settings.concurrency;
        plugin_is_free || !self.idle.is_empty() || !self.peers.is_empty() || !self.remote_zones.is_empty()
    }

    /// Returns `true` if it has a provider.
    pub(super) fn is_reachable(&self) -> bool {
        self.is_local() || !self.peers.is_empty() || !self.remote_zones.is_empty()
    }

    /// Returns `true` if the entry may be removed: no provider, no run, no request waiting.
    pub(super) fn is_forgettable(&self) -> bool {
        !self.is_reachable() && self.running == 0 && self.queued() == 0
    }

    /// Returns the number of waiting requests.
    pub(super) fn queued(&self) -> usize {
        self.anywhere.len() + self.here.len() + self.there.values().map(Queue::len).sum::<usize>()
    }

    pub(super) fn enqueue(&mut self, turn: StartTag, place: &Destination) {
        match place {
            Destination::Anywhere | Destination::Home => self.anywhere.insert(turn),
            Destination::Here => self.here.insert(turn),
            elsewhere => self.there.entry(elsewhere.clone()).or_default().insert(turn),
        };
    }

    pub(super) fn dequeue(&mut self, turn: StartTag, place: &Destination) {
        match place {
            Destination::Anywhere | Destination::Home => drop(self.anywhere.remove(&turn)),
            Destination::Here => drop(self.here.remove(&turn)),
            elsewhere => {
                if let Some(queue) = self.there.get_mut(elsewhere) {
                    queue.remove(&turn);
                    if queue.is_empty() {
                        self.there.remove(elsewhere);
                    }
                }
            }
        }
    }

    /// Adds a peer of this zone that offers the service, or replaces its traits.
    pub(super) fn add_peer(&mut self, link: LinkId, traits: Traits) {
        if let Err(place) = self.peers.binary_search(&link) {
            self.peers.insert(place, link);
        }
        if traits.by_workers {
            self.by_workers.insert(link);
        } else {
            self.by_workers.remove(&link);
        }
    }

    /// Removes a link to the service at `address`; returns `true` if it was the last into another zone.
    pub(super) fn drop_link(&mut self, link: LinkId, address: &Address) -> bool {
        let Location::Named(zone) = &address.location else {
            self.peers.retain(|other| *other != link);
            self.by_workers.remove(&link);
            return false;
        };
        let Some(abroad) = self.remote_zones.get_mut(zone) else { return false };
        abroad.0.remove(&link);
        abroad.0.is_empty() && self.remote_zones.remove(zone).is_some()
    }

    /// Returns the request that this node would serve next.
    pub(super) fn next_local(&self) -> Option<StartTag> {
        self.anywhere.first().into_iter().chain(self.here.first()).min().copied()
    }

    /// Iterates over the requests that wait for a certain peer or zone.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = RequestId> {
        self.there.values().flatten().map(|turn| turn.request)
    }

    /// Iterates over all waiting requests.
    pub(super) fn waiting(&self) -> impl Iterator<Item = RequestId> {
        self.anywhere.iter().chain(&self.here).chain(self.there.values().flatten()).map(|turn| turn.request)
    }

    /// Takes the provider that is next, or returns `None` while all are occupied. Plugin and workers alternate; among
    /// workers, the longest idle is first.
    ///
    /// A plugin in quarantine is taken only if no worker is idle.
    pub(super) fn take_provider(&mut self, now: Time) -> Option<Provider> {
        let is_fit = self.idle.is_empty() || self.quarantined_until <= now;
        let plugin_is_free = self.plugin && is_fit && self.running < self.settings.concurrency;
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
            is_shared: self.is_shared(),
            running: self.running,
            workers_idle: self.idle.len(),
            workers_busy: self.busy,
            queued: self.queued(),
            replied: self.replied,
            failed: self.failed,
            peers: Vec::new(),
        }
    }
}
