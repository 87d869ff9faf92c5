//! Decisions of a seed before its start: the nodes, their services and settings, and the schedule of faults.
//!
//! Limits are small, so that they are reached; times are short, so that much happens within few steps. Each fault is
//! switched per seed; if all were always on, none would meet an otherwise healthy zone.

mod zones;

pub(crate) use zones::{Extent, policies};

use fastrand::Rng;
use std::time::Duration;
use wasmnode_core::{
    DirectorySettings, Frame, Limits, MembersSettings, NodeSettings, PeerSettings, Seed, ServiceName, ServiceSettings,
    Time,
};

/// The services that plugins offer.
pub(crate) const SERVICES: [&str; 4] = ["add", "back", "calc", "draw"];

pub(crate) const ZONE: &str = "paris";

/// Suffix of an endpoint that leads to the same node.
pub(crate) const ALIAS: &str = "-alias";

/// Number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 2 to 12, for some 10 s.
    Small,
    /// 100 to 150, for some seconds.
    Large,
}

/// All decisions of a seed before its start.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: Vec<Plan>,
    pub(crate) weather: Weather,
    pub(crate) clients: usize,
    /// The longest pause of a client between two requests.
    pub(crate) pause: Duration,
    /// Number of requests in a client's occasional bursts.
    pub(crate) burst: usize,
    pub(crate) accidents: Vec<(Time, Accident)>,
    /// Time at which the faults end and clients stop.
    pub(crate) calm: Time,
    /// Whether only single nodes crash or freeze, and no two within a short time, so that no request may fail for that.
    pub(crate) is_gentle: bool,
    /// Largest error of a clock when a process starts, in either direction.
    pub(crate) clocks: Duration,
    /// The machine whose first process has a clock that is ahead by years.
    pub(crate) ahead: Option<usize>,
    /// How its zones are joined, if there are several.
    pub(crate) joined: Option<Joined>,
    /// Name of the test that replays it.
    pub(crate) test: &'static str,
}

/// Zones that routers join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    /// Number of zones.
    pub(crate) zones: usize,
    /// The Byzantine router, if there is one.
    pub(crate) byzantine: Option<usize>,
    /// Whether routers repeat old updates.
    pub(crate) is_stale: bool,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: NodeSettings,
    pub(crate) slow: Duration,
    pub(crate) services: Vec<ServiceName>,
    /// Whether it runs from the beginning.
    pub(crate) starts: bool,
    /// Whether it is a seed of others.
    pub(crate) is_seed: bool,
    /// The number of its zone.
    pub(crate) zone: usize,
}

/// Fault at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accident {
    Crash(usize),
    Freeze(usize),
    /// A service of this node is withdrawn or offered.
    Reload(usize),
    /// The node shuts down in order.
    Drain(usize),
    /// Messages between two nodes are blocked, in one or both directions.
    Cut {
        from: usize,
        to: usize,
        both_ways: bool,
    },
    /// The zone is partitioned.
    Partition,
    /// Some connection is lost.
    Break,
    /// A second node of the same name starts.
    Twin(usize),
    /// A router restarts with other policies.
    Policy(usize),
}

/// Rates of faults of the network and the plugins. Chances are per mille.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// The longest time that a message takes.
    pub(crate) latency: Duration,
    /// Additional time from one zone to another.
    pub(crate) between: Duration,
    pub(crate) loss: u32,
    pub(crate) doubling: u32,
    pub(crate) overtaking: u32,
    /// Runs fail and crash.
    pub(crate) bad_plugins: u32,
    /// Runs call other services.
    pub(crate) calls: u32,
    /// Runs answer in parts.
    pub(crate) parts: u32,
    /// The longest time that a run takes.
    pub(crate) run: Duration,
    /// Largest drift of clocks, in parts per 10,000.
    pub(crate) drift: u64,
}

impl Weather {
    /// Ends the faults.
    pub(crate) fn clear_up(&mut self) {
        (self.loss, self.doubling, self.overtaking, self.bad_plugins, self.calls) = (0, 0, 0, 0, 0);
        self.run = self.run.min(Duration::from_millis(20));
    }

