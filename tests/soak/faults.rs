//! What goes wrong, and when: a fixed round of kills, freezes and bad networks, one after the other, with calm between.

use crate::proxy::Way;
use crate::sites::{FAR, NAMES, NODE, PEER, ROUTER_A, ROUTER_B, Sites};
use crate::verdict::Fault;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill(usize),
    Freeze(usize),
    /// All that the proxies carry arrives later.
    Delay(Duration),
    /// The proxies carry no more than so many bytes in a second.
    Throttle(u64),
    /// Nothing that others send to the proxied processes arrives, then nothing of theirs.
    HoldBack,
    /// All connections through the proxies are reset, again and again: what is on its way is lost.
    Cut,
}

/// One round: 10 kills and freezes, 4 bad networks. The node and router a live; they only freeze.
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

/// Fewest rounds of a soak. A long one has a round each minute, so that its first minute has seen every fault, and
/// memory is compared after them.
const ROUNDS: usize = 2;

/// Duration of a round of a long soak.
const MINUTE: Duration = Duration::from_secs(60);

/// Longest that a fault lasts.
const LONGEST: Duration = Duration::from_secs(3);

/// When each process was dead or frozen.
#[derive(Debug, Default)]
pub(crate) struct Outages([Mutex<Vec<(Duration, Duration)>>; NAMES.len()]);

/// How long after an outage a client may need to be connected again.
const COMES_BACK: Duration = Duration::from_secs(1);

impl Outages {
    fn begin(&self, site: usize, at: Duration) {
        self.0[site].lock().unwrap().push((at, Duration::MAX));
    }

    fn end(&self, site: usize, at: Duration) {
        self.0[site].lock().unwrap().last_mut().unwrap().1 = at + COMES_BACK;
    }

    /// Whether a process was away at some time between.
    pub(crate) fn touch(&self, site: usize, from: Duration, to: Duration) -> bool {
        self.0[site].lock().unwrap().iter().any(|(begin, end)| *begin <= to && from <= *end)
    }
}

/// The plan.
pub(crate) struct Faults {
    period: Duration,
    count: usize,
}

impl Faults {
    /// Spreads the faults over the time.
    pub(crate) fn plan(duration: Duration) -> Self {
        let rounds = ROUNDS.max(usize::try_from(duration.as_secs() / MINUTE.as_secs()).unwrap());
        let count = ROUND.len() * rounds;
        Self { period: duration / u32::try_from(count + 1).unwrap(), count }
    }

    /// Lets everything go wrong in turn; returns when each fault began and ended.
    pub(crate) fn run(&self, sites: &mut Sites, began: Instant, outages: &Outages) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (number, kind) in (1_u32..).zip(ROUND.iter().cycle().take(self.count)) {
            let until = began + self.period * number;
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            let from = began.elapsed();
            commit(*kind, sites, self.length(), || began.elapsed(), outages);
            sites.nodes.iter_mut().for_each(crate::node::Node::forget_log);
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

/// Does it, and mends it after so long.
fn commit(kind: Kind, sites: &mut Sites, length: Duration, now: impl Fn() -> Duration, outages: &Outages) {
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
            for way in [Way::There, Way::Back] {
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
