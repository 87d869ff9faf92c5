//! Directories of one zone on a faulty network: hundreds of seeds, each with a few nodes whose adverts are lost,
//! duplicated, delayed and reordered, while nodes crash, consider each other dead, and services come and go.
//!
//! After each step, [`fixture`] compares a directory with the sum of its effects. Once the faults stop, every node has
//! the offers of every other one within half a lease, and none of the dead within a lease and a half; then nothing
//! changes. A failing seed is reported by its number, and replayed, with its log, by `WASMNODE_SEED=n cargo test -p
//! wasmnode-core --test routes -- --nocapture`. `WASMNODE_SEEDS=n` sets the number of seeds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/log.rs"]
mod log;
#[path = "../common/notation/mod.rs"]
mod notation;
#[path = "../common/seeds.rs"]
mod seeds;

mod fixture;
mod world;

use log::{Log, transcripts};
use seeds::number_from;
use std::collections::BTreeMap;
use world::World;

const SEEDS: u64 = 600;

/// Events that must occur in at least one seed; otherwise, the seeds prove little.
const MUST_HAPPEN: [&str; 11] = [
    "crashed",
    "cut",
    "delayed",
    "duplicated",
    "lease ran out",
    "lost",
    "over a limit",
    "pulled",
    "stayed dead",
    "taken for dead",
    "unlisted",
];

#[test]
fn after_the_faults_every_node_has_the_offers_of_all() {
    if let Some(seed) = number_from("WASMNODE_SEED") {
        World::new(seed, Log::Printed).run();
        println!("seed {seed} kept every invariant");
        return;
    }
    let seeds = number_from("WASMNODE_SEEDS").unwrap_or(SEEDS);
    let mut happened = BTreeMap::new();
    for seed in 0..seeds {
        for (what, times) in World::new(seed, Log::None).run().happened {
            *happened.entry(what).or_insert(0) += times;
        }
    }
    println!("{happened:?}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !happened.contains_key(*what)).collect();
    assert!(missing.is_empty() || seeds < SEEDS, "no seed has seen: {missing:?}");
}

#[test]
fn the_same_seed_has_the_same_transcript() {
    transcripts("routes", 1, |seed, log| World::new(seed, log).run().log);
}
