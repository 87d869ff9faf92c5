//! Path-vector routing to services of other zones, as one router sees it.
//!
//! A route leads to a service of a zone, never of a node, and has the path to its origin: a router of that zone. A
//! router advertises its best route with itself prepended, as in BGP (RFC 4271) with every zone as an autonomous
//! system. A network of thousands of routers converges in the time that a message takes to cross it, because updates
//! carry the root cause of a loss: the session that ended, by its two routers and its epoch, or the tombstone of an
//! orderly end. All routes over it become invalid together, so routers do not explore one after the other (Pei et al.,
//! BGP-RCN, 2005). Epochs of sessions only grow, so that the same link is valid again after it is restored.
//!
//! Updates contain only changes. Losses are sent immediately, routes at most once per interval. Lost updates are
//! detected by their numbers, or by digests that are compared every minute.

mod decision;
mod import;
mod originate;
mod origins;
mod outrank;
mod rib;
mod root_causes;
mod session;
#[cfg(test)]
mod tests;
mod validate;

use crate::connection::LinkId;
use crate::message::path::{DeadLink, Hop, Keepalive, RouteKey, RouterId, Tombstone, Update};
use crate::message::peer::Traits;
use crate::name::{Label, ServiceName};
pub use crate::policy::{Filter, InvalidFilter, Policy};
use crate::settings::PathSettings;
use crate::time::Time;
use originate::{Change, Originated};
use origins::Origins;
use rib::{Rib, mix};
use root_causes::RootCauses;
pub use session::SessionKind;
use session::{ExportView, Session};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Largest number of sessions over which the load of one service is shared.
pub const EQUAL: usize = 8;

/// Router process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its zone.
    pub zone: Label,
    /// Its name in the zone.
    pub router: Label,
    /// Start of the process, in microseconds since 1970.
    pub boot: u64,
}

impl Speaker {
    /// Returns the name of the router with its zone.
    #[must_use]
    pub fn id(&self) -> RouterId {
        RouterId { zone: self.zone.clone(), router: self.router.clone() }
    }
}

/// Decision of the routing, for the router to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEffect {
    /// Send an update to the neighbour.
    Send {
        /// The session.
        session: LinkId,
        /// The update. Updates of one session must arrive in order.
        update: Update,
    },
    /// A service of another zone has become reachable, or its route has changed.
    Reachable {
        /// The zone.
        zone: Label,
        /// The service.
        service: ServiceName,
        /// The traits of the service.
        traits: Traits,
        /// Cost of the route: the sum of all links.
        cost: u32,
        /// The sessions of equally good next hops, at most [`EQUAL`]: all into other zones, or all to routers of the
        /// own zone if one of those has a better route.
        hops: Vec<LinkId>,
    },
    /// A service of another zone has become unreachable.
    Unreachable {
        /// The zone.
        zone: Label,
        /// The service.
        service: ServiceName,
    },
    /// The session is broken, or the neighbour considers it ended: end it here too, and begin a new one.
    Broken {
        /// The session.
        session: LinkId,
    },
    /// An update of a neighbour was rejected, in whole or in part.
    Refused {
        /// The session.
        session: LinkId,
        /// The reason. The text continues a sentence that begins with "the neighbour".
        why: String,
    },
    /// A service of the own zone exceeds [`PathSettings::offers`], and is not advertised to other zones.
    Unlisted {
        /// The service.
        service: ServiceName,
    },
}

/// Route to a service as it is advertised, together with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    path: Arc<[Hop]>,
    /// Start of the origin's process, and the version of its offer.
    boot: u64,
    version: u64,
    traits: Traits,
    /// Cost from the first router on the path.
    cost: u32,
}

/// Route to a service of another zone, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathStatus<'a> {
    /// The service and its zone.
    pub key: &'a RouteKey,
    /// Cost of the route: the sum of all links.
    pub cost: u32,
    /// The traits of the service.
    pub traits: Traits,
    /// The latest version of its origin's offer.
    pub version: u64,
    /// The next hops.
    pub hops: &'a [LinkId],
    /// The routers on the best path: the next hop first, the origin last.
    pub path: &'a [Hop],
}

/// Sizes of the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathSizes {
    /// Routes from neighbours, each counted once per neighbour.
    pub received: usize,
    /// Services of other zones that can be reached.
    pub reachable: usize,
    /// Routes sent to neighbours, each counted once per neighbour.
    pub sent: usize,
    /// Dead links and tombstones that are kept.
    pub causes: usize,
    /// Origins of the routes from neighbours.
    pub origins: usize,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Updates that were rejected in whole or in part.
    pub refused: u64,
    /// Routes that were rejected because of a limit.
    pub over: u64,
    /// Refreshes requested from neighbours.
    pub refreshes: u64,
}

