//! The scanner of the plugin folder: detects files that are complete, removed, or unusable.
//!
//! A file that is still being copied may already be a valid component, so successful compiling proves nothing. A file
//! counts as complete when its writer has closed it or it was moved here, or, without such an event, when it has not
//! changed for a while. Events are only hints: scans decide, and also run without events.
//!
//! The signature of a file (`print.wasm.minisig`) is part of it: both must be complete, and if either changes, the file
//! counts as changed. So the two may arrive in any order.
//!
//! A plugin counts as removed only if its name is not found, or is a dangling link. Every other error is a separate
//! state: it is reported once, changes nothing else, and ends when a later scan finds a usable file.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wasmnode_files::{self as files, FileError};

/// Time for which a file must stay unchanged after its writer has closed it, because some editors write twice in a row.
const SETTLED: Duration = Duration::from_millis(50);

/// Time for which a file must stay unchanged if no event reported that its writer has closed it.
const QUIET: Duration = Duration::from_secs(2);

/// Time for which a file must be missing or unusable, because some editors remove a file before they write it again.
const MISSING: Duration = Duration::from_millis(300);

/// First and longest pause before another attempt after a transient error; each pause is twice the previous one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Finding of a scan for one name: the stamp of a regular file, or the error.
pub(crate) type Found = Result<files::Stamp, FileError>;

/// Stamp that distinguishes contents of a plugin's file and its signature without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    plugin: files::Stamp,
    /// `None` if there is no signature.
    signature: Option<Found>,
}

impl Stamp {
    /// Stamp of the plugin's file alone.
    pub(crate) fn plugin(&self) -> files::Stamp {
        self.plugin
    }

    /// Size of the plugin's file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.plugin.bytes()
    }

    /// Stamp of the signature, or the error of reading it; `None` if there is none.
    pub(crate) fn signature(&self) -> Option<&Found> {
        self.signature.as_ref()
    }

    /// Takes the stamp of a plugin's file and its signature.
    ///
    /// # Errors
    /// If there is no such file, or it is not a regular file.
    pub(crate) fn of(plugin: &Path) -> Result<Self, FileError> {
        Ok(Self { plugin: files::Stamp::of(plugin)?, signature: look_at(&signature_of(plugin)) })
    }
}

/// Known state of the folder.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Plugins by their files, which may be missing if their signatures arrived first.
    plugins: BTreeMap<PathBuf, Known>,
}

/// Known state of one plugin.
#[derive(Debug)]
struct Known {
    plugin: Seen,
    signature: Seen,
    /// State that was reported last; `None` if the file was missing.
    reported: Option<State>,
    retry: Retry,
}

/// State of a plugin's file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Whole(Stamp),
    Unusable(FileError),
}

/// Known state of one file.
#[derive(Debug)]
struct Seen {
    /// Finding of the last scan; `None` if the file was missing.
    found: Option<Found>,
    since: Instant,
    is_closed: bool,
}

/// Next attempt at a file that failed for a transient reason.
#[derive(Debug, Default)]
struct Retry {
    at: Option<Instant>,
    attempts: u32,
}

/// Change that a scan reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The file is complete, and is new or changed, or an earlier attempt to read it failed.
    Whole(PathBuf, Stamp),
    /// The file cannot be used, for this reason; the serving version is unaffected.
    Unusable(PathBuf, FileError),
    /// The file was removed.
    Gone(PathBuf),
}

impl Change {
    /// Returns `true` if the plugin's file is the same as in `other`; its signature may differ.
    pub(crate) fn keeps_plugin_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Whole(_, new), Self::Whole(_, old)) if new.plugin == old.plugin)
    }
}

impl Scanner {
    /// Compares the folder with its known state, and returns the changes. `closed` are the files that were closed by
    /// their writers or moved here since the last scan.
    pub(crate) fn scan(
        &mut self,
        found: &BTreeMap<PathBuf, Found>,
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
            if known.due().is_some_and(|due| due <= now) {
                changes.extend(known.report(file, now));
            }
        }
        self.plugins.retain(|_, known| !known.is_nothing());
        changes
    }

    /// Records that reading this content failed with a transient error. The file is reported as complete again after a
    /// pause, unless it changes before; returns the pause.
    pub(crate) fn failed(&mut self, file: &Path, stamp: &Stamp, now: Instant) -> Option<Duration> {
        let known = self.plugins.get_mut(file)?;
        let is_reported = matches!(&known.reported, Some(State::Whole(reported)) if reported == stamp);
        is_reported.then(|| known.retry.later(now))
    }

    /// Returns the time of the next scan that may report a change, if no event occurs before.
    pub(crate) fn next_scan(&self) -> Option<Instant> {
        self.plugins.values().filter_map(Known::due).min()
    }
}

