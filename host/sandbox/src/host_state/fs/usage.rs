//! Usage of granted folders, which is limited so that plugins cannot fill the disk.
//!
//! Additions by plugins are counted before they are made: the bytes by which a file grows (a sparse file counts in
//! full), and each new file, folder or link. Removals by plugins are not counted: when a limit is reached, the folder
//! is measured again, which also covers changes by other programs. So the count of plugins' additions is never too low,
//! except for those made while the folder is measured. A deleted file counts while it is open for writing.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// Pause after measuring a folder, as a multiple of the duration of the measurement.
const MEASURING: u32 = 10;

/// Limits of a folder's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Usage of one folder, shared by all grants of that folder.
#[derive(Debug, Default)]
pub(super) struct Usage {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
    files: u64,
    /// Error of the last attempt to measure the folder, if it failed.
    error: Option<Errno>,
    /// Time from which the folder may be measured again; `None` if it has not been measured.
    next: Option<Instant>,
    /// Files that are open for writing.
    open: Vec<Weak<File>>,
}

/// Reason why an addition is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The addition would exceed the limits.
    Over {
        /// Bytes in the folder.
        bytes: u64,
        /// Files, folders and links in the folder.
        files: u64,
    },
    /// The folder cannot be measured.
    Unknown(Errno),
}

impl Usage {
    /// Counts an addition before it is made. May traverse the whole folder.
    ///
    /// # Errors
    /// If an addition of that size would exceed the limits, or the folder cannot be measured.
    pub(super) fn add(&self, root: &File, limits: Limits, bytes: u64, files: u64) -> Result<(), Full> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_known = counted.next.is_some() && counted.error.is_none();
        if !(is_known && counted.has_room(limits, bytes, files)) && counted.next.is_none_or(|next| next <= now) {
            counted.measure(root, limits.files, now);
        }
        if let Some(error) = counted.error {
            return Err(Full::Unknown(error));
        }
        if !counted.has_room(limits, bytes, files) {
            return Err(Full::Over { bytes: counted.bytes, files: counted.files });
        }
        counted.bytes += bytes;
        counted.files += files;
        Ok(())
    }

    /// Records a file that is open for writing.
    pub(super) fn track(&self, file: &Arc<File>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.open.len() == counted.open.capacity() {
            counted.open.retain(|open| open.strong_count() > 0);
        }
        counted.open.push(Arc::downgrade(file));
    }
}

impl Counted {
    fn has_room(&self, limits: Limits, bytes: u64, files: u64) -> bool {
        self.bytes.checked_add(bytes).is_some_and(|bytes| bytes <= limits.bytes)
            && self.files.checked_add(files).is_some_and(|files| files <= limits.files)
    }

    fn measure(&mut self, root: &File, most_files: u64, start: Instant) {
        self.open.retain(|open| open.strong_count() > 0);
        let deleted = self.open.iter().filter_map(Weak::upgrade).filter_map(|file| file.metadata().ok());
        let deleted: u64 = deleted.filter(|metadata| metadata.nlink() == 0).map(|metadata| metadata.len()).sum();
        let measured = measure(root, most_files);
        self.next = Some(Instant::now() + start.elapsed() * MEASURING);
        self.error = measured.err();
        if let Ok((bytes, files)) = measured {
            (self.bytes, self.files) = (bytes.saturating_add(deleted), files);
        }
    }
}

/// Returns the bytes, and the number of files, folders and links, in a folder; stops beyond `most_files`.
fn measure(root: &File, most_files: u64) -> Result<(u64, u64), Errno> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut folders = vec![PathBuf::from(".")];
    while let Some(path) = folders.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let folder = match openat(root, &path, flags, Mode::empty()) {
            // The folder was removed or replaced during the traversal.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            folder => folder?,
        };
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            files += 1;
            if files > most_files {
                return Ok((bytes, files));
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0)),
                FileType::Directory => folders.push(path.join(OsStr::from_bytes(name.to_bytes()))),
                _ => {}
            }
        }
    }
    Ok((bytes, files))
}

