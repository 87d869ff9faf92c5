//! What must be so when nothing moves any more, found in another way than the routers did.

use crate::network::{Link, Network};
use crate::router::Router;
use std::collections::{BTreeMap, BTreeSet};
use wasmnode_core::message::path::{Hop, Key, MAX_HOPS};

/// A way from a router to an origin: cost, zones on it, whether into the own zone first, name of the neighbour, routers.
type Way = (u32, usize, bool, String, Vec<usize>);

impl Network {
    /// Everything that holds at rest.
    pub(crate) fn check_rest(&self) {
        let mut keys = BTreeMap::<Key, BTreeSet<usize>>::new();
        for (number, router) in self.routers.iter().enumerate().filter(|(_, router)| router.paths.is_some()) {
            for service in router.offers.keys() {
                keys.entry(router.key(service)).or_default().insert(number);
            }
        }
        for router in &self.routers {
            let Some(paths) = &router.paths else { continue };
            let routes: BTreeMap<Key, _> = paths
                .routes()
                .map(|route| (route.key.clone(), (route.cost, route.hops.to_vec(), route.idempotent)))
                .collect();
            assert!(routes == router.told, "{} told something else than it knows", router.name);
            for key in routes.keys() {
                assert!(keys.contains_key(key), "{} reaches {key}, which nobody serves", router.name);
            }
        }
        for (key, origins) in &keys {
            self.check_key(key, origins);
        }
    }

    fn check_key(&self, key: &Key, origins: &BTreeSet<usize>) {
        let ways = self.solve(key, origins);
        for (number, router) in self.routers.iter().enumerate() {
            let Some(paths) = &router.paths else { continue };
            let path = paths.path(&key.zone, &key.service);
            let known = path.map(|path| path.iter().map(|hop| self.number(hop)).collect::<Vec<_>>());
            let expected = ways[number].as_ref().filter(|_| router.me.zone != key.zone);
            assert_eq!(known.as_ref(), expected.map(|way| &way.4), "{} to {key}", router.name);
            let (Some(path), Some(way)) = (path, expected) else { continue };
            let status = paths.routes().find(|route| route.key == key).unwrap();
            assert_eq!(status.cost, way.0, "{} to {key}", router.name);
            self.check_chain(number, path);
            let origin = &self.routers[self.number(&path[path.len() - 1])];
            assert_eq!(origin.offers.get(&key.service), Some(&status.idempotent), "{} knows an old {key}", router.name);
            for hop in status.hops {
                self.check_walk(number, *hop, key);
            }
        }
    }

    /// Every link of a stored path lives and has the epoch that the path says.
    fn check_chain(&self, from: usize, path: &[Hop]) {
        let first = self.between(from, self.number(&path[0]));
        assert!(first.is_some(), "{}: {path:?} begins nowhere", self.routers[from].name);
        for pair in path.windows(2) {
            let link = self.between(self.number(&pair[0]), self.number(&pair[1]));
            let epoch = link.map(|link| link.epoch);
            assert_eq!(
                epoch,
                Some(pair[0].epoch),
                "{}: {path:?} is not a chain of live links",
                self.routers[from].name
            );
        }
    }

    /// Whoever follows next hops comes to the zone, over any of the equals, in falling cost.
    fn check_walk(&self, from: usize, first: wasmnode_core::LinkId, key: &Key) {
        let (mut at, mut hop, mut steps) = (from, first, 0);
        while self.routers[at].me.zone != key.zone {
            at = self.other_end(at, hop).unwrap().0;
            steps += 1;
            assert!(steps <= MAX_HOPS, "from {} there is no end", self.routers[from].name);
            if self.routers[at].me.zone == key.zone {
                break;
            }
            hop = self.routers[at].told.get(key).expect("a next hop has a way on").1[0];
        }
    }

    fn between(&self, a: usize, b: usize) -> Option<&Link> {
        let links = self.routers[a].links.iter().map(|link| &self.links[*link]);
        links.into_iter().find(|link: &&Link| link.ends.contains(&b) && link.sessions.iter().all(Option::is_some))
    }

    fn number(&self, hop: &Hop) -> usize {
        self.names[&hop.at]
    }

    /// The ways of all routers to a service: every router takes the best of what its neighbours tell, round by round, until
    /// nothing changes.
    fn solve(&self, key: &Key, origins: &BTreeSet<usize>) -> Vec<Option<Way>> {
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
                return ways;
            }
            ways = next;
        }
        panic!("{key} comes to no rest");
    }

    /// What a router hears over one link, if policy lets it.
    fn step_over(&self, link: &Link, at: usize, key: &Key, ways: &[Option<Way>]) -> Option<Way> {
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
            let is_told = !way.2 && *zone(from) != key.zone;
            return (is_told && path.len() <= MAX_HOPS).then(|| (way.0, self.zones(&path), true, neighbour, path));
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
