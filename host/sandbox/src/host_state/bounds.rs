//! Bounds on host calls whose work grows with a number that the guest chooses. Needed because a run begins on the
//! driver's own thread, and a guest yields only in its own code.
//!
//! | call | bound |
//! |---|---|
//! | `get-random-bytes`, `get-insecure-random-bytes` | [`MAX_RANDOM`] bytes, here |
//! | `poll` | [`MAX_RESOURCES`] pollables, here |
//! | `output-stream.write`, `write-zeroes` to stdout and stderr | what `check-write` allows, in `stdio.rs`; for the output of a command `service.NAME.reply` |
//! | `output-stream.write`, `splice` elsewhere; `input-stream.read`, `skip` | 64 KiB, wasmtime-wasi |
//! | header fields of HTTP | 32 KiB, `egress.rs` |
//! | `log.write` | 8 KiB of the line are kept, `stdio.rs` |
//! | `partial.send`, `calls.call`, the answer | `limits.message` or `service.NAME.reply` bytes, `limits.frames` frames |
//! | every list and string, together in one call | the larger of both, plus 64 KiB: the store's fuel for host calls |
//!
//! Unbounded operations, such as a list of millions of handles or a bulk operation on the guest's own memory, can block
//! the thread once: after that, `placement.rs` keeps the plugin off it.

use crate::host_state::{Ended, HostState, MAX_RESOURCES};
use wasmnode_protocol::{Code, Failure};
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll;
use wasmtime_wasi::p2::bindings::random::{insecure, random};

/// Largest number of random bytes in one call: as many as browsers allow (`crypto.getRandomValues`).
const MAX_RANDOM: u64 = 64 << 10;

/// Replaces unbounded calls of wasmtime-wasi with bounded ones.
///
/// # Errors
/// If an interface does not match that of wasmtime-wasi.
pub(crate) fn link(linker: &mut Linker<HostState>) -> Result<()> {
    linker.allow_shadowing(true);
    random::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    insecure::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    poll::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn bound(requested: u64, limit: u64, what: &str) -> Result<()> {
    if requested <= limit {
        return Ok(());
    }
    let reason = format!("an instance requested {requested} {what} in one call; the limit is {limit}");
    Err(wasmtime::Error::new(Ended(Failure::new(Code::Exhausted, reason))))
}

impl random::Host for HostState {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        bound(length, MAX_RANDOM, "random bytes")?;
        random::Host::get_random_bytes(self.ctx().ctx.random(), length)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        random::Host::get_random_u64(self.ctx().ctx.random())
    }
}

impl insecure::Host for HostState {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        bound(length, MAX_RANDOM, "random bytes")?;
        insecure::Host::get_insecure_random_bytes(self.ctx().ctx.random(), length)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        insecure::Host::get_insecure_random_u64(self.ctx().ctx.random())
    }
}

impl poll::Host for HostState {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        bound(pollables.len() as u64, MAX_RESOURCES as u64, "pollables")?;
        poll::Host::poll(self.ctx().table, pollables).await
    }
}

impl poll::HostPollable for HostState {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.ctx().table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::block(self.ctx().table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.ctx().table, pollable)
    }
}
