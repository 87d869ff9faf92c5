//! Invariants at rest, computed by another algorithm than that of the routers.

use crate::network::{Link, Network};
use crate::router::Router;
use std::collections::{BTreeMap, BTreeSet};
use wasmnode_core::LinkId;
use wasmnode_core::message::path::{Hop, MAX_HOPS, RouteKey};

/// Route from a router to an origin: cost, number of zones, whether the first hop is in the own zone, name of the
/// neighbour, routers.
type Way = (u32, usize, bool, String, Vec<usize>);

/// Outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Arrives,
    /// A session on the path has ended, or a router has no route.
    IsLost,
    /// It enters a zone twice.
    Loops,
}

/// Returns an error unless the condition holds.
macro_rules! ensure {
    ($so:expr, $($what:tt)*) => {
        if !$so {
            return Err(format!($($what)*));
        }
    };
}

impl Network {
    /// Checks all invariants at rest.
    pub(crate) fn check_rest(&self) -> Result<(), String> {
        let mut keys = BTreeMap::<RouteKey, BTreeSet<usize>>::new();
        for (number, router) in self.routers.iter().enumerate().filter(|(_, router)| router.paths.is_some()) {
            for service in router.offers.keys() {
                keys.entry(router.key(service)).or_default().insert(number);
            }
        }
        for router in &self.routers {
            let Some(paths) = &router.paths else { continue };
            let routes: BTreeMap<RouteKey, _> = paths
                .routes()
                .map(|route| (route.key.clone(), (route.cost, route.hops.to_vec(), route.traits)))
                .collect();
            ensure!(routes == router.told, "effects of {} differ from its state", router.name);
            let nobodys = routes.keys().find(|key| !keys.contains_key(key));
            ensure!(nobodys.is_none(), "{} reaches {nobodys:?}, which no zone serves", router.name);
        }
        keys.iter().try_for_each(|(key, origins)| self.check_key(key, origins))
    }

    fn check_key(&self, key: &RouteKey, origins: &BTreeSet<usize>) -> Result<(), String> {
        let ways = self.solve(key, origins)?;
        for (number, router) in self.routers.iter().enumerate() {
            let Some(paths) = &router.paths else { continue };
            let path = paths.path(&key.zone, &key.service);
            let known = path.map(|path| path.iter().map(|hop| self.number(hop)).collect::<Vec<_>>());
            let expected = ways[number].as_ref().filter(|_| router.me.zone != key.zone);
            let best = expected.map(|way| &way.4);
            ensure!(known.as_ref() == best, "{} goes {known:?} to {key}, and not {best:?}", router.name);
            let (Some(path), Some(way)) = (path, expected) else { continue };
            let (cost, hops, traits) = &router.told[key];
            ensure!(*cost == way.0, "{} to {key} costs {cost}, and not {}", router.name, way.0);
            self.check_chain(number, path)?;
            let origin = &self.routers[self.number(&path[path.len() - 1])];
            let offered = origin.offers.get(&key.service);
            ensure!(offered == Some(traits), "{} knows an old {key}", router.name);
            hops.iter().try_for_each(|hop| self.check_walk(number, *hop, key))?;
        }
        Ok(())
    }

    /// Checks that every link of a stored path is up and has the epoch of the path.
    fn check_chain(&self, from: usize, path: &[Hop]) -> Result<(), String> {
        let name = &self.routers[from].name;
        ensure!(self.between(from, self.number(&path[0])).is_some(), "{name}: {path:?} begins nowhere");
        for pair in path.windows(2) {
            let epoch = self.between(self.number(&pair[0]), self.number(&pair[1])).map(|link| link.epoch);
            ensure!(epoch == Some(pair[0].epoch), "{name}: {path:?} is not a chain of live links");
        }
        Ok(())
    }

    /// Checks that the next hops lead to the zone over each of the equal routes, and cross no zone twice.
    fn check_walk(&self, from: usize, first: LinkId, key: &RouteKey) -> Result<(), String> {
        let end = self.walk(from, first, key);
        ensure!(end == Walk::Arrives, "a request from {} to {key} over {first}: {end:?}", self.routers[from].name);
        Ok(())
    }

