//! The folder `trusted`. Each of its files is checked on its own:
//!
//! - A removed file ends its trust immediately, whatever the state of the others. So does one that stops being a
//!   regular file: a dangling link, a folder, a FIFO.
//! - A file that exists but is not accepted (it cannot be read, has mistakes, or every user may write to it) has a
//!   state of its own: its last valid content counts for [`GRACE`] longer, so that neither an editor's half-written
//!   file nor a full table of descriptors ends connections, and then its trust ends. It is read again at each check.
//! - A file without a valid name (dot files, `shop (copy).toml`) trusts nothing.
//!
//! Each of these is reported once. Nothing here blocks: files are opened without waiting.

use super::Credential;
use super::guard::{Guard, examine};
use super::rejection::Rejection;
use super::trusted::Trusted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use wasmnode_client::Key;
use wasmnode_core::{Label, text};
use wasmnode_files::{self as files, FileError, Stamp};

/// Time for which the last valid content of a file counts, while the file exists but is not accepted.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Largest file of a trusted key or user, in bytes; those that `wasmnode trust` writes have a few hundred.
pub(super) const FILE_BYTES: u64 = 64 << 10;

/// Largest number of files that are read; more would make the checks of the folder slow.
const FILES: usize = 10_000;

/// Why the folder's own key needs no file.
pub(super) const OWN_KEY: &str = "this node's own key is always trusted";

/// Largest number of names in a remark about the folder.
const NAMED: usize = 8;

/// Age from which the stamp of a file is reliable: file systems count time in steps of some milliseconds, so that two
/// changes within one step have one stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// Known state of the folder `trusted`.
#[derive(Debug)]
pub(super) struct TrustFolder {
    folder: PathBuf,
    /// Keys and users that are always trusted, and need no file.
    own: Vec<Credential>,
    files: BTreeMap<PathBuf, Known>,
    /// Last remark on each path, so that each is reported once.
    reported: BTreeMap<PathBuf, Remark>,
}

/// One file of the folder.
#[derive(Debug)]
struct Known {
    name: Label,
    /// Stamp of the content that `state` holds, if a change would certainly alter the stamp.
    stamp: Option<Stamp>,
    state: State,
}

#[derive(Debug)]
enum State {
    Good(Trusted),
    /// Why the file is not accepted, since when, and its last valid content.
    Bad {
        why: String,
        since: Instant,
        last: Option<Trusted>,
    },
}

/// Remark for the administrator on a path of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    /// The path.
    path: PathBuf,
    /// Text of the remark, with the path.
    text: String,
    /// Set for a mistake, unset for a file that is skipped on purpose.
    pub(super) is_mistake: bool,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Remark {
    fn mistake(path: &Path, text: &str) -> Self {
        Self { path: path.into(), text: at(path, text), is_mistake: true }
    }
}

/// Prefixes a text with a path.
fn at(path: &Path, what: impl fmt::Display) -> String {
    format!("{}: {what}", text::shown(path))
}

/// Result of a check of the folder.
#[derive(Debug)]
pub(super) struct Look {
    /// Trusted keys and users, by name.
    pub(super) trusted: BTreeMap<Label, Trusted>,
    /// Remarks that have not been reported before.
    pub(super) remarks: Vec<Remark>,
}

impl TrustFolder {
    /// Creates the state for the folder `trusted` of a folder of keys; `own` is the public key that is trusted without
    /// a file, if there is one.
    pub(super) fn new(keys: &Path, own: Option<Key>) -> Self {
        let users = [rustix::process::geteuid().as_raw(), 0].map(Credential::Uid);
        let own = users.into_iter().chain(own.map(Credential::Key)).collect();
        Self { folder: keys.join("trusted"), own, files: BTreeMap::new(), reported: BTreeMap::new() }
    }

    /// Forgets the reported remarks, so that the next check reports them again.
    pub(super) fn repeat_remarks(&mut self) {
        self.reported.clear();
    }

