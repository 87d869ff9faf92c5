//! How services of other zones are reached: what the routers of all zones tell each other, as one of them knows it.
//!
//! A route is of a service of a zone, never of a node, and carries the path to its origin: a router of that zone. A
//! router tells its best route on, with itself before it, as BGP does (RFC 4271) where every zone is an autonomous
//! system. What makes a network of thousands settle in the time that a message takes to cross it is that the cause of a
//! loss travels along: the session that ended, by its two routers and its epoch, or the tombstone of what ended in good
//! order. Every route over it dies at once, so nobody tries one after the other (Pei et al., BGP-RCN, 2005). Sessions
//! have epochs that only grow, so that the same link counts again when it is back.
//!
//! Only news is told, and each neighbour is told routes at most once in a while; losses are told at once. What got lost
//! is found by its number, or by sums that are compared every minute.

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

/// The most sessions over which the load of one service is shared.
pub const EQUAL: usize = 8;

/// A router process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its zone.
    pub zone: Label,
    /// Its name in the zone.
    pub router: Label,
    /// When it started, in microseconds since 1970.
    pub boot: u64,
}

impl Speaker {
    /// Its names.
    #[must_use]
    pub fn id(&self) -> RouterId {
        RouterId { zone: self.zone.clone(), router: self.router.clone() }
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEffect {
    /// Send an update to the neighbour.
    Send {
        /// The session.
        session: LinkId,
        /// What to say. Updates of one session must arrive in their order.
        update: Update,
    },
    /// A service of another zone can be reached from now on, or in another way.
    Reachable {
        /// The zone.
        zone: Label,
        /// The service.
        service: ServiceName,
        /// How it is served.
        traits: Traits,
        /// The cost of all links on the way.
        cost: u32,
        /// The sessions that are equally good next hops, at most [`EQUAL`]: into other zones, or all to routers of the
        /// own zone if one of those has a better way.
        hops: Vec<LinkId>,
    },
    /// A service of another zone can be reached no longer.
    Unreachable {
        /// The zone.
        zone: Label,
        /// The service.
        service: ServiceName,
    },
    /// The session does not work any more, or the neighbour takes it for ended: it is to be ended here too, and begun
    /// anew.
    Broken {
        /// The session.
        session: LinkId,
    },
    /// What a neighbour said was refused, all of it or in part.
    Refused {
        /// The session.
        session: LinkId,
        /// Why; reads on from "the neighbour ...".
        why: String,
    },
    /// A service of the own zone is over [`PathSettings::offers`]: other zones are not told of it.
    Unlisted {
        /// The service.
        service: ServiceName,
    },
}

/// A route to a service, as it is told: its key is told with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    path: Arc<[Hop]>,
    /// When the process of the origin started, and the version of what it says.
    boot: u64,
    version: u64,
    traits: Traits,
    /// From the first router on the path.
    cost: u32,
}

/// A service of another zone that can be reached, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathStatus<'a> {
    /// The service and its zone.
    pub key: &'a RouteKey,
    /// The cost of all links on the way.
    pub cost: u32,
    /// How it is served.
    pub traits: Traits,
    /// The version that its origin told last.
    pub version: u64,
    /// The next hops.
    pub hops: &'a [LinkId],
    /// The routers on the best way: the next hop first, the origin last.
    pub path: &'a [Hop],
}

/// How large the tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathSizes {
    /// Routes that neighbours told, each counted once per neighbour.
    pub heard: usize,
    /// Services of other zones that can be reached.
    pub reachable: usize,
    /// Routes that neighbours were told.
    pub told: usize,
    /// Dead links and tombstones that are remembered.
    pub causes: usize,
    /// Origins of what was heard.
    pub origins: usize,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Updates of which something was refused.
    pub refused: u64,
    /// Routes that were refused because they were over a limit.
    pub over: u64,
    /// How often a neighbour was asked to tell everything.
    pub asked: u64,
}

/// The epoch of a new session, made of what both ends give as [`Paths::epoch`].
#[must_use]
pub fn link_epoch(mine: u64, theirs: u64) -> u64 {
    mine.max(theirs).saturating_add(1)
}

/// The paths to all services of other zones, as one router knows them.
#[derive(Debug)]
pub struct Paths {
    settings: PathSettings,
    me: RouterId,
    boot: u64,
    /// How many earlier processes of this router neighbours have held for later ones.
    replaced: u32,
    /// The highest of all sessions so far; it begins with the boot, so that it grows over restarts.
    epoch: u64,
    sessions: BTreeMap<LinkId, Session>,
    own: Originated,
    table: Rib,
    causes: RootCauses,
    origins: Origins,
    counters: PathCounters,
    /// When sums are told and old things forgotten.
    sweep: Time,
    /// When the neighbours get a sign of life.
    refresh: Time,
    chance: u64,
    effects: VecDeque<PathEffect>,
}

impl Paths {
    /// Makes the paths of a router that knows nobody. All chance comes from `seed`.
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

    /// The own zone serves a service from now on, or serves it differently.
    pub fn offer(&mut self, service: &ServiceName, traits: Traits, now: Time) {
        match self.own.set(service, Some(traits), now) {
            Some(change) => self.advertise_local(service, &change, now),
            None => self.effects.push_back(PathEffect::Unlisted { service: service.clone() }),
        }
    }

    /// Nobody in the own zone serves this service any more.
    pub fn withdraw(&mut self, service: &ServiceName, now: Time) {
        if let Some(change) = self.own.set(service, None, now) {
            self.advertise_local(service, &change, now);
        }
    }

