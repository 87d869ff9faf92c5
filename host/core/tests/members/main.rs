//! A zone in virtual time: how fast nodes find each other and miss the dead, what it costs, and what goes wrong with it.
//!
//! The figures are printed: `cargo test -p wasmnode-core --test members -- --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes;
mod figures;
mod names;
mod network;
mod trouble;
