//! Schedule of faults: a fixed round of kills, freezes and network faults, one after the other, with pauses between.

use crate::proxy::Direction;
use crate::sites::{FAR, NAMES, NODE, PEER, ROUTER_A, ROUTER_B, Sites};
use crate::verdict::Fault;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill(usize),
    Freeze(usize),
    /// The proxies delay all data.
    Delay(Duration),
    /// The proxies forward at most this many bytes per second.
    Throttle(u64),
    /// The proxies hold back all data to the proxied processes, then all data from them.
    HoldBack,
    /// The proxies reset all their connections repeatedly, so data in flight is lost.
    Cut,
}

/// One round: 10 kills and freezes, 4 network faults. The node and router a are never killed, only frozen.
const ROUND: [Kind; 14] = [
    Kind::Kill(PEER),
    Kind::Freeze(ROUTER_A),
    Kind::Delay(Duration::from_millis(50)),
    Kind::Kill(ROUTER_B),
    Kind::Freeze(FAR),
    Kind::Cut,
    Kind::Kill(FAR),
    Kind::Freeze(PEER),
    Kind::Throttle(64 << 10),
    Kind::Kill(PEER),
    Kind::Freeze(ROUTER_B),
    Kind::HoldBack,
    Kind::Kill(ROUTER_B),
    Kind::Freeze(NODE),
];

/// Smallest number of rounds of a soak. A long one has a round each minute, so that every fault occurs in its first
/// minute, before memory is compared.
const ROUNDS: usize = 2;

/// Duration of a round of a long soak.
const MINUTE: Duration = Duration::from_secs(60);

/// Longest duration of a fault.
const LONGEST: Duration = Duration::from_secs(3);

/// Periods in which each process was dead or frozen.
#[derive(Debug, Default)]
pub(crate) struct Outages([Mutex<Vec<(Duration, Duration)>>; NAMES.len()]);

/// Time after an outage within which a client reconnects.
const RECONNECT: Duration = Duration::from_secs(1);

impl Outages {
    fn begin(&self, site: usize, at: Duration) {
        self.0[site].lock().unwrap().push((at, Duration::MAX));
    }

    fn end(&self, site: usize, at: Duration) {
        self.0[site].lock().unwrap().last_mut().unwrap().1 = at + RECONNECT;
    }

    /// Returns `true` if an outage of a process overlaps this period.
    pub(crate) fn overlaps(&self, site: usize, from: Duration, to: Duration) -> bool {
        self.0[site].lock().unwrap().iter().any(|(begin, end)| *begin <= to && from <= *end)
    }
}

/// Schedule of all faults.
pub(crate) struct Faults {
    period: Duration,
    count: usize,
}

impl Faults {
    /// Spreads the faults evenly over the duration.
    pub(crate) fn plan(duration: Duration) -> Self {
        let rounds = ROUNDS.max(usize::try_from(duration.as_secs() / MINUTE.as_secs()).unwrap());
        let count = ROUND.len() * rounds;
        Self { period: duration / u32::try_from(count + 1).unwrap(), count }
    }

    /// Injects the faults in turn; returns each with its beginning and end.
    pub(crate) fn run(&self, sites: &mut Sites, began: Instant, outages: &Outages) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (number, kind) in (1_u32..).zip(ROUND.iter().cycle().take(self.count)) {
            let until = began + self.period * number;
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            let from = began.elapsed();
            inject(*kind, sites, self.length(), || began.elapsed(), outages);
            sites.nodes.iter_mut().for_each(crate::node::Node::clear_log);
            let is_of_process = matches!(kind, Kind::Kill(_) | Kind::Freeze(_));
            faults.push(Fault { name: name(*kind), from, to: began.elapsed(), is_of_process });
        }
        faults
    }

    fn length(&self) -> Duration {
        (self.period / 3).min(LONGEST)
    }
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Kill(site) => format!("kill -9 {}", NAMES[site]),
        Kind::Freeze(site) => format!("freeze {}", NAMES[site]),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Injects a fault, and repairs it after `length`.
fn inject(kind: Kind, sites: &mut Sites, length: Duration, now: impl Fn() -> Duration, outages: &Outages) {
    match kind {
        Kind::Kill(site) => {
            outages.begin(site, now());
            sites.nodes[site].kill();
            std::thread::sleep(length);
            sites.nodes[site].start_again();
            outages.end(site, now());
        }
        Kind::Freeze(site) => {
            outages.begin(site, now());
            sites.nodes[site].signal("-STOP");
            std::thread::sleep(length);
            sites.nodes[site].signal("-CONT");
            outages.end(site, now());
        }
        Kind::Delay(delay) => {
            sites.proxies.iter().for_each(|proxy| proxy.delay(delay));
            std::thread::sleep(length);
            sites.proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
        }
        Kind::Throttle(bytes) => {
            sites.proxies.iter().for_each(|proxy| proxy.throttle(bytes));
            std::thread::sleep(length);
            sites.proxies.iter().for_each(|proxy| proxy.throttle(0));
        }
        Kind::HoldBack => {
            for way in [Direction::There, Direction::Back] {
                sites.proxies.iter().for_each(|proxy| proxy.hold_back(way));
                std::thread::sleep(length / 2);
                sites.proxies.iter().for_each(crate::proxy::Proxy::heal);
            }
        }
        Kind::Cut => {
            for _ in 0..4 {
                sites.proxies.iter().for_each(crate::proxy::Proxy::cut);
                std::thread::sleep(length / 4);
            }
        }
    }
}
