//! Time by which each request must be answered: the limit of its requester, and the deadline of its provider.

use super::model::RequestNumber;
use super::{Checker, ServiceModel};
use std::time::Duration;
use wasmnode_core::{PLUGIN_DEADLINE, ServiceName, Time};

/// Kind of the provider of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plugin,
    Workers,
    Nobody,
}

/// Components of a request's deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Time until which its requester waits.
    pub(crate) asked: Time,
    /// Whether it waits for its service without a limit of its own.
    pub(crate) is_open: bool,
    pub(crate) kind: Kind,
    /// Start of the deadline of its service.
    pub(crate) since: Time,
}

impl ServiceModel {
    pub(super) fn kind(&self) -> Kind {
        match self.idle + self.busy {
            _ if self.offered => Kind::Plugin,
            0 => Kind::Nobody,
            _ => Kind::Workers,
        }
    }
}

impl Checker {
    /// Returns the time for which a worker may keep a request of this service.
    pub(super) fn patience_with_workers(&self, service: &ServiceName) -> Option<Duration> {
        self.settings_of(service).deadline.or(self.settings.majordomo.deadline)
    }

    pub(super) fn due(&self, clock: &Clock, service: &ServiceName) -> Time {
        let settings = &self.settings;
        let own = settings.services.get(service).and_then(|service| service.deadline);
        let of_plugin = own.or(settings.defaults.deadline).unwrap_or(PLUGIN_DEADLINE);
        let limit = match clock.kind {
            Kind::Plugin => Some(of_plugin),
            Kind::Workers => own.or(settings.majordomo.deadline),
            Kind::Nobody => clock.is_open.then_some(of_plugin),
        };
        limit.map_or(Time::NEVER, |limit| clock.since + limit).min(clock.asked)
    }

    /// Sets the kind of provider of a request, after a change.
    pub(super) fn turn(&mut self, id: RequestNumber, kind: Kind) {
        let Some(ask) = self.model.get_mut(id).filter(|ask| ask.clock.kind != kind && !ask.record_due) else { return };
        let begins = match (ask.clock.kind, kind) {
            (Kind::Nobody, _) => !ask.clock.is_open,
            (Kind::Workers, Kind::Plugin) => true,
            (Kind::Workers, _) => ask.clock.is_open,
            (Kind::Plugin, _) => false,
        };
        ask.clock.kind = kind;
        let (clock, service) = (ask.clock, ask.service.clone());
        let clock = if begins { Clock { since: self.now, ..clock } } else { clock };
        let due = self.due(&clock, &service);
        self.model.set_clock(id, clock, due);
    }
}
