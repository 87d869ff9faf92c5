//! The services that plugins offer: loads the plugins of a folder, runs them for the driver, and reports their state.
//!
//! A run begins on the driver's own thread, because moving a short run to another thread costs more than the run
//! itself. It is polled once there. A run that does not end in that poll, or whose service is slow, runs in the thread
//! pool. A guest yields its thread after two ticks of the epoch (2 ms) at the latest, so no plugin keeps the driver
//! from its sockets.

mod apply;
mod commands;
mod reconfiguration;

pub use apply::{FolderEvent, OfferChange};
pub use commands::folder_identity;
pub use reconfiguration::check_folders;

use crate::Event;
use crate::calls::{CallId, Calls, Finished, RunEvent, RunId};
use crate::engine::epoch::Epoch;
use crate::error::SandboxError;
use crate::event_sender::EventSender;
use crate::host_state;
use crate::host_state::egress_policy::NodeAddresses;
use crate::host_state::wasi_context::SharedLimits;
use crate::linker::Sandbox;
use crate::loading::history::{History, Record};
use crate::loading::loader::Loader;
use crate::loading::versions::Versions;
use crate::loading::watch::Hints;
use crate::run::job::Run;
use crate::settings::{Sandboxes, Settings};
use commands::{Folder, Trials};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tracing::warn;
use wasmnode_api::{GenerationState, PluginReport, PluginStatus};
use wasmnode_protocol::{Body, Code, Failure, ServiceName};

/// Longest time of all runs on the driver's own thread in one turn of its loop. Further runs of the turn begin in the
/// thread pool, so that a queue of quick requests cannot keep the loop from its sockets. Twice the time that a turn
/// spends on new messages.
const INLINE: Duration = Duration::from_millis(8);

/// Time in which a run that computes past its deadline must stop itself. It does so at the next tick of the epoch, once
/// a thread of the pool is free for it; a run that waits for the host instead is aborted after this time.
const LAST_TICKS: Duration = Duration::from_secs(1);

/// The loaded plugins and their runs.
pub struct Plugins {
    services: BTreeMap<ServiceName, Versions>,
    /// Records of services whose file was removed.
    removed: BTreeMap<ServiceName, Record>,
    /// Runs in the thread pool.
    runs: BTreeMap<RunId, PooledRun>,
    calls: Arc<Calls>,
    shared: Arc<SharedLimits>,
    sending: EventSender<RunEvent>,
    folder_events: EventSender<FolderEvent>,
    epoch: Epoch,
    in_pool: Arc<AtomicUsize>,
    /// Rest of [`INLINE`] in this turn.
    inline_left: Duration,
    refused: u64,
    /// The plugin folder, for programs that put files into it; `None` if the node loads no plugins.
    folder: Option<Folder>,
    hints: Arc<Hints>,
    trials: Trials,
    /// `None` if versions do not survive a restart.
    history: Option<Arc<History>>,
    /// `None` if the node loads no plugins.
    loader: Option<Arc<Loader>>,
    sandboxes: Sandboxes,
    /// Services whose initial files are still compiling; `None` until all initial files have been tried.
    unfinished: Option<BTreeSet<ServiceName>>,
    /// Requests for a rollback to a version that is still being restored.
    pending_rollbacks: Vec<(ServiceName, RunId)>,
}

/// A run in the thread pool.
struct PooledRun {
    task: AbortHandle,
    deadline: Instant,
    /// Whether the run last yielded its thread because its time slice was over, and not to wait for the host.
    computes: Arc<AtomicBool>,
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("services", &self.services.keys()).finish_non_exhaustive()
    }
}

impl Plugins {
    /// Prepares to run plugins.
    ///
    /// # Errors
    /// If the engine cannot start.
    pub fn new(settings: &Settings, events: &EventSender<Event>) -> Result<Self, SandboxError> {
        let (sending, folder_events) = (events.narrow::<RunEvent>(), events.narrow::<FolderEvent>());
        let sandbox = Sandbox::new(settings)?;
        let shared = Arc::clone(&sandbox.shared);
        let calls = Arc::new(Calls::new(sending.clone()));
        let in_pool = Arc::new(AtomicUsize::new(0));
        let epoch = Epoch::start(sandbox.engine.clone(), Arc::clone(&in_pool)).map_err(SandboxError::Thread)?;
        let folder = settings.plugins.as_deref();
        // Nothing is written for a node that has only built-in plugins.
        let kept = folder.filter(|folder| settings.built_in.is_empty() || folder.is_dir());
        let history = kept.and_then(|folder| open_history(settings, folder, sending.clone()));
        let load =
            |folder| Arc::new(Loader::new(sandbox, settings.clone(), folder, Arc::clone(&calls), history.clone()));
        let loader = folder.map(load);
        let hints = loader.as_ref().map(|loader| loader.hints()).unwrap_or_default();
        let unfinished = loader.is_none().then(BTreeSet::new);
        Ok(Self {
            services: BTreeMap::new(),
            removed: BTreeMap::new(),
            runs: BTreeMap::new(),
            calls,
            shared,
            sending,
            folder_events,
            epoch,
            in_pool,
            inline_left: INLINE,
            refused: 0,
            folder: Folder::of(settings),
            hints,
            trials: Trials::default(),
            history,
            loader,
            sandboxes: settings.sandboxes.clone(),
            unfinished,
            pending_rollbacks: Vec::new(),
        })
    }

