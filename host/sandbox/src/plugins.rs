//! Folder to services: loads the plugins, runs them for the driver, and reports how they do.
//!
//! A run begins on the driver's own thread, because handing a short one to another thread costs more than the run. It
//! is polled once there; a run that is not done by then, or whose service has shown itself slow, goes on in the thread
//! pool. A guest gives its thread back at the latest after two ticks of the epoch (2 ms), so no plugin holds the
//! sockets.

mod apply;
mod commands;

pub use apply::{FolderEvent, OfferChange};
pub use commands::folder_identity;

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
use crate::settings::Settings;
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

/// Time that runs may take on the driver's own thread in one turn of its loop; all further runs of the turn go to the
/// thread pool, so that a queue of quick requests cannot keep the loop from its sockets. Twice what a turn gives to new
/// messages.
const INLINE: Duration = Duration::from_millis(8);

/// How long a run that computes past its deadline has to stop itself. It does so at the next tick of the epoch, as soon
/// as a thread of the pool is free for it; one that begins to wait for the host instead is stopped after this time.
const LAST_TICKS: Duration = Duration::from_secs(1);

/// The loaded plugins and their runs.
pub struct Plugins {
    services: BTreeMap<ServiceName, Versions>,
    /// What is kept of services whose file was removed.
    removed: BTreeMap<ServiceName, Record>,
    /// Runs in the thread pool.
    runs: BTreeMap<RunId, PooledRun>,
    calls: Arc<Calls>,
    shared: Arc<SharedLimits>,
    sending: EventSender<RunEvent>,
    folder_events: EventSender<FolderEvent>,
    epoch: Epoch,
    in_pool: Arc<AtomicUsize>,
    /// What is left of [`INLINE`] in this turn.
    inline_left: Duration,
    refused: u64,
    /// What is loaded, as those are told who put files into the folder; `None` if nothing is.
    folder: Option<Folder>,
    hints: Arc<Hints>,
    trials: Trials,
    /// `None` if a restart forgets.
    history: Option<Arc<History>>,
    /// `None` if nothing is loaded.
    loader: Option<Arc<Loader>>,
    /// Of what was there at the start, the services whose files are still being compiled; `None` until all were tried.
    unfinished: Option<BTreeSet<ServiceName>>,
    /// Requests for a step back to a version that is still being restored.
    stepping_back: Vec<(ServiceName, RunId)>,
}

