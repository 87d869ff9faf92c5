//! Which files of the plugin folder are whole, and which have gone.
//!
//! A file that is still being copied may already be a valid component, so that it compiles proves nothing. A file counts
//! as whole when its writer has closed it or it was moved here, and where nobody saw that happen, when it has not
//! changed for a while. Events are hints: what is true is what a scan finds, and scans come without hints too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file must stay as it is if its writer was seen to close it: twice in a row, an editor may come back.
const SETTLED: Duration = Duration::from_millis(50);

/// How long a file must stay as it is if nobody saw its writer close it.
const QUIET: Duration = Duration::from_secs(2);

/// How long a file must be missing: some editors remove a file before they write it anew.
const MISSING: Duration = Duration::from_millis(300);

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamp {
    /// The file's size.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The stamp of a file, of which a symbolic link may lead to it.
    ///
    /// # Errors
    /// If there is no such file, or it is not a regular one.
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(file)?;
        if !metadata.is_file() {
            // To read a pipe would be to wait for its writer.
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// What is known of the folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<PathBuf, Known>,
}

/// What is known of one file.
#[derive(Debug)]
struct Known {
    /// As the last scan found it; `None` if it was missing.
    stamp: Option<Stamp>,
    since: Instant,
    is_closed: bool,
    /// The content that was reported whole.
    taken: Option<Stamp>,
}

/// What a scan has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This file is whole, and new or different.
    Whole(PathBuf, Stamp),
    /// This file, which was whole, is no longer there.
    Gone(PathBuf),
}

impl Folder {
    /// Compares what is there with what is known. `closed` are the files whose writer was seen to close them, or that
    /// were moved here, since the last scan.
    pub(super) fn scan(
        &mut self,
        found: &BTreeMap<PathBuf, Stamp>,
        closed: &BTreeSet<PathBuf>,
        now: Instant,
    ) -> Vec<Change> {
        for path in found.keys() {
            let unseen = Known { stamp: None, since: now, is_closed: false, taken: None };
            self.files.entry(path.clone()).or_insert(unseen);
        }
        let mut changes = Vec::new();
        for (path, known) in &mut self.files {
            let stamp = found.get(path).copied();
            if stamp != known.stamp {
                (known.stamp, known.since, known.is_closed) = (stamp, now, false);
            }
            known.is_closed |= closed.contains(path);
            if !known.is_due(now) {
                continue;
            }
            known.taken = known.stamp;
            changes.push(match known.stamp {
                Some(stamp) => Change::Whole(path.clone(), stamp),
                None => Change::Gone(path.clone()),
            });
        }
        self.files.retain(|_, known| known.stamp.is_some() || known.taken.is_some());
        changes
    }

    /// When the next change may be due, if nothing happens before.
    pub(super) fn next_scan(&self) -> Option<Instant> {
        self.files.values().filter(|known| known.stamp != known.taken).map(|known| known.since + known.wait()).min()
    }
}

impl Known {
    fn wait(&self) -> Duration {
        match self.stamp {
            None => MISSING,
            Some(_) if self.is_closed => SETTLED,
            Some(_) => QUIET,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.stamp != self.taken && now.saturating_duration_since(self.since) >= self.wait()
    }
}

/// The plugin files that are in the folder now.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if !is_plugin(&file) {
            continue;
        }
        // A file may go at any moment; then it is not there.
        if let Ok(stamp) = Stamp::of(&file) {
            found.insert(file, stamp);
        }
    }
    Ok(found)
}

/// Whether a file is meant as a plugin, by its name. Those that begin with a dot are on their way.
pub(super) fn is_plugin(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    file.extension().is_some_and(|extension| extension == "wasm") && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "print.wasm";

    struct Scene {
        folder: Folder,
        start: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { folder: Folder::default(), start: Instant::now() }
        }

        /// Scans so many milliseconds after the start; the file has this content, and was closed or not.
        fn scan(&mut self, ms: u64, content: Option<u64>, closed: bool) -> Vec<Change> {
            let found = content.map(|content| (FILE.into(), stamp(content))).into_iter().collect();
            let closed = closed.then(|| FILE.into()).into_iter().collect();
            self.folder.scan(&found, &closed, self.start + Duration::from_millis(ms))
        }

        fn next_scan_ms(&self) -> Option<u128> {
            self.folder.next_scan().map(|next| (next - self.start).as_millis())
        }
    }

    fn stamp(content: u64) -> Stamp {
        Stamp { device: 1, inode: 1, bytes: content, modified_ns: (0, 0), changed_ns: (0, 0) }
    }

    fn whole(content: u64) -> Vec<Change> {
        vec![Change::Whole(FILE.into(), stamp(content))]
    }

    fn gone() -> Vec<Change> {
        vec![Change::Gone(FILE.into())]
    }

    #[test]
    fn a_file_that_was_closed_is_whole_once_it_has_settled() {
        let mut scene = Scene::new();
        assert_eq!(scene.scan(0, Some(1), true), []);
        assert_eq!(scene.next_scan_ms(), Some(50));
        assert_eq!(scene.scan(49, Some(1), false), []);
        assert_eq!(scene.scan(50, Some(1), false), whole(1));
        assert_eq!(scene.scan(9_000, Some(1), false), []);
        assert_eq!(scene.next_scan_ms(), None);
    }

    #[test]
    fn a_copy_that_stalls_is_not_whole_until_it_has_been_quiet_for_long() {
        let mut scene = Scene::new();
        assert_eq!(scene.scan(0, Some(1), false), []);
        assert_eq!(scene.scan(1_900, Some(1), false), []);
        assert_eq!(scene.scan(1_950, Some(2), false), [], "it went on");
        assert_eq!(scene.scan(2_100, Some(2), false), []);
        assert_eq!(scene.next_scan_ms(), Some(3_950));
        assert_eq!(scene.scan(3_950, Some(2), false), whole(2));
    }

    #[test]
    fn a_file_that_changes_after_it_was_closed_waits_for_the_next_close() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), true);
        assert_eq!(scene.scan(60, Some(2), false), []);
        assert_eq!(scene.scan(200, Some(2), false), []);
        assert_eq!(scene.scan(210, Some(2), true), whole(2));
    }

    #[test]
    fn a_file_that_an_editor_removes_and_writes_anew_was_never_gone() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), true);
        scene.scan(50, Some(1), false);
        assert_eq!(scene.scan(100, None, false), []);
        assert_eq!(scene.scan(200, Some(2), true), []);
        assert_eq!(scene.scan(250, Some(2), false), whole(2));
    }

    #[test]
    fn a_file_that_stays_away_is_gone_once_and_may_come_back() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), true);
        scene.scan(50, Some(1), false);
        scene.scan(100, None, false);
        assert_eq!(scene.next_scan_ms(), Some(400));
        assert_eq!(scene.scan(400, None, false), gone());
        assert_eq!(scene.scan(500, None, false), []);
        scene.scan(600, Some(1), true);
        assert_eq!(scene.scan(650, Some(1), false), whole(1));
    }

    #[test]
    fn a_file_that_never_was_whole_goes_without_a_word() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), false);
        scene.scan(10, None, false);
        assert_eq!(scene.scan(1_000, None, false), []);
        assert_eq!(scene.next_scan_ms(), None);
    }
}