    /// Starts the thread that loads all configured plugins of the folder, and watches the folder.
    ///
    /// # Errors
    /// If the folder cannot be read, or the system refuses to start a thread.
    pub fn start_loading(&self) -> Result<(), SandboxError> {
        self.loader.as_ref().map_or(Ok(()), |loader| loader.start(self.folder_events.narrow()))
    }

    /// Kills all compiler processes, without waiting for their exits, and starts no others.
    pub fn stop_compiling(&self) {
        if let Some(loader) = &self.loader {
            loader.compiler().stop();
        }
    }

    /// Returns `true` once all files that were in the folder at the start have been tried.
    pub fn has_tried_all(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Services whose initial files are still compiling.
    pub fn unfinished(&self) -> impl Iterator<Item = &ServiceName> {
        self.unfinished.iter().flatten()
    }

    /// Kills all compiler processes, and waits for outstanding writes to the state folder.
    pub fn close(&self) {
        if let Some(loader) = &self.loader {
            loader.compiler().end();
        }
        if let Some(history) = &self.history {
            history.close();
        }
    }

    /// Begins a turn of the driver's loop.
    pub fn begin_turn(&mut self) {
        self.inline_left = INLINE;
    }

    /// Addresses on which nodes listen, which guests must not reach by name; the driver keeps them current.
    pub fn node_addresses(&self) -> &NodeAddresses {
        &self.shared.node_addresses
    }

    /// Returns the kept versions of all plugins, newest first, and the refusal of the newest file of each service.
    #[must_use]
    pub fn reports(&self) -> Vec<PluginReport> {
        let report = |(service, versions): (&ServiceName, &Versions)| PluginReport {
            service: service.to_string(),
            generations: versions.all().collect(),
            refused: versions.refused().cloned(),
        };
        self.services.iter().map(report).collect()
    }

    /// Number of files refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Status of the version that serves.
    pub fn status(&self, service: &ServiceName) -> Option<PluginStatus> {
        self.services.get(service)?.all().find(|status| status.state == GenerationState::Serving)
    }

    /// Stores the record of a service, and then answers the request that waits for it, if there is one.
    fn keep_record(&self, service: &ServiceName, answer: Option<(RunId, String)>) {
        match (&self.history, answer) {
            (Some(history), answer) => {
                history.record(service, self.services.get(service).and_then(Versions::record), answer);
            }
            (None, Some((run, text))) => {
                self.sending.send(RunEvent::Finished(Finished { run, result: Ok(vec![text.into()]) }));
            }
            (None, None) => {}
        }
    }

    /// Starts a run. Returns the result if the run ends immediately; otherwise the result follows as an event.
    ///
    /// `clock` carries the end time of the previous run in, and that of this run out, to save a clock read.
    pub fn start(&mut self, request: Run, clock: &mut Option<Instant>) -> Option<Finished> {
        let (id, deadline) = (request.id, request.deadline);
        let mut generations = self.services.get_mut(&request.service);
        if let Some(generations) = generations.as_deref_mut()
            && roll_back_failed_trial(generations)
            && let Some(history) = &self.history
        {
            history.record(&request.service, generations.record(), None);
        }
        let Some(plugin) = generations.and_then(|generations| generations.serving()) else {
            let failure = Failure::new(Code::UnknownService, format!("the plugin of {} was removed", request.service));
            return Some(Finished { run: id, result: Err(failure) });
        };
        if let Err(failure) = plugin.admit() {
            return Some(Finished { run: id, result: Err(failure) });
        }
        let is_quick = plugin.placement.is_quick() && !self.inline_left.is_zero();
        let mut run = Box::pin(Arc::clone(plugin).run(request));
        if is_quick {
            self.epoch.keep_ticking();
            let began = clock.take().unwrap_or_else(Instant::now);
            let polled = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let ended_at = *clock.insert(Instant::now());
            let took = ended_at.duration_since(began);
            self.inline_left = self.inline_left.saturating_sub(took);
            plugin.placement.record_held(took, ended_at);
            if let Poll::Ready(ended) = polled {
                plugin.placement.record(took, ended_at);
                let finished = Finished { run: id, result: ended.result };
                if ended.sent_partials {
                    // The partial replies are in the event queue, and the answer must not overtake them.
                    self.sending.send(RunEvent::Finished(finished));
                    return None;
                }
                return Some(finished);
            }
            *clock = None;
            plugin.placement.record_handover();
        }
        let confirm = Confirm::new(id, self.sending.clone(), Arc::clone(&self.in_pool));
        self.epoch.keep_ticking();
        let plugin = Arc::clone(plugin);
        let computes = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&computes);
        let task = tokio::spawn(async move {
            // Dropped after the run, so that the end is confirmed after all events of the run.
            let confirm = confirm;
            let mut run = run;
            let began = Instant::now();
            let ended = poll_fn(|context| {
                host_state::take_yielded();
                let polled = run.as_mut().poll(context);
                noted.store(host_state::take_yielded(), Ordering::Relaxed);
                polled
            });
            let ended = ended.await;
            let now = Instant::now();
            plugin.placement.record(now.duration_since(began), now);
            confirm.send(ended.result);
        });
        self.runs.insert(id, PooledRun { task: task.abort_handle(), deadline, computes });
        None
    }

