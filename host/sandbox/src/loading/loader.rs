//! The loader: from a file to a plugin that can serve.

use crate::calls::Calls;
use crate::error::SandboxError;
use crate::event_sender::EventSender;
use crate::guard;
use crate::guests::kind::Kind;
use crate::host_state::fs::GrantedFolder;
use crate::linker::Sandbox;
use crate::loading::compile::{Attempt, Compiler, Effort};
use crate::loading::compile_queue::CompileQueue;
use crate::loading::content::{self, Content, ContentError, digest};
use crate::loading::error::LoadError;
use crate::loading::event::{Loaded, PluginEvent};
use crate::loading::history::{History, Version};
use crate::loading::names::service_name;
use crate::loading::provenance::{FileName, Unverified, check_origin, in_folder};
use crate::loading::scanner::{Change, Scanner, Stamp};
use crate::loading::task::{Done, Postponed, Task};
use crate::loading::watch::{Hints, Staged, Watch};
use crate::plugin::{Origin, Plugin};
use crate::settings::{Sandboxes, Settings};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tracing::{debug, error, info, warn};
use wasmnode_api::{Refusal, Verdict};
use wasmnode_files::FileError;
use wasmnode_protocol::text::{self, shown};
use wasmnode_protocol::{Failure, ServiceName};

/// Interval of scans without an event, because events may get lost.
const RESCAN: Duration = Duration::from_secs(15);

/// Interval of scans without file events of the system, or while the folder cannot be read.
const RESCAN_BLIND: Duration = Duration::from_secs(1);

/// Interval at which the folder that the path names is compared with the watched one.
const COMPARE: Duration = Duration::from_secs(1);

/// Everything needed to load plugins.
pub(crate) struct Loader {
    sandbox: Sandbox,
    compiler: Compiler,
    pub(crate) settings: Settings,
    sandboxes: Mutex<Sandboxes>,
    /// Folder of plugins.
    pub(crate) folder: PathBuf,
    calls: Arc<Calls>,
    hints: Arc<Hints>,
    /// By service, the digest of the file that was loaded last: loading the same bytes again has no effect.
    pub(crate) loaded: Mutex<BTreeMap<ServiceName, String>>,
    /// By file, the line that was logged last, so that it is not repeated.
    logs: Mutex<BTreeMap<PathBuf, String>>,
    pub(crate) history: Option<Arc<History>>,
    /// Versions from before a restart that do not serve, and are not restored yet.
    pub(crate) restores: Mutex<VecDeque<(ServiceName, Version)>>,
    /// Plugin of the staged file that was accepted last, which is not compiled again when it gets its final name.
    pub(crate) candidate: Mutex<Option<Plugin>>,
    /// By service, the digest of the staged file that was accepted last, which serves even if it was rolled back.
    pub(crate) deployed: Mutex<BTreeMap<ServiceName, String>>,
    /// Whether the folder has been read; until then it may be missing if there are built-in plugins.
    pub(crate) was_read: AtomicBool,
}

