//! The files of the state folder: `lock`, `versions.json` with all records, and `versions/DIGEST` with the bytes.

use super::{Claims, HistoryError, Record, Version};
use crate::loading::compile::private_folder;
use crate::loading::content::digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::warn;
use wasmnode_api::GenerationState;
use wasmnode_files as files;
use wasmnode_protocol::ServiceName;

/// Format of `versions.json`: a line of JSON, and a line with the SHA-256 of the first. A file of an unknown format is
/// set aside.
pub(super) const FORMAT: u32 = 2;

/// Previous format, without the second line; read, but never written.
const UNSEALED: u32 = 1;

/// Largest number of records of other plugin folders; those with the latest versions are kept.
const FOREIGN_RECORDS: usize = 10_000;

/// Largest number of records of services whose file was removed; the latest are kept. At about 100 bytes each, they are
/// small compared to the versions.
pub(crate) const REMOVED_RECORDS: usize = 1000;

/// The open state folder, and its content.
pub(super) struct Store {
    folder: PathBuf,
    /// Plugin folder whose records are written.
    plugins: String,
    limit: u64,
    content: Mutex<Content>,
    /// Lock on the folder, held while the node runs.
    _lock: File,
}

#[derive(Default)]
struct Content {
    /// Records by plugin folder and service.
    records: BTreeMap<(String, ServiceName), Record>,
    /// Size of each version on disk, in bytes.
    versions: BTreeMap<String, u64>,
    /// Versions whose bytes may not have reached the disk yet.
    unsynced: Vec<String>,
    /// Size of `versions.json`, in bytes.
    records_bytes: u64,
    /// Whether `versions.json` is older than `records`.
    is_outdated: bool,
}

#[derive(Serialize, Deserialize)]
struct Records {
    format: u32,
    services: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    plugins: String,
    service: String,
    #[serde(flatten)]
    record: Record,
}

/// Reads the content of `versions.json`.
///
/// # Errors
/// If the content is damaged, or of an unknown format.
fn parse(content: &[u8]) -> Result<Records, HistoryError> {
    let (line, seal) = match content.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&content[..end], &content[end..]),
        None => (content, &b""[..]),
    };
    let records: Records = serde_json::from_slice(line).map_err(HistoryError::Malformed)?;
    match records.format {
        UNSEALED => Ok(records),
        FORMAT if seal.trim_ascii() == digest(line).as_bytes() => Ok(records),
        FORMAT => Err(HistoryError::Seal),
        other => Err(HistoryError::Format(other)),
    }
}

/// Returns the process id in a lock file.
fn holder(lock: &Path) -> Option<u32> {
    let (content, _) = files::read(lock, 32).ok()?;
    std::str::from_utf8(&content).ok()?.trim().parse().ok()
}

