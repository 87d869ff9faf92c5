//! Cost of wasmtime itself: calls of the same component in the client's own process, without ZeroMQ and without a node.
//!
//! The engine is set up as in a node, but calls run without fibers, limits, epochs and a WASI context, so the cost is
//! below that of a sandbox.

use crate::suite::Result;
use crate::suite::connection::{Connection, STAMP, stamp_of};
use crate::suite::contender::{Contender, Wanted};
use crate::suite::guests;
use crate::suite::nodes::ECHO;
use crate::suite::stage::Stage;
use bindings::wasmnode::service::types::{Metadata, Request};
use bindings::{Service, ServicePre};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

#[allow(unreachable_pub, clippy::all, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "service",
        exports: { default: trappable },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// Memory that stays mapped, as in a node.
const KEEP_RESIDENT: usize = 2 << 20;

pub(crate) fn contenders(_: &mut Stage, wanted: &Wanted) -> Result<Vec<Contender>> {
    let all = [("wasmtime alone, reused", true), ("wasmtime alone, fresh", false)];
    let all = all.into_iter().filter(|(name, _)| wanted.is(name));
    all.map(|(name, is_kept)| {
        let pre = component()?;
        Ok(Contender::new(name, vec![std::process::id()], move |payload| {
            Ok(Box::new(Calls::new(pre.clone(), is_kept, payload)?))
        }))
    })
    .collect()
}

fn component() -> Result<ServicePre<()>> {
    let mut pool = PoolingAllocationConfig::new();
    pool.linear_memory_keep_resident(KEEP_RESIDENT);
    pool.table_keep_resident(KEEP_RESIDENT);
    pool.pagemap_scan(wasmtime::Enabled::Auto);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let component = Component::new(&engine, guests::component(ECHO))?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&component)?;
    Ok(ServicePre::new(linker.instantiate_pre(&component)?)?)
}

struct Calls {
    pre: ServicePre<()>,
    is_kept: bool,
    kept: Option<(Store<()>, Service)>,
    body: Vec<u8>,
    /// Stamps of answers that have not been received yet.
    answers: VecDeque<u64>,
    always_readable: OwnedFd,
}

impl Calls {
    fn new(pre: ServicePre<()>, is_kept: bool, payload: usize) -> Result<Self> {
        let always_readable = eventfd(1, EventfdFlags::CLOEXEC)?;
        Ok(Self { pre, is_kept, kept: None, body: vec![b'x'; payload], answers: VecDeque::new(), always_readable })
    }
}

impl Connection for Calls {
    fn send(&mut self, stamp: u64) -> Result<()> {
        self.body[..STAMP].copy_from_slice(&stamp.to_be_bytes());
        let (mut store, service) = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let mut store = Store::new(self.pre.engine(), ());
                let service = self.pre.instantiate(&mut store)?;
                (store, service)
            }
        };
        let metadata = Metadata {
            request_id: stamp,
            remaining_us: 1_000_000,
            caller: "client:0000000000",
            traceparent: None,
            idempotency_key: None,
        };
        let request = Request { service: "echo", body: &[&self.body], metadata };
        let body = service.wasmnode_service_handler().call_handle(&mut store, request)?;
        let body = body.map_err(|failure| format!("{failure:?}"))?;
        self.answers.push_back(stamp_of(body.first().ok_or("an answer without a frame")?, self.body.len())?);
        self.kept = self.is_kept.then_some((store, service));
        Ok(())
    }

    fn receive(&mut self, _wait: bool) -> Result<Option<u64>> {
        Ok(self.answers.pop_front())
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.always_readable.as_fd())
    }
}
