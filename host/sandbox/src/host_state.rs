//! Host state of one instance: the implementation of `wit/service.wit` and WASI, and the limits.

pub(crate) mod blocking;
pub(crate) mod bounds;
pub(crate) mod descriptors;
pub(crate) mod egress;
pub(crate) mod egress_policy;
pub(crate) mod exchange;
pub(crate) mod fs;
pub(crate) mod grants;
pub(crate) mod stdio;
pub(crate) mod tcp;
pub(crate) mod wasi_context;

use crate::calls::{RunEvent, RunId};
use crate::engine::MAX_TABLE_ELEMENTS;
use bindings::wasmnode::service::{calls, log, partial, types};
use fs::Root;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use tcp::GuestSockets;
use tracing::Level;
use wasi_context::{ServiceContext, WasiContext};
use wasmnode_protocol::{Code, Failure, ServiceName};
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// The types and traits of `wit/service.wit`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications, reason = "generated code")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "service",
        imports: { "wasmnode:service/calls.call": async | trappable, "wasmnode:service/partial.send": async | trappable, default: trappable },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// Bytes that each partial reply, and each of its frames, counts in addition to its size, because empty ones also take
/// memory.
const PARTIAL_OVERHEAD: usize = 64;

/// Largest size of one service's partial replies in the driver's queue, in bytes with overhead: enough to keep the
/// driver busy while a run produces the next one. A larger partial reply is queued alone.
pub(crate) const PARTIAL_ROOM: u32 = 256 << 10;

/// Largest number of open resources of an instance: files, streams, HTTP messages. Each takes memory of the host.
pub(crate) const MAX_RESOURCES: usize = 1_000;

thread_local! {
    /// Whether a guest yielded this thread because its time slice was over.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` if a guest has yielded this thread since the last call because its time slice was over.
pub(crate) fn take_yielded() -> bool {
    YIELDED.take()
}

/// Reason why a run past its deadline ended.
pub(crate) const STOPPED: &str = "the run was stopped at its deadline";

/// Host state of one instance.
pub(crate) struct HostState {
    context: Arc<ServiceContext>,
    wasi: Option<WasiContext>,
    resources: ResourceTable,
    pub(crate) sockets: GuestSockets,
    limits: InstanceLimits,
    request: RunId,
    reply_left: usize,
    sent_partials: bool,
}

/// Failure with which the host ended a run.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Failure);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Ended {}

/// Offers `wasmnode:service`, WASI 0.2 and `wasi:http` to guests.
///
/// # Errors
/// If an interface is added twice, which is a mistake in this module.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    bounds::link(linker)?;
    fs::link(linker)?;
    tcp::link(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bindings::Service::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)
}

impl HostState {
    /// Creates the state. `wasi` defaults to a WASI context without folders, created on first use.
    pub(crate) fn new(context: Arc<ServiceContext>, wasi: Option<WasiContext>) -> Self {
        let memory = context.settings.memory;
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        Self {
            context,
            wasi,
            resources,
            sockets: GuestSockets::default(),
            limits: InstanceLimits { memory, used: 0, table_elements: 0, exhausted: None },
            request: RunId(0),
            reply_left: 0,
            sent_partials: false,
        }
    }

    /// Limits of the instance, for its store.
    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    /// Begins a request; all its replies together may have `reply` bytes.
    pub(crate) fn begin(&mut self, request: RunId, reply: usize) {
        (self.request, self.reply_left, self.sent_partials) = (request, reply, false);
        self.limits.exhausted = None;
        self.wasi.iter_mut().for_each(|wasi| wasi.begin(request));
    }

    /// Ends the request: logs unfinished lines, and releases the descriptors of closed sockets.
    pub(crate) fn end(&mut self) {
        self.wasi.iter().for_each(WasiContext::end_lines);
        self.forget_closed_sockets();
    }

    /// Aborts the HTTP bodies that the guest has neither finished nor dropped. Dropped with the store, a body would
    /// look complete to its reader.
    pub(crate) fn abort_bodies(&mut self) {
        for body in self.resources.iter_mut().filter_map(|resource| resource.downcast_mut::<HostOutgoingBody>()) {
            let (in_its_place, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, in_its_place).abort();
        }
    }

    pub(crate) fn reply_left(&self) -> usize {
        self.reply_left
    }

    pub(crate) fn has_sent_partials(&self) -> bool {
        self.sent_partials
    }

    /// Request that the instance serves.
    pub(crate) fn request(&self) -> RunId {
        self.request
    }

    /// Context that all instances of the service share.
    pub(crate) fn context(&self) -> &Arc<ServiceContext> {
        &self.context
    }

