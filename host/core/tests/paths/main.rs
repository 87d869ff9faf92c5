//! Zones joined by routers, in virtual time: how fast routes settle and at what cost, and hundreds of seeds in which
//! routers crash, links flap, networks part and heal, policies change and services come and go.
//!
//! After each step, [`router`] compares the effects of a router with its state; at rest, [`oracle`] computes all routes
//! by another algorithm. A failing seed is reported by its number, and replayed, with its log, by `WASMNODE_SEED=n
//! cargo test -p wasmnode-core --test paths after_faults -- --nocapture`. `WASMNODE_SEEDS=n` sets the number of seeds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/byzantine.rs"]
mod byzantine;
#[path = "../common/graph.rs"]
mod graph;
#[path = "../common/log.rs"]
mod log;
#[path = "../common/notation/mod.rs"]
mod notation;
#[path = "../common/seeds.rs"]
mod seeds;

mod byzantine_router;
mod clocks;
mod faults;
mod metrics;
mod mutants;
mod network;
mod oracle;
mod router;
mod world;

use faults::Trouble;
use log::{Log, transcripts};
use seeds::number_from;
use std::collections::BTreeMap;

const SEEDS: u64 = 300;

/// Events that must occur in at least one seed; otherwise, the seeds prove little.
const MUST_HAPPEN: [&str; 11] = [
    "a link is cut",
    "a partition heals",
    "a policy changes",
    "a probe arrives",
    "a probe is lost",
    "a probe loops",
    "a router crashes",
    "a router leaves",
    "a service comes",
    "a service goes",
    "a session is lost",
];

/// Runs every second seed, beginning with `first`.
fn sweep(first: u64) {
    if let Some(seed) = number_from("WASMNODE_SEED") {
        if seed % 2 == first {
            Trouble::new(seed, Log::Printed).run().unwrap();
            println!("seed {seed} kept every invariant");
        }
        return;
    }
    let seeds = number_from("WASMNODE_SEEDS").unwrap_or(SEEDS);
    let (mut happened, mut events) = (BTreeMap::new(), 0);
    for seed in (first..seeds).step_by(2) {
        let mut trouble = Trouble::new(seed, Log::None);
        trouble.run().unwrap();
        events += trouble.seen.events;
        for (what, times) in trouble.seen.happened {
            *happened.entry(what).or_insert(0) += times;
        }
    }
    println!("{events} events: {happened:?}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !happened.contains_key(*what)).collect();
    assert!(missing.is_empty() || seeds < SEEDS, "no seed has seen: {missing:?}");
}

#[test]
fn after_faults_even_seeds_find_all_routes() {
    sweep(0);
}

#[test]
fn after_faults_odd_seeds_find_all_routes() {
    sweep(1);
}

#[test]
fn the_same_seed_has_the_same_transcript() {
    transcripts("paths", 1, |seed, log| {
        let mut trouble = Trouble::new(seed, log);
        trouble.run().unwrap();
        std::mem::take(&mut trouble.world.network.log)
    });
}

#[test]
fn the_same_seed_with_a_byzantine_router_has_the_same_transcript() {
    transcripts("byzantine", 1, |seed, log| {
        std::mem::take(&mut byzantine_router::with_byzantine(seed, seed % 2 == 0, log).network.log)
    });
}
