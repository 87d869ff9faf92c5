//! A soak of five real processes: a node and its peer in zone a, a node in zone b, and the two routers that join the
//! zones. Honest clients send more than a thousand requests a second; hostile connections, guests, plugin files and key
//! files come beside them; processes are killed and frozen, and the network delays, narrows, holds back and resets.
//!
//! What counts is taken from outside: the receipts of the clients, the ledgers that the guests write, and what the
//! system says of each process. The judgement (`verdict.rs`) sees nothing else.
//!
//! ```console
//! $ cargo test -p wasmnode --test soak -- --nocapture                            # 60 seconds
//! $ WASMNODE_SOAK=600 cargo test -p wasmnode --test soak soak -- --nocapture     # ten minutes; judges memory and descriptors too
//! $ WASMNODE_SOAK_PLANT=leaks WASMNODE_SOAK=600 cargo test ...                   # has to turn red: loss, twice, leaks
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../guests/mod.rs"]
mod guests;
#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../e2e/proxy.rs"]
mod proxy;
#[path = "../zmtp.rs"]
mod zmtp;

mod clients;
mod faults;
mod hostile;
mod hostile_files;
mod sites;
mod verdict;

use clients::Clients;
use faults::Faults;
use hostile::Hostile;
use sites::Sites;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use verdict::{Complaint, Evidence, Sample, Verdict};

/// Duration of the soak in the ordinary run of the tests.
const SHORT: Duration = Duration::from_secs(60);

/// Shortest soak of which memory and descriptors are judged: the first minute warms up, the others show a slope.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A fault of the product that is made on purpose, to see that the soak notices it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    /// The answer of one request is thrown away before it is noted.
    Loss,
    /// A guest runs one request twice.
    Twice,
    /// A guest that lives as long as its node takes one MiB more each minute, and the node is left with one more
    /// connection every two seconds.
    Leaks,
}

impl Plant {
    fn from_environment() -> Option<Self> {
        let name = std::env::var("WASMNODE_SOAK_PLANT").ok()?;
        let all = [Self::Loss, Self::Twice, Self::Leaks];
        let found = all.into_iter().find(|plant| format!("{plant:?}").eq_ignore_ascii_case(&name));
        Some(found.unwrap_or_else(|| panic!("WASMNODE_SOAK_PLANT is one of {all:?}, not {name}")))
    }

    /// Whether the verdict is what this has to lead to.
    fn is_noticed_by(self, verdict: &Verdict) -> bool {
        let expected: &[Complaint] = match self {
            Self::Loss => &[Complaint::Lost],
            Self::Twice => &[Complaint::RanTwice],
            Self::Leaks => &[Complaint::Memory, Complaint::Descriptors],
        };
        expected == verdict.complaints()
    }
}

/// One soak at a time: two would take each other's processors.
static TURN: Mutex<()> = Mutex::new(());

/// Runs everything for so long, and judges it.
fn soak(duration: Duration, seed: u64, plant: Option<Plant>) -> Verdict {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    println!("seed {seed}, {duration:?}, planted: {plant:?}");
    let random = fastrand::Rng::with_seed(seed);
    let mut sites = Sites::start();
    let (began, is_over) = (Instant::now(), AtomicBool::new(false));
    let lived = sites.that_live();
    let (outages, faults) = (faults::Outages::default(), Faults::plan(duration));
    let clients = Clients { began, duration, plant, outages: &outages, endpoints: sites.endpoints() };
    let hostile = Hostile::new(&sites, random, plant, &is_over);
    let (receipts, samples, faults, acts) = std::thread::scope(|scope| {
        // Also if one of them fails: the others wait for it.
        let _over = Over(&is_over);
        let clients = scope.spawn(|| clients.run());
        let hostile = scope.spawn(move || hostile.run(duration));
        let samples = scope.spawn(|| sample(began, &lived, &is_over));
        let faults = faults.run(&mut sites, began, &outages);
        let receipts = clients.join().unwrap();
        is_over.store(true, SeqCst);
        (receipts, samples.join().unwrap(), faults, hostile.join().unwrap())
    });
    sites.wait_until_quiet();
    let evidence = Evidence { duration, receipts, runs: sites.ledger(), samples, faults, hostile_acts: acts };
    let verdict = evidence.judge();
    println!("{verdict}");
    verdict
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Notes once a second what each process has, until it is over.
fn sample(began: Instant, processes: &[(&'static str, i32)], is_over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let page = rustix::param::page_size() as u64;
    let mut due = Instant::now();
    while !is_over.load(SeqCst) {
        due += Duration::from_secs(1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for (process, id) in processes {
            let memory = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap();
            let pages: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
            let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
            let memory_bytes = pages * page;
            samples.push(Sample { process, at: began.elapsed(), memory_bytes, descriptors });
        }
    }
    samples
}

#[test]
fn soak_under_faults_and_hostility_loses_nothing_and_runs_nothing_twice() {
    let seconds =
        std::env::var("WASMNODE_SOAK").map(|text| text.parse().expect("WASMNODE_SOAK is a number of seconds"));
    let duration = seconds.map_or(SHORT, Duration::from_secs);
    let plant = Plant::from_environment();
    let verdict = soak(duration, fastrand::u64(..), plant);
    match plant {
        None => assert_eq!(verdict.complaints(), [], "{verdict}"),
        Some(plant) => {
            assert!(plant.is_noticed_by(&verdict), "{plant:?} went unnoticed: {verdict}");
        }
    }
    assert!(verdict.kills_and_freezes() >= 20, "{verdict}");
}

#[test]
fn a_lost_answer_and_a_second_run_turn_the_soak_red() {
    for plant in [Plant::Loss, Plant::Twice] {
        let verdict = soak(Duration::from_secs(10), 7, Some(plant));
        assert!(plant.is_noticed_by(&verdict), "{plant:?} went unnoticed: {verdict}");
    }
}
