//! A few nodes, the network between them, and the faults of both.

use crate::fixture::{Fixture, Say};
use crate::log::Log;
use crate::notation::Notation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::peer::{Advert, Offer, Traits};
use wasmnode_core::{Address, DirectoryEffect, DirectorySettings, Label, Time};

const LEASE: Duration = Duration::from_secs(30);
/// Largest delay of a message.
const LATEST: Duration = Duration::from_secs(5);
/// Duration of the accidents.
const TROUBLE: Duration = Duration::from_secs(150);
/// Time after the last delayed message within which live nodes have each other's offers, if no limit excludes any: a
/// third of a lease until a renewal reveals the version, and a second until the last pull is repeated.
const MENDED: Duration = Duration::from_millis(11_500);
/// Time after it within which the offers of nodes that died undetected expire: a lease. Offers that then fit within the
/// limits arrive after another third.
const SETTLED: Duration = LEASE.saturating_add(MENDED);

pub(crate) struct World {
    seed: u64,
    rng: fastrand::Rng,
    now: Time,
    nodes: Vec<Fixture>,
    /// Whether limits exclude offers.
    tight: bool,
    settings: DirectorySettings,
    services: Vec<Address>,
    /// Messages in transit, by the time of their arrival.
    flying: BTreeMap<(Time, u64), Message>,
    sent: u64,
    /// Pairs of sender and receiver between which messages are lost undetected.
    cut: BTreeSet<(usize, usize)>,
    faults: bool,
    /// Whether the directories must not change.
    settled: bool,
    happened: BTreeMap<&'static str, u64>,
    log: Log,
}

struct Message {
    from: usize,
    to: usize,
    say: Say,
}

pub(crate) struct Outcome {
    pub(crate) happened: BTreeMap<&'static str, u64>,
    pub(crate) log: Log,
}

