//! Watch of the plugin folder: events of the system, and whether the path still names the watched folder.
//!
//! The watch follows the path. `mv plugins old; mv next plugins`, a recreated folder or a changed link put another
//! folder under the same name, whose changes send no events to the old watch. Device, inode and birth time are
//! therefore compared regularly, which costs one `stat`. A recreated folder may have the inode of the removed one, so
//! the removal event also counts.

use crate::loading::scanner::{Stamp, is_of_plugin};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use wasmnode_protocol::ServiceName;

/// Quiet time that ends the gathering of events before a scan, and longest gathering. A copy causes many events.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// Largest number of closed files recorded until the next scan. Further files are loaded after their quiet time.
const CLOSED: usize = 16_384;

/// Identity of a folder: device, inode and, if the file system has it, birth time; `None` if it cannot be read.
type Identity = Option<(u64, u64, Option<SystemTime>)>;

/// Reason why the system reports no events of a folder.
#[derive(Debug)]
pub(crate) struct NoEvents(notify::Error);

impl fmt::Display for NoEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            // The crate's own text is nothing but the path in brackets.
            ErrorKind::PathNotFound => f.write_str("it is not there"),
            _ => self.0.fmt(f),
        }
    }
}

impl std::error::Error for NoEvents {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The watch of one folder.
pub(crate) struct Watch {
    /// `None` if the system reports no events.
    watcher: Option<RecommendedWatcher>,
    identity: Identity,
}

impl Watch {
    /// Watches a folder; its events go to `hints`. If there are no events, the second value is the reason.
    pub(crate) fn new(folder: &Path, hints: &Arc<Hints>) -> (Self, Option<NoEvents>) {
        // Read before the watch begins: if the folder is exchanged in between, the next comparison detects it.
        let identity = identity(folder);
        match watcher(folder, Arc::clone(hints)) {
            Ok(watcher) => (Self { watcher: Some(watcher), identity }, None),
            Err(error) => (Self { watcher: None, identity }, Some(NoEvents(error))),
        }
    }

    /// Returns `true` if the system reports events.
    pub(crate) fn has_events(&self) -> bool {
        self.watcher.is_some()
    }

    /// Returns `true` if the path names another folder than the watched one.
    pub(crate) fn has_moved(&self, folder: &Path) -> bool {
        identity(folder) != self.identity
    }
}

fn identity(folder: &Path) -> Identity {
    fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// Events since the last scan, gathered for the scanning thread. Bounded by [`CLOSED`] names, and by the number of
/// files that are loaded and tried.
#[derive(Default)]
pub(crate) struct Hints {
    gathered: Mutex<Gathered>,
    bell: Condvar,
}

/// A staged file, and the service for which it is tried. Staged files are in the plugin folder under names that are
/// never loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) service: ServiceName,
    pub(crate) file: String,
    /// Name in refusals.
    pub(crate) called: Option<String>,
}

/// Gathered events.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Number of events so far; any event is a reason to scan.
    events: usize,
    is_folder_lost: bool,
    closed: BTreeSet<OsString>,
    /// Files that could not be read because of a transient error.
    pub(crate) failed: Vec<(PathBuf, Stamp)>,
    /// Staged files of `deploy` that need a verdict.
    pub(crate) staged: Vec<Staged>,
}

impl Gathered {
    /// Returns `true` if there was an event.
    pub(crate) fn is_reason_to_scan(&self) -> bool {
        self.events > 0
    }

    /// Returns `true` if the folder was removed or moved away.
    pub(crate) fn is_folder_lost(&self) -> bool {
        self.is_folder_lost
    }

    /// Returns the files that were closed or moved here, by their paths in `folder`.
    pub(crate) fn closed(&self, folder: &Path) -> BTreeSet<PathBuf> {
        self.closed.iter().map(|name| folder.join(name)).collect()
    }
}