/// Returns the epoch of a new session, from the values of [`Paths::epoch`] at both ends.
#[must_use]
pub fn link_epoch(mine: u64, theirs: u64) -> u64 {
    mine.max(theirs).saturating_add(1)
}

/// Routes to all services of other zones, as one router sees them.
#[derive(Debug)]
pub struct Paths {
    settings: PathSettings,
    me: RouterId,
    boot: u64,
    /// Number of earlier processes of this router that it has outranked.
    replaced: u32,
    /// Highest epoch of all sessions; starts with the boot, so that it grows over restarts.
    epoch: u64,
    sessions: BTreeMap<LinkId, Session>,
    own: Originated,
    table: Rib,
    causes: RootCauses,
    origins: Origins,
    counters: PathCounters,
    /// Time at which digests are sent and old entries are removed.
    sweep: Time,
    /// Time of the next keepalive to the neighbours.
    refresh: Time,
    chance: u64,
    effects: VecDeque<PathEffect>,
}

impl Paths {
    /// Creates the state of a router without neighbours. All randomness derives from `seed`.
    #[must_use]
    pub fn new(me: &Speaker, settings: &PathSettings, seed: u64) -> Self {
        let id = me.id();
        let mut paths = Self {
            own: Originated::new(&id, me.boot, settings.offers, settings.change, settings.burst),
            table: Rib::default(),
            causes: RootCauses::new(settings.memory, settings.causes),
            origins: Origins::new(settings.lease),
            me: id,
            boot: me.boot,
            replaced: 0,
            epoch: me.boot,
            sessions: BTreeMap::new(),
            counters: PathCounters::default(),
            sweep: Time::ZERO,
            refresh: Time::ZERO,
            chance: mix(seed),
            effects: VecDeque::new(),
            settings: settings.clone(),
        };
        paths.sweep = Time::ZERO + paths.part_of(settings.still);
        paths.refresh = Time::ZERO + paths.part_of(settings.refresh);
        paths
    }

    /// Adds or changes a service of the own zone.
    pub fn offer(&mut self, service: &ServiceName, traits: Traits, now: Time) {
        match self.own.set(service, Some(traits), now) {
            Some(change) => self.advertise_local(service, &change, now),
            None => self.effects.push_back(PathEffect::Unlisted { service: service.clone() }),
        }
    }

    /// Removes a service of the own zone.
    pub fn withdraw(&mut self, service: &ServiceName, now: Time) {
        if let Some(change) = self.own.set(service, None, now) {
            self.advertise_local(service, &change, now);
        }
    }

    /// Returns the highest epoch, from which [`link_epoch`] computes that of a new session.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a session with another router, with the same epoch at both ends, and sends it all routes within 2 ms.
    ///
    /// An earlier session with the same router ends. An invalid session is rejected, and carries no updates.
    pub fn session_up(&mut self, link: LinkId, with: &Speaker, kind: SessionKind, epoch: u64, now: Time) {
        let with = with.id();
        let is_internal = kind == SessionKind::Internal;
        if with == self.me || is_internal != (with.zone == self.me.zone) {
            let why = "has the name of this router, or is in another zone than the configuration says".into();
            return self.effects.push_back(PathEffect::Refused { session: link, why });
        }
        if epoch > self.latest(now) {
            // All later sessions would have this epoch or a later one, and no router would accept them.
            let why =
                "begins a session with an epoch out of range: its clock and the one here differ by more than a day; \
                       correct the wrong one, and restart that router"
                    .into();
            return self.effects.push_back(PathEffect::Refused { session: link, why });
        }
        let earlier = self.sessions.iter().find(|(other, session)| **other == link || session.with == with);
        if let Some(earlier) = earlier.map(|(link, _)| *link) {
            self.session_down(earlier, now);
        }
        self.epoch = self.epoch.max(epoch);
        let kind = match kind {
            SessionKind::External { cost, import, export } => {
                SessionKind::External { cost: cost.max(1), import, export }
            }
            SessionKind::Internal => SessionKind::Internal,
        };
        let mut session = Session::new(with, kind, epoch);
        // The neighbour may have missed keepalives without a session, and would expire live origins.
        let own = Keepalive { origin: self.me.clone(), boot: self.boot, version: self.own.version() };
        self.origins.signs().chain([own]).for_each(|fresh| session.mark_fresh(fresh, now));
        self.sessions.insert(link, session);
        self.mark_everything(link, now);
    }

