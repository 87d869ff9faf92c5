//! Deadlines of requests: which setting applies, when it starts to count, and how a failure names it.
//!
//! The requester's limit always applies. In addition, a service has a deadline that depends on its provider: a plugin's
//! is `[service.NAME] deadline`, else `[defaults] deadline`; that of Majordomo workers is `[service.NAME] deadline`,
//! else `majordomo.deadline`, else none, because their protocol has none. The deadline counts from the request's
//! arrival, or, if the service had no provider then, from the time that it gets one. A request without a deadline ends
//! with its provider or with its client.

use super::pending::{Pending, Stage};
use super::request::{Destination, Requester};
use super::service::{RemoteZone, Service};
use super::{Broker, RequestId};
use crate::message::Dialect;
use crate::name::{Address, Label, ServiceName};
use crate::settings::NodeSettings;
use crate::time::Time;
use std::fmt;
use std::time::Duration;

/// Kind of the providers at a destination, which selects the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderKind {
    /// A plugin, or any mix that is not known to be workers alone.
    Plugin,
    /// Majordomo workers alone.
    Workers,
    /// No provider.
    Absent,
}

impl ProviderKind {
    /// Returns this kind, or that of the next destination if there is no provider here.
    pub(super) fn or(self, next: impl FnOnce() -> Self) -> Self {
        if self == Self::Absent { next() } else { self }
    }
}

/// Origin of a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Client,
    /// The node that forwarded the request.
    Node,
    /// The request on whose behalf it is called.
    Caller,
    Service,
    Defaults,
    Majordomo,
}

/// Time by which a request must be answered, and the limit that it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Time,
    limit: Option<(Source, Duration)>,
}

impl Deadline {
    const NONE: Self = Self { at: Time::NEVER, limit: None };

    fn after(since: Time, limit: Option<(Source, Duration)>) -> Self {
        limit.map_or(Self::NONE, |(_, time)| Self { at: since + time, limit })
    }

    /// Returns the deadline that a requester sets.
    pub(super) fn asked(requester: &Requester, time: Option<Duration>, now: Time) -> Self {
        let source = match requester {
            Requester::Call { .. } => Source::Caller,
            Requester::Client { dialect: Dialect::Peer, .. } => Source::Node,
            Requester::Client { .. } => Source::Client,
        };
        Self::after(now, time.map(|time| (source, time)))
    }

    fn min(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    /// Returns the time left, if there is a deadline.
    pub(super) fn left(&self, now: Time) -> Option<Duration> {
        (self.at != Time::NEVER).then(|| self.at.since(now))
    }

    /// Returns the limit as a failure names it. `node` names the node with that setting, if a reader could mistake it
    /// for a setting of another node.
    pub(super) fn named<'a>(&'a self, service: &'a ServiceName, node: Option<&'a Label>) -> impl fmt::Display + 'a {
        Named { deadline: self, service, node }
    }
}

struct Named<'a> {
    deadline: &'a Deadline,
    service: &'a ServiceName,
    node: Option<&'a Label>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deadline, service, node } = self;
        let Some((source, time)) = deadline.limit else { return f.write_str("no deadline is set") };
        let node = node.map(|node| format!(" at node {node}")).unwrap_or_default();
        match source {
            Source::Client => write!(f, "the client's deadline of {time:?}"),
            Source::Node => write!(f, "the {time:?} that the node before left"),
            Source::Caller => write!(f, "the {time:?} that the calling request had left"),
            Source::Service => write!(f, "service.{service}.deadline = {time:?}{node}"),
            Source::Defaults => {
                write!(f, "defaults.deadline = {time:?}{node}, as service.{service}.deadline is not set")
            }
            Source::Majordomo => {
                write!(f, "majordomo.deadline = {time:?}{node}, as service.{service}.deadline is not set")
            }
        }
    }
}

/// Deadlines of one service, by kind of provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    plugin: Option<(Source, Duration)>,
    workers: Option<(Source, Duration)>,
}

impl Terms {
    pub(super) fn new(settings: &NodeSettings, service: &ServiceName) -> Self {
        if settings.is_router() {
            // A router adds no limit: a request has the time that its first node gave it.
            return Self { plugin: None, workers: None };
        }
        let own = settings.services.get(service).and_then(|service| service.deadline);
        let own = own.map(|time| (Source::Service, time));
        let default = (Source::Defaults, settings.defaults.deadline.unwrap_or(crate::settings::PLUGIN_DEADLINE));
        let majordomo = settings.majordomo.deadline.map(|time| (Source::Majordomo, time));
        Self { plugin: own.or(Some(default)), workers: own.or(majordomo) }
    }

    /// Returns how long a worker may keep a request.
    pub(super) fn of_workers(&self) -> Option<Duration> {
        self.workers.map(|(_, time)| time)
    }

