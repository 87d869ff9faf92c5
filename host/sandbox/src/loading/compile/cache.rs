//! The cache of compiled plugins on disk. The machine code runs unchecked, so each entry carries a digest.
//!
//! An entry is named after two digests: that of the plugin's file, and that of the engine's settings and version. It is
//! read once, as a whole; its own digest covers both and the code, and the checked bytes are the ones that are loaded.
//! An entry that does not match is removed, and its plugin compiled again. The digest detects damage; the private
//! folder ensures that no other user writes entries ([`super::private`]).

use super::private::{UnsafeFolder, open_private};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat, utimensat};
use rustix::fs::{Timespec, Timestamps};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{debug, warn};

/// First bytes of an entry: a readable name, and the version of the format.
const MAGIC: &[u8; 16] = b"wasmnode code 1\n";

/// Bytes before the code: the magic and the digest.
const HEADER: usize = 48;

/// Suffix of an entry's name.
const ENTRY: &str = ".code";

/// Suffix of the name of an entry that is being written.
const UNFINISHED: &str = ".part";

/// Seconds after which a use updates an entry's time, and an unfinished entry counts as abandoned.
const HOUR: i64 = 3600;

/// The folder of compiled plugins.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    folder: OwnedFd,
    settings: [u8; 32],
    /// Largest size of all entries together, in bytes.
    limit: u64,
    /// Size of all entries in bytes; `None` until counted.
    bytes: Mutex<Option<u64>>,
    written: AtomicU64,
    has_failed: AtomicBool,
}

impl Cache {
    /// Opens the folder, for code of an engine whose settings have this digest.
    ///
    /// # Errors
    /// If the folder cannot be used, or others could write to it.
    pub(super) fn open(folder: &Path, settings: [u8; 32], limit: u64) -> Result<Self, UnsafeFolder> {
        let (bytes, written, has_failed) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { path: folder.into(), folder: open_private(folder)?, settings, limit, bytes, written, has_failed })
    }

    /// Returns the code of a file with this digest, if there is an undamaged entry.
    pub(super) fn get(&self, file: &str) -> Option<Code> {
        let name = self.name(file);
        match self.read(&name) {
            Ok(bytes) if self.is_whole(file, &bytes) => Some(Code(bytes)),
            Ok(_) => {
                let path = self.path.display();
                warn!("an entry of the cache {path} is damaged; {name} is removed and compiled again");
                self.remove(file);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!("cannot read {name} in the cache {}, compiling it again: {error}", self.path.display());
                None
            }
        }
    }

    /// Stores the code of a file with this digest. If the code cannot be written, the plugin is compiled again at the
    /// next start; a warning is logged once.
    pub(super) fn put(&self, file: &str, code: &[u8]) {
        let size = (HEADER + code.len()) as u64;
        if size > self.limit {
            debug!("{} bytes of code are over limits.cache-bytes = {}; they are not kept", code.len(), self.limit);
            return;
        }
        match self.write(file, code).and_then(|()| self.account(size)) {
            Ok(()) => {}
            Err(error) if self.has_failed.swap(true, Ordering::Relaxed) => debug!("cannot keep compiled code: {error}"),
            Err(error) => {
                let path = self.path.display();
                warn!("plugins will be compiled again at the next start: cannot write to the cache {path}: {error}");
            }
        }
    }

    /// Removes the entry of a file with this digest.
    pub(super) fn remove(&self, file: &str) {
        let _it_may_be_gone = unlinkat(&self.folder, self.name(file), AtFlags::empty());
    }

    fn name(&self, file: &str) -> String {
        let settings: String = self.settings.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{file}-{settings}{ENTRY}")
    }

    fn digest(&self, file: &str, code: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(MAGIC);
        digest.update(self.settings);
        // Always 64 characters, so no separator is needed.
        digest.update(file.as_bytes());
        digest.update(code);
        digest.finalize().into()
    }

    fn is_whole(&self, file: &str, entry: &[u8]) -> bool {
        let Some((header, code)) = entry.split_at_checked(HEADER) else { return false };
        let (magic, digest) = header.split_at(MAGIC.len());
        magic == MAGIC && digest == self.digest(file, code)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if !is_file(&stat) || size > self.limit {
            return Err(io::Error::other("it is not a regular file, or over limits.cache-bytes"));
        }
        // The entry may have been written while others could write to the folder.
        if ![0, rustix::process::geteuid().as_raw()].contains(&stat.st_uid) || stat.st_mode & 0o022 != 0 {
            return Err(io::Error::other("it belongs to another user, or others may write to it"));
        }
        let now = now();
        if now - stat.st_mtime > HOUR {
            let time = Timespec { tv_sec: now, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            let _only_the_order_of_removal = utimensat(&self.folder, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(io::Error::other)? + 1);
        File::from(file).take(size + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, file: &str, code: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{}-{number}{UNFINISHED}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut entry = File::from(openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let written = entry
            .write_all(MAGIC)
            .and_then(|()| entry.write_all(&self.digest(file, code)))
            .and_then(|()| entry.write_all(code))
            .and_then(|()| Ok(renameat(&self.folder, &unfinished, &self.folder, self.name(file))?));
        if written.is_err() {
            let _it_is_left_behind = unlinkat(&self.folder, &unfinished, AtFlags::empty());
        }
        written
    }

    /// Counts an entry, and removes others if the limit is exceeded.
    fn account(&self, size: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        // The first count includes the entry. An entry that was replaced counts twice until the next count.
        let sum = bytes.map_or_else(|| self.sum(), |bytes| Ok(bytes.saturating_add(size)))?;
        *bytes = Some(if sum > self.limit { self.make_room()? } else { sum });
        Ok(())
    }

    fn sum(&self) -> io::Result<u64> {
        Ok(self.entries()?.iter().map(|entry| entry.bytes).sum())
    }

    /// Removes the least recently used entries until a tenth of the limit is free, and abandoned unfinished entries.
    /// Returns the size of the rest.
    fn make_room(&self) -> io::Result<u64> {
        let mut entries = self.entries()?;
        entries.sort_unstable_by_key(|entry| entry.used);
        let mut sum: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            let is_left_behind = entry.name.ends_with(UNFINISHED) && now() - entry.used > HOUR;
            if is_left_behind || sum > self.limit - self.limit / 10 {
                unlinkat(&self.folder, &entry.name, AtFlags::empty())?;
                sum = sum.saturating_sub(entry.bytes);
            }
        }
        Ok(sum)
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.ends_with(ENTRY) && !name.ends_with(UNFINISHED) {
                continue;
            }
            // Another node may have removed it.
            if let Ok(stat) = statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                && is_file(&stat)
            {
                entries.push(Entry { name, bytes: u64::try_from(stat.st_size).unwrap_or(0), used: stat.st_mtime });
            }
        }
        Ok(entries)
    }
}

/// An entry whose digest was checked.
pub(super) struct Code(Vec<u8>);

impl Code {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }
}

