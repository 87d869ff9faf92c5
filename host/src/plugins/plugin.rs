//! One plugin and its instances: with `kind.rs`, `engine.rs`, `epoch.rs` and `stdio.rs` all that names wasmtime.

use super::backtrace;
use super::blocking::Blocking;
use super::command;
use super::engine::Sandbox;
use super::exchange::Lookups;
use super::failed_runs::FailedRuns;
use super::fs::GrantedFolder;
use super::host_state::{Calls, Ended, Exhausted, HostState, MAX_RESOURCES, MAX_TABLE_ELEMENTS, PARTIAL_ROOM, STOPPED};
use super::http;
use super::kind::Kind;
use super::placement::Placement;
use super::quarantine::Quarantine;
use super::stacks;
use super::stdio::ServiceLog;
use super::wasi_context::{ServiceContext, WasiContext};
use super::{GenerationState, PluginEvent, PluginStatus};
use crate::config::{Reuse, SandboxSettings, Trial};
use crate::event_queue::Capacity;
use crate::plugins::host_state::bindings::wasmnode::service::types;
use crate::plugins::host_state::bindings::{Service, ServicePre};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};
use wasmnode_core::message::size;
use wasmnode_core::{Body, Code, Failure, Frame, RequestId, Run, ServiceName, text};
use wasmtime::component::{Component, ResourceTableError};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};

/// Ticks of the epoch that a guest may run before it gives its thread back: between one and two milliseconds.
const TICKS: u64 = 2;

/// What a guest may pass to the host in one call over and above a body: the bookkeeping of its frames, a log line.
const HEADROOM: usize = 64 << 10;

/// A loaded plugin.
pub(crate) struct Plugin {
    pub(super) context: Arc<ServiceContext>,
    pub(super) origin: Origin,
    kind: Kind,
    max_body: usize,
    /// Instances between two requests, for services that reuse them.
    idle: Mutex<Vec<Instance>>,
    /// How long its runs take.
    pub(super) placement: Placement,
    requests: AtomicU64,
    /// Requests whose instance trapped, or asked for more than it may have.
    crashes: AtomicU64,
    health: Mutex<Quarantine>,
    /// Its number among the versions of the plugin.
    generation: AtomicU64,
    /// Whether there is a version before it that could serve in its place.
    has_fallback: AtomicBool,
}

/// Where a plugin came from.
pub(super) struct Origin {
    pub(super) file: PathBuf,
    pub(super) digest: String,
    pub(super) bytes: u64,
    /// The signature that it was admitted with.
    pub(super) signature: Option<String>,
    pub(super) loaded_at: SystemTime,
}

/// A request to run, and how long it may take.
pub(super) struct Job {
    pub(super) request: Box<Run>,
    pub(super) remaining: Duration,
}

impl Job {
    /// The time that is left, as guests are told.
    pub(super) fn remaining_us(&self) -> u64 {
        u64::try_from(self.remaining.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The end of a run.
pub(super) struct Outcome {
    pub(super) result: Result<Body, Failure>,
    /// Whether partial replies went ahead of it, by the mailbox.
    pub(super) sent_partials: bool,
    /// Where the guest was when it was ended.
    pub(super) backtrace: Option<Box<str>>,
}

impl Outcome {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), sent_partials: false, backtrace: None }
    }
}

struct Instance {
    store: Store<HostState>,
    exports: Service,
    served: u32,
}

impl Plugin {
    /// Links a component to the host.
    ///
    /// # Errors
    /// Says which import or export does not fit.
    pub(super) fn new(
        sandbox: &Sandbox,
        component: &Component,
        service: ServiceName,
        origin: Origin,
        settings: SandboxSettings,
        calls: Arc<Calls>,
    ) -> Result<Self, String> {
        let kind = Kind::of(sandbox, component)?;
        // A grant that cannot be given is found out now, not with the first request.
        settings.grants.fs.iter().try_for_each(GrantedFolder::check)?;
        let log = Arc::new(ServiceLog::new(service.clone(), settings.log_lines));
        let (idle, pace, max_body) = (Mutex::default(), Placement::default(), sandbox.max_body);
        let (requests, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
        let health = Mutex::new(Quarantine::new(settings.quarantine_after));
        let (partials, max_frames) = (Capacity::new(PARTIAL_ROOM), sandbox.max_frames);
        let lookups = Lookups::new(Arc::clone(&calls.node_addresses));
        let folders = settings.grants.fs.iter().cloned().map(GrantedFolder::new).collect();
        let (blocking, shares) = (Blocking::new(), Arc::clone(&sandbox.shared));
        let around = Arc::new(ServiceContext {
            service,
            settings,
            log,
            calls,
            partial_capacity: partials,
            max_frames,
            lookups,
            folders,
            blocking,
            shared: shares,
            failed_runs: FailedRuns::new(),
        });
        let (generation, has_fallback) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self {
            context: around,
            origin,
            kind,
            max_body,
            idle,
            placement: pace,
            requests,
            crashes,
            health,
            generation,
            has_fallback,
        })
    }