    fn of(&self, kind: ProviderKind) -> Option<(Source, Duration)> {
        match kind {
            ProviderKind::Plugin => self.plugin,
            ProviderKind::Workers => self.workers,
            ProviderKind::Absent => None,
        }
    }
}

/// Components of a request's deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    asked: Deadline,
    /// Whether it may wait for its service without limit. Then the deadline of a plugin applies, from its arrival.
    is_open: bool,
    kind: ProviderKind,
    since: Time,
}

impl Clock {
    pub(super) fn new(asked: Deadline, patience: Option<Duration>, kind: ProviderKind, now: Time) -> Self {
        let is_open = asked == Deadline::NONE && patience == Some(Duration::MAX);
        Self { asked, is_open, kind, since: now }
    }

    /// Changes the kind of provider. The service's deadline restarts for requests that waited without a provider, and
    /// for those that workers could have kept without limit.
    fn turn(&mut self, kind: ProviderKind, now: Time) {
        let begins = match (self.kind, kind) {
            (ProviderKind::Absent, ProviderKind::Plugin | ProviderKind::Workers) => !self.is_open,
            (ProviderKind::Workers, ProviderKind::Plugin) => true,
            (ProviderKind::Workers, ProviderKind::Absent) => self.is_open,
            _ => false,
        };
        if begins {
            self.since = now;
        }
        self.kind = kind;
    }

    pub(super) fn deadline(&self, terms: &Terms) -> Deadline {
        let kind = if self.is_open && self.kind == ProviderKind::Absent { ProviderKind::Plugin } else { self.kind };
        self.asked.min(Deadline::after(self.since, terms.of(kind)))
    }
}

impl Service {
    /// Returns the kind of provider at a destination other than a certain peer.
    pub(super) fn kind(&self, place: &Destination) -> ProviderKind {
        let here = if self.plugin {
            ProviderKind::Plugin
        } else if self.is_local() {
            ProviderKind::Workers
        } else {
            ProviderKind::Absent
        };
        let peers = || match (self.peers.len(), self.by_workers.len()) {
            (0, _) => ProviderKind::Absent,
            (all, by_workers) if all == by_workers => ProviderKind::Workers,
            _ => ProviderKind::Plugin,
        };
        let abroad = || match self.remote_zones.is_empty() {
            true => ProviderKind::Absent,
            false => kind_if(self.remote_zones.values().all(RemoteZone::is_by_workers)),
        };
        match place {
            Destination::Here => here,
            Destination::Home => here.or(peers),
            Destination::Anywhere => here.or(peers).or(abroad),
            Destination::Zone(zone) | Destination::NodeIn { zone, .. } => {
                self.remote_zones.get(zone).map_or(ProviderKind::Absent, |abroad| kind_if(abroad.is_by_workers()))
            }
            Destination::Node(_) => ProviderKind::Absent,
        }
    }
}

fn kind_if(by_workers: bool) -> ProviderKind {
    if by_workers { ProviderKind::Workers } else { ProviderKind::Plugin }
}

impl Broker {
    /// Returns the kind of provider of a service at a destination.
    pub(super) fn kind(&self, service: &ServiceName, place: &Destination) -> ProviderKind {
        match place {
            Destination::Node(node) => self.balancer.find(node, service).map_or(ProviderKind::Absent, |link| {
                kind_if(self.balancer.is_by_workers(link, &Address::from(service.clone())))
            }),
            place => self.services.get(service).map_or(ProviderKind::Absent, |service| service.kind(place)),
        }
    }

    /// Sets the kind of provider of a request, and its deadline accordingly, but not its timer.
    pub(super) fn set_provider(&mut self, id: RequestId, kind: ProviderKind, now: Time) {
        let Some(pending) = self.requests.get_mut(&id) else { return };
        // Traces do not wait for workers.
        let kind = if pending.trace.is_some() { ProviderKind::Plugin } else { kind };
        if pending.clock.kind == kind {
            return;
        }
        pending.clock.turn(kind, now);
        let service = self.services.entry(&pending.context.service, &self.settings);
        pending.deadline = pending.clock.deadline(&service.terms);
    }

    /// Resets the deadlines of waiting requests after the providers of a service have changed.
    pub(super) fn reset_timers(&mut self, name: &ServiceName, now: Time) {
        let Some(service) = self.services.get(name) else { return };
        let waiting: Vec<RequestId> = service.waiting().collect();
        waiting.into_iter().for_each(|id| self.reset_timer(id, now));
    }

    pub(super) fn reset_timer(&mut self, id: RequestId, now: Time) {
        let Some(Pending { context, clock, stage: Stage::Queued, .. }) = self.requests.get(&id) else { return };
        let kind = self.kind(&context.service, &context.destination);
        if kind == clock.kind {
            return;
        }
        self.set_provider(id, kind, now);
        if kind != ProviderKind::Absent {
            self.rearm(id, now);
        }
    }
}
