//! From a file to a plugin that can serve, on threads of its own: compiling holds up no request.

use super::compilers;
use super::engine::Sandbox;
use super::folder::{Change, Folder, Stamp, is_of_plugin, list, signature_of};
use super::guest::Calls;
use super::instance::{Origin, Plugin};
use super::provenance::vouch;
use super::slow_lane::{LARGE, SlowLane};
use super::{News, Refusal};
use crate::config::Config;
use crate::mailbox::Sending;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info, warn};
use wasmnode_core::ServiceName;

/// How often the folder is scanned without a hint: events may get lost.
const RESCAN: Duration = Duration::from_secs(15);

/// The same where the system offers no events.
const RESCAN_BLIND: Duration = Duration::from_secs(1);

/// How long events are gathered before a scan: a copy makes many.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// How long a young file that is there at the start must stay as it is before it is loaded.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How old a file is at the start that nobody is likely to be still writing.
const OLD: Duration = Duration::from_secs(2);

/// Bytes of a signature that are read; minisign writes comments of up to 9 KiB.
const SIGNATURE_BYTES: u64 = 16 << 10;

/// What it takes to load plugins.
pub(super) struct Loader {
    pub(super) sandbox: Sandbox,
    pub(super) config: Config,
    pub(super) calls: Arc<Calls>,
}

/// What the system tells of the folder.
struct Watch {
    /// `None` if it tells nothing.
    watcher: Option<RecommendedWatcher>,
    hinted: Receiver<notify::Result<Event>>,
    /// Keeps the channel open where nothing is told, so that waiting for a hint takes its time.
    _hints: Sender<notify::Result<Event>>,
}

impl Loader {
    /// Loads what is in the folder now; what comes of each file is sent. Then watches the folder until the node ends.
    ///
    /// # Errors
    /// If the folder cannot be read, or the system refuses a thread.
    pub(super) fn start(self, sending: Sending) -> Result<(), String> {
        let refused = |error: std::io::Error| format!("the system refuses a thread: {error}");
        list(&self.config.plugins).map_err(|error| self.unreadable(&error))?;
        // Before the first look, so that nothing that comes after it goes unseen.
        let watch = self.watch_folder();
        let mut folder = Folder::default();
        // They reach the driver by the mailbox like all that come later.
        self.load_present(&mut folder)?.into_iter().for_each(|news| sending.send(news));
        let loader = Arc::new(self);
        let slow_lane = SlowLane::start(Arc::clone(&loader), sending.clone()).map_err(refused)?;
        let thread = std::thread::Builder::new().name("folder".into());
        thread.spawn(move || loader.run(folder, watch, &slow_lane, &sending)).map_err(refused)?;
        Ok(())
    }

    fn unreadable(&self, error: &std::io::Error) -> String {
        let path = self.config.plugins.display();
        format!("cannot read the plugin folder {path}: {error}; create it, or name another in node.plugins")
    }

    fn load_present(&self, folder: &mut Folder) -> Result<Vec<News>, String> {
        let path = &self.config.plugins;
        let unreadable = |error: std::io::Error| self.unreadable(&error);
        let mut found = list(path).map_err(unreadable)?;
        if !found.keys().all(|file| is_old(file)) {
            std::thread::sleep(FIRST_PAUSE);
            let again = list(path).map_err(unreadable)?;
            // What is still growing is left to the watch.
            found = again.into_iter().filter(|(file, stamp)| found.get(file) == Some(stamp)).collect();
        }
        let closed: BTreeSet<PathBuf> = found.keys().cloned().collect();
        let now = Instant::now();
        folder.scan(&found, &closed, now);
        let changes = folder.scan(&found, &closed, folder.next_scan().unwrap_or(now));
        let concerned = changes.into_iter().filter_map(|change| Some((self.concerned(&change)?, change)));
        let news: Vec<News> = concerned.map(|(service, change)| self.news(&service, change)).collect();
        self.warn_of_missing(&found.into_keys().collect());
        Ok(news)
    }

