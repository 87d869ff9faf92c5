//! Folder to services: loads the plugins, runs them for the driver, and reports how they do.
//!
//! A run begins on the driver's own thread, because handing a short one to another thread costs more than the run. It is
//! polled once there; a run that is not done by then, or whose service has shown itself slow, goes on in the thread
//! pool. A guest gives its thread back at the latest after two ticks of the epoch (2 ms), so no plugin holds the sockets.

mod console;
mod engine;
mod epoch;
mod guest;
mod instance;

use crate::config::Config;
use crate::mailbox::Sending;
use engine::Sandbox;
use epoch::Epoch;
use guest::Calls;
use instance::{Job, Origin, Plugin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tracing::{error, info, warn};
use wasmnode_core::{Body, CallId, Code, Failure, Input, Request, RequestId, ServiceName};

/// The loaded plugins and their runs.
pub(crate) struct Plugins {
    services: BTreeMap<ServiceName, Arc<Plugin>>,
    /// Runs in the thread pool.
    runs: BTreeMap<RequestId, AbortHandle>,
    calls: Arc<Calls>,
    sending: Sending,
    epoch: Epoch,
    in_pool: Arc<AtomicUsize>,
}

/// What is known about a loaded plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginStatus {
    /// The file it came from.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// Mean time of its recent runs, microseconds.
    pub mean_us: u64,
    /// Log lines left out because they were over its rate.
    pub log_lines_dropped: u64,
}

impl Plugins {
    /// Loads every plugin that the configuration asks for. One that does not load is reported and left out.
    ///
    /// # Errors
    /// If the engine cannot start, or the folder cannot be read.
    pub(crate) fn load(config: &Config, sending: Sending) -> Result<Self, String> {
        let sandbox = Sandbox::new(config)?;
        let calls = Arc::new(Calls::new(sending.clone()));
        let mut services = BTreeMap::new();
        for (name, file) in files(config)? {
            match load(&sandbox, config, &calls, name.clone(), &file) {
                Ok(plugin) => {
                    services.insert(name, Arc::new(plugin));
                }
                Err(why) => error!("{} is not loaded: {why}", file.display()),
            }
        }
        let in_pool = Arc::new(AtomicUsize::new(0));
        let epoch = Epoch::start(sandbox.engine.clone(), Arc::clone(&in_pool)).map_err(|error| error.to_string())?;
        Ok(Self { services, runs: BTreeMap::new(), calls, sending, epoch, in_pool })
    }

    /// The services that the loaded plugins offer.
    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceName> + use<> {
        self.services.keys().cloned().collect::<Vec<_>>().into_iter()
    }

    /// How the plugin of this service does.
    pub(crate) fn status(&self, service: &ServiceName) -> Option<PluginStatus> {
        self.services.get(service).map(|plugin| plugin.status())
    }

    /// Starts a run. If it ends at once, the result is returned; otherwise it comes by the mailbox.
    pub(crate) fn start(&mut self, request: Request, remaining: Duration) -> Option<Input> {
        let id = request.id;
        let Some(plugin) = self.services.get(&request.service) else {
            let failure = Failure::new(Code::UnknownService, format!("the plugin of {} is gone", request.service));
            return Some(Input::Finished { request: id, result: Err(failure) });
        };
        let is_quick = plugin.pace.is_quick();
        let mut run = Box::pin(Arc::clone(plugin).run(Job { request, remaining }));
        if is_quick {
            self.epoch.keep_ticking();
            let began = Instant::now();
            if let Poll::Ready(ended) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                plugin.pace.record(began.elapsed());
                let input = Input::Finished { request: id, result: ended.result };
                if ended.sent_partials {
                    // The partial replies are in the mailbox; the answer must not overtake them.
                    self.sending.send(input);
                    return None;
                }
                return Some(input);
            }
            plugin.pace.record_handover();
        }
        let confirm = Confirm::new(id, self.sending.clone(), Arc::clone(&self.in_pool));
        self.epoch.keep_ticking();
        let plugin = Arc::clone(plugin);
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let ended = run.await;
            plugin.pace.record(began.elapsed());
            confirm.send(ended.result);
        });
        self.runs.insert(id, task.abort_handle());
        None
    }

    /// Stops a run; its end is confirmed by the mailbox like any other.
    pub(crate) fn stop(&mut self, request: RequestId) {
        if let Some(run) = self.runs.remove(&request) {
            run.abort();
        }
    }

    /// A run in the thread pool has confirmed its end.
    pub(crate) fn ended(&mut self, request: RequestId) {
        self.runs.remove(&request);
    }

    /// Passes on the answer of a call that a run made.
    pub(crate) fn answer(&self, call: CallId, result: Result<Body, Failure>) {
        self.calls.answer(call, result);
    }
}

/// Confirms the end of one run in the thread pool exactly once: also when it is aborted, or when the host's own code
/// panics in it.
struct Confirm {
    request: RequestId,
    sending: Sending,
    in_pool: Arc<AtomicUsize>,
    result: Option<Result<Body, Failure>>,
}

impl Confirm {
    fn new(request: RequestId, sending: Sending, in_pool: Arc<AtomicUsize>) -> Self {
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
        self.sending.send(Input::Finished { request: self.request, result });
    }
}

/// The plugin files of the folder, by the name of the service they offer; says what it leaves out and why.
fn files(config: &Config) -> Result<BTreeMap<ServiceName, PathBuf>, String> {
    let folder = &config.plugins;
    let unreadable = |error: std::io::Error| {
        format!(
            "cannot read the plugin folder {}: {error}; create it, or name another in node.plugins",
            folder.display()
        )
    };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_none_or(|extension| extension != "wasm") || !file.is_file() {
            continue;
        }
        match service_name(&file) {
            Ok(name) if config.services.as_ref().is_none_or(|wanted| wanted.contains(&name)) => {
                files.insert(name, file);
            }
            Ok(_) => {}
            Err(why) => error!("{} is not loaded: {why}", file.display()),
        }
    }
    for name in config.services.iter().flatten().filter(|name| !files.contains_key(*name)) {
        warn!("node.services lists {name}, but there is no {name}.wasm in {}", folder.display());
    }
    if files.is_empty() {
        warn!("there is no plugin to load in {}", folder.display());
    }
    Ok(files)
}

fn service_name(file: &Path) -> Result<ServiceName, String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).ok_or("its name is not UTF-8")?;
    let name: ServiceName = stem.parse().map_err(|error| format!("{error}; rename the file"))?;
    if name.is_reserved() {
        return Err(format!("the node answers {name} itself; rename the file"));
    }
    Ok(name)
}

fn load(
    sandbox: &Sandbox,
    config: &Config,
    calls: &Arc<Calls>,
    name: ServiceName,
    file: &Path,
) -> Result<Plugin, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read it: {error}"))?;
    let began = Instant::now();
    if bytes.len() > 1 << 20 {
        info!("loading {name} ({} MiB); a first compilation can take a while", bytes.len() >> 20);
    }
    let (component, digest) = sandbox.compile(&bytes)?;
    let settings = config.sandbox(&name).clone();
    let origin = Origin { file: file.to_owned(), digest, bytes: bytes.len() as u64 };
    let plugin = Plugin::new(sandbox, &component, name, origin, settings, Arc::clone(calls))?;
    info!("{} serves {} (loaded in {:?})", file.display(), plugin.name(), began.elapsed());
    Ok(plugin)
}