    /// Removes a session, and all routes from it immediately.
    pub fn session_down(&mut self, link: LinkId, now: Time) {
        let Some(session) = self.sessions.remove(&link) else { return };
        self.causes.add_link(DeadLink::new(self.me.clone(), session.with, session.epoch), now);
        let keys = self.table.remove_session(link);
        self.choose_all(&keys, now);
    }

    /// Changes the policies of a session. Without effect for a session to a router of the own zone.
    pub fn set_policy(&mut self, link: LinkId, import: Policy, export: Policy, now: Time) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let SessionKind::External { cost, .. } = session.kind else { return };
        session.kind = SessionKind::External { cost, import, export };
        let keys = self.table.keys_of(link);
        for key in &keys {
            // Routes that were filtered before count for their origins.
            if let Some(route) = self.table.received(link, key).filter(|_| self.imports(link, key)) {
                self.origins.refresh(&route, now);
            }
        }
        self.choose_all(&keys, now);
        self.mark_everything(link, now);
    }

    /// Withdraws all routes of this router from all neighbours immediately, and ends all sessions.
    pub fn leave(&mut self, now: Time) {
        let link = |session: &Session| DeadLink::new(self.me.clone(), session.with.clone(), session.epoch);
        let causes: Vec<DeadLink> = self.sessions.values().map(link).collect();
        let version = self.own.next_version();
        let tombstone = Tombstone { origin: self.me.clone(), boot: self.boot, version, service: None };
        self.own.clear();
        for (link, mut session) in std::mem::take(&mut self.sessions) {
            session.leave(link, &causes, &tombstone, &mut self.effects);
            let keys = self.table.remove_session(link);
            self.choose_all(&keys, now);
        }
    }

    /// Acts on the time: advertises held-back changes, sends keepalives and due updates, sweeps the tables.
    pub fn wake(&mut self, now: Time) {
        while let Some((service, change)) = self.own.pop(now) {
            self.advertise_local(&service, &change, now);
        }
        if self.refresh <= now {
            self.refresh = now + self.settings.refresh.max(Duration::from_millis(1));
            let fresh = Keepalive { origin: self.me.clone(), boot: self.boot, version: self.own.next_version() };
            for session in self.sessions.values_mut() {
                session.mark_fresh(fresh.clone(), now);
            }
        }
        let due = |session: &Session| session.due.is_some_and(|due| due <= now);
        let links: Vec<LinkId> = self.sessions.iter().filter(|(_, s)| due(s)).map(|(link, _)| *link).collect();
        for link in links {
            self.flush(link, now);
        }
        if self.sweep <= now {
            self.sweep = now + self.settings.still.max(Duration::from_millis(1));
            self.sweep(now);
        }
    }

    /// Returns the time at which [`Self::wake`] is due.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        let sessions = self.sessions.values().filter_map(|session| session.due);
        let first = self.sweep.min(self.refresh);
        sessions.chain(self.own.next_wake()).min().map_or(first, |time| time.min(first))
    }

    /// Returns the next decision to act on.
    pub fn next_effect(&mut self) -> Option<PathEffect> {
        self.effects.pop_front()
    }

    /// Returns `true` if policy allows a request from a session; `None` is the own zone.
    ///
    /// A neighbour may call exactly the services that were advertised to it.
    #[must_use]
    pub fn may_pass(&self, from: Option<LinkId>, zone: &Label, service: &ServiceName) -> bool {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        let Some(link) = from else { return *zone == self.me.zone || self.table.choice(&key).is_some() };
        let Some(session) = self.sessions.get(&link) else { return false };
        match &session.kind {
            SessionKind::Internal => *zone == self.me.zone || session.sent.contains_key(&key),
            SessionKind::External { export, .. } => session.sent.contains_key(&key) && export.lets_pass(&key),
        }
    }

    /// Returns `true` if policy allows a service to be advertised on a session, whether or not it is reachable.
    #[must_use]
    pub fn is_exported(&self, to: LinkId, zone: &Label, service: &ServiceName) -> bool {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        self.sessions.get(&to).is_some_and(|session| match &session.kind {
            SessionKind::Internal => true,
            SessionKind::External { export, .. } => export.lets_pass(&key),
        })
    }

    /// Returns the next hops towards a service whose paths avoid the zones in `crossed`, the best first.
    ///
    /// The hops of [`PathEffect::Reachable`] precede the other valid ones.
    #[must_use]
    pub fn hops_around(&self, zone: &Label, service: &ServiceName, crossed: &[Label]) -> Vec<LinkId> {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        let around =
            |path: &[Hop]| path.iter().all(|hop| hop.at.zone == self.me.zone || !crossed.contains(&hop.at.zone));
        let candidates = self.candidates(&key).into_iter().filter(|(_, route)| around(&route.path));
        candidates.map(|(candidate, _)| candidate.link()).collect()
    }

    /// Returns all reachable services of other zones, by zone and name.
    pub fn routes(&self) -> impl Iterator<Item = PathStatus<'_>> {
        self.table.choices().map(|(key, choice)| PathStatus {
            key,
            cost: choice.cost,
            traits: choice.received.traits,
            version: choice.received.version,
            hops: &choice.hops,
            path: &choice.received.path,
        })
    }

    /// Returns the routers on the best path to a service: the next hop first, the origin last.
    #[must_use]
    pub fn path(&self, zone: &Label, service: &ServiceName) -> Option<&[Hop]> {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        self.table.choice(&key).map(|choice| &*choice.received.path)
    }

    /// Returns the sizes of the tables.
    #[must_use]
    pub fn sizes(&self) -> PathSizes {
        PathSizes {
            received: self.table.len(),
            reachable: self.table.choices().count(),
            sent: self.sessions.values().map(|session| session.sent.len()).sum(),
            causes: self.causes.len(),
            origins: self.origins.len(),
        }
    }

    /// Returns the counters since the start.
    #[must_use]
    pub fn counters(&self) -> PathCounters {
        self.counters
    }

    /// Schedules updates to all neighbours about a change in the own zone.
    fn advertise_local(&mut self, service: &ServiceName, change: &Change, now: Time) {
        if *change == Change::Nothing {
            return;
        }
        if let Change::Ended(version) = *change {
            let service = Some(service.clone());
            let tombstone = Tombstone { origin: self.me.clone(), boot: self.boot, version, service };
            self.sessions.values_mut().for_each(|session| session.mark_ended(&tombstone, now));
            self.causes.add_tombstone(tombstone, now);
        }
        self.mark(&RouteKey { zone: self.me.zone.clone(), service: service.clone() }, now);
    }

    /// Marks all routes that may be advertised on a session for evaluation.
    fn mark_everything(&mut self, link: LinkId, now: Time) {
        let Self { me, table, own, causes, sessions, .. } = self;
        let view = ExportView { me, table, own, causes };
        let Some(session) = sessions.get_mut(&link) else { return };
        let own = own.advertised().map(|service| RouteKey { zone: me.zone.clone(), service: service.clone() });
        let keys: BTreeSet<RouteKey> = table.choices().map(|(key, _)| key.clone()).chain(own).collect();
        for key in &keys {
            session.mark(key, &view, now);
        }
    }

    fn flush(&mut self, link: LinkId, now: Time) {
        let pause = self.part_of(self.settings.batch);
        let Self { me, table, own, causes, sessions, effects, .. } = self;
        let view = ExportView { me, table, own, causes };
        if let Some(session) = sessions.get_mut(&link) {
            session.flush(link, &view, pause, now, effects);
        }
    }

    /// Sends digests, and removes expired entries.
    fn sweep(&mut self, now: Time) {
        for (link, session) in &mut self.sessions {
            session.still(*link, &mut self.effects);
        }
        self.own.tidy(now);
        if self.causes.forget(now) {
            // Neighbours that still advertise the link would have reported its end, so it is valid again.
            let keys = self.table.keys().cloned().collect();
            self.choose_all(&keys, now);
        }
        if self.origins.expire(now) {
            let origins = &self.origins;
            let keys = self.table.resting_on(|_, _, route| !origins.counts(route));
            self.choose_all(&keys, now);
        }
    }

    fn imports(&self, link: LinkId, key: &RouteKey) -> bool {
        match self.sessions.get(&link).map(|session| &session.kind) {
            Some(SessionKind::External { import, .. }) => import.lets_pass(key),
            Some(SessionKind::Internal) => true,
            None => false,
        }
    }

    /// Returns a random duration between half of `time` and all of it.
    fn part_of(&mut self, time: Duration) -> Duration {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let half = u64::try_from(time.as_micros() / 2).unwrap_or(u64::MAX);
        let part = (u128::from(half) * u128::from(mix(self.chance))) >> 64;
        Duration::from_micros(half + u64::try_from(part).unwrap_or(half))
    }
}