impl Known {
    fn unseen(now: Instant) -> Self {
        let unseen = || Seen { found: None, since: now, is_closed: false };
        Self { plugin: unseen(), signature: unseen(), reported: None, retry: Retry::default() }
    }

    /// Returns the state of the plugin; `None` if its file is missing.
    fn state(&self) -> Option<State> {
        Some(match self.plugin.found.clone()? {
            Ok(plugin) => State::Whole(Stamp { plugin, signature: self.signature.found.clone() }),
            Err(error) => State::Unusable(error),
        })
    }

    /// Returns the time at which the state must be reported or tried again; `None` if neither is due.
    fn due(&self) -> Option<Instant> {
        let state = self.state();
        if state == self.reported {
            return self.retry.at;
        }
        // A plugin that has no signature, and had none, does not wait for one.
        let is_signed = |state: &Option<State>| matches!(state, Some(State::Whole(stamp)) if stamp.signature.is_some());
        let waits_for_signature =
            matches!(state, Some(State::Whole(_))) && (is_signed(&state) || is_signed(&self.reported));
        let signature = waits_for_signature.then(|| self.signature.settles());
        Some(self.plugin.settles()).max(signature)
    }

    /// Marks the state as reported, and returns the change that follows.
    fn report(&mut self, file: &Path, now: Instant) -> Option<Change> {
        let state = self.state();
        let is_new = state != self.reported;
        if is_new {
            self.retry = Retry::default();
        }
        self.retry.at = None;
        self.reported = state.clone();
        match state {
            None => Some(Change::Gone(file.into())),
            Some(State::Whole(stamp)) => Some(Change::Whole(file.into(), stamp)),
            Some(State::Unusable(error)) => {
                if error.is_transient() {
                    self.retry.later(now);
                }
                is_new.then(|| Change::Unusable(file.into(), error))
            }
        }
    }

    fn is_nothing(&self) -> bool {
        self.plugin.found.is_none() && self.signature.found.is_none() && self.reported.is_none()
    }
}

impl Seen {
    fn look(&mut self, file: &Path, found: &BTreeMap<PathBuf, Found>, closed: &BTreeSet<PathBuf>, now: Instant) {
        let found = found.get(file);
        if found != self.found.as_ref() {
            *self = Self { found: found.cloned(), since: now, is_closed: false };
        }
        self.is_closed |= closed.contains(file);
    }

    /// Returns the time at which the file will have been unchanged for long enough.
    fn settles(&self) -> Instant {
        self.since
            + match self.found {
                None | Some(Err(_)) => MISSING,
                Some(Ok(_)) if self.is_closed => SETTLED,
                Some(Ok(_)) => QUIET,
            }
    }
}

impl Retry {
    /// Sets the time of the next attempt, and returns the pause before it.
    fn later(&mut self, now: Instant) -> Duration {
        let pause = FIRST_RETRY.saturating_mul(1 << self.attempts.min(6)).min(LAST_RETRY);
        self.attempts += 1;
        self.at = Some(now + pause);
        pause
    }
}

/// Lists the plugins and signatures in the folder as separate files.
///
/// # Errors
/// If the folder cannot be read to its end, because the state of files that were not listed is then unknown.
pub(crate) fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, Found>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        // A file that is removed during the scan counts as missing.
        if is_of_plugin(&file)
            && let Some(state) = look_at(&file)
        {
            found.insert(file, state);
        }
    }
    Ok(found)
}

/// Returns the finding for a name; `None` if the name does not exist.
fn look_at(file: &Path) -> Option<Found> {
    match files::Stamp::of(file) {
        Err(FileError::NotFound) => None,
        found => Some(found),
    }
}

/// Returns `true` if the name of a file is that of a plugin or a signature. Names that begin with a dot are those of
/// unfinished or staged files. `.WASM` counts as a misspelled `.wasm`, which is refused with that reason.
pub(crate) fn is_of_plugin(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    plugin_of(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm")) && !hidden
}

/// Returns the path of a file's signature.
#[must_use]
pub fn signature_of(file: &Path) -> PathBuf {
    let mut signature = file.as_os_str().to_owned();
    signature.push(".minisig");
    signature.into()
}

/// Returns the plugin's file for a signature, and any other file itself.
fn plugin_of(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "minisig") { file.with_extension("") } else { file.into() }
}
