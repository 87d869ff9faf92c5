//! A zone in virtual time: how fast nodes detect joins and deaths, at what cost, and under which faults.
//!
//! A failing seed of [`faults`] is reported by its number, and replayed, with its log, by `WASMNODE_SEED=n cargo test
//! -p wasmnode-core --test members faults -- --nocapture`. `WASMNODE_SEEDS=n` sets the number of seeds. The figures are
//! printed: `cargo test -p wasmnode-core --test members -- --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/log.rs"]
mod log;
#[path = "../common/notation/mod.rs"]
mod notation;
#[path = "../common/seeds.rs"]
mod seeds;

mod bytes;
mod faults;
mod metrics;
mod names;
mod network;
mod partitions;