    /// SHA-256 of the file, hexadecimal.
    pub(super) fn digest(&self) -> &str {
        &self.origin.digest
    }

    /// Whether it has crashed in more of its first requests than the service allows.
    pub(super) fn is_condemned(&self) -> bool {
        let Trial { requests, crashes } = self.context.settings.trial;
        let (served, crashed) = (self.requests.load(Ordering::Relaxed), self.crashes.load(Ordering::Relaxed));
        served <= u64::from(requests) && crashed * 100 > u64::from(requests) * u64::from(crashes)
    }

    pub(super) fn status(&self, generation: u64, state: GenerationState) -> PluginStatus {
        PluginStatus {
            generation,
            state,
            file: text::shown(&self.origin.file),
            digest: self.origin.digest.clone(),
            bytes: self.origin.bytes,
            loaded_at: humantime::format_rfc3339_seconds(self.origin.loaded_at).to_string(),
            requests: self.requests.load(Ordering::Relaxed),
            crashes: self.crashes.load(Ordering::Relaxed),
            quarantine_ms: u64::try_from(self.health().quarantine(Instant::now()).as_millis()).unwrap_or(u64::MAX),
            mean_us: self.placement.mean_us(),
            log_lines_dropped: self.context.log.dropped(),
        }
    }

    /// Serves one request, in a fresh instance or one that is kept.
    #[expect(clippy::manual_async_fn, reason = "it would be larger by a copy of the job, and each run is moved once")]
    pub(super) fn run(self: Arc<Self>, job: Job) -> impl Future<Output = Outcome> + Send {
        async move {
            let mut watch = Watch { plugin: &self, request: &job.request, has_ended: false };
            let outcome = self.serve(&job).await;
            watch.has_ended = true;
            if let Err(failure) = &outcome.result {
                self.log_failure(&job.request, failure, outcome.backtrace.as_deref());
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let has_crashed = matches!(&outcome.result, Err(Failure { code: Code::Crashed | Code::Exhausted, .. }));
            if has_crashed {
                self.crashes.fetch_add(1, Ordering::Relaxed);
            }
            if self.has_ever_crashed() {
                self.record_outcome(has_crashed);
            }
            outcome
        }
    }

    fn log_failure(&self, request: &Run, failure: &Failure, backtrace: Option<&str>) {
        self.context.failed_runs.log(request, self.generation(), failure, backtrace);
    }

    /// It is the version of this number from now on; whether there is one before it that could serve in its place.
    pub(super) fn installed(&self, generation: u64, has_fallback: bool) {
        self.generation.store(generation, Ordering::Relaxed);
        self.has_fallback.store(has_fallback, Ordering::Relaxed);
    }

    /// A request has ended, of a plugin that has crashed in this or in others.
    fn record_outcome(&self, has_crashed: bool) {
        // A version that can be replaced is judged by its first requests, and a quarantine would keep it from them.
        if has_crashed && self.is_on_trial() {
            return;
        }
        let (was_quarantined, wait, crashes) = {
            let mut health = self.health();
            let was_quarantined = health.is_in_quarantine();
            (was_quarantined, health.record(has_crashed, Instant::now()), health.crashes_in_a_row())
        };
        let service = &self.context.service;
        match wait {
            Some(wait) => warn!("{service} is in quarantine for {wait:?}: it crashed in {crashes} requests in a row"),
            None if was_quarantined && !has_crashed => info!("{service} is out of quarantine: a request ended well"),
            None => return,
        }
        self.report_quarantine();
    }

    /// Whether it is judged by its first requests, and the version before it serves if it fails.
    fn is_on_trial(&self) -> bool {
        let Trial { requests, crashes } = self.context.settings.trial;
        let served = self.requests.load(Ordering::Relaxed);
        self.has_fallback.load(Ordering::Relaxed) && served <= u64::from(requests) && crashes < 100
    }

    /// Number among the versions of the plugin.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Says how long requests are refused still, so that whoever asks is told so.
    pub(super) fn report_quarantine(&self) {
        let (service, generation) = (self.context.service.clone(), self.generation());
        let lasts = self.health().quarantine(Instant::now());
        self.context.calls.sending.send(PluginEvent::Quarantine { service, generation, lasts });
    }

    /// Whether a request may be tried.
    ///
    /// # Errors
    /// If the plugin is in quarantine.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        if !self.has_ever_crashed() {
            return Ok(());
        }
        let mut health = self.health();
        health.admit(Instant::now()).map_err(|left| {
            let (service, crashes) = (&self.context.service, health.crashes_in_a_row());
            let reason =
                format!("{service} is in quarantine for {left:.1?} more: it crashed in {crashes} requests in a row");
            Failure::new(Code::Crashed, reason)
        })
    }

    /// Spares the many that have not the clock and the lock.
    fn has_ever_crashed(&self) -> bool {
        self.crashes.load(Ordering::Relaxed) > 0
    }

    fn health(&self) -> MutexGuard<'_, Quarantine> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, job: &Job) -> Outcome {
        match &self.kind {
            Kind::Service(pre) => self.handle(pre, job).await,
            // Elsewhere, for they are large: what runs most often shall not move their bytes about.
            Kind::Command(pre) => Box::pin(command::serve(self, pre, job)).await,
            Kind::Http(pre) => Box::pin(http::serve(self, pre, job)).await,
        }
    }

    async fn handle(&self, pre: &ServicePre<HostState>, job: &Job) -> Outcome {
        let mut instance = match self.take_kept() {
            Some(instance) => instance,
            // Elsewhere for the same reason.
            None => match Box::pin(self.instantiate(pre, job.request.id)).await {
                Ok(instance) => instance,
                Err(outcome) => return outcome,
            },
        };
        let remaining_us = job.remaining_us();
        let request = &job.request;
        instance.store.data_mut().begin(request.id, self.context.settings.reply);
        instance.store.set_epoch_deadline(TICKS);
        let (texts, frames) = (Texts::of(request), request.body.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let request = lower(request, remaining_us, &texts, &frames);
        let called = instance.exports.wasmnode_service_handler().call_handle(&mut instance.store, request).await;
        let guest = instance.store.data_mut();
        guest.end();
        let sent_partials = guest.has_sent_partials();
        let mut backtrace = None;
        let result = match called {
            Ok(reply) => {
                let result = self.lift(reply, guest);
                self.keep(instance);
                result
            }
            Err(error) => {
                backtrace = backtrace::of(&error);
                Err(self.explain(&error, guest))
            }
        };
        Outcome { result, sent_partials, backtrace }
    }

    async fn instantiate(&self, pre: &ServicePre<HostState>, request: RequestId) -> Result<Instance, Outcome> {
        // To open a folder can fail, which is told best before the guest begins.
        let outside = if self.context.settings.grants.fs.is_empty() {
            None
        } else {
            Some(WasiContext::logging(&self.context, self.context.open_folders().await.map_err(Outcome::failed)?))
        };
        let mut store = self.store(pre.engine(), outside, request).await;
        store.data_mut().begin(request, self.context.settings.reply);
        match pre.instantiate_async(&mut store).await {
            Ok(exports) => Ok(Instance { store, exports, served: 0 }),
            Err(error) => {
                let failed = Outcome::failed(self.explain(&error, store.data()));
                Err(Outcome { backtrace: backtrace::of(&error), ..failed })
            }
        }
    }

    /// Makes the store of one instance, with all limits.
    pub(super) async fn store(
        &self,
        engine: &Engine,
        outside: Option<WasiContext>,
        request: RequestId,
    ) -> Store<HostState> {
        let mut store = Store::new(engine, HostState::new(Arc::clone(&self.context), outside));
        store.limiter(HostState::limiter);
        store.set_max_component_handles(MAX_RESOURCES);
        store.set_hostcall_fuel(self.context.settings.reply.max(self.max_body) + HEADROOM);
        store.epoch_deadline_callback(|context| context.data().on_epoch_deadline());
        store.set_epoch_deadline(TICKS);
        stacks::trim(&mut store, request.0).await;
        store
    }

    fn take_kept(&self) -> Option<Instance> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, mut instance: Instance) {
        instance.served += 1;
        let is_kept = match self.context.settings.reuse {
            Reuse::Requests(requests) => instance.served < requests.get(),
            Reuse::Singleton => true,
        };
        if is_kept {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }

    fn lift(&self, reply: Result<types::BodyResult, types::Failure>, guest: &HostState) -> Result<Body, Failure> {
        let body: Body = match reply {
            Ok(frames) => {
                // With room for the header that it will be sent with.
                let mut body = Body::with_capacity(frames.len() + 1);
                body.extend(frames.into_iter().map(Frame::from));
                body
            }
            Err(types::Failure::Rejected(reason)) => return Err(Failure::new(Code::Rejected, reason)),
            Err(types::Failure::Failed(reason)) => return Err(Failure::new(Code::Failed, reason)),
        };
        let (frames, limit) = (body.len(), self.context.max_frames);
        if frames > limit {
            let reason =
                format!("a reply of {} has {frames} frames: over limits.frames = {limit}", self.context.service);
            return Err(Failure::new(Code::TooLarge, reason));
        }
        if size(&body) > guest.reply_left() {
            return Err(self.over_reply_limit());
        }
        Ok(body)
    }

    pub(super) fn over_reply_limit(&self) -> Failure {
        let (service, limit) = (&self.context.service, self.context.settings.reply);
        Failure::new(Code::TooLarge, format!("what {service} sends is over service.{service}.reply = {limit} bytes"))
    }

    /// Says why there is no reply; the guest knows best.
    pub(super) fn explain(&self, error: &wasmtime::Error, guest: &HostState) -> Failure {
        let service = &self.context.service;
        if let Some(Ended(failure)) = error.downcast_ref::<Ended>() {
            return Failure::new(failure.code, format!("{service}: {}", failure.reason));
        }
        if let Some(exhausted) = guest.exhausted() {
            let (what, limit) = match exhausted {
                Exhausted::Memory(bytes) => (
                    format!("{bytes} bytes of memory"),
                    format!("service.{service}.memory = {}", self.context.settings.memory),
                ),
                Exhausted::Tables(elements) => {
                    (format!("{elements} elements of tables"), format!("it may have {MAX_TABLE_ELEMENTS}"))
                }
            };
            return Failure::new(Code::Exhausted, format!("an instance of {service} asked for {what}: {limit}"));
        }
        if error.is::<PoolConcurrencyLimitError>() {
            let reason = format!("all instances are in use: limits.instances; {service} was not started");
            return Failure::new(Code::Overloaded, reason);
        }
        let cause = error.root_cause().to_string();
        // wasmtime's own count has no type.
        if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || cause.contains("store handle limit") {
            let reason = format!("an instance of {service} wanted more than {MAX_RESOURCES} open resources");
            return Failure::new(Code::Exhausted, reason);
        }
        // The type of this error is wasmtime's own business; what it says is not.
        if cause.contains("fuel allocated for hostcalls") {
            return self.over_reply_limit();
        }
        let what = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => cause,
        };
        Failure::new(Code::Crashed, format!("an instance of {service} crashed: {what}"))
    }
}

