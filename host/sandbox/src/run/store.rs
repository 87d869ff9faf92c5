//! The store of one instance, and the reason why a run has no reply.

use crate::calls::RunId;
use crate::engine::{MAX_TABLE_ELEMENTS, stacks};
use crate::host_state::wasi_context::{ServiceContext, WasiContext};
use crate::host_state::{Ended, Exhausted, HostState, MAX_RESOURCES};
use std::sync::Arc;
use wasmnode_protocol::{Code, Failure};
use wasmtime::component::ResourceTableError;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};

/// Ticks of the epoch that a guest may run before it yields its thread: between one and two milliseconds.
pub(crate) const TICKS: u64 = 2;

/// Bytes that a guest may pass to the host in one call in addition to a body: the pointers and lengths of its frames, a
/// log line.
const HEADROOM: usize = 64 << 10;

/// Creates the store of one instance, with all limits.
pub(crate) async fn store(
    context: &Arc<ServiceContext>,
    engine: &Engine,
    outside: Option<WasiContext>,
    run: RunId,
) -> Store<HostState> {
    let mut store = Store::new(engine, HostState::new(Arc::clone(context), outside));
    store.limiter(HostState::limiter);
    store.set_max_component_handles(MAX_RESOURCES);
    store.set_hostcall_fuel(context.settings.reply.max(context.max_body) + HEADROOM);
    store.epoch_deadline_callback(|guest| guest.data().on_epoch_deadline());
    store.set_epoch_deadline(TICKS);
    stacks::trim(&mut store, run.0).await;
    store
}

pub(crate) fn over_reply_limit(context: &ServiceContext) -> Failure {
    let (service, limit) = (&context.service, context.settings.reply);
    Failure::new(Code::TooLarge, format!("the output of {service} is over service.{service}.reply = {limit} bytes"))
}

/// Returns the failure of a run without a reply; a reason that the host recorded takes precedence over wasmtime's
/// error.
pub(crate) fn explain(context: &ServiceContext, error: &wasmtime::Error, guest: &HostState) -> Failure {
    let service = &context.service;
    if let Some(Ended(failure)) = error.downcast_ref::<Ended>() {
        return Failure::new(failure.code, format!("{service}: {}", failure.reason));
    }
    if let Some(exhausted) = guest.exhausted() {
        let (what, limit) = match exhausted {
            Exhausted::Memory(bytes) => {
                (format!("{bytes} bytes of memory"), format!("service.{service}.memory = {}", context.settings.memory))
            }
            Exhausted::Tables(elements) => {
                (format!("{elements} elements of tables"), format!("it may have {MAX_TABLE_ELEMENTS}"))
            }
        };
        return Failure::new(Code::Exhausted, format!("an instance of {service} requested {what}: {limit}"));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        let reason = format!("all instances are in use: limits.instances; {service} was not started");
        return Failure::new(Code::Overloaded, reason);
    }
    let cause = error.root_cause().to_string();
    // The error of wasmtime's own limit has no type.
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || cause.contains("store handle limit") {
        let reason = format!("an instance of {service} requested more than {MAX_RESOURCES} open resources");
        return Failure::new(Code::Exhausted, reason);
    }
    // The type of this error is private to wasmtime, so its text is compared.
    if cause.contains("fuel allocated for hostcalls") {
        return over_reply_limit(context);
    }
    let what = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => cause,
    };
    Failure::new(Code::Crashed, format!("an instance of {service} crashed: {what}"))
}