    fn draw(rng: &mut Rng, is_gentle: bool) -> Self {
        let mut weather = Self {
            latency: Duration::from_micros(pick(rng, &[200, 2_000, 50_000])),
            between: Duration::ZERO,
            loss: 0,
            doubling: 0,
            overtaking: 0,
            bad_plugins: 0,
            calls: 0,
            parts: pick(rng, &[0, 200]),
            run: Duration::from_millis(pick(rng, &[5, 100])),
            drift: pick(rng, &[0, 100]),
        };
        if is_gentle {
            return weather;
        }
        weather.run = Duration::from_millis(pick(rng, &[5, 100, 1_500]));
        let mut per_mille = |choices: &[u32]| if chance(rng, 300) { pick(rng, choices) } else { 0 };
        weather.loss = per_mille(&[2, 20]);
        weather.doubling = per_mille(&[2, 20]);
        weather.overtaking = per_mille(&[2, 20]);
        weather.bad_plugins = per_mille(&[20, 200]);
        weather.calls = per_mille(&[100, 400]);
        weather
    }
}

impl Scenario {
    pub(crate) fn draw(seed: u64, size: Size) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let is_gentle = chance(rng, 300);
        let count = match size {
            Size::Small => pick(rng, &[2, 3, 3, 4, 4, 5, 6, 8, 12]),
            Size::Large => rng.usize(200..220),
        };
        let common = common(rng, is_gentle);
        let mut nodes: Vec<_> = (0..count).map(|number| plan(rng, number, count, &common)).collect();
        let is_idle = size == Size::Large || chance(rng, 200);
        let calm = Time::from_micros(if size == Size::Small { rng.u64(4_000_000..12_000_000) } else { 6_000_000 });
        let mut accidents = if is_gentle { gentle(rng, count, calm) } else { harsh(rng, count, calm) };
        if !is_gentle && chance(rng, 150) {
            let twin = rng.usize(..count);
            let mut settings = nodes[twin].settings.clone();
            settings.endpoint = "tcp://twin".into();
            let services = nodes[twin].services.clone();
            nodes.push(Plan { settings, slow: Duration::ZERO, services, starts: false, is_seed: false, zone: 0 });
            accidents.push((Time::from_micros(rng.u64(..calm.as_micros())), Accident::Twin(count)));
        }
        let clocks = wrong_clocks(rng, &[HOURS, YEARS]);
        Self {
            nodes,
            clocks,
            ahead: None,
            weather: Weather::draw(rng, is_gentle),
            clients: if size == Size::Large { 20 } else { rng.usize(1..6) },
            pause: Duration::from_millis(if is_idle { 1_000 } else { pick(rng, &[50, 200]) }),
            burst: if is_gentle { 1 } else { pick(rng, &[1, 1, 5, 40]) },
            accidents,
            calm,
            is_gentle,
            joined: None,
            test: "seeds",
        }
    }
}

impl Scenario {
    /// Returns an overload: nodes with slow runs and short queues, and clients that send far more than they can serve.
    /// Each request is refused by one node after another, until the retry budget is spent.
    pub(crate) fn storm(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut scenario = Self::draw(seed, Size::Small);
        let narrow = ServiceSettings { concurrency: 1, queue: 1, spill: 0, ..ServiceSettings::default() };
        let services = SERVICES.into_iter().map(|service| (name(service), narrow.clone())).collect();
        let common = NodeSettings { services, ..common(rng, true) };
        scenario.nodes = (0..6).map(|number| plan(rng, number, 6, &common)).collect();
        for (number, plan) in scenario.nodes.iter_mut().enumerate() {
            plan.starts = true;
            plan.services = if number == 0 { Vec::new() } else { SERVICES.into_iter().map(name).collect() };
            plan.settings.services.clone_from(&common.services);
            if number == 0 {
                plan.settings.services.values_mut().for_each(|service| service.queue = 100_000);
            }
        }
        (scenario.clients, scenario.burst) = (1, 300);
        (scenario.pause, scenario.calm) = (Duration::from_millis(25), Time::from_micros(6_000_000));
        (scenario.accidents, scenario.is_gentle, scenario.clocks) = (Vec::new(), false, Duration::ZERO);
        scenario.weather = Weather { run: Duration::from_millis(1_500), ..Weather::draw(rng, true) };
        scenario
    }
}

