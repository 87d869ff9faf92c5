//! Which route is taken of all that were heard, and who is told of it.

use super::check::zones;
use super::session::{Kind, Session, View};
use super::table::Choice;
use super::{EQUAL, PathEffect, Paths, Route};
use crate::message::LinkId;
use crate::message::path::{Hop, Key, RouterId};
use crate::time::Time;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A way that counts. The order of the fields is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way<'a> {
    cost: u32,
    zones: usize,
    is_internal: bool,
    neighbour: &'a RouterId,
    link: LinkId,
}

impl Way<'_> {
    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    fn is_equal(&self, other: &Self) -> bool {
        (self.cost, self.zones, self.is_internal) == (other.cost, other.zones, other.is_internal)
    }
}

impl Paths {
    /// All ways to a service that count, the best first, with what the neighbour told.
    pub(super) fn ways<'a>(&'a self, key: &'a Key) -> Vec<(Way<'a>, &'a Arc<Route>)> {
        let heard = self.table.get(key).into_iter().flat_map(|entry| &entry.heard);
        let mut ways: Vec<_> = heard
            .filter_map(|(link, heard)| {
                let (route, session) = (heard.route.as_ref()?, self.sessions.get(link)?);
                Some((self.way(key, *link, session, route)?, route))
            })
            .collect();
        ways.sort_by_key(|(way, _)| *way);
        ways
    }

    fn way<'a>(&self, key: &Key, link: LinkId, session: &'a Session, route: &Route) -> Option<Way<'a>> {
        let (added, is_internal) = match &session.kind {
            Kind::Internal => (0, true),
            Kind::External { import, .. } if !import.lets_pass(key) => return None,
            Kind::External { cost, .. } => (*cost, false),
        };
        let counts = self.causes.dead_link(&self.me, &session.with, session.epoch).is_none()
            && !self.causes.end(key, route)
            && self.origins.counts(route);
        counts.then_some(Way {
            cost: route.cost.checked_add(added)?,
            zones: zones(&route.path) + usize::from(!is_internal),
            is_internal,
            neighbour: &session.with,
            link,
        })
    }

    /// Chooses anew for these services, and sees to it that all hear of it whom it concerns.
    pub(super) fn choose_all(&mut self, keys: &BTreeSet<Key>, now: Time) {
        for key in keys {
            self.choose(key, now);
        }
    }

    fn choose(&mut self, key: &Key, now: Time) {
        let choice = self.best(key);
        let before = self.table.choice(key);
        if before == choice.as_ref() {
            self.table.choose(key, choice);
            return;
        }
        let told = |choice: &Choice| (choice.cost, choice.hops.clone(), choice.heard.traits);
        let exported = |choice: &Choice| (choice.route.clone(), choice.external);
        let is_told = before.map(told) != choice.as_ref().map(told);
        let is_exported = before.map(exported) != choice.as_ref().map(exported);
        if is_told {
            let Key { zone, service } = key.clone();
            self.effects.push_back(match &choice {
                Some(choice) => PathEffect::Reachable {
                    zone,
                    service,
                    traits: choice.heard.traits,
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

    /// What is known of a service has changed: all neighbours are told in time.
    pub(super) fn mark(&mut self, key: &Key, now: Time) {
        let Self { me, table, own, causes, sessions, .. } = self;
        let view = View { me, table, own, causes };
        for session in sessions.values_mut() {
            session.mark(key, &view, now);
        }
    }

    fn best(&self, key: &Key) -> Option<Choice> {
        let ways = self.ways(key);
        let (best, heard) = ways.first()?;
        let hops = ways.iter().map(|(way, _)| way).take_while(|way| way.is_equal(best));
        let hops: Vec<LinkId> = hops.take(EQUAL).map(|way| way.link).collect();
        let before = self.table.choice(key);
        // Most often only the equals change.
        let same = before.filter(|before| before.hops.first() == hops.first() && before.heard == **heard);
        let route = match same {
            Some(before) if before.cost == best.cost => before.route.clone(),
            _ => Arc::new(self.extend(best, heard)?),
        };
        Some(Choice { cost: best.cost, external: !best.is_internal, hops, heard: (*heard).clone(), route })
    }

    /// The route as this router tells it on.
    fn extend(&self, way: &Way<'_>, heard: &Route) -> Option<Route> {
        let first = Hop { at: self.me.clone(), epoch: self.sessions.get(&way.link)?.epoch };
        let path = std::iter::once(first).chain(heard.path.iter().cloned()).collect();
        Some(Route { path, cost: way.cost, ..heard.clone() })
    }
}