    /// Follows the current next hops.
    pub(crate) fn walk(&self, from: usize, first: LinkId, key: &RouteKey) -> Walk {
        let (mut at, mut hop) = (from, first);
        let mut crossed = vec![&self.routers[from].me.zone];
        // Whether the request has passed between two routers of the zone, which it may do once.
        let mut is_inside = false;
        loop {
            let Some((next, Some(_))) = self.other_end(at, hop) else { return Walk::IsLost };
            let zone = &self.routers[next].me.zone;
            if *zone == key.zone {
                return Walk::Arrives;
            }
            if crossed.last() != Some(&zone) {
                if crossed.contains(&zone) {
                    return Walk::Loops;
                }
                crossed.push(zone);
                is_inside = false;
            } else if std::mem::replace(&mut is_inside, true) {
                return Walk::Loops;
            }
            let Some(told) = self.routers[next].told.get(key) else { return Walk::IsLost };
            (at, hop) = (next, told.1[0]);
        }
    }

    fn between(&self, a: usize, b: usize) -> Option<&Link> {
        let links = self.routers[a].links.iter().map(|link| &self.links[*link]);
        links.into_iter().find(|link: &&Link| link.ends.contains(&b) && link.sessions.iter().all(Option::is_some))
    }

    fn number(&self, hop: &Hop) -> usize {
        self.names[&hop.at]
    }

    /// Computes the routes of all routers to a service: in each round, every router selects the best route of its
    /// neighbours, until none changes.
    fn solve(&self, key: &RouteKey, origins: &BTreeSet<usize>) -> Result<Vec<Option<Way>>, String> {
        let mut ways: Vec<Option<Way>> = vec![None; self.routers.len()];
        for &origin in origins {
            ways[origin] = Some((0, 1, false, String::new(), Vec::new()));
        }
        for _ in 0..200 {
            let next: Vec<Option<Way>> = (0..self.routers.len())
                .map(|at| {
                    if self.routers[at].me.zone == key.zone {
                        return ways[at].clone();
                    }
                    let links = self.routers[at].links.iter().map(|link| &self.links[*link]);
                    links.filter_map(|link| self.step_over(link, at, key, &ways)).min()
                })
                .collect();
            if next == ways {
                return Ok(ways);
            }
            ways = next;
        }
        Err(format!("{key} comes to no rest"))
    }

    /// Returns the route that a router receives over one link, if policy allows it.
    fn step_over(&self, link: &Link, at: usize, key: &RouteKey, ways: &[Option<Way>]) -> Option<Way> {
        if link.sessions.iter().any(Option::is_none) {
            return None;
        }
        let end = usize::from(link.ends[1] == at);
        let from = link.ends[1 - end];
        let way = ways[from].as_ref()?;
        let zone = |router: usize| &self.routers[router].me.zone;
        let path: Vec<usize> = std::iter::once(from).chain(way.4.iter().copied()).collect();
        let neighbour = neighbour_order(&self.routers[from]);
        if link.is_internal {
            let is_notified = !way.2 && *zone(from) != key.zone;
            return (is_notified && path.len() <= MAX_HOPS).then(|| (way.0, self.zones(&path), true, neighbour, path));
        }
        let passes = link.export[1 - end].lets_pass(key) && link.import[end].lets_pass(key);
        let is_free = path.iter().all(|router| zone(*router) != zone(at)) && path.len() <= MAX_HOPS;
        (passes && is_free).then(|| (way.0 + link.costs[end], self.zones(&path) + 1, false, neighbour, path))
    }

    fn zones(&self, path: &[usize]) -> usize {
        1 + path.windows(2).filter(|pair| self.routers[pair[0]].me.zone != self.routers[pair[1]].me.zone).count()
    }
}

/// Orders neighbours as their ids do.
fn neighbour_order(router: &Router) -> String {
    format!("{}\0{}", router.me.zone, router.me.router)
}
