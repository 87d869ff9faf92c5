//! Which files of the plugin folder are whole, which have gone, and which cannot be used.
//!
//! A file that is still being copied may already be a valid component, so that it compiles proves nothing. A file
//! counts as whole when its writer has closed it or it was moved here, and where nobody saw that happen, when it has
//! not changed for a while. Events are hints: what is true is what a scan finds, and scans come without hints too.
//!
//! The signature beside a file (`print.wasm.minisig`) is part of it: both must be whole, and if either changes, the
//! file counts as changed. So the two may come in any order.
//!
//! A plugin is gone only if its name is not found, or leads nowhere. Every other error is a state of the file of its
//! own: it is reported once, changes nothing else, and ends when a later scan finds the file in order.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wasmnode_files::{self as files, FileError};

/// How long a file must stay as it is if its writer was seen to close it: twice in a row, an editor may come back.
const SETTLED: Duration = Duration::from_millis(50);

/// How long a file must stay as it is if nobody saw its writer close it.
const QUIET: Duration = Duration::from_secs(2);

/// How long a file must be missing: some editors remove a file before they write it anew. The same for a file that
/// cannot be used.
const MISSING: Duration = Duration::from_millis(300);

/// Pause before the first attempt after a transient error, and the largest; each is twice as long as the one before.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What a scan finds under one name: the stamp of a regular file, or why there is none.
pub(crate) type Found = Result<files::Stamp, FileError>;

/// What tells one content of a plugin's file and of its signature from another without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    plugin: files::Stamp,
    /// `None` if there is no signature.
    signature: Option<Found>,
}

impl Stamp {
    /// The stamp of the plugin's file alone.
    pub(crate) fn plugin(&self) -> files::Stamp {
        self.plugin
    }

    /// The size of the plugin's file.
    pub(crate) fn bytes(&self) -> u64 {
        self.plugin.bytes()
    }

    /// The signature's stamp, or why it cannot be read; `None` if there is none.
    pub(crate) fn signature(&self) -> Option<&Found> {
        self.signature.as_ref()
    }

    /// The stamp of a plugin's file and of its signature.
    ///
    /// # Errors
    /// If there is no such plugin, or it is not a regular file.
    pub(crate) fn of(plugin: &Path) -> Result<Self, FileError> {
        Ok(Self { plugin: files::Stamp::of(plugin)?, signature: look_at(&signature_of(plugin)) })
    }
}

/// What is known of the folder.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// By the plugin's file, which may be missing where its signature came first.
    plugins: BTreeMap<PathBuf, Known>,
}

/// What is known of one plugin.
#[derive(Debug)]
struct Known {
    plugin: Seen,
    signature: Seen,
    /// The state that was reported last; `None` if the file was missing.
    reported: Option<State>,
    retry: Retry,
}

/// The state of a plugin's file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Whole(Stamp),
    Unusable(FileError),
}

/// What is known of one file.
#[derive(Debug)]
struct Seen {
    /// As the last scan found it; `None` if it was missing.
    found: Option<Found>,
    since: Instant,
    is_closed: bool,
}

/// When a file that failed for a transient reason is tried again.
#[derive(Debug, Default)]
struct Retry {
    at: Option<Instant>,
    attempts: u32,
}

/// What a scan has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// This file is whole, and new or different, or an attempt to read it has failed before.
    Whole(PathBuf, Stamp),
    /// This file cannot be used, for this reason; if it served before, nothing follows for what serves.
    Unusable(PathBuf, FileError),
    /// This file, which was there, is not found any more.
    Gone(PathBuf),
}

impl Change {
    /// Returns `true` if the plugin's file is as this other change found it; its signature may differ.
    pub(crate) fn keeps_plugin_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Whole(_, new), Self::Whole(_, old)) if new.plugin == old.plugin)
    }
}

impl Scanner {
    /// Compares what is there with what is known. `closed` are the files whose writer was seen to close them, or that
    /// were moved here, since the last scan.
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

    /// An attempt to read this content failed for a reason that may pass: reports the file as whole again later, unless
    /// it changes before. Returns how much later.
    pub(crate) fn failed(&mut self, file: &Path, stamp: &Stamp, now: Instant) -> Option<Duration> {
        let known = self.plugins.get_mut(file)?;
        let is_reported = matches!(&known.reported, Some(State::Whole(reported)) if reported == stamp);
        is_reported.then(|| known.retry.later(now))
    }

    /// When the next change may be due, if nothing happens before.
    pub(crate) fn next_scan(&self) -> Option<Instant> {
        self.plugins.values().filter_map(Known::due).min()
    }
}

impl Known {
    fn unseen(now: Instant) -> Self {
        let unseen = || Seen { found: None, since: now, is_closed: false };
        Self { plugin: unseen(), signature: unseen(), reported: None, retry: Retry::default() }
    }

    /// What is there; `None` if the plugin is missing.
    fn state(&self) -> Option<State> {
        Some(match self.plugin.found.clone()? {
            Ok(plugin) => State::Whole(Stamp { plugin, signature: self.signature.found.clone() }),
            Err(error) => State::Unusable(error),
        })
    }

    /// When what is there counts, or is tried again; `None` if neither is to come.
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

    /// Takes note of what is there, and returns what to do about it.
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

    /// When it has been as it is for long enough.
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
    /// Sets the time of the next attempt, and returns how far away it is.
    fn later(&mut self, now: Instant) -> Duration {
        let pause = FIRST_RETRY.saturating_mul(1 << self.attempts.min(6)).min(LAST_RETRY);
        self.attempts += 1;
        self.at = Some(now + pause);
        pause
    }
}

/// The plugins and signatures that are in the folder now, each for itself.
///
/// # Errors
/// If the folder cannot be read, or not to its end: then nothing is known of what was not listed.
pub(crate) fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, Found>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        // A file may go at any moment; then it is not there.
        if is_of_plugin(&file)
            && let Some(state) = look_at(&file)
        {
            found.insert(file, state);
        }
    }
    Ok(found)
}

/// What is found under a name; `None` if nothing is.
fn look_at(file: &Path) -> Option<Found> {
    match files::Stamp::of(file) {
        Err(FileError::NotFound) => None,
        found => Some(found),
    }
}

/// Whether a file is meant as a plugin, or as the signature of one, by its name. Those that begin with a dot are on
/// their way. `.WASM` is meant as `.wasm`, and is refused by name.
pub(crate) fn is_of_plugin(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    plugin_of(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm")) && !hidden
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