impl Loader {
    pub(crate) fn new(
        sandbox: Sandbox,
        settings: Settings,
        folder: &Path,
        calls: Arc<Calls>,
        history: Option<Arc<History>>,
    ) -> Self {
        let compiler = Compiler::new(&sandbox.engine, &settings);
        let (hints, loaded, logs) = (Arc::default(), Mutex::default(), Mutex::default());
        let (restores, candidate, deployed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (folder, was_read) = (folder.to_path_buf(), AtomicBool::new(false));
        let sandboxes = Mutex::new(settings.sandboxes.clone());
        Self {
            sandbox,
            compiler,
            settings,
            sandboxes,
            folder,
            calls,
            hints,
            loaded,
            logs,
            history,
            restores,
            candidate,
            deployed,
            was_read,
        }
    }

    /// Hints for the scanning thread.
    pub(crate) fn hints(&self) -> Arc<Hints> {
        Arc::clone(&self.hints)
    }

    /// Starts a thread that loads the files of the folder and watches it; events report the outcome of each file. Once
    /// all initial files have been tried, [`PluginEvent::FirstPass`] follows.
    ///
    /// # Errors
    /// If the folder cannot be read, or the system refuses to start a thread.
    pub(crate) fn start(self: &Arc<Self>, sending: EventSender<PluginEvent>) -> Result<(), SandboxError> {
        self.list().map_err(|error| self.unreadable(error))?;
        let queue = CompileQueue::start(self, &sending).map_err(SandboxError::Thread)?;
        let loader = Arc::clone(self);
        guard::spawn("folder", move || loader.run(&queue, &sending)).map_err(SandboxError::Thread)
    }

    /// Replaces the settings of services, for plugins that are built later.
    pub(crate) fn reconfigure(&self, sandboxes: Sandboxes) {
        *lock(&self.sandboxes) = sandboxes;
    }

    /// Compiler of the files.
    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    fn unreadable(&self, source: std::io::Error) -> SandboxError {
        SandboxError::Folder { path: self.folder.clone(), source }
    }

    /// Loads the initial files: first those whose code is cached, so that none of them waits for a compilation.
    fn load_present(&self, folder: &mut Scanner, queue: &CompileQueue, sending: &EventSender<PluginEvent>) {
        let present = self.present(folder).unwrap_or_else(|error| {
            error!("{}", self.unreadable(error));
            Vec::new()
        });
        let mut uncached = Vec::new();
        for (service, task) in present {
            let done = self.work(&service, &task, &Attempt::new(Effort::Cached));
            done.news.into_iter().for_each(|news| sending.send(news));
            uncached.extend(done.postponed.map(|_| (service, task)));
        }
        for (service, task) in uncached {
            queue.put(self, service, task);
        }
        queue.end_start(sending);
    }

    fn run(&self, queue: &CompileQueue, sending: &EventSender<PluginEvent>) {
        // Watched before the first scan, so that no change after that scan is missed.
        let mut watch = self.watch_folder();
        let mut folder = Scanner::default();
        self.load_present(&mut folder, queue, sending);
        let path = &self.folder;
        let (mut is_readable, mut scanned) = (true, Instant::now());
        loop {
            let rescan = scanned + if watch.has_events() && is_readable { RESCAN } else { RESCAN_BLIND };
            let due = folder.next_scan().map_or(rescan, |next| next.min(rescan));
            let restore = lock(&self.restores).pop_front();
            let wait = if restore.is_some() { Duration::ZERO } else { due.saturating_duration_since(Instant::now()) };
            let gathered = self.hints.gather(wait.min(COMPARE));
            if let Some((service, version)) = restore {
                self.submit(&service, Task::Restore(version), queue, sending);
            }
            queue.begin_scan();
            queue.cancel(|task| self.is_abandoned(task));
            let now = Instant::now();
            for (file, stamp) in &gathered.failed {
                folder.failed(file, stamp, now);
            }
            for Staged { service, file, called } in &gathered.staged {
                let bytes = wasmnode_files::Stamp::of(&path.join(file)).map_or(0, |stamp| stamp.bytes());
                let task = Task::Try { staged: file.clone(), called: called.clone(), bytes };
                self.submit(service, task, queue, sending);
            }
            if gathered.is_folder_lost() || watch.has_moved(path) {
                watch = self.watch_folder();
            } else if !gathered.is_reason_to_scan() && now < due {
                continue;
            }
            scanned = now;
            match self.list() {
                Ok(found) => {
                    if !std::mem::replace(&mut is_readable, true) {
                        info!("the plugin folder {} is readable again", path.display());
                    }
                    for change in folder.scan(&found, &gathered.closed(path), now) {
                        if let Some(service) = self.concerned(&change) {
                            self.submit(&service, Task::Change(change), queue, sending);
                        }
                    }
                }
                Err(error) if std::mem::replace(&mut is_readable, false) => {
                    error!("cannot read the plugin folder {}: {error}; its plugins keep serving", path.display());
                }
                Err(_) => {}
            }
        }
    }

    /// Completes a task that needs no compiling, and queues any other.
    fn submit(&self, service: &ServiceName, task: Task, queue: &CompileQueue, sending: &EventSender<PluginEvent>) {
        let Some(task) = queue.keep_order(service, task) else { return };
        let done = self.work(service, &task, &Attempt::new(Effort::Cached));
        done.news.into_iter().for_each(|news| sending.send(news));
        if done.postponed == Some(Postponed::MoreEffort) {
            queue.put(self, service.clone(), task);
        }
    }

    /// Logs that a file compiles in the background.
    pub(crate) fn announce(&self, service: &ServiceName, task: &Task) {
        let (file, size) = (self.file_of(service), bytesize::ByteSize(task.bytes()));
        info!("compiling {} ({size}) in the background, which can take a while", shown(&file));
    }

    /// Returns `true` if the file has changed since it was found. A scan reports the change; if the change has been
    /// reverted by then, the hint makes a scan report the file again.
    pub(crate) fn is_outdated(&self, task: &Task) -> bool {
        let Task::Change(Change::Whole(file, stamp)) = task else { return false };
        let is_outdated = Stamp::of(file).as_ref() != Ok(stamp);
        if is_outdated {
            debug!("{} has changed since it was found", shown(file));
            self.hints.failed(file.clone(), stamp.clone());
        }
        is_outdated
    }

    /// Returns `true` if the task tries a staged file that has been removed.
    pub(crate) fn is_abandoned(&self, task: &Task) -> bool {
        let Task::Try { staged, .. } = task else { return false };
        Stamp::of(&self.folder.join(staged)).is_err_and(|error| error.is_gone())
    }

    fn watch_folder(&self) -> Watch {
        let (watch, no_events) = Watch::new(&self.folder, &self.hints);
        if let Some(why) = no_events.filter(|_| !self.may_lack_folder()) {
            let line = format!("no events of the plugin folder, scanning it every {RESCAN_BLIND:?}: {why}");
            self.report(&self.folder, line, |line| warn!("{line}"));
        }
        watch
    }

    /// Logs something about a file, unless that was also the last line about it.
    fn report(&self, file: &Path, what: String, how: impl FnOnce(&str)) {
        let mut logs = lock(&self.logs);
        if logs.get(file) == Some(&what) {
            debug!("again: {what}");
        } else {
            how(&what);
            logs.insert(file.into(), what);
        }
    }

    /// Forgets the last line about a file that is in order or removed.
    fn clear_report(&self, file: &Path) {
        lock(&self.logs).remove(file);
    }

    /// Returns the service that a change concerns, if the node is configured to serve it.
    pub(crate) fn concerned(&self, change: &Change) -> Option<ServiceName> {
        let (Change::Whole(file, _) | Change::Unusable(file, _) | Change::Gone(file)) = change;
        let name = service_name(file).inspect_err(|why| {
            if matches!(change, Change::Gone(_)) {
                self.clear_report(file);
            } else {
                self.report(file, format!("{} is not loaded: {why}", shown(file)), |what| error!("{what}"));
            }
        });
        name.ok().filter(|service| self.is_wanted(service))
    }

    /// Attempts a task. If the node's own code panics on the content of a file, the file is refused.
    pub(crate) fn work(&self, service: &ServiceName, task: &Task, attempt: &Attempt) -> Done {
        guard::guarded(|| self.work_unguarded(service, task, attempt)).unwrap_or_else(|panic| {
            let why = format!("an internal error of the node while loading it: {panic}");
            match task {
                Task::Change(_) => vec![self.refuse(service, &self.file_of(service), String::new(), why)],
                Task::Restore(version) => {
                    self.lost(service, version, &why);
                    vec![PluginEvent::Restored(service.clone(), version.number, None)]
                }
                Task::Try { staged, .. } => vec![PluginEvent::Tried(staged.clone(), refused(why))],
            }
            .into()
        })
    }

    fn work_unguarded(&self, service: &ServiceName, task: &Task, attempt: &Attempt) -> Done {
        match task {
            Task::Change(Change::Gone(file)) => {
                self.clear_report(file);
                match self.built_in(service) {
                    Some(bytes) => self.load_built_in(service, bytes, attempt),
                    None => vec![self.removed(service)].into(),
                }
            }
            Task::Change(Change::Unusable(file, error)) => {
                let before = match error.is_gone() {
                    true => Ok(Some(self.removed(service))),
                    false => self.resume(service, file, None, attempt),
                };
                let before = match before {
                    Ok(before) => before,
                    Err(postponed) => return Done { news: Vec::new(), postponed: Some(postponed) },
                };
                let why = if error.is_transient() { format!("cannot examine it: {error}") } else { error.to_string() };
                before.into_iter().chain([self.refuse(service, file, String::new(), why)]).collect::<Vec<_>>().into()
            }
            Task::Change(Change::Whole(file, stamp)) => self.load(service, file, stamp, attempt),
            Task::Restore(version) => {
                let plugin = match self.restore(service, &self.file_of(service), version, None, attempt) {
                    Ok(plugin) => Some(Box::new(plugin)),
                    Err(error) => match error.postponed() {
                        None => {
                            self.lost(service, version, &error.to_string());
                            None
                        }
                        postponed => return Done { news: Vec::new(), postponed },
                    },
                };
                vec![PluginEvent::Restored(service.clone(), version.number, plugin)].into()
            }
            Task::Try { staged, called, .. } => {
                let verdict = match self.try_staged(service, staged, called.as_deref(), attempt) {
                    Ok(digest) => Verdict::Accepted(digest),
                    Err(error) => match error.postponed() {
                        None => refused(error.to_string()),
                        postponed => return Done { news: Vec::new(), postponed },
                    },
                };
                vec![PluginEvent::Tried(staged.clone(), verdict)].into()
            }
        }
    }

    pub(crate) fn file_of(&self, service: impl Display) -> PathBuf {
        self.folder.join(format!("{service}.wasm"))
    }

    fn removed(&self, service: &ServiceName) -> PluginEvent {
        lock(&self.loaded).remove(service);
        PluginEvent::Gone(service.clone())
    }

    fn load(&self, service: &ServiceName, file: &Path, stamp: &Stamp, attempt: &Attempt) -> Done {
        let read = self.read_whole(file, stamp).map(|content| (digest(&content.bytes), content));
        let retry = || self.hints.failed(file.into(), stamp.clone());
        self.load_read(service, file, read, retry, attempt)
    }

    fn load_built_in(&self, service: &ServiceName, bytes: &[u8], attempt: &Attempt) -> Done {
        let file = Path::new("built-in").join(format!("{service}.wasm"));
        let content = Content { bytes: bytes.to_vec(), signature: None };
        self.load_read(service, &file, Ok((digest(bytes), content)), || {}, attempt)
    }

    /// Loads what was read of a file; `retry` has the file read again later.
    fn load_read(
        &self,
        service: &ServiceName,
        file: &Path,
        read: Result<(String, Content), ContentError>,
        retry: impl Fn(),
        attempt: &Attempt,
    ) -> Done {
        let mut news = match self.resume(service, file, read.as_ref().ok(), attempt) {
            Ok(resumed) => Vec::from_iter(resumed),
            Err(postponed) => return Done { news: Vec::new(), postponed: Some(postponed) },
        };
        let refuse = |digest: String, error: &LoadError| {
            if !error.may_pass() {
                return self.refuse(service, file, digest, error.to_string());
            }
            retry();
            self.refuse(service, file, digest, format!("{error}; trying again"))
        };
        let loaded = match read {
            Ok((digest, content)) => match self.load_content(service, file, content, &digest, attempt) {
                Ok(loaded) => loaded,
                Err(error) => match error.postponed() {
                    None => refuse(digest, &error),
                    postponed => return Done { news, postponed },
                },
            },
            Err(error) => refuse(String::new(), &LoadError::Content(error)),
        };
        news.push(loaded);
        news.into()
    }

    fn load_content(
        &self,
        service: &ServiceName,
        file: &Path,
        content: Content,
        digest: &str,
        attempt: &Attempt,
    ) -> Result<PluginEvent, LoadError> {
        let Content { bytes, signature } = content;
        let is_new = lock(&self.loaded).get(service).is_none_or(|loaded| *loaded != digest);
        let verified =
            self.admit(&in_folder(file), &bytes, digest, signature.clone()).map_err(LoadError::Unverified)?;
        if !is_new {
            self.clear_report(file);
            return Ok(PluginEvent::Unchanged(service.clone()));
        }
        let signature = signature.and_then(Result::ok);
        let plugin = match self.take_candidate(service, digest, signature.as_deref()) {
            Some(plugin) => plugin,
            None => {
                let origin = Origin::now(file, digest, bytes.len(), signature);
                self.build_and_log(service, &bytes, origin, attempt)?
            }
        };
        log_admission(file, verified.as_deref());
        self.clear_report(file);
        let claim = self.history.as_ref().map(|history| history.keep(digest, bytes));
        lock(&self.loaded).insert(service.clone(), digest.to_owned());
        let is_deployed = lock(&self.deployed).remove(service).is_some_and(|deployed| deployed == digest);
        Ok(PluginEvent::Loaded(service.clone(), Loaded { plugin: Box::new(plugin), is_deployed, claim }))
    }

    fn take_candidate(&self, service: &ServiceName, digest: &str, signature: Option<&str>) -> Option<Plugin> {
        let mut candidate = lock(&self.candidate);
        let plugin = candidate.take_if(|plugin| plugin.context.service == *service && plugin.digest() == digest)?;
        (plugin.origin.signature.as_deref() == signature).then_some(plugin)
    }

    /// Returns the refusal of a file, and logs it once.
    fn refuse(&self, service: &ServiceName, file: &Path, digest: String, why: String) -> PluginEvent {
        let why = text::into_line(why, Failure::MAX_REASON);
        self.report(file, format!("{} is not loaded: {why}", shown(file)), |what| error!("{what}"));
        let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        PluginEvent::Refused(service.clone(), Refusal { digest, why, at })
    }

    /// Reads a file as a whole, once: the bytes that are verified are those that are compiled.
    pub(crate) fn read_whole(&self, file: &Path, stamp: &Stamp) -> Result<Content, ContentError> {
        content::read(file, stamp, self.settings.plugin_bytes, self.settings.provenance.is_some())
    }

    /// Checks the provenance of a file, before it is compiled or looked up in the cache. Returns its proof, if the
    /// configuration requires one.
    pub(crate) fn admit(
        &self,
        called: &FileName,
        bytes: &[u8],
        digest: &str,
        signature: Option<Result<String, FileError>>,
    ) -> Result<Option<String>, Unverified> {
        let policy = self.settings.provenance.as_ref();
        policy.map(|policy| check_origin(policy, called, bytes, digest, signature)).transpose()
    }

    /// Builds a plugin, and logs how long that took; not used for versions restored after a restart.
    pub(crate) fn build_and_log(
        &self,
        service: &ServiceName,
        bytes: &[u8],
        origin: Origin,
        attempt: &Attempt,
    ) -> Result<Plugin, LoadError> {
        let (file, began) = (shown(&origin.file), Instant::now());
        let plugin = self.build(service, bytes, origin, attempt)?;
        info!("{file} can serve {service} (loaded in {:?})", began.elapsed());
        Ok(plugin)
    }

    pub(crate) fn build(
        &self,
        service: &ServiceName,
        bytes: &[u8],
        origin: Origin,
        attempt: &Attempt,
    ) -> Result<Plugin, LoadError> {
        let component = self.compiler.component(bytes, &origin.digest, attempt)?;
        let (settings, calls) = (lock(&self.sandboxes).of(service).clone(), Arc::clone(&self.calls));
        let kind = Kind::of(&self.sandbox, &component).map_err(LoadError::Unfit)?;
        // Detects a folder that cannot be opened now, not at the first request.
        settings.grants.fs.iter().try_for_each(GrantedFolder::check).map_err(LoadError::Folder)?;
        Ok(Plugin::new(&self.sandbox, kind, service.clone(), origin, settings, calls))
    }
}

/// Logs the proof of a loaded file's provenance. Not called for staged and postponed files.
pub(crate) fn log_admission(file: &Path, verified: Option<&str>) {
    if let Some(why) = verified {
        info!("{} may be loaded: {why}", shown(file));
    }
}

fn refused(why: String) -> Verdict {
    Verdict::Refused(text::into_line(why, Failure::MAX_REASON))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