    /// Checks every file.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let mut remarks = Vec::new();
        let of_folder = match self.list(&mut remarks) {
            Ok(found) => {
                self.files.retain(|path, _| found.contains_key(path));
                let of_folder = if found.is_empty() { Ok(()) } else { believe(&self.folder, &mut remarks) };
                for (path, name) in found {
                    self.examine(&path, &name, &of_folder, now, &mut remarks);
                }
                of_folder
            }
            // The list of files is not known, so none counts as removed.
            Err(rejection) => {
                let why = rejection.to_string();
                self.files.values_mut().for_each(|known| known.spoil(&why, now));
                Err(rejection)
            }
        };
        let of_files: Vec<Remark> = self.files.iter_mut().filter_map(|(path, known)| known.age(path, now)).collect();
        match of_folder {
            Ok(()) => remarks.extend(of_files),
            // The folder's problem affects every file, and is reported once.
            Err(rejection) => remarks.push(self.remark_of_folder(rejection.to_string())),
        }
        let trusted = self.settle(&mut remarks);
        Look { trusted, remarks: self.unreported(remarks) }
    }

    /// Returns the files with valid names, by path; adds remarks on the others.
    fn list(&self, remarks: &mut Vec<Remark>) -> Result<BTreeMap<PathBuf, Label>, Rejection> {
        let unlisted = |error| Rejection::Unlisted(self.folder.clone(), error);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(unlisted)?,
        };
        let (mut found, mut are_too_many) = (BTreeMap::new(), false);
        for entry in entries {
            let path = entry.map_err(unlisted)?.path();
            let Some(stem) = path.file_name().and_then(|name| name.as_bytes().strip_suffix(b".toml")) else { continue };
            if let Some(name) = std::str::from_utf8(stem).ok().and_then(|name| name.parse().ok()) {
                found.insert(path, name);
            } else {
                // Files that editors and other systems leave behind begin with a dot.
                let is_mistake = !stem.starts_with(b".");
                let text = "is skipped, because its name is not valid: 1 to 63 letters of A-Z, a-z, 0-9, '_' \
                            and '-' before \".toml\"";
                remarks.push(Remark { is_mistake, ..Remark::mistake(&path, text) });
            }
            if found.len() > FILES {
                found.pop_last();
                are_too_many = true;
            }
        }
        if are_too_many {
            let text = format!("has more than {FILES} files; those that come last by name are skipped");
            remarks.push(Remark::mistake(&self.folder, &text));
        }
        Ok(found)
    }

    fn examine(
        &mut self,
        path: &Path,
        name: &Label,
        of_folder: &Result<(), Rejection>,
        now: Instant,
        remarks: &mut Vec<Remark>,
    ) {
        let known = self.files.get(path);
        match (Stamp::of(path), known.and_then(|known| known.stamp)) {
            (Ok(found), Some(stamp)) if found == stamp => return,
            (Err(error @ (FileError::NotFound | FileError::DanglingLink | FileError::NotAFile(_))), _) => {
                self.files.remove(path);
                if error != FileError::NotFound {
                    remarks.push(Remark::mistake(path, &format!("is skipped: {error}")));
                }
                return;
            }
            _ => {}
        }
        let before = SystemTime::now();
        let why = match of_folder {
            Ok(()) => match read(path, remarks) {
                Ok((trusted, stamp)) => {
                    let stamp = stamp.is_older_than(before.checked_sub(SETTLED).unwrap_or(before)).then_some(stamp);
                    self.files.insert(path.into(), Known { name: name.clone(), stamp, state: State::Good(trusted) });
                    return;
                }
                Err(rejection) => rejection.to_string(),
            },
            Err(rejection) => rejection.to_string(),
        };
        let new = || Known {
            name: name.clone(),
            stamp: None,
            state: State::Bad { why: why.clone(), since: now, last: None },
        };
        self.files.entry(path.into()).or_insert_with(new).spoil(&why, now);
    }

    /// Reports why the folder is not accepted, and the consequences for the names of its files.
    fn remark_of_folder(&self, why: String) -> Remark {
        let named = |still: bool| {
            let of_state = |known: &&Known| matches!(&known.state, State::Bad { last, .. } if last.is_some() == still);
            let names: Vec<&str> =
                self.files.values().filter(of_state).map(|known| known.name.as_str()).take(NAMED + 1).collect();
            match names.get(..NAMED) {
                Some(first) if names.len() > NAMED => format!("{} and others", first.join(", ")),
                _ => names.join(", "),
            }
        };
        let mut text = why;
        for (names, consequence) in
            [(named(false), "therefore not trusted"), (named(true), "trusted until the grace period ends")]
        {
            if !names.is_empty() {
                text = format!("{text}; {consequence}: {names}");
            }
        }
        Remark { path: self.folder.clone(), text, is_mistake: true }
    }

    /// Returns the trusted keys and users of all valid files. Of two files with one key, the first by name counts.
    fn settle(&self, remarks: &mut Vec<Remark>) -> BTreeMap<Label, Trusted> {
        let (mut trusted, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (path, known) in &self.files {
            let Some(found) = known.trusted() else { continue };
            let text = match (names.get(&found.credential), found.credential) {
                (Some(other), _) => {
                    format!("is skipped, because it is the same key as that of {other}; remove one")
                }
                (None, own @ Credential::Key(_)) if self.own.contains(&own) => {
                    format!("is skipped: {OWN_KEY}; remove the file")
                }
                (None, own @ Credential::Uid(uid)) if self.own.contains(&own) => {
                    format!("is skipped: user {uid} is always trusted here; remove the file")
                }
                (None, credential) => {
                    names.insert(credential, known.name.clone());
                    trusted.insert(known.name.clone(), found.clone());
                    continue;
                }
            };
            remarks.push(Remark::mistake(path, &text));
        }
        trusted
    }

    /// Returns those remarks that were not made at the last check.
    fn unreported(&mut self, remarks: Vec<Remark>) -> Vec<Remark> {
        let paths: BTreeSet<&PathBuf> = remarks.iter().map(|remark| &remark.path).collect();
        self.reported.retain(|path, _| paths.contains(path));
        let is_new =
            |remark: &Remark| self.reported.insert(remark.path.clone(), remark.clone()).as_ref() != Some(remark);
        remarks.into_iter().filter(is_new).collect()
    }
}

