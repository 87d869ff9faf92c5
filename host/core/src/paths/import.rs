//! Import of a neighbour's updates: validated, stored per neighbour, then the affected routes are decided once.
//!
//! A route that breaks a rule counts as withdrawn, and the session stays (RFC 7606). A neighbour can end only what its
//! own routes contain: a link that one of them crosses, a service that one of them reaches.

use super::rib::digest;
use super::session::{Session, SessionKind};
use super::validate::{AHEAD, validate};
use super::{PathEffect, Paths, Route};
use crate::connection::LinkId;
use crate::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, RouteKey, RouterId, Tombstone, Update, UpdateContent,
};
use crate::name::Label;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Time for a neighbour to complete a refresh, after which it is requested again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Reasons for rejected parts of an update, each with the number of parts.
#[derive(Default)]
struct Refusals(BTreeMap<&'static str, usize>);

/// Links and origins of a neighbour's routes, each with whether the policy accepts one of these routes.
#[derive(Default)]
struct Reach {
    links: BTreeMap<(RouterId, RouterId), bool>,
    origins: BTreeMap<RouterId, bool>,
}

impl Reach {
    /// Returns whether statements on a link are accepted; `None` if no route crosses it.
    fn link(&self, a: &RouterId, b: &RouterId) -> Option<bool> {
        self.links.get(&(a.clone(), b.clone())).copied()
    }
}

impl Refusals {
    fn add(&mut self, why: &'static str) {
        *self.0.entry(why).or_default() += 1;
    }
}

impl Paths {
    /// Handles an update of a neighbour.
    ///
    /// Routes that break a rule are rejected and count as withdrawn. After a gap in the numbers, or a different digest,
    /// a refresh is requested (RFC 2918). A repeated number ends the session.
    pub fn import(&mut self, link: LinkId, update: Update, now: Time) {
        let Some(session) = self.sessions.get_mut(&link) else {
            return self.refuse(link, "sends an update without a session".into());
        };
        if update.number <= session.received {
            self.effects.push_back(PathEffect::Broken { session: link });
            return self.refuse(link, format!("repeats its update {}", update.number));
        }
        let is_gap = update.number != session.received + 1;
        session.received = update.number;
        match update.content {
            UpdateContent::Changes(changes) => self.import_changes(link, changes, now),
            UpdateContent::BeginRefresh => {
                (session.round, session.is_complete) = (session.round.wrapping_add(1), true);
            }
            UpdateContent::EndRefresh => self.end_refresh(link, now),
            UpdateContent::Digest { routes, digest } => self.compare_digest(link, routes, digest, now),
            UpdateContent::RequestRefresh => session.mark_asked(now),
        }
        if is_gap {
            self.request_refresh(link, now);
        }
    }

    /// Handles an update that cannot be decoded: requests a refresh from the neighbour.
    pub fn garbled(&mut self, link: LinkId, now: Time) {
        self.request_refresh(link, now);
    }

    fn end_refresh(&mut self, link: LinkId, now: Time) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.ask_after = Time::ZERO;
        let keys = self.table.older_than(link, session.round);
        for key in &keys {
            self.table.remove(link, key);
        }
        self.choose_all(&keys.into_iter().collect(), now);
    }

    fn compare_digest(&mut self, link: LinkId, routes: u32, digest: u64, now: Time) {
        let (held, sum) = self.table.sums(link);
        let is_complete = self.sessions.get(&link).is_some_and(|session| session.is_complete);
        let has_room = held < self.settings.routes_per_neighbour && self.table.len() < self.settings.routes;
        let is_same = (usize::try_from(routes), digest) == (Ok(held), sum);
        if if is_complete { !is_same } else { has_room } {
            self.request_refresh(link, now);
        }
    }

    fn request_refresh(&mut self, link: LinkId, now: Time) {
        if let Some(session) = self.sessions.get_mut(&link)
            && session.ask_after <= now
        {
            session.ask_after = now + ASK_AGAIN;
            self.counters.refreshes += 1;
            session.send(link, UpdateContent::RequestRefresh, &mut self.effects);
        }
    }

    fn import_changes(&mut self, link: LinkId, changes: Changes, now: Time) {
        let mut refused = Refusals::default();
        let mut keys = self.import_causes(link, changes.causes, changes.tombstones, &mut refused, now);
        for key in changes.withdrawn {
            if self.table.remove(link, &key) {
                keys.insert(key);
            }
        }
        for group in &changes.groups {
            self.import_group(link, group, &mut keys, &mut refused, now);
        }
        if let Some(past) = changes.fresh.iter().filter(|fresh| fresh.origin == self.me).map(|fresh| fresh.boot).max() {
            self.outrank(link, past, now);
        }
        if !changes.fresh.is_empty() {
            let reach = self.reach_of(link);
            let accepted = changes.fresh.iter().filter(|fresh| reach.origins.get(&fresh.origin) == Some(&true));
            accepted.for_each(|fresh| self.import_keepalive(link, fresh, &mut keys, now));
        }
        self.choose_all(&keys, now);
        if !refused.0.is_empty() {
            let count = |(why, times): (&&str, &usize)| format!("{times} {why}");
            let why: Vec<String> = refused.0.iter().map(count).collect();
            self.refuse(link, format!("sends parts that are rejected: {}", why.join(", ")));
        }
    }

    /// Stores new causes. Returns the services whose routes they end.
    fn import_causes(
        &mut self,
        link: LinkId,
        causes: Vec<DeadLink>,
        tombstones: Vec<Tombstone>,
        refused: &mut Refusals,
        now: Time,
    ) -> BTreeSet<RouteKey> {
        if causes.is_empty() && tombstones.is_empty() {
            return BTreeSet::new();
        }
        let reach = self.reach_of(link);
        let (mut is_new, mut ended) = (false, BTreeSet::new());
        for cause in causes {
            match self.check_cause(link, &cause, &reach, now) {
                Ok(true) => is_new |= self.causes.add_link(cause, now),
                Ok(false) => {}
                Err(why) => refused.add(why),
            }
        }
        for tombstone in tombstones {
            match self.check_tombstone(link, &tombstone, &reach) {
                Some(true) => {
                    let zone = tombstone.origin.zone.clone();
                    if self.causes.add_tombstone(tombstone, now) {
                        ended.insert(zone);
                    }
                }
                Some(false) => {}
                None => refused.add("tombstone of a route that it did not advertise"),
            }
        }
        if is_new || !ended.is_empty() { self.resting_on_the_dead(&ended) } else { BTreeSet::new() }
    }

    /// Returns the services whose routes cross a dead link, or were withdrawn in one of these zones.
    fn resting_on_the_dead(&self, ended: &BTreeSet<Label>) -> BTreeSet<RouteKey> {
        let is_dead = |link: LinkId, path: &[Hop]| {
            let dead = |session: &Session| self.causes.dead_link(&self.me, &session.with, session.epoch);
            self.causes.on_path(path).next().is_some() || self.sessions.get(&link).and_then(dead).is_some()
        };
        // Services of a zone often share their path, and are adjacent, so each path is checked once.
        let mut last: Option<(LinkId, &Arc<[Hop]>, bool)> = None;
        self.table.resting_on(|key, link, route| {
            let known = last.filter(|(other, path, _)| *other == link && Arc::ptr_eq(path, &route.path));
            let dead = known.map_or_else(|| is_dead(link, &route.path), |(.., dead)| dead);
            last = Some((link, &route.path, dead));
            dead || ended.contains(&key.zone) && self.causes.tombstone(key, route).is_some()
        })
    }

    /// Checks whether a dead link is accepted. If it is the session itself, the other end has closed it.
    fn check_cause(&mut self, link: LinkId, cause: &DeadLink, reach: &Reach, now: Time) -> Result<bool, &'static str> {
        const NOWHERE: &str = "dead link with an epoch out of range";
        if cause.a == self.me || cause.b == self.me {
            let other = if cause.a == self.me { &cause.b } else { &cause.a };
            let own = self.sessions.iter().find(|(_, session)| session.with == *other);
            return match own {
                _ if cause.epoch > self.epoch => Err(NOWHERE),
                Some((_, session)) if cause.epoch > session.epoch => Err(NOWHERE),
                // A live session is ended only by its two ends, not by reports of others.
                Some((session, Session { epoch, .. })) if *epoch == cause.epoch => {
                    let is_its_own = *session == link;
                    self.effects.extend(is_its_own.then_some(PathEffect::Broken { session: link }));
                    Ok(is_its_own)
                }
                _ => Ok(true),
            };
        }
        if cause.epoch > self.latest(now) {
            return Err(NOWHERE);
        }
        let is_party = |session: &Session| [&cause.a, &cause.b].contains(&&session.with);
        let is_known = self.sessions.get(&link).is_some_and(is_party)
            || self.causes.dead_link(&cause.a, &cause.b, cause.epoch).is_some();
        if is_known {
            return Ok(true);
        }
        reach.link(&cause.a, &cause.b).ok_or("dead link that none of its routes crosses")
    }

    /// Checks whether a tombstone is accepted; `None` if the neighbour has no route that it could end.
    ///
    /// A neighbour may report the tombstones of all routers of a zone, whichever its own route leads to, and a router
    /// of the own zone those of its own services.
    fn check_tombstone(&self, link: LinkId, tombstone: &Tombstone, reach: &Reach) -> Option<bool> {
        let Some(service) = &tombstone.service else { return reach.origins.get(&tombstone.origin).copied() };
        let key = RouteKey { zone: tombstone.origin.zone.clone(), service: service.clone() };
        let is_own = key.zone == self.me.zone && self.sessions.get(&link).is_some_and(|s| s.with == tombstone.origin);
        (is_own || self.table.received(link, &key).is_some()).then(|| self.imports(link, &key))
    }

    /// Returns the links and origins of a neighbour's routes, in one pass for all causes of an update.
    fn reach_of(&self, link: LinkId) -> Reach {
        let mut reach = Reach::default();
        let mut last: Option<(&Arc<[Hop]>, bool)> = None;
        for (key, route) in self.table.received_from(link) {
            let imports = self.imports(link, key);
            // Services of a zone often share their path, and are adjacent.
            if last.is_some_and(|(path, seen)| Arc::ptr_eq(path, &route.path) && seen == imports) {
                continue;
            }
            last = Some((&route.path, imports));
            for pair in route.path.windows(2) {
                let DeadLink { a, b, .. } = DeadLink::new(pair[0].at.clone(), pair[1].at.clone(), 0);
                *reach.links.entry((a, b)).or_default() |= imports;
            }
            if let Some(origin) = route.path.last() {
                *reach.origins.entry(origin.at.clone()).or_default() |= imports;
            }
        }
        reach
    }

    fn import_group(
        &mut self,
        link: LinkId,
        group: &Group,
        keys: &mut BTreeSet<RouteKey>,
        refused: &mut Refusals,
        now: Time,
    ) {
        let latest = self.latest(now);
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let mut checked = validate(group, &self.me, &session.with, latest);
        let Some(zone) = group.path.last().map(|hop| hop.at.zone.clone()) else {
            return refused.add("path that is empty");
        };
        if matches!(&session.kind, SessionKind::External { cost, .. } if group.cost.checked_add(*cost).is_none()) {
            checked = Err("path that costs too much");
        }
        if let Err(why) = checked {
            refused.add(why);
        } else if let [Hop { at, .. }] = &group.path[..]
            && let Some(later) = self.origins.later(at, group.boot)
        {
            // The neighbour restarted with its clock set back, and needs the process that it is compared with.
            let changes = Changes { fresh: vec![later], ..Changes::default() };
            session.send(link, UpdateContent::Changes(changes), &mut self.effects);
        }
        let path: Arc<[_]> = group.path.clone().into();
        let limits = (self.settings.routes_per_neighbour, self.settings.routes);
        for offered in &group.services {
            let key = RouteKey { zone: zone.clone(), service: offered.service.clone() };
            let route = Route {
                path: path.clone(),
                boot: group.boot,
                version: offered.version,
                traits: offered.traits,
                cost: group.cost,
            };
            let digest = digest(&key, &route);
            if offered.service.is_reserved() {
                refused.add("service under a name that is kept for nodes");
            }
            let is_taken = checked.is_ok() && !offered.service.is_reserved();
            let route = is_taken.then(|| Arc::new(route));
            if !self.table.put(link, &key, (route.clone(), digest, session.round), limits) {
                session.is_complete = false;
                self.counters.over += 1;
                refused.add("route over a limit (`routes_per_neighbour`, `routes`)");
                continue;
            }
            let imports = !matches!(&session.kind, SessionKind::External { import, .. } if !import.lets_pass(&key));
            if let Some(route) = route.filter(|_| imports)
                && self.origins.refresh(&route, now)
            {
                let origins = &self.origins;
                keys.extend(self.table.resting_on(|_, _, route| !origins.counts(route)));
            }
            keys.insert(key);
        }
    }

    /// Records a keepalive, and forwards it to the other sessions.
    fn import_keepalive(&mut self, from: LinkId, fresh: &Keepalive, keys: &mut BTreeSet<RouteKey>, now: Time) {
        let Some(was_given_up) = self.origins.renew(fresh, now) else { return };
        if was_given_up {
            keys.extend(self.table.keys().filter(|key| key.zone == fresh.origin.zone).cloned());
        }
        for (link, session) in &mut self.sessions {
            if *link != from {
                session.mark_fresh(fresh.clone(), now);
            }
        }
    }

    /// Returns the latest boot or epoch that is accepted.
    pub(super) fn latest(&self, now: Time) -> u64 {
        now.as_micros().saturating_add(self.boot).saturating_add(AHEAD)
    }

    pub(super) fn refuse(&mut self, session: LinkId, why: String) {
        self.counters.refused += 1;
        self.effects.push_back(PathEffect::Refused { session, why });
    }
}
