//! One version of a plugin: its linked component, its runs and its statistics.

use crate::calls::{Calls, RunEvent};
use crate::guests::kind::Kind;
use crate::guests::{command, http};
use crate::host_state::STOPPED;
use crate::host_state::wasi_context::ServiceContext;
use crate::linker::Sandbox;
use crate::run::failed_runs::FailedRuns;
use crate::run::job::{Outcome, Run};
use crate::run::placement::Placement;
use crate::run::quarantine::Quarantine;
use crate::settings::{SandboxSettings, Trial};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tracing::{info, warn};
use wasmnode_api::{GenerationState, PluginStatus};
use wasmnode_protocol::{Code, Failure, ServiceName, text};

/// A loaded plugin.
pub(crate) struct Plugin {
    pub(crate) context: Arc<ServiceContext>,
    pub(crate) origin: Origin,
    kind: Kind,
    /// Mean duration of the runs, and the thread on which the next one begins.
    pub(crate) placement: Placement,
    failed_runs: FailedRuns,
    requests: AtomicU64,
    /// Requests whose instance trapped or exceeded a limit.
    crashes: AtomicU64,
    health: Mutex<Quarantine>,
    /// Number among the versions of the plugin.
    generation: AtomicU64,
    /// Whether an earlier version could serve instead.
    has_fallback: AtomicBool,
}

/// Origin of a plugin.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) file: PathBuf,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    /// Signature that the file was admitted with.
    pub(crate) signature: Option<String>,
    pub(crate) loaded_at: SystemTime,
}

impl Origin {
    /// Returns that of a file that is loaded now.
    pub(crate) fn now(file: &Path, digest: &str, bytes: usize, signature: Option<String>) -> Self {
        let loaded_at = SystemTime::now();
        Self { file: file.into(), digest: digest.into(), bytes: bytes as u64, signature, loaded_at }
    }
}

impl Plugin {
    pub(crate) fn new(
        sandbox: &Sandbox,
        kind: Kind,
        service: ServiceName,
        origin: Origin,
        settings: SandboxSettings,
        calls: Arc<Calls>,
    ) -> Self {
        let shared = Arc::clone(&sandbox.shared);
        let context = ServiceContext::new(service, settings, calls, sandbox.max_body, sandbox.max_frames, shared);
        Self::in_context(context, kind, origin)
    }

    /// Returns the same version with other settings, for the runs that follow.
    pub(crate) fn with_settings(&self, settings: SandboxSettings) -> Self {
        let ServiceContext { service, calls, max_body, max_frames, shared, .. } = &*self.context;
        let (service, calls, shared) = (service.clone(), Arc::clone(calls), Arc::clone(shared));
        let context = ServiceContext::new(service, settings, calls, *max_body, *max_frames, shared);
        let count = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        Self {
            requests: count(&self.requests),
            crashes: count(&self.crashes),
            generation: count(&self.generation),
            has_fallback: AtomicBool::new(self.has_fallback.load(Ordering::Relaxed)),
            ..Self::in_context(context, self.kind.without_instances(), self.origin.clone())
        }
    }

    fn in_context(context: ServiceContext, kind: Kind, origin: Origin) -> Self {
        Self {
            health: Mutex::new(Quarantine::new(context.settings.quarantine_after)),
            context: Arc::new(context),
            origin,
            kind,
            placement: Placement::default(),
            failed_runs: FailedRuns::new(),
            requests: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            has_fallback: AtomicBool::new(false),
        }
    }

    /// SHA-256 of the file, hexadecimal.
    pub(crate) fn digest(&self) -> &str {
        &self.origin.digest
    }

    /// Returns `true` if the plugin has crashed in more of its first requests than `trial-crashes` allows.
    pub(crate) fn has_failed_trial(&self) -> bool {
        let Trial { requests, crashes } = self.context.settings.trial;
        let (served, crashed) = (self.requests.load(Ordering::Relaxed), self.crashes.load(Ordering::Relaxed));
        served <= u64::from(requests) && crashed * 100 > u64::from(requests) * u64::from(crashes)
    }

