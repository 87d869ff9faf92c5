//! Directories of one zone on a bad network: hundreds of seeds, each a few nodes whose adverts get lost, come twice,
//! late and in another order, while nodes crash, take each other for dead, and services come and go.
//!
//! After each step [`station`] compares a directory with what its effects have told. Once the faults stop, every node
//! knows what every other one offers within half a lease, has forgotten the dead within a lease and a half, and then
//! nothing moves any more. A seed that fails names itself; it is replayed, with its log, by `WASMNODE_SEED=n cargo test
//! -p wasmnode-core --test routes -- --nocapture`. `WASMNODE_SEEDS=n` sets how many are run.

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

/// What must have happened somewhere, or the seeds prove little.
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
fn after_the_faults_everybody_knows_what_everybody_offers() {
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
