//! Reachability between zones and its cost, computed by another algorithm than that of the routers.
//!
//! Policies filter by service and zone, never by path, and every link has a cost. So the best routes are the shortest
//! ones over the links that let a service pass, for each service of each zone.

use super::model::Model;
use std::collections::{BTreeMap, BTreeSet};
use wasmnode_core::message::path::{MAX_HOPS, RouteKey};
use wasmnode_core::{Label, Neighbour, ServiceName};

/// Expected reachability of a service of another zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It is reached at this cost.
    Reached(u32),
    Unreached,
    /// It may be reachable or not, because its path is close to the largest length.
    Either,
}

/// For each service of a zone: its cost from the others, and its distance in links.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    ways: BTreeMap<RouteKey, BTreeMap<Label, (u32, usize)>>,
    /// Largest number of routers that a path crosses in one zone.
    routers: usize,
}

/// A link in the direction of adverts: from the zone of the exporting router.
struct Link<'a> {
    to: &'a Label,
    export: &'a Neighbour,
    import: &'a Neighbour,
}

impl Reach {
    pub(super) fn new<'a>(living: impl Iterator<Item = &'a Model> + Clone) -> Self {
        let routers: BTreeMap<&str, &Model> = living
            .clone()
            .filter(|model| model.settings.is_router())
            .map(|model| (model.settings.endpoint.as_str(), model))
            .collect();
        let mut links: BTreeMap<&Label, Vec<Link<'_>>> = BTreeMap::new();
        for (endpoint, router) in &routers {
            for import in neighbours(router) {
                let other = routers.get(import.endpoint.as_str());
                let export = other.and_then(|other| neighbours(other).find(|back| back.endpoint == *endpoint));
                if let Some(export) = export {
                    let to = &router.settings.zone;
                    links.entry(&import.zone).or_default().push(Link { to, export, import });
                }
            }
        }
        let mut by_zone: BTreeMap<&Label, usize> = BTreeMap::new();
        routers.values().for_each(|router| *by_zone.entry(&router.settings.zone).or_default() += 1);
        let keys: BTreeSet<RouteKey> = living
            .flat_map(|model| model.offers.keys().map(|service| (model.settings.zone.clone(), service.clone())))
            .map(|(zone, service)| RouteKey { zone, service })
            .collect();
        let routers = by_zone.values().copied().max().unwrap_or(0).min(2);
        Self { ways: keys.into_iter().map(|key| (key.clone(), ways_to(&key, &links))).collect(), routers }
    }

    /// Returns the expected reachability of a service from a zone, another or its own.
    pub(crate) fn expects(&self, home: &Label, key: &RouteKey) -> Expected {
        match self.ways.get(key).and_then(|ways| ways.get(home)) {
            Some((cost, far)) if far * self.routers.max(1) <= MAX_HOPS => Expected::Reached(*cost),
            Some((_, far)) if *far <= MAX_HOPS => Expected::Either,
            _ => Expected::Unreached,
        }
    }

    /// Iterates over all services of all zones.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.ways.keys()
    }

    /// Returns `true` if a request for a service, with or without a zone, is served; `None` if that is uncertain.
    pub(crate) fn is_served(&self, home: &Label, service: &ServiceName, zone: Option<&Label>) -> Option<bool> {
        let keys = self.keys().filter(|key| key.service == *service && zone.is_none_or(|zone| *zone == key.zone));
        let all: Vec<_> = keys.map(|key| self.expects(home, key)).collect();
        let is_reached = all.iter().any(|expected| matches!(expected, Expected::Reached(_)));
        (is_reached || !all.contains(&Expected::Either)).then_some(is_reached)
    }
}

fn neighbours(router: &Model) -> impl Iterator<Item = &Neighbour> {
    router.settings.router.iter().flat_map(|router| &router.neighbours)
}

/// Returns the cost and the distance in links of a service from each zone that reaches it (Dijkstra, 1959).
fn ways_to(key: &RouteKey, links: &BTreeMap<&Label, Vec<Link<'_>>>) -> BTreeMap<Label, (u32, usize)> {
    let mut found = BTreeMap::new();
    let mut next = BTreeSet::from([(0, 0, &key.zone)]);
    while let Some((cost, far, zone)) = next.pop_first() {
        if found.contains_key(zone) {
            continue;
        }
        found.insert(zone.clone(), (cost, far));
        for Link { to, export, import } in links.get(zone).into_iter().flatten() {
            if export.export.lets_pass(key) && import.import.lets_pass(key) {
                next.insert((cost + import.cost, far + 1, *to));
            }
        }
    }
    found
}