impl Known {
    /// Records that the file exists but is not accepted.
    fn spoil(&mut self, reason: &str, now: Instant) {
        self.stamp = None;
        match &mut self.state {
            State::Bad { why, .. } => reason.clone_into(why),
            State::Good(trusted) => {
                self.state = State::Bad { why: reason.into(), since: now, last: Some(trusted.clone()) };
            }
        }
    }

    /// Ends the trust of a file that has not been accepted for too long; returns the remark on its problem.
    fn age(&mut self, path: &Path, now: Instant) -> Option<Remark> {
        let State::Bad { why, since, last } = &mut self.state else { return None };
        if now.saturating_duration_since(*since) >= GRACE {
            *last = None;
        }
        let consequence = match last {
            Some(_) => format!("; its last valid content counts for {} s, unless it is mended", GRACE.as_secs()),
            None => format!("; {} is not trusted", self.name),
        };
        Some(Remark { path: path.into(), text: format!("{why}{consequence}"), is_mistake: true })
    }

    fn trusted(&self) -> Option<&Trusted> {
        match &self.state {
            State::Good(trusted) => Some(trusted),
            State::Bad { last, .. } => last.as_ref(),
        }
    }
}

/// Reads one file.
fn read(path: &Path, remarks: &mut Vec<Remark>) -> Result<(Trusted, Stamp), Rejection> {
    let (bytes, stamp) = files::read(path, FILE_BYTES).map_err(|error| Rejection::Unread(path.into(), error))?;
    believe(path, remarks)?;
    Trusted::parse(path, bytes).map(|trusted| (trusted, stamp)).map_err(Rejection::Mistakes)
}