    pub(crate) fn status(&self, generation: u64, state: GenerationState) -> PluginStatus {
        PluginStatus {
            generation,
            state,
            file: text::shown(&self.origin.file),
            digest: self.origin.digest.clone(),
            bytes: self.origin.bytes,
            loaded_at: humantime::format_rfc3339_seconds(self.origin.loaded_at).to_string(),
            requests: self.requests.load(Ordering::Relaxed),
            crashes: self.crashes.load(Ordering::Relaxed),
            quarantine_ms: u64::try_from(self.lock_quarantine().quarantine(Instant::now()).as_millis())
                .unwrap_or(u64::MAX),
            mean_us: self.placement.mean_us(),
            log_lines_dropped: self.context.log.dropped(),
        }
    }

    /// Serves one request, in an idle or a new instance.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` would be larger by a copy of the request, and each run is moved once"
    )]
    pub(crate) fn run(self: Arc<Self>, run: Run) -> impl Future<Output = Outcome> + Send {
        async move {
            let mut guard = StopGuard { plugin: &self, request: &run, has_ended: false };
            let outcome = self.serve(&run).await;
            guard.has_ended = true;
            if let Err(failure) = &outcome.result {
                self.log_failure(&run, failure, outcome.backtrace.as_deref());
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
        self.failed_runs.log(request, self.generation(), failure, backtrace);
    }

    /// Records the number of this version, and whether an earlier version could serve instead.
    pub(crate) fn installed(&self, generation: u64, has_fallback: bool) {
        self.generation.store(generation, Ordering::Relaxed);
        self.has_fallback.store(has_fallback, Ordering::Relaxed);
    }

    /// Records the end of a request of a plugin that has crashed in this request or in earlier ones.
    fn record_outcome(&self, has_crashed: bool) {
        // A version with a fallback is on trial in its first requests, which a quarantine would reject.
        if has_crashed && self.is_on_trial() {
            return;
        }
        let (was_quarantined, wait, crashes) = {
            let mut health = self.lock_quarantine();
            let was_quarantined = health.is_in_quarantine();
            (was_quarantined, health.record(has_crashed, Instant::now()), health.crashes_in_a_row())
        };
        let service = &self.context.service;
        match wait {
            Some(wait) => warn!("{service} is in quarantine for {wait:?}: it crashed in {crashes} requests in a row"),
            None if was_quarantined && !has_crashed => info!("{service} left quarantine: a request succeeded"),
            None => return,
        }
        self.report_quarantine();
    }

    /// Returns `true` if the version is on trial: in its first requests, with an earlier version as the fallback.
    fn is_on_trial(&self) -> bool {
        let Trial { requests, crashes } = self.context.settings.trial;
        let served = self.requests.load(Ordering::Relaxed);
        self.has_fallback.load(Ordering::Relaxed) && served <= u64::from(requests) && crashes < 100
    }

    /// Number among the versions of the plugin.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Reports the time until the quarantine ends, so that rejections can state it.
    pub(crate) fn report_quarantine(&self) {
        let (service, generation) = (self.context.service.clone(), self.generation());
        let lasts = self.lock_quarantine().quarantine(Instant::now());
        self.context.calls.sending.send(RunEvent::Quarantine { service, generation, lasts });
    }

    /// Admits a request.
    ///
    /// # Errors
    /// If the plugin is in quarantine.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        if !self.has_ever_crashed() {
            return Ok(());
        }
        let mut health = self.lock_quarantine();
        health.admit(Instant::now()).map_err(|left| {
            let (service, crashes) = (&self.context.service, health.crashes_in_a_row());
            let reason =
                format!("{service} is in quarantine for {left:.1?} more: it crashed in {crashes} requests in a row");
            Failure::new(Code::Crashed, reason)
        })
    }

    /// Returns `false` for plugins that have never crashed, which skip the clock and the lock.
    fn has_ever_crashed(&self) -> bool {
        self.crashes.load(Ordering::Relaxed) > 0
    }

    fn lock_quarantine(&self) -> MutexGuard<'_, Quarantine> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, run: &Run) -> Outcome {
        match &self.kind {
            Kind::Service(guest) => guest.serve(&self.context, run).await,
            // Boxed, because these futures are large and would bloat the common path.
            Kind::Command(pre) => Box::pin(command::serve(&self.context, pre, run)).await,
            Kind::Http(pre) => Box::pin(http::serve(&self.context, pre, run)).await,
        }
    }
}

/// Guard that counts and logs a run that is stopped while it waits for the host.
struct StopGuard<'a> {
    plugin: &'a Plugin,
    request: &'a Run,
    has_ended: bool,
}

impl Drop for StopGuard<'_> {
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