    fn warn_of_missing(&self, found: &BTreeSet<PathBuf>) {
        let path = self.config.plugins.display();
        for name in self.config.services.iter().flatten() {
            if !found.contains(&self.config.plugins.join(format!("{name}.wasm"))) {
                warn!("node.services lists {name}, but there is no {name}.wasm in {path}");
            }
        }
        if !found.iter().any(|file| file.extension().is_some_and(|extension| extension == "wasm")) {
            warn!("there is no plugin in {path} yet; drop one in");
        }
    }

    fn run(&self, mut folder: Folder, mut watch: Watch, slow_lane: &SlowLane, sending: &Sending) {
        let _helpers = compilers::helping_me(compilers::cores()).inspect_err(|error| {
            warn!("requests may wait for a plugin that compiles: the system refuses a thread: {error}");
        });
        let mut is_readable = true;
        loop {
            let rescan = if watch.watcher.is_some() { RESCAN } else { RESCAN_BLIND };
            let due = folder.next_scan().map_or(rescan, |next| next.saturating_duration_since(Instant::now()));
            let closed = gather(&watch.hinted, due.min(rescan), &self.config.plugins);
            match list(&self.config.plugins) {
                Ok(found) => {
                    if !std::mem::replace(&mut is_readable, true) {
                        // It may be another folder under the same name.
                        watch = self.watch_folder();
                    }
                    for change in folder.scan(&found, &closed, Instant::now()) {
                        let Some(service) = self.concerned(&change) else { continue };
                        if let Some(change) = slow_lane.take(&service, change) {
                            sending.send(self.news(&service, change));
                        }
                    }
                }
                Err(error) => {
                    watch.watcher = None;
                    if std::mem::replace(&mut is_readable, false) {
                        let folder = self.config.plugins.display();
                        error!("cannot read the plugin folder {folder}: {error}; its plugins serve on");
                    }
                }
            }
        }
    }

    fn watch_folder(&self) -> Watch {
        let (hints, hinted) = channel();
        let watcher = watcher(&self.config.plugins, hints.clone())
            .inspect_err(|error| {
                warn!("changes of the plugin folder are noticed by looking every {RESCAN_BLIND:?}: {error}");
            })
            .ok();
        Watch { watcher, hinted, _hints: hints }
    }

    /// The service that a change is of, if the node is to serve it.
    fn concerned(&self, change: &Change) -> Option<ServiceName> {
        let (Change::Whole(file, _) | Change::Gone(file)) = change;
        let name = service_name(file).inspect_err(|why| error!("{} is not loaded: {why}", file.display()));
        name.ok().filter(|service| self.config.services.as_ref().is_none_or(|wanted| wanted.contains(service)))
    }

    /// What comes of a change.
    pub(super) fn news(&self, service: &ServiceName, change: Change) -> News {
        match change {
            Change::Gone(_) => News::Gone(service.clone()),
            Change::Whole(file, stamp) => self.load(service, &file, stamp),
        }
    }

    fn load(&self, service: &ServiceName, file: &Path, stamp: Stamp) -> News {
        let (digest, loaded) = match self.read_whole(file, stamp) {
            Ok(content) => {
                let digest = digest(&content.bytes);
                let admitted = self.admit(file, &content, &digest);
                (digest.clone(), admitted.and_then(|()| self.build(service, file, &content.bytes, digest)))
            }
            Err(why) => (String::new(), Err(why)),
        };
        match loaded {
            Ok(plugin) => News::Loaded(service.clone(), Box::new(plugin)),
            Err(why) => {
                error!("{} is not loaded: {why}", file.display());
                let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
                News::Refused(service.clone(), Refusal { digest, why, at })
            }
        }
    }

