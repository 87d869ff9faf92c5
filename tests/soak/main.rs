//! Soak test of five real processes: a node and its peer in zone a, a node in zone b, and the two routers that join the
//! zones. Honest clients send more than a thousand requests per second, next to hostile connections, guests, plugin
//! files and key files. Processes are killed and frozen, and the network delays, throttles, holds back and resets.
//!
//! All evidence is external: the receipts of the clients, the ledgers that the guests write, and the system's figures
//! of each process. The judgement (`verdict.rs`) uses nothing else.
//!
//! ```console
//! $ cargo test -p wasmnode --test soak -- --nocapture                        # 60 seconds
//! $ WASMNODE_SOAK=600 cargo test -p wasmnode --test soak soak -- --nocapture # 10 minutes; also judges memory, descriptors
//! $ WASMNODE_SOAK_PLANT=leaks WASMNODE_SOAK=600 cargo test ...               # has to fail: loss, twice, leaks
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

/// Shortest soak whose memory and descriptors are judged: the first minute is the warm-up, the others show the slope.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Planted fault, which proves that the soak detects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    /// Some answers of one client are dropped before they are recorded.
    Loss,
    /// A guest records some runs twice.
    Twice,
    /// A singleton guest grows by one MiB per minute, and one more connection stays open every two seconds.
    Leaks,
}

impl Plant {
    fn from_environment() -> Option<Self> {
        let name = std::env::var("WASMNODE_SOAK_PLANT").ok()?;
        let all = [Self::Loss, Self::Twice, Self::Leaks];
        let found = all.into_iter().find(|plant| format!("{plant:?}").eq_ignore_ascii_case(&name));
        Some(found.unwrap_or_else(|| panic!("WASMNODE_SOAK_PLANT is one of {all:?}, not {name}")))
    }

    /// Returns `true` if the verdict has exactly the complaints that this fault causes.
    fn is_detected_by(self, verdict: &Verdict) -> bool {
        let expected: &[Complaint] = match self {
            Self::Loss => &[Complaint::Lost],
            Self::Twice => &[Complaint::RanTwice],
            Self::Leaks => &[Complaint::Memory, Complaint::Descriptors],
        };
        expected == verdict.complaints()
    }
}

/// Lock that allows one soak at a time, because two would compete for the processors.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a soak, and judges it.
fn soak(duration: Duration, seed: u64, plant: Option<Plant>) -> Verdict {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    println!("seed {seed}, {duration:?}, planted: {plant:?}");
    let random = fastrand::Rng::with_seed(seed);
    let mut sites = Sites::start();
    let (began, is_over) = (Instant::now(), AtomicBool::new(false));
    let observed = sites.never_killed();
    let (outages, faults) = (faults::Outages::default(), Faults::plan(duration));
    let clients = Clients { began, duration, plant, outages: &outages, endpoints: sites.endpoints() };
    let hostile = Hostile::new(&sites, random, plant, &is_over);
    let (receipts, samples, faults, acts) = std::thread::scope(|scope| {
        // Set on drop, so that the other threads end even if one panics.
        let _over = Over(&is_over);
        let clients = scope.spawn(|| clients.run());
        let hostile = scope.spawn(move || hostile.run(duration));
        let samples = scope.spawn(|| sample(began, &observed, &is_over));
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

/// Marks the soak as over on drop.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Samples the memory and descriptors of each process once per second, until the soak is over.
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
fn soak_under_faults_and_hostile_load_loses_nothing_and_runs_nothing_twice() {
    let seconds =
        std::env::var("WASMNODE_SOAK").map(|text| text.parse().expect("WASMNODE_SOAK is a number of seconds"));
    let duration = seconds.map_or(SHORT, Duration::from_secs);
    let plant = Plant::from_environment();
    let verdict = soak(duration, fastrand::u64(..), plant);
    match plant {
        None => assert_eq!(verdict.complaints(), [], "{verdict}"),
        Some(plant) => {
            assert!(plant.is_detected_by(&verdict), "{plant:?} was not detected: {verdict}");
        }
    }
    assert!(verdict.kills_and_freezes() >= 20, "{verdict}");
}

#[test]
fn a_lost_answer_and_a_second_run_fail_the_soak() {
    for plant in [Plant::Loss, Plant::Twice] {
        let verdict = soak(Duration::from_secs(10), 7, Some(plant));
        assert!(plant.is_detected_by(&verdict), "{plant:?} was not detected: {verdict}");
    }
}