/// Sees to it that a run which is stopped while it waits for the host counts, and has its line in the log, too.
struct Watch<'a> {
    plugin: &'a Plugin,
    request: &'a Run,
    has_ended: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.plugin.requests.fetch_add(1, Ordering::Relaxed);
        if self.plugin.context.calls.is_overdue(self.request.id) {
            let reason = format!("{}: {STOPPED}, while it waited for the host", self.request.service);
            self.plugin.log_failure(self.request, &Failure::new(Code::Deadline, reason), None);
        }
    }
}

/// A request as a guest gets it: copied once, into the guest's memory.
fn lower<'a>(request: &'a Run, remaining_us: u64, texts: &'a Texts, frames: &'a [&'a [u8]]) -> types::Request<'a> {
    types::Request {
        service: request.service.as_str(),
        metadata: types::Metadata {
            request_id: request.id.0,
            remaining_us,
            caller: &texts.caller,
            traceparent: texts.traceparent.as_deref(),
            idempotency_key: request.idempotency_key.as_deref(),
        },
        body: frames,
    }
}

/// What is no text in a request, and is for a guest.
struct Texts<'a> {
    caller: String,
    traceparent: Option<Cow<'a, str>>,
}

impl<'a> Texts<'a> {
    fn of(request: &'a Run) -> Self {
        let traceparent = request.traceparent.as_ref().map(|text| String::from_utf8_lossy(text));
        Self { caller: request.caller.to_text(), traceparent }
    }
}