impl Scenario {
    /// Returns a name of three processes: a node whose clock is years ahead crashes, its successor at the same endpoint
    /// freezes, and a third takes the name at another endpoint before the second resumes.
    pub(crate) fn three_lives(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut scenario = Self::draw(seed, Size::Small);
        let common = common(rng, true);
        scenario.nodes = (0..4).map(|number| plan(rng, number, 4, &common)).collect();
        scenario.nodes.iter_mut().for_each(|plan| plan.starts = true);
        let mut twin = plan(rng, 2, 4, &common);
        (twin.settings.endpoint, twin.starts) = ("tcp://twin".into(), false);
        scenario.nodes.push(twin);
        let mut at = |from: u64, to: u64| Time::from_micros(rng.u64(from..to) * 1_000);
        scenario.accidents = vec![
            (at(2_000, 3_000), Accident::Crash(2)),
            (at(9_000, 10_000), Accident::Freeze(2)),
            (at(12_000, 16_000), Accident::Twin(4)),
        ];
        scenario.weather = Weather { drift: 0, ..Weather::draw(rng, true) };
        (scenario.is_gentle, scenario.clocks, scenario.ahead) = (false, Duration::ZERO, Some(2));
        scenario.calm = Time::from_micros(30_000_000);
        scenario.test = "three";
        scenario
    }
}

/// Errors of clocks: those of a wrong time zone, and of clocks that were never set.
const HOURS: Duration = Duration::from_secs(2 * 3_600);
pub(crate) const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

fn wrong_clocks(rng: &mut Rng, by: &[Duration]) -> Duration {
    if chance(rng, 300) { pick(rng, by) } else { Duration::ZERO }
}

/// Returns accidents of one node after another, with time to recover between them.
fn gentle(rng: &mut Rng, count: usize, calm: Time) -> Vec<(Time, Accident)> {
    let mut accidents = Vec::new();
    let mut time = rng.u64(1_000_000..5_000_000);
    while time < calm.as_micros() {
        let node = rng.usize(..count);
        let accident = pick(rng, &[Accident::Crash(node), Accident::Freeze(node), Accident::Drain(node)]);
        accidents.push((Time::from_micros(time), accident));
        time += rng.u64(4_000_000..8_000_000);
    }
    accidents
}

fn harsh(rng: &mut Rng, count: usize, calm: Time) -> Vec<(Time, Accident)> {
    let mut accidents = Vec::new();
    let kinds: Vec<u8> = (0..8).filter(|_| chance(rng, 350)).collect();
    for _ in 0..rng.usize(..10) {
        let (node, other) = (rng.usize(..count), rng.usize(..count));
        let accident = match kinds.get(rng.usize(..kinds.len().max(1))) {
            Some(0) => Accident::Crash(node),
            Some(1) => Accident::Freeze(node),
            Some(2) => Accident::Drain(node),
            Some(3) => Accident::Cut { from: node, to: other, both_ways: true },
            Some(4) => Accident::Cut { from: node, to: other, both_ways: false },
            Some(5) => Accident::Partition,
            Some(6) => Accident::Break,
            _ => Accident::Reload(node),
        };
        accidents.push((Time::from_micros(rng.u64(..calm.as_micros())), accident));
    }
    accidents
}