impl Hints {
    /// Waits for an event, for at most `wait`, and then a little longer, because events come in bursts.
    pub(crate) fn gather(&self, wait: Duration) -> Gathered {
        let idle = |gathered: &mut Gathered| gathered.events == 0;
        let waited = self.bell.wait_timeout_while(self.lock(), wait, idle);
        let (mut gathered, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + GATHER_AT_MOST;
        let mut seen = 0;
        while gathered.events > seen && Instant::now() < until {
            seen = gathered.events;
            let quiet = |gathered: &mut Gathered| gathered.events == seen;
            let waited = self.bell.wait_timeout_while(gathered, GATHER, quiet);
            gathered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *gathered)
    }

    /// Records that reading this content failed with a transient error.
    pub(crate) fn failed(&self, file: PathBuf, stamp: Stamp) {
        self.note(|gathered| gathered.failed.push((file, stamp)));
    }

    /// Records a staged file that needs a verdict. The caller bounds their number.
    pub(crate) fn stage(&self, staged: Staged) {
        self.note(|gathered| gathered.staged.push(staged));
    }

    fn happened(&self, event: notify::Result<Event>, folder: &Path) {
        // After an error, events may have been missed.
        let event = event.unwrap_or_default();
        if is_irrelevant(&event) {
            return;
        }
        self.note(|gathered| {
            let is_gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            gathered.is_folder_lost |= is_gone && event.paths.iter().any(|path| path == folder);
            if is_closing(event.kind) {
                let names = event.paths.iter().filter_map(|path| path.file_name()).map(OsString::from);
                let room = CLOSED.saturating_sub(gathered.closed.len());
                gathered.closed.extend(names.take(room));
            }
        });
    }

    fn note(&self, note: impl FnOnce(&mut Gathered)) {
        let mut gathered = self.lock();
        gathered.events += 1;
        note(&mut gathered);
        self.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watcher(folder: &Path, hints: Arc<Hints>) -> notify::Result<RecommendedWatcher> {
    let folder = std::env::current_dir()?.join(folder);
    let own = folder.clone();
    let mut watcher = notify::recommended_watcher(move |event| hints.happened(event, &own))?;
    watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn is_closing(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
    )
}

/// Returns `true` if an event cannot affect a scan: reads, including the node's own, and writes to files that are not
/// plugins. Every other event is a hint, because a plugin may be a link to any file or folder.
fn is_irrelevant(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(access) => access != AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => !event.paths.iter().any(|path| is_of_plugin(path)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_that_names_another_folder_is_detected() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        for name in ["a", "b"] {
            fs::create_dir(path(name)).unwrap();
        }
        symlink("a", path("link")).unwrap();
        let hints = Arc::new(Hints::default());
        let (watch, trouble) = Watch::new(&path("link"), &hints);
        assert!(trouble.is_none(), "{trouble:?}");
        assert!(!watch.has_moved(&path("link")));
        symlink("b", path("next")).unwrap();
        fs::rename(path("next"), path("link")).unwrap();
        assert!(watch.has_moved(&path("link")));

        let (watch, _) = Watch::new(&path("a"), &hints);
        fs::rename(path("a"), path("old")).unwrap();
        assert!(watch.has_moved(&path("a")), "it is not there");
        fs::rename(path("b"), path("a")).unwrap();
        assert!(watch.has_moved(&path("a")), "it is another");
    }

    #[test]
    fn an_event_in_the_folder_ends_the_wait_and_names_the_closed_files() {
        let folder = tempfile::tempdir().unwrap();
        let hints = Arc::new(Hints::default());
        let (_watch, trouble) = Watch::new(folder.path(), &hints);
        assert!(trouble.is_none(), "{trouble:?}");
        fs::write(folder.path().join("a.wasm"), "x").unwrap();
        let mut closed = BTreeSet::new();
        while closed.is_empty() {
            let gathered = hints.gather(Duration::from_secs(60));
            assert!(gathered.is_reason_to_scan());
            closed = gathered.closed(Path::new("elsewhere"));
        }
        assert_eq!(closed, BTreeSet::from(["elsewhere/a.wasm".into()]));
    }

    #[test]
    fn the_removal_of_the_folder_is_detected_even_if_a_new_one_has_its_identity() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("plugins");
        fs::create_dir(&folder).unwrap();
        let hints = Arc::new(Hints::default());
        let (_watch, trouble) = Watch::new(&folder, &hints);
        assert!(trouble.is_none(), "{trouble:?}");
        fs::remove_dir(&folder).unwrap();
        while !hints.gather(Duration::from_secs(60)).is_folder_lost() {}
    }
}