struct Entry {
    name: String,
    bytes: u64,
    /// Time of the last use in seconds since 1970, to the hour.
    used: i64,
}

fn is_file(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const FILE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn cache(folder: &TempDir, settings: u8, limit: u64) -> Cache {
        Cache::open(folder.path(), [settings; 32], limit).unwrap()
    }

    fn get(cache: &Cache, file: &str) -> Option<Vec<u8>> {
        cache.get(file).map(|code| code.bytes().to_vec())
    }

    #[test]
    fn code_is_found_by_its_digest_and_settings_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = cache(&folder, 1, 1 << 20);
        assert_eq!(get(&first, FILE), None);
        first.put(FILE, b"code");
        assert_eq!(get(&first, FILE).unwrap(), b"code");
        assert_eq!(get(&cache(&folder, 2, 1 << 20), FILE), None);
        let other = FILE.replace('0', "1");
        assert_eq!(get(&first, &other), None);
        // An entry is not valid under another name either.
        let path = |cache: &Cache, file| folder.path().join(cache.name(file));
        fs::rename(path(&first, FILE), path(&first, &other)).unwrap();
        assert_eq!(get(&first, &other), None);
    }

    #[test]
    fn an_entry_with_any_bit_changed_or_any_byte_missing_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 1, 1 << 20);
        let path = folder.path().join(cache.name(FILE));
        cache.put(FILE, b"some machine code");
        let whole = fs::read(&path).unwrap();
        let flipped = (0..whole.len() * 8).map(|bit| {
            let mut entry = whole.clone();
            entry[bit / 8] ^= 1 << (bit % 8);
            entry
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        let longer = [[&whole[..], b"x"].concat()];
        for entry in flipped.chain(cut).chain(longer) {
            fs::write(&path, &entry).unwrap();
            assert_eq!(get(&cache, FILE), None, "{entry:?}");
            assert!(!path.exists());
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(get(&cache, FILE).unwrap(), b"some machine code");
    }

    #[test]
    fn entries_that_are_not_files_are_misses() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 1, 1 << 20);
        let path = folder.path().join(cache.name(FILE));
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(get(&cache, FILE), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(get(&cache, FILE), None);
        cache.put(FILE, b"code");
        assert_eq!(get(&cache, FILE), None);
    }

    #[test]
    fn the_least_recently_used_entries_are_removed_over_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 1, 10_000);
        let files: Vec<String> = (0..12).map(|number| format!("{number:064}")).collect();
        for (age, file) in files.iter().enumerate() {
            cache.put(file, &[0; 900]);
            let path = folder.path().join(cache.name(file));
            if let Ok(entry) = File::options().append(true).open(path) {
                // The first was used last.
                let used =
                    SystemTime::now() - std::time::Duration::from_secs(if age == 0 { 0 } else { 7200 - age as u64 });
                entry.set_modified(used).unwrap();
            }
        }
        let kept: Vec<bool> = files.iter().map(|file| get(&cache, file).is_some()).collect();
        assert!(kept[0] && !kept[1] && kept[11], "{kept:?}");
        let bytes: u64 =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= 10_000, "{bytes}");
        cache.put(FILE, &[0; 10_000]);
        assert_eq!(get(&cache, FILE), None);
    }
}
