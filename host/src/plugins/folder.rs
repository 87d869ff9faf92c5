//! Which files of the plugin folder are whole, and which have gone.
//!
//! A file that is still being copied may already be a valid component, so that it compiles proves nothing. A file counts
//! as whole when its writer has closed it or it was moved here, and where nobody saw that happen, when it has not
//! changed for a while. Events are hints: what is true is what a scan finds, and scans come without hints too.
//!
//! The signature beside a file (`print.wasm.minisig`) is part of it: both must be whole, and if either changes, the file
//! counts as changed. So the two may come in any order.

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

/// What tells one content of a plugin's file and of its signature from another without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    plugin: FileStamp,
    /// `None` if there is no signature.
    signature: Option<FileStamp>,
}

impl Stamp {
    /// The size of the plugin's file.
    pub(super) fn bytes(&self) -> u64 {
        self.plugin.bytes
    }

    /// Whether there is a signature.
    pub(super) fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// The stamp of a plugin's file and of its signature.
    ///
    /// # Errors
    /// If there is no such plugin, or it is not a regular file.
    pub(super) fn of(plugin: &Path) -> io::Result<Self> {
        Ok(Self { plugin: FileStamp::of(plugin)?, signature: FileStamp::of(&signature_of(plugin)).ok() })
    }
}

/// The same of a single file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl FileStamp {
    /// The stamp of a file; a symbolic link may lead to it.
    fn of(file: &Path) -> io::Result<Self> {
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
    /// By the plugin's file, which may be missing where its signature came first.
    plugins: BTreeMap<PathBuf, Known>,
}

/// What is known of one plugin.
#[derive(Debug)]
struct Known {
    plugin: Seen,
    signature: Seen,
    /// The content that was reported whole.
    taken: Option<Stamp>,
}

/// What is known of one file.
#[derive(Debug)]
struct Seen {
    /// As the last scan found it; `None` if it was missing.
    stamp: Option<FileStamp>,
    since: Instant,
    is_closed: bool,
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
        found: &BTreeMap<PathBuf, FileStamp>,
        closed: &BTreeSet<PathBuf>,
        now: Instant,
    ) -> Vec<Change> {
        for file in found.keys() {
            self.plugins.entry(plugin_of(file)).or_insert_with(|| Known::unseen(now));
        }
        let mut changes = Vec::new();
        for (file, known) in &mut self.plugins {
            known.plugin.look(file, found, closed, now);
            known.signature.look(&signature_of(file), found, closed, now);
            if known.due().is_none_or(|due| due > now) {
                continue;
            }
            known.taken = known.stamp();
            changes.push(match known.taken {
                Some(stamp) => Change::Whole(file.clone(), stamp),
                None => Change::Gone(file.clone()),
            });
        }
        self.plugins.retain(|_, known| !known.is_nothing());
        changes
    }

    /// When the next change may be due, if nothing happens before.
    pub(super) fn next_scan(&self) -> Option<Instant> {
        self.plugins.values().filter_map(Known::due).min()
    }
}

impl Known {
    fn unseen(now: Instant) -> Self {
        let unseen = || Seen { stamp: None, since: now, is_closed: false };
        Self { plugin: unseen(), signature: unseen(), taken: None }
    }

    /// What is there; `None` if the plugin is missing.
    fn stamp(&self) -> Option<Stamp> {
        self.plugin.stamp.map(|plugin| Stamp { plugin, signature: self.signature.stamp })
    }

    /// When what is there counts; `None` if it does already.
    fn due(&self) -> Option<Instant> {
        let stamp = self.stamp();
        if stamp == self.taken {
            return None;
        }
        // A plugin that has no signature, and had none, does not wait for one.
        let waits_for_signature =
            stamp.is_some_and(|stamp| stamp.is_signed() || self.taken.is_some_and(|t| t.is_signed()));
        let signature = waits_for_signature.then(|| self.signature.settles());
        Some(self.plugin.settles()).max(signature)
    }

    fn is_nothing(&self) -> bool {
        self.plugin.stamp.is_none() && self.signature.stamp.is_none() && self.taken.is_none()
    }
}

impl Seen {
    fn look(&mut self, file: &Path, found: &BTreeMap<PathBuf, FileStamp>, closed: &BTreeSet<PathBuf>, now: Instant) {
        let stamp = found.get(file).copied();
        if stamp != self.stamp {
            *self = Self { stamp, since: now, is_closed: false };
        }
        self.is_closed |= closed.contains(file);
    }

    /// When it has been as it is for long enough.
    fn settles(&self) -> Instant {
        self.since
            + match self.stamp {
                None => MISSING,
                Some(_) if self.is_closed => SETTLED,
                Some(_) => QUIET,
            }
    }
}

/// The plugins and signatures that are in the folder now.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if !is_of_plugin(&file) {
            continue;
        }
        // A file may go at any moment; then it is not there.
        if let Ok(stamp) = FileStamp::of(&file) {
            found.insert(file, stamp);
        }
    }
    Ok(found)
}