    /// The highest epoch so far: what [`link_epoch`] is made of at the start of a session.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A session with another router has begun, at both ends with this epoch: what may be told is told within 2 ms.
    ///
    /// An earlier session with the same router ends. One that cannot be is refused, and carries nothing.
    pub fn session_up(&mut self, link: LinkId, with: &Speaker, kind: SessionKind, epoch: u64, now: Time) {
        let with = with.id();
        let is_internal = kind == SessionKind::Internal;
        if with == self.me || is_internal != (with.zone == self.me.zone) {
            let why = "is not where the configuration says: a router of this name, or of this zone".into();
            return self.effects.push_back(PathEffect::Refused { session: link, why });
        }
        if epoch > self.latest(now) {
            // It would be the epoch of all later sessions too, and no router would believe them.
            let why =
                "begins a session with an epoch from nowhere: its clock and the one here differ by more than a day; \
                       set the one that is wrong, and start that router anew"
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
        // It may have missed them for as long as there was no session, and give up who lives.
        let own = Keepalive { origin: self.me.clone(), boot: self.boot, version: self.own.version() };
        self.origins.signs().chain([own]).for_each(|fresh| session.mark_fresh(fresh, now));
        self.sessions.insert(link, session);
        self.mark_everything(link, now);
    }

    /// A session has ended: all that came on it is lost at once.
    pub fn session_down(&mut self, link: LinkId, now: Time) {
        let Some(session) = self.sessions.remove(&link) else { return };
        self.causes.add_link(DeadLink::new(self.me.clone(), session.with, session.epoch), now);
        let keys = self.table.remove_session(link);
        self.choose_all(&keys, now);
    }

    /// A session lets other routes pass from now on. Nothing changes for a session to a router of the own zone.
    pub fn set_policy(&mut self, link: LinkId, import: Policy, export: Policy, now: Time) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let SessionKind::External { cost, .. } = session.kind else { return };
        session.kind = SessionKind::External { cost, import, export };
        let keys = self.table.keys_of(link);
        for key in &keys {
            // What was not believed until now tells of its origin.
            if let Some(route) = self.table.received(link, key).filter(|_| self.imports(link, key)) {
                self.origins.refresh(&route, now);
            }
        }
        self.choose_all(&keys, now);
        self.mark_everything(link, now);
    }

    /// This router leaves: all neighbours hear at once that nothing of it counts any more, and then it knows nobody.
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

    /// Lets time pass.
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

    /// When [`Self::wake`] is due.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        let sessions = self.sessions.values().filter_map(|session| session.due);
        let first = self.sweep.min(self.refresh);
        sessions.chain(self.own.next_wake()).min().map_or(first, |time| time.min(first))
    }

    /// The next decision to act on.
    pub fn next_effect(&mut self) -> Option<PathEffect> {
        self.effects.pop_front()
    }

    /// Whether policy lets a request pass that came on this session, from the own zone if on none: exactly what the
    /// neighbour was told may be called from there.
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

    /// Whether policy lets the neighbour on this session know of a service, whether or not it can be reached now.
    #[must_use]
    pub fn is_exported(&self, to: LinkId, zone: &Label, service: &ServiceName) -> bool {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        self.sessions.get(&to).is_some_and(|session| match &session.kind {
            SessionKind::Internal => true,
            SessionKind::External { export, .. } => export.lets_pass(&key),
        })
    }

    /// The next hops towards a service that come back to none of these zones, the best first: those of
    /// [`PathEffect::Reachable`] and then the others that count.
    #[must_use]
    pub fn hops_around(&self, zone: &Label, service: &ServiceName, crossed: &[Label]) -> Vec<LinkId> {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        let around =
            |path: &[Hop]| path.iter().all(|hop| hop.at.zone == self.me.zone || !crossed.contains(&hop.at.zone));
        self.ways(&key).into_iter().filter(|(_, route)| around(&route.path)).map(|(way, _)| way.link()).collect()
    }

    /// All services of other zones that can be reached, by zone and name.
    pub fn routes(&self) -> impl Iterator<Item = PathStatus<'_>> {
        self.table.choices().map(|(key, choice)| PathStatus {
            key,
            cost: choice.cost,
            traits: choice.heard.traits,
            version: choice.heard.version,
            hops: &choice.hops,
            path: &choice.heard.path,
        })
    }

    /// The routers on the best way to a service: the next hop first, the origin last.
    #[must_use]
    pub fn path(&self, zone: &Label, service: &ServiceName) -> Option<&[Hop]> {
        let key = RouteKey { zone: zone.clone(), service: service.clone() };
        self.table.choice(&key).map(|choice| &*choice.heard.path)
    }

    /// How large the tables are.
    #[must_use]
    pub fn sizes(&self) -> PathSizes {
        PathSizes {
            heard: self.table.len(),
            reachable: self.table.choices().count(),
            told: self.sessions.values().map(|session| session.sent.len()).sum(),
            causes: self.causes.len(),
            origins: self.origins.len(),
        }
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counters(&self) -> PathCounters {
        self.counters
    }

    /// Sees to it that the other zones hear of a change in the own zone.
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

    /// All that a neighbour may be told is looked at anew.
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

    /// Tells sums, and forgets what is old.
    fn sweep(&mut self, now: Time) {
        for (link, session) in &mut self.sessions {
            session.still(*link, &mut self.effects);
        }
        self.own.tidy(now);
        if self.causes.forget(now) {
            // The neighbours still tell of the link, and would have told its end: it counts again.
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

    /// Between a half of a time and all of it.
    fn part_of(&mut self, time: Duration) -> Duration {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let half = u64::try_from(time.as_micros() / 2).unwrap_or(u64::MAX);
        let part = (u128::from(half) * u128::from(mix(self.chance))) >> 64;
        Duration::from_micros(half + u64::try_from(part).unwrap_or(half))
    }
}
