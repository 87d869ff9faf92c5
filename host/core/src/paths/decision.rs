//! Decision process (RFC 4271, section 9.1): selects the best routes, and schedules their advertisement.

use super::rib::BestRoute;
use super::session::{ExportView, Session, SessionKind};
use super::validate::zones;
use super::{EQUAL, PathEffect, Paths, Route};
use crate::connection::LinkId;
use crate::message::path::{Hop, RouteKey, RouterId};
use crate::time::Time;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Valid route to a service. The order of the fields is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CandidateRoute<'a> {
    cost: u32,
    zones: usize,
    is_internal: bool,
    neighbour: &'a RouterId,
    link: LinkId,
}

impl CandidateRoute<'_> {
    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    fn is_equal(&self, other: &Self) -> bool {
        (self.cost, self.zones, self.is_internal) == (other.cost, other.zones, other.is_internal)
    }
}

impl Paths {
    /// Returns all valid routes to a service, the best first, each with the route as the neighbour sent it.
    pub(super) fn candidates<'a>(&'a self, key: &'a RouteKey) -> Vec<(CandidateRoute<'a>, &'a Arc<Route>)> {
        let received = self.table.get(key).into_iter().flat_map(|entry| &entry.received);
        let mut candidates: Vec<_> = received
            .filter_map(|(link, received)| {
                let (route, session) = (received.route.as_ref()?, self.sessions.get(link)?);
                Some((self.candidate(key, *link, session, route)?, route))
            })
            .collect();
        candidates.sort_by_key(|(candidate, _)| *candidate);
        candidates
    }

    fn candidate<'a>(
        &self,
        key: &RouteKey,
        link: LinkId,
        session: &'a Session,
        route: &Route,
    ) -> Option<CandidateRoute<'a>> {
        let (added, is_internal) = match &session.kind {
            SessionKind::Internal => (0, true),
            SessionKind::External { import, .. } if !import.lets_pass(key) => return None,
            SessionKind::External { cost, .. } => (*cost, false),
        };
        let counts = self.causes.dead_link(&self.me, &session.with, session.epoch).is_none()
            && !self.causes.end(key, route)
            && self.origins.counts(route);
        counts.then_some(CandidateRoute {
            cost: route.cost.checked_add(added)?,
            zones: zones(&route.path) + usize::from(!is_internal),
            is_internal,
            neighbour: &session.with,
            link,
        })
    }

    /// Selects the best routes to services again, and marks the changes for the sessions.
    pub(super) fn choose_all(&mut self, keys: &BTreeSet<RouteKey>, now: Time) {
        for key in keys {
            self.choose(key, now);
        }
    }

    fn choose(&mut self, key: &RouteKey, now: Time) {
        let choice = self.best(key);
        let before = self.table.choice(key);
        if before == choice.as_ref() {
            self.table.choose(key, choice);
            return;
        }
        let summary = |choice: &BestRoute| (choice.cost, choice.hops.clone(), choice.received.traits);
        let exported = |choice: &BestRoute| (choice.route.clone(), choice.external);
        let is_changed = before.map(summary) != choice.as_ref().map(summary);
        let is_exported = before.map(exported) != choice.as_ref().map(exported);
        if is_changed {
            let RouteKey { zone, service } = key.clone();
            self.effects.push_back(match &choice {
                Some(choice) => PathEffect::Reachable {
                    zone,
                    service,
                    traits: choice.received.traits,
                    cost: choice.cost,
                    hops: choice.hops.clone(),
                },
                None => PathEffect::Unreachable { zone, service },
            });
        }
        self.table.choose(key, choice);
        if is_exported {
            self.mark(key, now);
        }
    }

    /// Marks a changed service for updates to all neighbours.
    pub(super) fn mark(&mut self, key: &RouteKey, now: Time) {
        let Self { me, table, own, causes, sessions, .. } = self;
        let view = ExportView { me, table, own, causes };
        for session in sessions.values_mut() {
            session.mark(key, &view, now);
        }
    }

    fn best(&self, key: &RouteKey) -> Option<BestRoute> {
        let candidates = self.candidates(key);
        let (best, received) = candidates.first()?;
        let hops = candidates.iter().map(|(candidate, _)| candidate).take_while(|candidate| candidate.is_equal(best));
        let hops: Vec<LinkId> = hops.take(EQUAL).map(|candidate| candidate.link).collect();
        let before = self.table.choice(key);
        // In most cases only the equally good hops change.
        let same = before.filter(|before| before.hops.first() == hops.first() && before.received == **received);
        let route = match same {
            Some(before) if before.cost == best.cost => before.route.clone(),
            _ => Arc::new(self.extend(best, received)?),
        };
        Some(BestRoute { cost: best.cost, external: !best.is_internal, hops, received: (*received).clone(), route })
    }

    /// Returns the route as this router advertises it, with itself prepended.
    fn extend(&self, candidate: &CandidateRoute<'_>, received: &Route) -> Option<Route> {
        let first = Hop { at: self.me.clone(), epoch: self.sessions.get(&candidate.link)?.epoch };
        let path = std::iter::once(first).chain(received.path.iter().cloned()).collect();
        Some(Route { path, cost: candidate.cost, ..received.clone() })
    }
}