    /// Stops a run; its end is confirmed by an event, like that of any other run.
    ///
    /// A run that computes past its deadline is left to stop itself at its next tick of the epoch, because the log then
    /// has its backtrace.
    pub fn stop(&mut self, request: RunId, now: Instant) {
        let Some(PooledRun { task, deadline, computes }) = self.runs.remove(&request) else { return };
        if now < deadline {
            return task.abort();
        }
        self.calls.mark_overdue(request);
        if !computes.load(Ordering::Relaxed) {
            return task.abort();
        }
        tokio::spawn(async move {
            tokio::time::sleep(LAST_TICKS).await;
            task.abort();
        });
    }

    /// Removes a run of the thread pool that has confirmed its end.
    pub fn ended(&mut self, request: RunId) {
        self.runs.remove(&request);
        self.calls.forget(request);
    }

    /// Passes the answer of a call to the run that made it.
    pub fn answer(&self, call: CallId, result: Result<Body, Failure>) {
        self.calls.answer(call, result);
    }
}

/// Guard that confirms the end of a run in the thread pool exactly once, even if the run is aborted or the host panics.
struct Confirm {
    request: RunId,
    sending: EventSender<RunEvent>,
    in_pool: Arc<AtomicUsize>,
    result: Option<Result<Body, Failure>>,
}

impl Confirm {
    fn new(request: RunId, sending: EventSender<RunEvent>, in_pool: Arc<AtomicUsize>) -> Self {
        in_pool.fetch_add(1, Ordering::SeqCst);
        Self { request, sending, in_pool, result: None }
    }

    fn send(mut self, result: Result<Body, Failure>) {
        self.result = Some(result);
    }
}

impl Drop for Confirm {
    fn drop(&mut self) {
        self.in_pool.fetch_sub(1, Ordering::SeqCst);
        let interrupted = || Err(Failure::new(Code::Crashed, "the run was interrupted"));
        let result = self.result.take().unwrap_or_else(interrupted);
        self.sending.send(RunEvent::Finished(Finished { run: self.request, result }));
    }
}

/// Rolls a service back if its new version crashes too often; returns `true` if so.
fn roll_back_failed_trial(generations: &mut Versions) -> bool {
    if generations.serving().is_some_and(|serving| serving.has_failed_trial())
        && let Ok((from, to)) = generations.roll_back()
    {
        let service = generations.serving().map_or("?", |serving| serving.context.service.as_str());
        warn!(
            "generation {to} of {service} serves again: {from} crashed in too many of its first requests \
             (trial-crashes)"
        );
        return true;
    }
    false
}

/// Opens the state folder. Plugins serve without it, too.
fn open_history(settings: &Settings, plugins: &Path, sending: EventSender<RunEvent>) -> Option<Arc<History>> {
    History::open(&settings.state, plugins, settings.state_bytes, sending)
        .inspect_err(|why| {
            let folder = settings.state.display();
            warn!("versions of plugins and rollbacks will be lost in a restart: no state in {folder}: {why}");
        })
        .ok()
}
