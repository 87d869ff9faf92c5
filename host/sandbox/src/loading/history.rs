//! History that outlives a restart: the versions of each plugin that served, and their bytes.
//!
//! The plugin folder has the newest file of each service, which is not always the version that serves: it may have been
//! rolled back, refused, or overwritten in part. The state folder (`node.state`, one sub-folder per node name)
//! therefore keeps a record per service and the bytes of its versions, so that after a restart the same versions serve
//! under the same numbers. If it cannot be used (unwritable, damaged, used by another node), the node serves without a
//! history.
//!
//! One thread writes. The bytes of a version are on disk before a record names them, and a record replaces its
//! predecessor atomically, so that a crash at any point leaves the old or the new state. Bytes are checked against
//! their digest when they are read. Beyond `limits.state-bytes`, the oldest bytes are removed first, and those of
//! serving versions last.
//!
//! Bytes stay while a record of any service names them, or the loader has claimed them for a future record. Claims and
//! the choice of the bytes to remove are made under the same lock, so bytes that are about to be removed never count as
//! kept.

mod error;
mod store;
#[cfg(test)]
mod tests;

use crate::calls::{Finished, RunEvent, RunId};
use crate::event_sender::EventSender;
pub(crate) use error::HistoryError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
pub(crate) use store::REMOVED_RECORDS;
use store::Store;
use tracing::warn;
use wasmnode_api::GenerationState;
use wasmnode_protocol::ServiceName;

/// Number of bytes waiting to be written beyond which the loader blocks.
const WAITING_BYTES: usize = 16 << 20;

/// Longest time that a stopping node waits for outstanding writes.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Record of one service: its versions, and the bytes that were rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digest of the file that was loaded last.
    pub(crate) file: String,
    /// Number of the newest version.
    pub(crate) newest: u64,
    /// Versions, oldest first; none if the file was removed.
    pub(crate) versions: Vec<Version>,
    /// Bytes that were rolled back before the file was removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rolled_back: Vec<RolledBack>,
    /// Time when the file was removed, in seconds since 1970, if no version has served since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) removed_at: Option<u64>,
}

/// Rolled back bytes that are not among the versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolledBack {
    /// Number under which they served.
    pub(crate) number: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub(crate) digest: String,
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) state: GenerationState,
    /// SHA-256 of the bytes, hexadecimal: the name under which they are kept.
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    /// Signature that the file was admitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
    /// Seconds since 1970.
    pub(crate) loaded_at: u64,
}

impl Record {
    /// Returns the version that serves.
    pub(crate) fn serving(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.state == GenerationState::Serving)
    }

    fn digests(&self) -> impl Iterator<Item = &str> {
        self.versions.iter().map(|version| version.digest.as_str())
    }
}

/// Handle to the state folder: the records from before the start, and the outstanding writes.
pub(crate) struct History {
    /// Records from before the start that the loader has not taken.
    before: Mutex<BTreeMap<ServiceName, Record>>,
    store: Store,
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

/// Digests whose bytes must stay although no record names them yet, each with its number of claims.
type Claims = BTreeMap<String, usize>;

/// Protects the bytes of a version until the record that names them has been queued.
pub(crate) struct Claim {
    history: Arc<History>,
    /// `None` once the claim has ended.
    digest: Option<String>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(digest) = self.digest.take() {
            self.history.lock().end_claim(&digest);
        }
    }
}

/// Outstanding writes.
#[derive(Default)]
struct Waiting {
    versions: VecDeque<(String, Vec<u8>)>,
    bytes: usize,
    /// Digests whose bytes are on disk or wait to be written.
    kept: BTreeSet<String>,
    /// Digests that future records will name.
    claims: Claims,
    /// Versions that could not be written, at most [`WAITING_BYTES`], which are retried with the next record.
    failed: Vec<(String, Vec<u8>)>,
    /// Newest record of each service; `None` removes its record.
    records: BTreeMap<ServiceName, Option<Record>>,
    /// Requests that are answered once the records are on disk, with their answers.
    answers: Vec<(RunId, String)>,
    is_over: bool,
    has_ended: bool,
}

impl History {
    /// Opens a node's state folder, and starts the thread that writes to it. The records belong to the folder
    /// `plugins`; at most `limit` bytes are kept.
    ///
    /// # Errors
    /// The reason, if the folder cannot be used.
    pub(crate) fn open(
        folder: &Path,
        plugins: &Path,
        limit: u64,
        sending: EventSender<RunEvent>,
    ) -> Result<Arc<Self>, HistoryError> {
        let (store, before) = Store::open(folder, plugins, limit)?;
        let kept = store.kept();
        let waiting = Mutex::new(Waiting { kept, ..Waiting::default() });
        let history = Arc::new(Self { before: Mutex::new(before), store, waiting, bell: Condvar::new() });
        let writer = Arc::clone(&history);
        let thread = std::thread::Builder::new().name("history".into());
        thread.spawn(move || writer.write(&sending)).map_err(HistoryError::System)?;
        Ok(history)
    }