/// Usage of all granted folders, by device and inode.
#[derive(Debug, Default)]
pub(crate) struct Usages(Mutex<BTreeMap<(u64, u64), Weak<Usage>>>);

impl Usages {
    /// Returns the usage of a folder, which all its grants share.
    pub(super) fn of(&self, device: u64, inode: u64) -> Arc<Usage> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = all.get(&(device, inode)).and_then(Weak::upgrade) {
            return usage;
        }
        all.retain(|_, usage| usage.strong_count() > 0);
        let usage = Arc::default();
        all.insert((device, inode), Arc::downgrade(&usage));
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LIMITS: Limits = Limits { bytes: 1_000, files: 10 };

    /// Waits until the folder may be measured again.
    fn wait(usage: &Usage) {
        while usage.counted.lock().unwrap().next.is_some_and(|next| next > Instant::now()) {
            std::thread::yield_now();
        }
    }

    fn full(usage: &Usage, root: &File, bytes: u64, files: u64) -> bool {
        wait(usage);
        matches!(usage.add(root, LIMITS, bytes, files), Err(Full::Over { .. }))
    }

    #[test]
    fn nested_files_count_and_sparse_files_count_in_full() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        File::create(folder.path().join("a/b/sparse")).unwrap().set_len(900).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let root = File::open(folder.path()).unwrap();
        assert_eq!(measure(&root, 10), Ok((900, 4)));
        let usage = Usage::default();
        assert!(full(&usage, &root, 101, 0));
        assert_eq!(usage.add(&root, LIMITS, 100, 0), Ok(()));
        assert!(full(&usage, &root, 0, 7));
    }

    #[test]
    fn removed_files_are_detected_when_the_limit_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let usage = Usage::default();
        assert_eq!(usage.add(&root, LIMITS, 1_000, 10), Ok(()));
        wait(&usage);
        assert_eq!(usage.add(&root, LIMITS, 1_000, 10), Ok(()), "nothing was written after all");
        let file = Arc::new(File::create(folder.path().join("x")).unwrap());
        file.set_len(600).unwrap();
        usage.track(&file);
        assert!(full(&usage, &root, 500, 0));
        fs::remove_file(folder.path().join("x")).unwrap();
        assert!(full(&usage, &root, 500, 0), "it is deleted, and still open");
        drop(file);
        wait(&usage);
        assert_eq!(usage.add(&root, LIMITS, 500, 0), Ok(()));
    }

    #[test]
    fn measuring_stops_at_too_many_files_and_additions_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        for name in 0..100 {
            fs::write(folder.path().join(name.to_string()), "x").unwrap();
        }
        let root = File::open(folder.path()).unwrap();
        assert_eq!(measure(&root, 10).unwrap().1, 11);
        assert!(full(&Usage::default(), &root, 1, 0));
    }

    #[test]
    fn additions_are_rejected_if_the_folder_cannot_be_measured() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        // Deeper than a path can name.
        let mut deep = root.try_clone().unwrap();
        for _ in 0..20 {
            let name = "d".repeat(255);
            rustix::fs::mkdirat(&deep, &name, Mode::from_raw_mode(0o700)).unwrap();
            deep = openat(&deep, &name, OFlags::DIRECTORY, Mode::empty()).unwrap().into();
        }
        let (usage, limits) = (Usage::default(), Limits { bytes: 1_000, files: 100 });
        for _ in 0..3 {
            assert_eq!(usage.add(&root, limits, 1, 0), Err(Full::Unknown(Errno::NAMETOOLONG)));
        }
        fs::rename(folder.path().join("d".repeat(255)).join("d".repeat(255)), folder.path().join("e")).unwrap();
        wait(&usage);
        assert!(usage.add(&root, limits, 1, 0).is_err(), "it is still too deep");
    }

    #[test]
    fn all_grants_of_a_folder_share_its_usage() {
        let usages = Usages::default();
        let (one, other) = (usages.of(1, 2), usages.of(1, 3));
        assert!(Arc::ptr_eq(&one, &usages.of(1, 2)) && !Arc::ptr_eq(&one, &other));
        drop(other);
        usages.of(5, 5);
        assert_eq!(usages.0.lock().unwrap().len(), 2);
    }
}