/// Whether a file is meant as a plugin, or as the signature of one, by its name. Those that begin with a dot are on
/// their way.
pub(super) fn is_of_plugin(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    plugin_of(file).extension().is_some_and(|extension| extension == "wasm") && !hidden
}

/// Where the signature of a file lies.
#[must_use]
pub fn signature_of(file: &Path) -> PathBuf {
    let mut signature = file.as_os_str().to_owned();
    signature.push(".minisig");
    signature.into()
}

/// The plugin's file, if this is its signature; else the file itself.
fn plugin_of(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "minisig") { file.with_extension("") } else { file.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "print.wasm";
    const SIGNATURE: &str = "print.wasm.minisig";

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
            self.scan_both(ms, (content, closed), (None, false))
        }

        /// The same with a signature.
        fn scan_both(&mut self, ms: u64, plugin: (Option<u64>, bool), signature: (Option<u64>, bool)) -> Vec<Change> {
            let files = [(FILE, plugin), (SIGNATURE, signature)];
            let found =
                files.iter().filter_map(|(file, (content, _))| Some((file.into(), stamp((*content)?)))).collect();
            let closed = files.iter().filter(|(_, (_, closed))| *closed).map(|(file, _)| file.into()).collect();
            self.folder.scan(&found, &closed, self.start + Duration::from_millis(ms))
        }

        fn next_scan_ms(&self) -> Option<u128> {
            self.folder.next_scan().map(|next| (next - self.start).as_millis())
        }
    }

    fn stamp(content: u64) -> FileStamp {
        FileStamp { device: 1, inode: 1, bytes: content, modified_ns: (0, 0), changed_ns: (0, 0) }
    }

    fn whole(content: u64) -> Vec<Change> {
        vec![Change::Whole(FILE.into(), Stamp { plugin: stamp(content), signature: None })]
    }

    fn signed(content: u64, signature: u64) -> Vec<Change> {
        vec![Change::Whole(FILE.into(), Stamp { plugin: stamp(content), signature: Some(stamp(signature)) })]
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

    #[test]
    fn a_signature_that_comes_at_once_is_taken_with_its_plugin() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), true);
        assert_eq!(scene.scan_both(40, (Some(1), false), (Some(7), false)), [], "it is still being written");
        assert_eq!(scene.scan_both(60, (Some(1), false), (Some(8), true)), []);
        assert_eq!(scene.next_scan_ms(), Some(110));
        assert_eq!(scene.scan_both(110, (Some(1), false), (Some(8), false)), signed(1, 8));
        assert_eq!(scene.next_scan_ms(), None);
    }

    #[test]
    fn a_signature_that_comes_late_changes_its_plugin() {
        let mut scene = Scene::new();
        scene.scan(0, Some(1), true);
        assert_eq!(scene.scan(50, Some(1), false), whole(1));
        assert_eq!(scene.scan_both(9_000, (Some(1), false), (Some(7), true)), []);
        assert_eq!(scene.scan_both(9_050, (Some(1), false), (Some(7), false)), signed(1, 7));
    }

    #[test]
    fn a_signature_that_comes_first_waits_for_its_plugin() {
        let mut scene = Scene::new();
        assert_eq!(scene.scan_both(0, (None, false), (Some(7), true)), []);
        assert_eq!(scene.scan_both(9_000, (None, false), (Some(7), false)), []);
        assert_eq!(scene.next_scan_ms(), None);
        assert_eq!(scene.scan_both(9_010, (Some(1), false), (Some(7), false)), [], "only the signature is closed");
        assert_eq!(scene.scan_both(9_020, (Some(1), true), (Some(7), false)), []);
        assert_eq!(scene.scan_both(9_060, (Some(1), false), (Some(7), false)), signed(1, 7));
    }

    #[test]
    fn a_signature_that_goes_leaves_its_plugin_unsigned() {
        let mut scene = Scene::new();
        scene.scan_both(0, (Some(1), true), (Some(7), true));
        assert_eq!(scene.scan_both(50, (Some(1), false), (Some(7), false)), signed(1, 7));
        assert_eq!(scene.scan(100, Some(1), false), []);
        assert_eq!(scene.scan(399, Some(1), false), []);
        assert_eq!(scene.scan(400, Some(1), false), whole(1));
        scene.scan(500, None, false);
        assert_eq!(scene.scan(800, None, false), gone());
    }

    #[test]
    fn names_tell_plugins_and_their_signatures() {
        for (name, is_one) in [
            ("a.wasm", true),
            ("a.wasm.minisig", true),
            ("a.minisig", false),
            (".a.wasm", false),
            (".a.wasm.minisig", false),
            ("a.wasm.1.minisig", false),
            ("a.wasm.minisig.minisig", false),
        ] {
            assert_eq!(is_of_plugin(Path::new(name)), is_one, "{name}");
        }
        assert_eq!(plugin_of(&signature_of(Path::new("p/a.b.wasm"))), Path::new("p/a.b.wasm"));
    }
}
