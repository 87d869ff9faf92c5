//! Zones joined by routers, in virtual time: how fast routes settle and at what cost, and hundreds of seeds in which
//! routers crash, links flap, networks part and heal, policies change and services come and go.
//!
//! After each step [`router`] compares what a router told with what it knows; at rest [`oracle`] finds all ways anew, in
//! another way. A seed that fails names itself; it is replayed, with its log, by
//! `WASMNODE_SEED=n cargo test -p wasmnode-core --test paths trouble -- --nocapture`. `WASMNODE_SEEDS=n` sets how many are
//! run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod figures;
mod graph;
mod network;
mod oracle;
mod router;
mod world;