    /// Open resources.
    pub(crate) fn resources(&self) -> &ResourceTable {
        &self.resources
    }

    pub(crate) fn resources_mut(&mut self) -> &mut ResourceTable {
        &mut self.resources
    }

    /// Folders that the instance may access.
    pub(crate) fn roots(&self) -> Vec<Arc<Root>> {
        self.wasi.as_ref().map(|wasi| wasi.roots.clone()).unwrap_or_default()
    }

    /// Returns the WASI context, created on first use, and the open resources.
    fn wasi_context(&mut self) -> (&mut WasiContext, &mut ResourceTable) {
        let wasi = self.wasi.get_or_insert_with(|| {
            let mut wasi = WasiContext::logging(&self.context, Vec::new());
            wasi.begin(self.request);
            wasi
        });
        (wasi, &mut self.resources)
    }

    /// Lets the guest continue after yielding; called at its epoch deadline.
    ///
    /// # Errors
    /// If the request is past its deadline.
    pub(crate) fn on_epoch_deadline(&self) -> wasmtime::Result<UpdateDeadline> {
        if self.context.calls.is_overdue(self.request) {
            return Err(wasmtime::Error::new(Ended(Failure::new(Code::Deadline, STOPPED))));
        }
        YIELDED.set(true);
        Ok(UpdateDeadline::Yield(1))
    }

    /// Returns the growth that was denied to the instance, if any.
    pub(crate) fn exhausted(&self) -> Option<Exhausted> {
        self.limits.exhausted
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi_context();
        WasiCtxView { ctx: &mut wasi.wasi, table }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, table) = self.wasi_context();
        WasiHttpCtxView { hooks: &mut wasi.outgoing, table, ctx: &mut wasi.http }
    }
}

struct InstanceLimits {
    memory: usize,
    used: usize,
    table_elements: usize,
    exhausted: Option<Exhausted>,
}

/// Size that the denied growth would have reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exhausted {
    /// Bytes of linear memory.
    Memory(usize),
    /// Elements of all tables.
    Tables(usize),
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.memory {
            self.exhausted = Some(Exhausted::Memory(used));
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > MAX_TABLE_ELEMENTS {
            self.exhausted = Some(Exhausted::Tables(elements));
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }
}

impl types::Host for HostState {}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => Level::TRACE,
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        };
        self.context.log.line(level, self.request, &message);
        Ok(())
    }
}

impl partial::Host for HostState {
    /// Waits until the driver has handled enough of the earlier partial replies.
    async fn send(&mut self, body: types::BodyResult) -> wasmtime::Result<()> {
        let too_large = |reason: String| Err(wasmtime::Error::new(Ended(Failure::new(Code::TooLarge, reason))));
        let (frames, limit) = (body.len(), self.context.max_frames);
        if frames > limit {
            return too_large(format!("a partial reply of {frames} frames is over limits.frames = {limit}"));
        }
        let bytes = body.iter().map(|frame| frame.len()).sum::<usize>() + PARTIAL_OVERHEAD * (frames + 1);
        let Some(left) = self.reply_left.checked_sub(bytes) else {
            return too_large(format!(
                "its replies, partial ones included, are over service.{}.reply = {} bytes; each partial reply and each \
                 of its frames counts {PARTIAL_OVERHEAD} bytes more",
                self.context.service, self.context.settings.reply
            ));
        };
        self.reply_left = left;
        let taken = self.context.partial_capacity.take(bytes).await;
        self.sent_partials = true;
        let body = body.into_iter().map(Into::into).collect();
        self.context.calls.sending.send_in(taken, RunEvent::Partial { run: self.request, body });
        Ok(())
    }
}

impl calls::Host for HostState {
    async fn call(
        &mut self,
        service: String,
        body: types::BodyResult,
    ) -> wasmtime::Result<Result<types::BodyResult, calls::CallFailure>> {
        let body = body.into_iter().map(Into::into).collect();
        let result = match service.parse::<ServiceName>() {
            Ok(service) => self.context.calls.call(self.request, service, body).await,
            Err(invalid) => Err(invalid.into()),
        };
        Ok(result.map(|body| body.into_iter().map(Into::into).collect()).map_err(call_failure))
    }
}

fn call_failure(failure: Failure) -> calls::CallFailure {
    match failure.code {
        Code::Rejected => calls::CallFailure::Service(types::Failure::Rejected(failure.reason)),
        Code::Failed => calls::CallFailure::Service(types::Failure::Failed(failure.reason)),
        code => calls::CallFailure::Node(calls::NodeFailure { code: code.number(), reason: failure.reason }),
    }
}
