//! Seeds of faults: accidents of a network, one after the other, and the invariants that hold once they stop.

use crate::graph::Family;
use crate::log::Log;
use crate::network::Network;
use crate::oracle::Walk;
use crate::world::{Plan, World, service};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use wasmnode_core::message::path::Update;
use wasmnode_core::message::peer::Traits;
use wasmnode_core::paths::{Filter, Policy};
use wasmnode_core::{LinkId, Time};

/// Time after the last accident until the network is at rest: a second to restart sessions, a second for a service that
/// changed too often, and the time that updates take to cross the network.
const RESTS: Duration = Duration::from_secs(6);
/// The same if updates were lost or old ones repeated: two digests, and the refreshes that follow.
const MENDS: Duration = Duration::from_secs(150);

/// Events over all seeds.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) happened: BTreeMap<&'static str, u64>,
    pub(crate) events: u64,
}

/// Kind of misbehaviour in a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Good,
    /// Updates are lost undetected.
    Lossy,
    /// Neighbours repeat old updates.
    Stale,
}

pub(crate) struct Trouble {
    pub(crate) world: World,
    rng: fastrand::Rng,
    company: Company,
    has_policies: bool,
    pub(crate) seen: Seen,
    /// Zones that are partitioned from the rest.
    parted: Option<Vec<usize>>,
    /// Whether routers misbehave now.
    is_bad: Rc<Cell<bool>>,
}