impl Store {
    /// Opens the state folder: creates it if it is missing, locks it, and reads it. Also returns the records of the
    /// folder `plugins`.
    ///
    /// # Errors
    /// The reason, if the folder cannot be used.
    pub(super) fn open(
        folder: &Path,
        plugins: &Path,
        limit: u64,
    ) -> Result<(Self, BTreeMap<ServiceName, Record>), HistoryError> {
        private_folder(folder)?;
        private_folder(&folder.join("versions"))?;
        // Does not block for any kind of file.
        let mut options = File::options();
        options.create(true).write(true).truncate(false).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let lock_file = folder.join("lock");
        let lock = options.open(&lock_file).map_err(HistoryError::OpenLock)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => HistoryError::InUse(holder(&lock_file)),
            error => HistoryError::TakeLock(error.into()),
        })?;
        // Used only in the error above; the lock works without it.
        let _the_disk_may_be_full = lock.set_len(0).and_then(|()| writeln!(&lock, "{}", std::process::id()));
        let plugins = std::path::absolute(plugins).map_err(HistoryError::System)?;
        let plugins = plugins.to_string_lossy().into_owned();
        let store = Self { folder: folder.into(), plugins, limit, content: Mutex::default(), _lock: lock };
        let mut content = store.lock();
        store.read_records(&mut content)?;
        store.list_versions(&mut content).map_err(HistoryError::System)?;
        let of_here = content.records.iter().filter(|((plugins, _), _)| *plugins == store.plugins);
        let before = of_here.map(|((_, service), record)| (service.clone(), record.clone())).collect();
        drop(content);
        Ok((store, before))
    }

    fn records_file(&self) -> PathBuf {
        self.folder.join("versions.json")
    }

    fn version_file(&self, digest: &str) -> PathBuf {
        self.folder.join("versions").join(digest)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the records. A damaged file is renamed, and a warning is logged.
    fn read_records(&self, content: &mut Content) -> Result<(), HistoryError> {
        let file = self.records_file();
        let bytes = match files::read(&file, self.limit) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.is_gone() => return Ok(()),
            Err(source) => return Err(HistoryError::Read { path: file, source }),
        };
        content.records_bytes = bytes.len() as u64;
        match parse(&bytes) {
            Ok(records) => {
                let entries = records.services.into_iter().filter(|entry| entry.record.versions.iter().all(is_sound));
                content.records = entries
                    .filter_map(|entry| Some(((entry.plugins, entry.service.parse().ok()?), entry.record)))
                    .collect();
            }
            Err(why) => {
                let aside = file.with_extension("json.damaged");
                fs::rename(&file, &aside).map_err(|source| HistoryError::Write { path: file.clone(), source })?;
                let (file, aside) = (file.display(), aside.display());
                warn!("cannot read which versions of plugins served before: {file}: {why}; it is set aside as {aside}");
            }
        }
        Ok(())
    }

    /// Finds the versions on disk, and removes those that no record names.
    fn list_versions(&self, content: &mut Content) -> io::Result<()> {
        let named: BTreeSet<&str> = content.records.values().flat_map(Record::digests).collect();
        let mut versions = BTreeMap::new();
        for entry in fs::read_dir(self.folder.join("versions"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if named.contains(name.as_str()) {
                versions.insert(name, entry.metadata()?.len());
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        content.versions = versions;
        Ok(())
    }

    /// Returns the digests of the versions on disk.
    pub(super) fn kept(&self) -> BTreeSet<String> {
        self.lock().versions.keys().cloned().collect()
    }

    /// Returns the bytes of a version.
    ///
    /// # Errors
    /// If they are not kept, or are damaged.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, HistoryError> {
        let file = self.version_file(name);
        match files::read(&file, self.limit) {
            Ok((bytes, _)) if digest(&bytes) == name => Ok(bytes),
            Ok(_) => Err(HistoryError::Damaged(file)),
            Err(source) => Err(HistoryError::Read { path: file, source }),
        }
    }

    /// Writes the bytes of a version; they reach the disk before a record that names them.
    ///
    /// # Errors
    /// If the version is too large, or cannot be written.
    pub(super) fn write_version(&self, digest: &str, bytes: &[u8]) -> Result<(), HistoryError> {
        let file = self.version_file(digest);
        let size = bytes.len() as u64;
        if size > self.limit {
            return Err(HistoryError::TooLarge { bytes: size, limit: self.limit });
        }
        let written = replace(&file, |unfinished| unfinished.write_all(bytes));
        written.map_err(|source| HistoryError::Write { path: file, source })?;
        let mut content = self.lock();
        content.versions.insert(digest.into(), size);
        content.unsynced.push(digest.into());
        Ok(())
    }

    /// Applies the newest records of some services; `None` removes a record. Returns the digests of the bytes that the
    /// next [`Self::write_records`] should remove: those that no record names, and those over the limit, but none that
    /// are claimed.
    pub(super) fn take_over(&self, news: BTreeMap<ServiceName, Option<Record>>, claims: &Claims) -> BTreeSet<String> {
        let mut content = self.lock();
        for (service, record) in news {
            let key = (self.plugins.clone(), service);
            let before = match &record {
                Some(record) if content.records.get(&key) == Some(record) => continue,
                Some(record) => content.records.insert(key, record.clone()),
                None => content.records.remove(&key),
            };
            content.is_outdated |= before.is_some() || record.is_some();
        }
        if !content.is_outdated {
            return BTreeSet::new();
        }
        content.forget_oldest(FOREIGN_RECORDS, |folder, _| folder != self.plugins);
        content.forget_oldest(REMOVED_RECORDS, |folder, record| folder == self.plugins && record.removed_at.is_some());
        let named: BTreeSet<&str> = content.records.values().flat_map(Record::digests).collect();
        let is_unnamed = |digest: &&String| !named.contains(digest.as_str()) && !claims.contains_key(*digest);
        let mut removed: BTreeSet<String> = content.versions.keys().filter(is_unnamed).cloned().collect();
        removed.extend(content.over(self.limit, &removed, claims));
        removed
    }

    /// Writes all applied records, and then removes these bytes.
    ///
    /// # Errors
    /// If a file cannot be written; the previous content on disk is then unchanged.
    pub(super) fn write_records(&self, removed: &BTreeSet<String>) -> Result<(), HistoryError> {
        let mut content = self.lock();
        if !content.is_outdated {
            return Ok(());
        }
        let written = self.write_all_records(&mut content);
        written.map_err(|source| HistoryError::Write { path: self.folder.clone(), source })?;
        content.is_outdated = false;
        for digest in removed {
            content.versions.remove(digest);
            let _it_is_found_at_the_next_start = fs::remove_file(self.version_file(digest));
        }
        Ok(())
    }

    fn write_all_records(&self, content: &mut Content) -> io::Result<()> {
        while let Some(digest) = content.unsynced.last() {
            match File::open(self.version_file(digest)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            content.unsynced.pop();
        }
        File::open(self.folder.join("versions"))?.sync_all()?;
        let services = content.records.iter().map(|((plugins, service), record)| Entry {
            plugins: plugins.clone(),
            service: service.to_string(),
            record: record.clone(),
        });
        let mut text = serde_json::to_vec(&Records { format: FORMAT, services: services.collect() })?;
        let seal = digest(&text);
        text.extend(format!("\n{seal}\n").bytes());
        replace(&self.records_file(), |unfinished| {
            unfinished.write_all(&text)?;
            unfinished.sync_all()
        })?;
        content.records_bytes = text.len() as u64;
        File::open(&self.folder)?.sync_all()
    }
}

impl Content {
    /// Removes the oldest records that match, if there are more than `limit`.
    fn forget_oldest(&mut self, limit: usize, is_it: impl Fn(&str, &Record) -> bool) {
        let newest =
            |record: &Record| record.versions.iter().map(|version| version.loaded_at).chain(record.removed_at).max();
        let found = self.records.iter().filter(|((folder, _), record)| is_it(folder, record));
        if found.clone().count() <= limit {
            return;
        }
        let mut found: Vec<_> = found.map(|(key, record)| (newest(record), key.clone())).collect();
        found.sort();
        for (_, key) in found.iter().take(found.len().saturating_sub(limit)) {
            self.records.remove(key);
        }
    }

    /// Returns the digests of the bytes to remove so that at most `limit` bytes stay. The oldest that do not serve are
    /// removed first, then those that serve, and last those that serve and are not in the plugin folder. `removed` are
    /// removed in any case; claimed bytes stay.
    fn over(&self, limit: u64, removed: &BTreeSet<String>, claims: &Claims) -> Vec<String> {
        let mut size = self.records_bytes + self.versions.values().sum::<u64>();
        size -= removed.iter().filter_map(|digest| self.versions.get(digest)).sum::<u64>();
        let mut worth: BTreeMap<&str, (u8, u64)> = BTreeMap::new();
        for record in self.records.values() {
            for version in &record.versions {
                let rank = match version.state {
                    GenerationState::Serving if version.digest != record.file => 2,
                    GenerationState::Serving => 1,
                    _ => 0,
                };
                let best = worth.entry(&version.digest).or_default();
                *best = (*best).max((rank, version.loaded_at));
            }
        }
        let mut oldest: Vec<_> = worth.into_iter().map(|(digest, worth)| (worth, digest)).collect();
        oldest.sort_unstable();
        let mut over = Vec::new();
        for (_, digest) in oldest {
            if size <= limit {
                break;
            }
            if let Some(bytes) = self.versions.get(digest).filter(|_| !claims.contains_key(digest)) {
                size -= bytes;
                over.push(digest.to_owned());
            }
        }
        over
    }
}

/// Returns `true` if the digest of a version is valid, because it becomes the name of a file.
fn is_sound(version: &Version) -> bool {
    version.digest.len() == 64 && version.digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Replaces a file atomically. Writes it under another name, then renames it, so that readers see the old or the new
/// content.
fn replace(file: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let written = File::create(&unfinished).and_then(|mut file| write(&mut file));
    written.and_then(|()| fs::rename(&unfinished, file)).inspect_err(|_| {
        let _it_may_not_be_there = fs::remove_file(&unfinished);
    })
}