/// A run in the thread pool.
struct PooledRun {
    task: AbortHandle,
    deadline: Instant,
    /// Whether it last gave its thread back because its slice of time was over, and not to wait for the host.
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
        let history = folder.and_then(|folder| open_history(settings, folder, sending.clone()));
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
            unfinished,
            stepping_back: Vec::new(),
        })
    }

    /// Starts to load every plugin that is there and that the configuration asks for, and to watch the folder.
    ///
    /// # Errors
    /// If the folder cannot be read, or the system refuses a thread.
    pub fn start_loading(&self) -> Result<(), SandboxError> {
        self.loader.as_ref().map_or(Ok(()), |loader| loader.start(self.folder_events.narrow()))
    }

    /// Ends what is being compiled, without waiting for it, and compiles nothing more.
    pub fn stop_compiling(&self) {
        if let Some(loader) = &self.loader {
            loader.compiler().stop();
        }
    }

    /// Whether all files that were there at the start have been tried.
    pub fn has_tried_all(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Of what was there at the start, the services whose files are still being compiled.
    pub fn unfinished(&self) -> impl Iterator<Item = &ServiceName> {
        self.unfinished.iter().flatten()
    }

    /// Ends what is being compiled, and writes what has to outlive the process.
    pub fn close(&self) {
        if let Some(loader) = &self.loader {
            loader.compiler().end();
        }
        if let Some(history) = &self.history {
            history.close();
        }
    }

    /// The driver's loop begins a turn.
    pub fn begin_turn(&mut self) {
        self.inline_left = INLINE;
    }

    /// Where nodes listen that no guest reaches by a name; whoever learns of one notes it there.
    pub fn node_addresses(&self) -> &NodeAddresses {
        &self.shared.node_addresses
    }

    /// All versions of all plugins that are kept, newest first, and why the newest file of a service does not serve.
    #[must_use]
    pub fn reports(&self) -> Vec<PluginReport> {
        let report = |(service, versions): (&ServiceName, &Versions)| PluginReport {
            service: service.to_string(),
            generations: versions.all().collect(),
            refused: versions.refused().cloned(),
        };
        self.services.iter().map(report).collect()
    }

    /// How many files were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The version that serves.
    pub fn status(&self, service: &ServiceName) -> Option<PluginStatus> {
        self.services.get(service)?.all().find(|status| status.state == GenerationState::Serving)
    }

    /// Has the record of a service kept, and then a request answered, if one waits for it.
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

    /// Starts a run. If it ends at once, the result is returned; otherwise it comes by the event queue.
    ///
    /// `clock` is the time, if it is known because another run has just ended; then it is when this one has.
    pub fn start(&mut self, request: Run, clock: &mut Option<Instant>) -> Option<Finished> {
        let (id, deadline) = (request.id, request.deadline);
        let mut generations = self.services.get_mut(&request.service);
        if let Some(generations) = generations.as_deref_mut()
            && gave_way(generations)
            && let Some(history) = &self.history
        {
            history.record(&request.service, generations.record(), None);
        }
        let Some(plugin) = generations.and_then(|generations| generations.serving()) else {
            let failure = Failure::new(Code::UnknownService, format!("the plugin of {} is gone", request.service));
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
                    // The partial replies are in the event queue; the answer must not overtake them.
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
            // Dropped after the run, so that the end is confirmed when the run has said what it has to say.
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

    /// Stops a run; its end is confirmed by the event queue like any other.
    ///
    /// One that computes past its deadline is left to stop itself at its next tick of the epoch, because then the log
    /// can tell where it was.
    pub fn stop(&mut self, request: RunId, now: Instant) {
        let Some(PooledRun { task, deadline, computes }) = self.runs.remove(&request) else { return };
        if now < deadline {
            return task.abort();
        }
        self.calls.overdue(request);
        if !computes.load(Ordering::Relaxed) {
            return task.abort();
        }
        tokio::spawn(async move {
            tokio::time::sleep(LAST_TICKS).await;
            task.abort();
        });
    }

    /// A run in the thread pool has confirmed its end.
    pub fn ended(&mut self, request: RunId) {
        self.runs.remove(&request);
        self.calls.is_over(request);
    }

    /// Passes on the answer of a call that a run made.
    pub fn answer(&self, call: CallId, result: Result<Body, Failure>) {
        self.calls.answer(call, result);
    }
}

/// Confirms the end of one run in the thread pool exactly once: also when it is aborted, or when the host's own code
/// panics in it.
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

/// Whether the serving version has given way to the one before it, because it crashes too often while it is new.
fn gave_way(generations: &mut Versions) -> bool {
    if generations.serving().is_some_and(|serving| serving.is_condemned())
        && let Ok((from, to)) = generations.roll_back()
    {
        let service = generations.serving().map_or("?", |serving| serving.context.service.as_str());
        warn!(
            "generation {to} of {service} serves again: {from} crashed in too many of its first requests (trial-crashes)"
        );
        return true;
    }
    false
}

/// Opens the folder of the state. Without it plugins serve all the same.
fn open_history(settings: &Settings, plugins: &Path, sending: EventSender<RunEvent>) -> Option<Arc<History>> {
    History::open(&settings.state, plugins, settings.state_bytes, sending)
        .inspect_err(|why| {
            let folder = settings.state.display();
            warn!("a restart forgets versions of plugins and rollbacks: no state in {folder}: {why}");
        })
        .ok()
}
