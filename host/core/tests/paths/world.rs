//! Networks under test: how they are built, what changes in them, and the cost until they are at rest.

use crate::graph::{Family, distances};
use crate::network::Network;
use crate::router::{Router, RouterMetrics};
use std::collections::BTreeSet;
use std::time::Duration;
use wasmnode_core::message::peer::Traits;
use wasmnode_core::settings::PathSettings;
use wasmnode_core::{ServiceName, Time};

pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// Plan of a network.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) family: Family,
    pub(crate) zones: usize,
    /// Routers of each zone.
    pub(crate) routers: usize,
    /// Largest cost of a link; with 1, cost is distance.
    pub(crate) dearest: u32,
    pub(crate) settings: PathSettings,
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn new(family: Family, zones: usize, seed: u64) -> Self {
        Self { family, zones, routers: 1, dearest: 1, settings: PathSettings::default(), seed }
    }

    /// Builds a network whose routers all start within 100 ms, in any order.
    pub(crate) fn build(&self) -> World {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let edges = self.family.edges(self.zones, &mut rng);
        let mut network = Network::default();
        network.rng = rng.fork();
        for zone in 0..self.zones {
            for router in 0..self.routers {
                network.add(Router::new(&format!("z{zone}"), &format!("r{router}"), &self.settings, rng.u64(..)));
            }
        }
        for zone in 0..self.zones {
            for one in 0..self.routers {
                for other in 0..one {
                    let first = zone * self.routers;
                    network.join(first + other, first + one, [0, 0], Duration::from_millis(1));
                }
            }
        }
        for &(a, b) in &edges {
            // Two zones are joined by as many links as there are routers, at most two.
            let turn = rng.usize(..self.routers);
            for nth in 0..self.routers.min(2) {
                let router = |zone: usize| zone * self.routers + (turn + nth) % self.routers;
                let mut cost = || rng.u32(1..=self.dearest);
                let costs = [cost(), cost()];
                network.join(router(a), router(b), costs, LATENCY);
            }
        }
        World { network, edges, zones: self.zones, plan: self.clone() }
    }
}

pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) edges: BTreeSet<(usize, usize)>,
    pub(crate) zones: usize,
    plan: Plan,
}

/// Cost of a change until the network is at rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Time until the last change of a route.
    pub(crate) settled: Duration,
    /// Number of updates with changes, of all routers.
    pub(crate) updates: u64,
    /// Updates with changes that the busiest router received.
    pub(crate) most: u64,
    pub(crate) bytes: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:?} failed at {:?}", self.plan, self.network.now);
        }
    }
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

impl World {
    pub(crate) fn family(&self) -> Family {
        self.plan.family
    }

    /// Starts all routers within 100 ms.
    pub(crate) fn start(&mut self) {
        let mut order: Vec<usize> = (0..self.network.routers.len()).collect();
        self.network.rng.shuffle(&mut order);
        let pause = Duration::from_micros(100_000 / order.len() as u64);
        for router in order {
            self.network.start(router);
            self.network.run_for(pause);
        }
    }

    pub(crate) fn offer(&mut self, zone: usize, name: &ServiceName, idempotent: bool) {
        self.offer_as(zone, name, Traits::of_plugin(idempotent));
    }

    pub(crate) fn offer_as(&mut self, zone: usize, name: &ServiceName, traits: Traits) {
        for router in self.routers_of(zone) {
            self.network.routers[router].offers.insert(name.clone(), traits);
            let now = self.network.now;
            if let Some(paths) = &mut self.network.routers[router].paths {
                paths.offer(name, traits, now);
                self.network.act(router, &("offers", name, traits));
            }
        }
    }

    pub(crate) fn withdraw(&mut self, zone: usize, name: &ServiceName) {
        for router in self.routers_of(zone) {
            self.network.routers[router].offers.remove(name);
            let now = self.network.now;
            if let Some(paths) = &mut self.network.routers[router].paths {
                paths.withdraw(name, now);
                self.network.act(router, &("withdraws", name));
            }
        }
    }

    pub(crate) fn routers_of(&self, zone: usize) -> std::ops::Range<usize> {
        zone * self.plan.routers..(zone + 1) * self.plan.routers
    }

    /// Applies a change, waits until the network is at rest, and returns the cost.
    pub(crate) fn measure(&mut self, what: impl FnOnce(&mut Self)) -> Cost {
        let begin = self.network.now;
        for router in &mut self.network.routers {
            router.metrics = RouterMetrics { changed: begin, ..RouterMetrics::default() };
        }
        what(self);
        self.network.run_for(Duration::from_secs(4));
        let tallies = || self.network.routers.iter().map(|router| router.metrics);
        Cost {
            settled: tallies().map(|metrics| metrics.changed).max().unwrap_or(Time::ZERO).since(begin),
            updates: tallies().map(|metrics| metrics.updates).sum(),
            most: tallies().map(|metrics| metrics.updates).max().unwrap_or(0),
            bytes: tallies().map(|metrics| metrics.bytes).sum(),
        }
    }

    /// Returns the longest of the shortest distances from a zone.
    pub(crate) fn radius(&self, zone: usize) -> usize {
        distances(&self.edges, self.zones, zone).into_iter().flatten().max().unwrap_or(0)
    }

    /// Checks that the length of all paths to a zone is its distance.
    pub(crate) fn check_distances(&self, zone: usize, name: &ServiceName) {
        let far = distances(&self.edges, self.zones, zone);
        for (router, distance) in self.network.routers.iter().zip(far) {
            let path = router.paths.as_ref().unwrap().path(&format!("z{zone}").parse().unwrap(), name);
            let within = distance.filter(|distance| (1..=32).contains(distance));
            assert_eq!(path.map(<[_]>::len), within, "{}", router.name);
        }
    }
}