    /// Takes the record of a service from before the start; `None` the second time.
    pub(crate) fn take(&self, service: &ServiceName) -> Option<Record> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).remove(service)
    }

    /// Puts back a record that could not be used yet.
    pub(crate) fn give_back(&self, service: &ServiceName, record: Record) {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(service.clone(), record);
    }

    /// Returns the bytes of a version.
    ///
    /// # Errors
    /// If they are not kept, or are damaged.
    pub(crate) fn bytes(&self, digest: &str) -> Result<Vec<u8>, HistoryError> {
        self.store.bytes(digest).inspect_err(|_| {
            // So that a file with the same bytes replaces them.
            self.lock().kept.remove(digest);
        })
    }

    /// Keeps the bytes of a version that a record will name. Blocks while too many bytes wait to be written, so the
    /// driver's loop must not call it. The claim must live until that record has been queued.
    pub(crate) fn keep(self: &Arc<Self>, digest: &str, bytes: Vec<u8>) -> Claim {
        let is_full = |waiting: &mut Waiting| waiting.bytes > WAITING_BYTES && !waiting.has_ended;
        let waited = self.bell.wait_while(self.lock(), is_full);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.kept.insert(digest.into()) {
            waiting.bytes += bytes.len();
            waiting.versions.push_back((digest.into(), bytes));
            self.bell.notify_all();
        }
        *waiting.claims.entry(digest.into()).or_default() += 1;
        Claim { history: Arc::clone(self), digest: Some(digest.into()) }
    }

    /// Replaces the record of a service. A request that depends on it is answered once the record is on disk.
    pub(crate) fn record(&self, service: &ServiceName, record: Option<Record>, answer: Option<(RunId, String)>) {
        let mut waiting = self.lock();
        waiting.answers.extend(answer);
        waiting.replace(service, record);
        self.bell.notify_all();
    }

    /// Replaces the record of a service with one that names the claimed bytes, and ends the claim.
    pub(crate) fn record_loaded(&self, service: &ServiceName, record: Option<Record>, mut claim: Claim) {
        let digest = claim.digest.take();
        let mut waiting = self.lock();
        waiting.replace(service, record);
        digest.into_iter().for_each(|digest| waiting.end_claim(&digest));
        self.bell.notify_all();
    }

    /// Waits for all outstanding writes, for at most [`LAST_WRITE`].
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_over = true;
        self.bell.notify_all();
        let _it_may_take_too_long = self.bell.wait_timeout_while(waiting, LAST_WRITE, |waiting| !waiting.has_ended);
    }

    fn write(&self, sending: &EventSender<RunEvent>) {
        let mut logged = None;
        loop {
            let is_idle = |waiting: &mut Waiting| {
                waiting.versions.is_empty()
                    && waiting.records.is_empty()
                    && waiting.answers.is_empty()
                    && !waiting.is_over
            };
            let waited = self.bell.wait_while(self.lock(), is_idle);
            let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
            let failure;
            if let Some((digest, bytes)) = waiting.versions.pop_front() {
                drop(waiting);
                failure = self.store.write_version(&digest, &bytes).err();
                let mut waiting = self.lock();
                waiting.bytes -= bytes.len();
                if failure.is_some() {
                    waiting.set_aside(digest, bytes);
                }
                self.bell.notify_all();
            } else {
                let (records, answers) = (std::mem::take(&mut waiting.records), std::mem::take(&mut waiting.answers));
                let is_over = waiting.is_over;
                let removed = self.store.take_over(records, &waiting.claims);
                waiting.kept.retain(|digest| !removed.contains(digest));
                drop(waiting);
                failure = self.store.write_records(&removed).err();
                answer(answers, failure.as_ref(), sending);
                if is_over {
                    self.lock().has_ended = true;
                    self.bell.notify_all();
                    return;
                }
            }
            let why = failure.map(|failure| failure.to_string());
            if let Some(why) = why.filter(|why| logged.as_ref() != Some(why)) {
                warn!("versions of plugins will be lost in a restart: {why}");
                logged = Some(why);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn replace(&mut self, service: &ServiceName, record: Option<Record>) {
        self.retry();
        self.records.insert(service.clone(), record);
    }

    fn end_claim(&mut self, digest: &str) {
        if let Some(count) = self.claims.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.claims.remove(digest);
            }
        }
    }

    /// Queues failed versions again.
    fn retry(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        self.bytes += failed.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        self.versions.extend(failed);
    }

    /// Keeps a version that could not be written for another attempt, unless it is too large.
    fn set_aside(&mut self, digest: String, bytes: Vec<u8>) {
        let size = self.failed.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + bytes.len();
        if size <= WAITING_BYTES {
            self.failed.push((digest, bytes));
        } else {
            self.kept.remove(&digest);
        }
    }
}

fn answer(answers: Vec<(RunId, String)>, failure: Option<&HistoryError>, sending: &EventSender<RunEvent>) {
    for (run, mut text) in answers {
        if let Some(why) = failure {
            text = format!("{}; it will be lost in a restart: {why}\n", text.trim_end());
        }
        sending.send(RunEvent::Finished(Finished { run, result: Ok(vec![text.into()]) }));
    }
}
