//! wasmnode: a broker node that serves sandboxed WebAssembly components over ZeroMQ.
//!
//! The binary is a thin layer over [`config`] and [`driver`]. Programs that send requests to a node use
//! `wasmnode-client`.

mod admin;
pub mod built_in;
pub mod config;
pub mod driver;
mod event_queue;
pub mod keys;
mod reload;
mod repeats;
mod signals;
pub mod suggestion;
mod transport;