impl Trouble {
    pub(crate) fn new(seed: u64, log: Log) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let family = Family::ALL[rng.usize(..Family::ALL.len())];
        let most = if family == Family::Mesh { 12 } else { 30 };
        let mut plan = Plan::new(family, rng.usize(3..most), seed);
        plan.routers = [1, 1, 2, 3][rng.usize(..4)];
        plan.dearest = [1, 1, 5][rng.usize(..3)];
        let mut world = plan.build();
        world.network.skew = Duration::from_millis(300);
        log.note(Time::ZERO, || format!("{plan:?}"));
        world.network.log = log;
        for link in 0..world.network.links.len() {
            if !world.network.links[link].is_internal {
                world.network.links[link].latency = Duration::from_micros(rng.u64(1_000..50_000));
            }
        }
        let company = [Company::Good, Company::Good, Company::Lossy, Company::Stale][rng.usize(..4)];
        Self {
            world,
            company,
            has_policies: rng.bool(),
            seen: Seen::default(),
            parted: None,
            is_bad: Rc::new(Cell::new(true)),
            rng,
        }
    }

    /// Runs the seed; fails if an invariant is broken at the end.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.tamper();
        for _ in 0..3 {
            self.change_service();
        }
        self.world.start();
        for _ in 0..self.rng.usize(20..80) {
            self.accident();
            let pause = Duration::from_micros(self.rng.u64(..400_000));
            self.world.network.run_for(pause);
            self.probe();
        }
        self.stop();
        self.world.network.run_for(if self.company == Company::Good { RESTS } else { MENDS });
        self.seen.events = self.world.network.events_done;
        self.world.network.report();
        self.world.network.check_rest()?;
        self.check_policy()?;
        if self.company == Company::Good {
            self.check_good()?;
        }
        Ok(())
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.happened.entry(what).or_default() += 1;
    }

    fn accident(&mut self) {
        let routers = self.world.network.routers.len();
        let (router, link) = (self.rng.usize(..routers), self.rng.usize(..self.world.network.links.len()));
        let is_up = self.world.network.routers[router].paths.is_some();
        match self.rng.u8(..100) {
            0..25 => self.change_service(),
            25..45 => {
                self.count("a link is cut");
                self.world.network.cut(link);
            }
            45..60 => self.world.network.mend(link),
            60..65 => {
                self.count("a session is lost");
                self.world.network.lose_all(link);
            }
            65..72 if is_up => {
                self.count("a router crashes");
                self.world.network.crash(router);
            }
            72..76 if is_up => {
                self.count("a router leaves");
                self.world.network.leave(router);
            }
            76..86 if !is_up => self.world.network.start(router),
            86..92 => self.part(),
            92.. if self.has_policies => self.change_policy(link),
            _ => {}
        }
    }

    fn change_service(&mut self) {
        let zone = self.rng.usize(..self.world.zones.min(6));
        let name = service(["print", "scan", "store"][self.rng.usize(..3)]);
        if self.rng.u8(..3) == 0 {
            self.count("a service goes");
            self.world.withdraw(zone, &name);
        } else {
            self.count("a service comes");
            let drawn = self.rng.u8(..);
            let traits = Traits { idempotent: drawn & 1 == 0, by_workers: drawn & 6 == 6 };
            self.world.offer_as(zone, &name, traits);
        }
    }

    /// Cuts the network in two, or heals it.
    fn part(&mut self) {
        if let Some(links) = self.parted.take() {
            self.count("a partition heals");
            return links.into_iter().for_each(|link| self.world.network.mend(link));
        }
        let border = self.rng.usize(..self.world.network.routers.len());
        let crosses = |network: &Network, link: usize| {
            let [a, b] = network.links[link].ends;
            !network.links[link].is_internal && (a < border) != (b < border)
        };
        let links = 0..self.world.network.links.len();
        let links: Vec<usize> = links.filter(|link| crosses(&self.world.network, *link)).collect();
        links.iter().for_each(|link| self.world.network.cut(*link));
        self.parted = Some(links);
    }

    fn change_policy(&mut self, link: usize) {
        if self.world.network.links[link].is_internal {
            return;
        }
        self.count("a policy changes");
        let mut some = || -> Vec<Filter> {
            let texts = ["*", "*", "print", "s*", "*@z1", "scan@z2", "*@z*", "print@z0"];
            (0..self.rng.usize(..3)).map(|_| texts[self.rng.usize(..texts.len())].parse().unwrap()).collect()
        };
        let import = Policy { allow: some(), deny: some() };
        let (mut import, mut export) = (import, Policy { allow: some(), deny: some() });
        if self.rng.bool() {
            (import.allow, export.allow) = (Policy::everything().allow, Policy::everything().allow);
        }
        let end = self.rng.usize(..2);
        self.world.network.set_policy(link, end, import, export);
    }

    /// Ends the accidents: all links but a few are up, all routers but a few run.
    fn stop(&mut self) {
        let network = &mut self.world.network;
        network.log.note(network.now, || "the accidents stop".into());
        network.report();
        self.is_bad.set(false);
        for router in 0..network.routers.len() {
            if network.routers[router].paths.is_none() && self.rng.u8(..4) > 0 {
                network.start(router);
            }
        }
        for link in 0..network.links.len() {
            if network.links[link].is_internal || self.rng.u8(..8) > 0 {
                network.mend(link);
            }
        }
    }

    /// Follows a request at a moment when tables may disagree.
    fn probe(&mut self) {
        let router = self.rng.usize(..self.world.network.routers.len());
        let told: Vec<_> = self.world.network.routers[router].told.clone().into_iter().collect();
        if !told.is_empty() {
            let (key, (_, hops, _)) = &told[self.rng.usize(..told.len())];
            let hop = hops[self.rng.usize(..hops.len())];
            self.count(match self.world.network.walk(router, hop, key) {
                Walk::Arrives => "a probe arrives",
                Walk::IsLost => "a probe is lost",
                Walk::Loops => "a probe loops",
            });
        }
    }

    /// Installs the misbehaviour.
    fn tamper(&mut self) {
        let (mut rng, is_bad) = (self.rng.fork(), self.is_bad.clone());
        match self.company {
            Company::Good => {}
            Company::Lossy => {
                self.world.network.tamper =
                    Some(Box::new(
                        move |_, _, update| if is_bad.get() && rng.u8(..100) < 3 { Vec::new() } else { vec![update] },
                    ));
            }
            Company::Stale => {
                // By router and session: updates sent, and the number of inserted ones.
                let mut told: BTreeMap<(usize, LinkId), (Vec<Update>, u64)> = BTreeMap::new();
                self.world.network.tamper = Some(Box::new(move |router, session, mut update| {
                    let old = told.values().nth(rng.usize(..told.len().max(1))).map(|(told, _)| told.clone());
                    let (told, more) = told.entry((router, session)).or_default();
                    update.number += *more;
                    let mut updates = vec![update.clone()];
                    if is_bad.get() && rng.u8(..100) < 5 {
                        let old = if rng.bool() { old.unwrap_or_default() } else { told.clone() };
                        if let Some(mut stale) = old.get(rng.usize(..old.len().max(1))).cloned() {
                            *more += 1;
                            stale.number = update.number + 1;
                            updates.push(stale);
                        }
                    }
                    told.push(update);
                    updates
                }));
            }
        }
    }

    /// Checks that a neighbour may call exactly the services that policy advertises to it.
    fn check_policy(&self) -> Result<(), String> {
        let network = &self.world.network;
        for (number, router) in network.routers.iter().enumerate() {
            for (session, (link, end)) in &router.sessions {
                let (link, Some((other, Some(back)))) = (&network.links[*link], network.other_end(number, *session))
                else {
                    continue;
                };
                let paths = router.paths.as_ref().unwrap();
                for (key, (_, hops, _)) in &network.routers[other].told {
                    let passes = link.is_internal || link.export[*end].lets_pass(key);
                    let may = paths.may_pass(Some(*session), &key.zone, &key.service);
                    if may && !passes || !may && hops.contains(&back) {
                        return Err(format!(
                            "{} may call {key} at {}: {may}",
                            network.routers[other].name, router.name
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that without misbehaviour no update is refused and no digest differs, so that no refresh is requested.
    fn check_good(&mut self) -> Result<(), String> {
        let network = &mut self.world.network;
        if let Some(refused) = network.refused.first() {
            return Err(format!("refused: {refused}"));
        }
        let changes: Vec<u64> = network.routers.iter().map(|router| router.metrics.changes).collect();
        network.run_for(MENDS);
        let asks = |network: &Network| {
            network.routers.iter().filter_map(|r| Some(r.paths.as_ref()?.counters().refreshes)).sum()
        };
        let (after, asked): (Vec<u64>, u64) =
            (network.routers.iter().map(|r| r.metrics.changes).collect(), asks(network));
        if asked > 0 || after != changes { Err(format!("no rest: {asked} asked")) } else { Ok(()) }
    }
}
