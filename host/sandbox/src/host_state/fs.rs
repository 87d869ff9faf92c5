//! Access of guests to the folders that `fs` grants.
//!
//! Paths are resolved by wasmtime-wasi or by the kernel (`openat2` with `RESOLVE_BENEATH`), so that none leaves its
//! folder. This module adds protection of the node from guests:
//!
//! - Calls that may block run on separate threads, a few per service: `blocking.rs`.
//! - Only regular files and folders are opened, and without blocking: the check applies to the open descriptor, not to
//!   the name. FIFOs, devices and sockets are rejected.
//! - Open files and folders count against the plugins' limit of descriptors: `descriptors.rs`.
//! - Additions to a folder count against the grant's `bytes` and `files`: `usage.rs`. Renames and links between granted
//!   folders are rejected, so that every file counts in its own folder.
//! - A listing is read in parts.

mod host;
mod listing;
mod open;
mod streams;
mod usage;

pub(crate) use usage::Usages;

use crate::calls::RunId;
use crate::host_state::HostState;
use crate::host_state::blocking::Blocking;
use crate::host_state::stdio::ServiceLog;
use crate::settings::FolderGrant;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::Level;
use usage::{Full, Limits, Usage};
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::{FsPerms, OpenMode};

/// Time after which the path of an open folder is opened again, because it may name another folder.
const REOPEN: Duration = Duration::from_secs(1);

/// Longest time for opening a folder when its plugin loads, because the loading of other plugins waits meanwhile.
const OPENING: Duration = Duration::from_secs(5);

/// A folder that is granted to a service.
pub(crate) struct GrantedFolder {
    grant: FolderGrant,
    opened: Mutex<Option<(Instant, Arc<Root>)>>,
}

/// Error of a granted folder that cannot be opened.
#[derive(Debug)]
pub struct UnopenedFolder {
    host: PathBuf,
    source: io::Error,
}

impl fmt::Display for UnopenedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open the folder {} that `fs` grants: {}", self.host.display(), self.source)
    }
}

impl std::error::Error for UnopenedFolder {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A granted folder, opened.
pub(crate) struct Root {
    dir: Dir,
    guest: String,
    limits: Limits,
    usage: Arc<Usage>,
    log: Arc<ServiceLog>,
}

/// Replaces functions of wasmtime-wasi with those of this module.
///
/// # Errors
/// If an interface does not match that of wasmtime-wasi.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    preopens::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    types::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl GrantedFolder {
    /// Checks that a folder can be opened, before the first request.
    ///
    /// # Errors
    /// If the folder cannot be opened.
    pub(crate) fn check(grant: &FolderGrant) -> Result<(), UnopenedFolder> {
        let tried = grant.clone();
        let checked = within(OPENING, move || open(&tried).map(drop)).and_then(|opened| opened);
        checked.map_err(|source| UnopenedFolder { host: grant.host.clone(), source })
    }

    pub(crate) fn new(grant: FolderGrant) -> Arc<Self> {
        Arc::new(Self { grant, opened: Mutex::default() })
    }

    /// Opens the folder, unless it was opened less than [`REOPEN`] ago.
    ///
    /// # Errors
    /// If the folder does not exist, or may not be opened.
    pub(crate) async fn open(
        self: &Arc<Self>,
        blocking: &Blocking,
        usages: &Arc<Usages>,
        log: &Arc<ServiceLog>,
    ) -> Result<Arc<Root>, UnopenedFolder> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, root)) = opened.filter(|(at, _)| at.elapsed() < REOPEN) {
            return Ok(root);
        }
        let (folder, usages, log) = (Arc::clone(self), Arc::clone(usages), Arc::clone(log));
        let opened = blocking.run(move || folder.open_now(&usages, log)).await;
        let unopened = |source| UnopenedFolder { host: self.grant.host.clone(), source };
        let root = opened.and_then(|opened| opened).map_err(unopened)?;
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&root)));
        Ok(root)
    }

    fn open_now(&self, usages: &Usages, log: Arc<ServiceLog>) -> io::Result<Arc<Root>> {
        let FolderGrant { guest, write, bytes, files, .. } = &self.grant;
        let dir = open(&self.grant)?;
        let metadata = dir.metadata()?;
        let usage = usages.of(metadata.dev(), metadata.ino());
        let (permissions, mode) = match write {
            true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
            false => (FsPerms::ReadOnly, OpenMode::READ),
        };
        let limits = Limits { bytes: *bytes, files: *files };
        Ok(Arc::new(Root { dir: Dir::new(dir, permissions, mode, true), guest: guest.clone(), limits, usage, log }))
    }
}

/// Runs a call on a thread of its own, which is abandoned if the call takes longer than `limit`.
fn within<R: Send + 'static>(limit: Duration, call: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
    let (sender, receiver) = channel();
    let work = move || {
        let _the_receiver_may_have_timed_out = sender.send(call());
    };
    std::thread::Builder::new().name("grant".into()).spawn(work)?;
    receiver.recv_timeout(limit).map_err(|_| io::Error::new(ErrorKind::TimedOut, format!("no answer in {limit:?}")))
}

fn open(grant: &FolderGrant) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(&grant.host)
}

impl Root {
    /// Counts an addition to the folder before it is made.
    ///
    /// # Errors
    /// "No space left" if the addition exceeds the grant; the service's log names the limit.
    fn add(&self, bytes: u64, files: u64, request: RunId) -> io::Result<()> {
        let Err(full) = self.usage.add(&self.dir.dir, self.limits, bytes, files) else { return Ok(()) };
        let guest = &self.guest;
        let why = match full {
            Full::Over { bytes: held, files: there } => {
                let Limits { bytes: most, files: most_files } = self.limits;
                format!(
                    "{guest} is full: it has {held} bytes in {there} files, and {bytes} bytes in {files} files more \
                     exceed its grant in `fs`: bytes = {most}, files = {most_files}"
                )
            }
            Full::Unknown(error) => format!("{guest} cannot be measured, so additions are rejected: {error}"),
        };
        self.log.line(Level::WARN, request, &why);
        Err(rustix::io::Errno::NOSPC.into())
    }

    /// Counts the growth of a file to `end` bytes.
    fn grow(&self, file: &File, end: u64, request: RunId) -> io::Result<()> {
        let length = file.metadata()?.len();
        if end > length { self.add(end - length, 0, request) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_abandoned() {
        let (end, ended) = channel::<()>();
        let hangs = within(Duration::from_millis(1), move || ended.recv().is_err());
        assert_eq!(hangs.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(end);
        assert_eq!(within(Duration::from_secs(60), || 7).unwrap(), 7);
    }
}