/// Fails if every user could have written the path.
fn believe(path: &Path, remarks: &mut Vec<Remark>) -> Result<(), Rejection> {
    let guard = examine(path).map_err(|error| Rejection::Unexamined(path.into(), error))?;
    match guard {
        Guard::Kept => {}
        Guard::Shared(why) => remarks.push(Remark { path: path.into(), text: at(path, why), is_mistake: false }),
        Guard::Open(why) => return Err(Rejection::Open(path.into(), why)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    const SHOP: &str = "uid = 1001\n";

    /// Returns a folder of keys with one file, after the first check.
    fn fixture() -> (TempDir, TrustFolder, Instant) {
        let keys = tempfile::tempdir().unwrap();
        fs::create_dir(keys.path().join("trusted")).unwrap();
        fs::write(keys.path().join("trusted/shop.toml"), SHOP).unwrap();
        let mut folder = TrustFolder::new(keys.path(), None);
        let now = Instant::now();
        assert_eq!(names(&folder.look(now)), ["shop"]);
        (keys, folder, now)
    }

    fn names(look: &Look) -> Vec<&str> {
        look.trusted.keys().map(Label::as_str).collect()
    }

    fn said(look: &Look) -> String {
        look.remarks.iter().map(Remark::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_last_valid_content_counts_for_the_grace_period_and_then_the_trust_ends() {
        let (keys, mut folder, now) = fixture();
        let file = keys.path().join("trusted/shop.toml");
        let circle = |file: &Path| {
            fs::remove_file(file).unwrap();
            symlink(file, file).unwrap();
        };
        let mistake = |file: &Path| fs::write(file, "uid = 'x'").unwrap();
        for spoil in [&circle as &dyn Fn(&Path), &mistake] {
            spoil(&file);
            let look = folder.look(now);
            assert_eq!(names(&look), ["shop"]);
            assert!(said(&look).contains("its last valid content counts for 10 s"), "{}", said(&look));
            assert_eq!(said(&folder.look(now + GRACE / 2)), "", "it is reported once");
            let look = folder.look(now + GRACE);
            assert_eq!(names(&look), [""; 0]);
            assert!(said(&look).ends_with("; shop is not trusted"), "{}", said(&look));
            fs::remove_file(&file).unwrap();
            fs::write(&file, SHOP).unwrap();
            assert_eq!(names(&folder.look(now + GRACE)), ["shop"], "it is read again at each check");
        }
        spoil_neighbour_and_remove(&file, &mut folder, now);
    }

    /// A removed file ends its trust immediately, even if another file cannot be read.
    fn spoil_neighbour_and_remove(file: &Path, folder: &mut TrustFolder, now: Instant) {
        fs::write(file.with_file_name("typo.toml"), "uid =").unwrap();
        fs::write(file.with_file_name("lab.toml"), "uid = 1002").unwrap();
        assert_eq!(names(&folder.look(now)), ["lab", "shop"]);
        fs::remove_file(file).unwrap();
        assert_eq!(names(&folder.look(now)), ["lab"]);
    }

    #[test]
    fn an_unlistable_folder_ends_trust_after_the_grace_period_and_a_removed_one_immediately() {
        let (keys, mut folder, now) = fixture();
        let [trusted, away] = ["trusted", "away"].map(|name| keys.path().join(name));
        fs::rename(&trusted, &away).unwrap();
        fs::write(&trusted, "no folder").unwrap();
        let look = folder.look(now);
        assert_eq!(names(&look), ["shop"]);
        assert!(said(&look).contains("trusted: cannot be listed: Not a directory"), "{}", said(&look));
        assert_eq!(names(&folder.look(now + GRACE)), [""; 0]);
        fs::remove_file(&trusted).unwrap();
        fs::rename(&away, &trusted).unwrap();
        assert_eq!(names(&folder.look(now + GRACE)), ["shop"]);
        fs::rename(&trusted, &away).unwrap();
        assert_eq!(names(&folder.look(now + GRACE)), [""; 0]);
    }

    #[test]
    fn an_insecure_folder_is_one_remark_with_the_affected_names() {
        let (keys, mut folder, now) = fixture();
        let trusted = keys.path().join("trusted");
        fs::write(trusted.join("shop.toml"), "uid = 1002\n").unwrap();
        fs::write(trusted.join("lab.toml"), "uid = 1003\n").unwrap();
        fs::set_permissions(&trusted, fs::Permissions::from_mode(0o777)).unwrap();
        let look = folder.look(now);
        assert_eq!((names(&look), look.remarks.len()), (vec!["shop"], 1), "{}", said(&look));
        let text = said(&look);
        assert!(text.ends_with("; therefore not trusted: lab; trusted until the grace period ends: shop"), "{text}");
        assert_eq!(said(&folder.look(now)), "", "it is reported once");
        let text = said(&folder.look(now + GRACE));
        assert!(text.ends_with("; therefore not trusted: lab, shop"), "{text}");
    }

    #[test]
    fn two_changes_within_one_step_of_the_file_systems_clock_are_both_seen() {
        let (keys, mut folder, now) = fixture();
        let file = keys.path().join("trusted/shop.toml");
        for uid in 1002..1102 {
            fs::write(&file, format!("uid = {uid}\n")).unwrap();
            let look = folder.look(now);
            assert_eq!(look.trusted.values().next().unwrap().credential, Credential::Uid(uid));
        }
    }

    #[test]
    fn of_two_files_with_one_key_the_first_by_name_counts_and_own_keys_need_no_file() {
        let (keys, mut folder, now) = fixture();
        let path = |name: &str| keys.path().join("trusted").join(name);
        fs::write(path("again.toml"), SHOP).unwrap();
        fs::write(path("root.toml"), "uid = 0").unwrap();
        let look = folder.look(now);
        assert_eq!(names(&look), ["again"]);
        assert!(said(&look).contains("shop.toml: is skipped, because it is the same key as that of again"));
        assert!(said(&look).contains("root.toml: is skipped: user 0 is always trusted here"));
        fs::remove_file(path("again.toml")).unwrap();
        assert_eq!(names(&folder.look(now)), ["shop"]);
    }
}