/// Prints the seed of a failing run.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} failed at {:?}", self.seed, self.now);
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, log: Log) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let tight = rng.u8(..4) == 0;
        let (offers, routes) = if tight { (rng.usize(2..5), rng.usize(3..12)) } else { (10_000, 100_000) };
        let settings = DirectorySettings { lease: LEASE, offers, routes };
        let node = |n: usize| Fixture::new(format!("n{n}").parse().unwrap(), &settings, n as u64);
        Self {
            seed,
            tight,
            now: Time::ZERO,
            nodes: (0..rng.usize(2..6)).map(node).collect(),
            settings: settings.clone(),
            services: (0..rng.usize(1..10)).map(|n| format!("s{n}").parse().unwrap()).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            faults: true,
            settled: false,
            happened: BTreeMap::new(),
            log,
            rng,
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        let end = self.now + TROUBLE;
        while self.now < end {
            let next = self.now + self.micros(1..=1_500_000);
            self.run_until(next);
            self.accident();
        }
        let end = self.now;
        self.heal();
        self.run_until(end + LATEST + MENDED);
        assert!(self.tight || self.living_agree(), "they do not agree");
        self.run_until(end + LATEST + SETTLED);
        assert!(self.living_agree() && self.dead_are_forgotten(), "they do not agree in the end");
        self.settled = true;
        let later = self.now + LEASE;
        self.run_until(later);
        self.report();
        Outcome { happened: std::mem::take(&mut self.happened), log: std::mem::take(&mut self.log) }
    }

    fn micros(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.rng.u64(range))
    }

    fn log(&mut self, n: usize, given: &impl Notation) {
        self.log.write(self.now, || &self.nodes[n].name, given);
    }

    /// Logs the reports of each directory.
    fn report(&mut self) {
        for node in self.nodes.iter().filter(|node| node.alive) {
            self.log.write(self.now, || &node.name, &node.routes);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn run_until(&mut self, end: Time) {
        while self.step(end) {}
        self.now = end;
    }

    /// Handles the next message or wake-up, if there is one before `end`.
    fn step(&mut self, end: Time) -> bool {
        let wakes = self.nodes.iter().enumerate().filter(|(_, node)| node.alive);
        let wake = wakes.filter_map(|(n, node)| Some((node.routes.next_wake()?, n))).min();
        let arrival = self.flying.first_key_value().map(|(&(time, _), _)| time);
        let Some(time) = wake.map(|(time, _)| time).into_iter().chain(arrival).min().filter(|time| *time < end) else {
            return false;
        };
        self.now = self.now.max(time);
        match wake {
            Some((wake, n)) if wake == time => self.wake(n),
            _ => self.deliver(),
        }
        true
    }

    fn wake(&mut self, n: usize) {
        self.nodes[n].wake(self.now);
        for _ in 0..self.act(n, &"wakes") {
            self.count("lease ran out");
        }
    }

    fn deliver(&mut self) {
        let Some((_, Message { from, to, say })) = self.flying.pop_first() else { return };
        if self.nodes[to].alive {
            let name = self.nodes[from].name.clone();
            self.log.write(self.now, || &self.nodes[to].name, &(&name, ">", &say));
            self.nodes[to].receive(&name, say, self.now);
            self.act_on(to);
        }
    }

    /// Logs an input of a node, and carries out its effects.
    fn act(&mut self, n: usize, given: &impl Notation) -> usize {
        self.log(n, given);
        self.act_on(n)
    }

    /// Carries out the effects of a node. Returns the number of withdrawn services.
    fn act_on(&mut self, n: usize) -> usize {
        let mut withdrawn = 0;
        for effect in self.nodes[n].drain(self.now) {
            self.log.write(self.now, || format!("{}  ", self.nodes[n].name), &effect);
            self.check_rest(&effect);
            match effect {
                DirectoryEffect::Advertise { to, advert } => self.send(n, &to, Say::Advert(advert)),
                DirectoryEffect::Pull { from } => {
                    self.count("pulled");
                    self.send(n, &from, Say::Pull);
                }
                DirectoryEffect::Withdrawn { .. } => withdrawn += 1,
                DirectoryEffect::Refused { why, .. } if why.contains("limit") => self.count("over a limit"),
                DirectoryEffect::Unlisted { .. } => self.count("unlisted"),
                _ => {}
            }
        }
        withdrawn
    }

    /// Checks that live nodes send each other only renewals once all is settled.
    fn check_rest(&self, effect: &DirectoryEffect) {
        let rests = match effect {
            DirectoryEffect::Advertise { advert, .. } => matches!(advert, Advert::Still { .. }),
            DirectoryEffect::Pull { from } => !self.nodes[self.number(from)].alive,
            _ => false,
        };
        assert!(rests || !self.settled, "does not rest: {effect:?}");
    }

    fn number(&self, name: &Label) -> usize {
        self.nodes.iter().position(|node| node.name == *name).unwrap()
    }

    fn send(&mut self, from: usize, to: &Label, say: Say) {
        let to = self.number(to);
        let delay = self.micros(100..=50_000);
        if !self.faults {
            return self.fly(from, to, say, delay);
        }
        if self.cut.contains(&(from, to)) || self.rng.u8(..100) < 15 {
            return self.count("lost");
        }
        if self.rng.u8(..100) < 10 {
            self.count("duplicated");
            let delay = self.micros(0..=LATEST.as_micros() as u64);
            self.fly(from, to, say.clone(), delay);
        }
        if self.rng.u8(..100) < 10 {
            self.count("delayed");
            let delay = self.micros(0..=LATEST.as_micros() as u64);
            return self.fly(from, to, say, delay);
        }
        self.fly(from, to, say, delay);
    }

    fn fly(&mut self, from: usize, to: usize, say: Say, delay: Duration) {
        self.sent += 1;
        self.flying.insert((self.now + delay, self.sent), Message { from, to, say });
    }

    fn accident(&mut self) {
        let n = self.rng.usize(..self.nodes.len());
        let other = self.rng.usize(..self.nodes.len());
        match self.rng.u8(..100) {
            0..55 => self.change_services(n),
            55..60 => self.crash(n),
            60..67 => self.start(n),
            67..77 if n != other => self.take_for_dead(n, other),
            77..95 if n != other => self.take_for_alive(n, other),
            95..98 if n != other => {
                self.count("cut");
                self.cut.insert((n, other));
            }
            98.. => self.cut.clear(),
            _ => {}
        }
    }

    fn change_services(&mut self, n: usize) {
        if !self.nodes[n].alive {
            return;
        }
        for _ in 0..self.rng.usize(1..4) {
            let service = self.services[self.rng.usize(..self.services.len())].clone();
            if self.rng.bool() {
                let offer = Offer {
                    service,
                    cost: 0,
                    traits: Traits { idempotent: self.rng.u8(..8) == 0, by_workers: self.rng.u8(..8) == 0 },
                };
                self.log(n, &("offers", &offer));
                self.nodes[n].routes.offer(offer, self.now);
            } else {
                self.log(n, &("withdraws", &service));
                self.nodes[n].routes.withdraw(&service, self.now);
            }
        }
        self.act_on(n);
    }

    /// Ends a process without a message.
    fn crash(&mut self, n: usize) {
        self.count("crashed");
        self.nodes[n].alive = false;
        self.log.note(self.now, || format!("n{n} crashes"));
    }

    /// Starts another process under the same name. The end of the earlier one may be undetected.
    fn start(&mut self, n: usize) {
        if !self.nodes[n].alive {
            let name = self.nodes[n].name.clone();
            self.nodes[n] = Fixture::new(name, &self.settings, self.now.as_micros());
            self.act(n, &"starts");
        }
    }

    fn take_for_dead(&mut self, n: usize, other: usize) {
        if self.nodes[n].alive {
            self.count("taken for dead");
            let name = self.nodes[other].name.clone();
            self.nodes[n].member_down(&name);
            self.act(n, &("down", name));
        }
    }

    fn take_for_alive(&mut self, n: usize, other: usize) {
        if self.nodes[n].alive {
            let name = self.nodes[other].name.clone();
            self.nodes[n].member_up(&name, self.now);
            self.act(n, &("up", name));
        }
    }

    /// Ends the faults: no message is lost, and live nodes consider each other up. The death of others may stay
    /// undetected.
    fn heal(&mut self) {
        self.log.note(self.now, || "the faults stop".into());
        self.report();
        self.faults = false;
        let all = 0..self.nodes.len();
        for n in all.clone() {
            if self.rng.u8(..4) > 0 {
                self.start(n);
            }
            if !self.nodes[n].alive {
                self.count("stayed dead");
            }
        }
        for n in all.clone() {
            for other in all.clone().filter(|other| *other != n) {
                let known = self.nodes[n].up.contains(&self.nodes[other].name);
                if self.nodes[other].alive && !known {
                    self.take_for_alive(n, other);
                }
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = &Fixture> {
        self.nodes.iter().filter(|node| node.alive)
    }

    fn living_agree(&self) -> bool {
        let others = |knower: &Fixture| self.living().filter(|other| other.name != knower.name).collect::<Vec<_>>();
        self.living().all(|knower| others(knower).into_iter().all(|other| knower.knows(other)))
    }

    fn dead_are_forgotten(&self) -> bool {
        let dead = || self.nodes.iter().filter(|node| !node.alive);
        self.living().all(|knower| dead().all(|other| knower.routes.offers_of(&other.name).next().is_none()))
    }
}