    /// Reads a file at one go; what is verified and compiled is what was read.
    fn read_whole(&self, file: &Path, stamp: Stamp) -> Result<Content, String> {
        let limit = self.config.plugin_bytes;
        if stamp.bytes() > limit {
            return Err(format!("its {} bytes are over limits.plugin = {limit}", stamp.bytes()));
        }
        let unreadable = |error| format!("cannot read it: {error}");
        let bytes = std::fs::read(file).map_err(unreadable)?;
        let signature = if stamp.is_signed() { read_signature(file) } else { None };
        if Stamp::of(file).map_err(unreadable)? == stamp {
            Ok(Content { bytes, signature })
        } else {
            Err("it changed while it was read; it is tried again when it has settled".into())
        }
    }

    /// Whether the configuration lets a file be loaded; asked before any of it is compiled, or looked up in the cache.
    fn admit(&self, file: &Path, content: &Content, digest: &str) -> Result<(), String> {
        if let Some(policy) = &self.config.provenance {
            let why = vouch(policy, file, &content.bytes, digest, content.signature.as_deref())?;
            info!("{} may be loaded: {why}", file.display());
        }
        Ok(())
    }

    fn build(&self, service: &ServiceName, file: &Path, bytes: &[u8], digest: String) -> Result<Plugin, String> {
        if bytes.len() as u64 >= LARGE {
            info!("compiling {} ({} MiB), which can take a while", file.display(), bytes.len() >> 20);
        }
        let began = Instant::now();
        let component = self.sandbox.compile(bytes)?;
        let origin = Origin { file: file.to_owned(), digest, bytes: bytes.len() as u64, loaded_at: SystemTime::now() };
        let settings = self.config.sandbox(service).clone();
        let plugin =
            Plugin::new(&self.sandbox, &component, service.clone(), origin, settings, Arc::clone(&self.calls))?;
        info!("{} can serve {service} (loaded in {:?})", file.display(), began.elapsed());
        Ok(plugin)
    }
}

/// A plugin's file and the signature beside it, read while neither changed.
struct Content {
    bytes: Vec<u8>,
    signature: Option<String>,
}

/// The text of the signature beside a file; `None` if it cannot be read.
fn read_signature(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(signature_of(file)).and_then(|file| file.take(SIGNATURE_BYTES).read_to_end(&mut text)).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The name of a file's content: its SHA-256, hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _writing_to_a_string_succeeds = write!(text, "{byte:02x}");
        text
    })
}

/// Waits for hints, at most so long, and returns the files that were closed or moved here.
fn gather(hinted: &Receiver<notify::Result<Event>>, wait: Duration, folder: &Path) -> BTreeSet<PathBuf> {
    let mut closed = BTreeSet::new();
    let mut timeout = wait;
    let last = Instant::now() + wait + GATHER_AT_MOST;
    while Instant::now() < last {
        match hinted.recv_timeout(timeout) {
            Ok(Ok(event)) if is_closing(&event.kind) => {
                // The folder's name may differ: events have absolute ones.
                closed.extend(event.paths.iter().filter_map(|path| path.file_name()).map(|name| folder.join(name)));
            }
            // Other events hint that it is time to look, and errors that something may have been missed.
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        timeout = GATHER;
    }
    closed
}

fn is_closing(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
    )
}

fn watcher(folder: &Path, hints: Sender<notify::Result<Event>>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let concerns_plugins = event
            .as_ref()
            .map_or(true, |event| event.paths.iter().any(|path| is_of_plugin(path)) && !is_reading(&event.kind));
        if concerns_plugins {
            let _the_node_ends = hints.send(event);
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether it is only reading, our own too, that makes no difference.
fn is_reading(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

fn is_old(file: &Path) -> bool {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age >= OLD))
}

fn service_name(file: &Path) -> Result<ServiceName, String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).ok_or("its name is not UTF-8")?;
    let name: ServiceName = stem.parse().map_err(|error| format!("{error}; rename the file"))?;
    if name.is_reserved() {
        return Err(format!("the node answers {name} itself; rename the file"));
    }
    Ok(name)
}