/// Returns the common settings of all nodes of a zone.
fn common(rng: &mut Rng, is_gentle: bool) -> NodeSettings {
    let default = Limits::default();
    let mut limit = |default: usize, small: &[usize]| {
        if !is_gentle && chance(rng, 200) { pick(rng, small) } else { default }
    };
    let limits = Limits {
        requests: limit(default.requests, &[5, 30]),
        requests_per_client: limit(default.requests_per_client, &[3, 20]),
        requests_per_peer: limit(default.requests_per_peer, &[1, 3, 10]),
        ..default
    };
    let probe_period = Duration::from_millis(pick(rng, &[500, 1_000]));
    let members = MembersSettings {
        probe_period,
        probe_rtt: probe_period / 2,
        suspicion: probe_period * 2,
        exchange: Duration::from_secs(5),
        reunion: Duration::from_secs(2),
        ..MembersSettings::default()
    };
    let heartbeat = Duration::from_millis(pick(rng, &[100, 250]));
    let peers = PeerSettings { heartbeat, expiry: heartbeat * 20, ..PeerSettings::default() };
    let routes = DirectorySettings { lease: Duration::from_secs(pick(rng, &[6, 30])), ..DirectorySettings::default() };
    let services = SERVICES.into_iter().map(|service| (name(service), service_settings(rng, is_gentle))).collect();
    let zone = ZONE.parse().unwrap();
    NodeSettings { zone, limits, members, peers, routes, services, ..NodeSettings::default() }
}

fn service_settings(rng: &mut Rng, is_gentle: bool) -> ServiceSettings {
    let (narrow, default) = (!is_gentle && chance(rng, 400), ServiceSettings::default());
    ServiceSettings {
        deadline: Some(Duration::from_millis(if is_gentle { 2_000 } else { pick(rng, &[300, 2_000, 4_000]) })),
        concurrency: if narrow { pick(rng, &[1, 2]) } else { default.concurrency },
        queue: if narrow { pick(rng, &[1, 5, 50]) } else { default.queue },
        spill: pick(rng, &[0, 1, 64]),
        idempotent: rng.bool(),
        calls: vec!["*".parse().unwrap()],
        calls_as: default.calls_as,
    }
}

fn plan(rng: &mut Rng, number: usize, count: usize, common: &NodeSettings) -> Plan {
    let mut settings = common.clone();
    settings.name = format!("n{number}").parse().unwrap();
    settings.endpoint = endpoint(number);
    // The first node is the seed of all others, and the second is the seed of the first, so that live nodes find each
    // other.
    settings.seeds = vec![Seed::at(endpoint(usize::from(number == 0)))];
    settings.seeds.extend((0..rng.usize(..3)).map(|_| Seed::at(endpoint(rng.usize(..count)))));
    if chance(rng, 100) {
        // An endpoint may have several names.
        settings.seeds = settings.seeds.into_iter().map(|seed| Seed::at(format!("{}{ALIAS}", seed.endpoint))).collect();
    }
    settings.seeds.dedup();
    if chance(rng, 50) {
        // The node disagrees with the others on which services are idempotent.
        settings.services.values_mut().for_each(|service| service.idempotent = rng.bool());
    }
    let most = if count > 12 { 100 } else { 500 };
    let services = SERVICES.into_iter().filter(|_| chance(rng, most)).map(name).collect();
    let slow = Duration::from_millis(if chance(rng, 50) { rng.u64(1..60) } else { 0 });
    let starts = number == 0 || count > 12 || chance(rng, 900);
    Plan { settings, slow, services, starts, is_seed: number == 0, zone: 0 }
}

fn endpoint(number: usize) -> String {
    format!("tcp://n{number}")
}

/// Returns `true` with a chance of `per_mille`.
pub(crate) fn chance(rng: &mut Rng, per_mille: u32) -> bool {
    per_mille > 0 && rng.u32(..1_000) < per_mille
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// Returns a random duration up to `longest`.
pub(crate) fn up_to(rng: &mut Rng, longest: Duration) -> Duration {
    Duration::from_micros(rng.u64(..=longest.as_micros().try_into().unwrap_or(u64::MAX)))
}

pub(crate) fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

pub(crate) fn frame(text: impl Into<String>) -> Frame {
    text.into().into()
}
