//! wasmnode: a broker node that serves sandboxed WebAssembly components over ZeroMQ.
//!
//! The binary is a thin layer over [`config`] and [`driver`]. Programs that want to ask a node use [`client`].

pub mod admin;
pub mod client;
pub mod config;
pub mod driver;
mod event_queue;
pub mod files;
mod guard;
pub mod keys;
pub mod loadgen;
mod log_throttle;
mod plugins;
mod reload;
mod repeats;
mod signals;
mod sockets;
pub mod suggestion;

pub use plugins::{
    FolderIdentity, GenerationState, Inspection, PluginFolder, PluginStatus, Refusal, Verdict, compile_process, digest,
    inspect, loadable, signature_of,
};
