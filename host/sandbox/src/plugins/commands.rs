//! Commands of an administrator: a rollback, and for `deploy` the description of the folder and the verdict on a staged
//! file. A staged file is in the folder under a name that is never loaded.
//!
//! A trial needs no separate permission: a user that can name a staged file can read the folder, and a user that placed
//! the file can write to the folder, and could therefore have loaded it under its final name.

use super::Plugins;
use crate::calls::{Finished, RunEvent, RunId};
use crate::loading::names::service_name;
use crate::loading::scanner::is_of_plugin;
use crate::loading::versions::RollbackError;
use crate::loading::watch::Staged;
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tracing::info;
use wasmnode_api::{FolderIdentity, PluginFolder, PluginReport, Refusal, Verdict};
use wasmnode_protocol::{Code, Failure, ServiceName, text};

/// Largest number of staged files whose verdicts are pending or kept.
const TRIALS: usize = 64;

/// Largest number of misnamed files in a list.
const MISNAMED: usize = 100;

/// Timeout of reading the folder for a list of plugins, which omits misnamed files after that. Well below two seconds,
/// the default deadline of a plugin's request.
const READING: Duration = Duration::from_secs(1);

/// Longest name of a staged file in bytes: the limit of file systems.
const STAGED_BYTES: usize = 255;

/// The plugin folder, and which of its files are loaded.
pub(super) struct Folder {
    path: PathBuf,
    /// Whether a node with built-in plugins runs, whose folder is made when an administrator is to put a file there.
    may_be_missing: bool,
    plugin_bytes: u64,
    services: Option<BTreeSet<String>>,
}

impl Folder {
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let services = settings.services.as_ref();
        Some(Self {
            path: settings.plugins.clone()?,
            may_be_missing: !settings.built_in.is_empty(),
            plugin_bytes: settings.plugin_bytes,
            services: services.map(|services| services.iter().map(ToString::to_string).collect()),
        })
    }

    fn describe(&self, is_for_admin: bool, keeps_versions: bool) -> Result<PluginFolder, Failure> {
        let failed = |why: String| Failure::new(Code::Failed, why);
        let path = std::path::absolute(&self.path).map_err(|error| failed(error.to_string()))?;
        if self.may_be_missing && is_for_admin {
            let made = fs::create_dir(&path).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            });
            made.map_err(|error| failed(format!("cannot create the plugin folder {}: {error}", path.display())))?;
        }
        let identity = folder_identity(&path)
            .map_err(|error| failed(format!("the plugin folder {} cannot be read: {error}", path.display())))?;
        let is_not_utf8 = || failed("the path of the plugin folder is not UTF-8".into());
        let path = path.to_str().ok_or_else(is_not_utf8)?.to_owned();
        let (plugin_bytes, services) = (self.plugin_bytes, self.services.clone());
        Ok(PluginFolder { path, identity, plugin_bytes, services, keeps_versions })
    }
}

/// Returns the identity of the folder that a path names on this machine.
///
/// # Errors
/// If the path names no folder, or one that cannot be read.
pub fn folder_identity(folder: &Path) -> io::Result<FolderIdentity> {
    let found = fs::metadata(folder)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|boot| boot.trim().to_owned());
    Ok(FolderIdentity { device: found.dev(), inode: found.ino(), boot })
}

/// Verdicts on staged files, by their names.
#[derive(Default)]
pub(super) struct Trials(BTreeMap<String, Verdict>);

impl Trials {
    /// Returns the verdict on a file, and whether this is the first request for it.
    fn request(&mut self, staged: &str) -> Result<(Verdict, bool), Failure> {
        if let Some(verdict) = self.0.get(staged) {
            return Ok((verdict.clone(), false));
        }
        if self.0.len() >= TRIALS {
            self.0.retain(|_, verdict| *verdict == Verdict::Pending);
        }
        if self.0.len() >= TRIALS {
            return Err(Failure::new(Code::Overloaded, format!("{TRIALS} files are being tried; try again later")));
        }
        self.0.insert(staged.into(), Verdict::Pending);
        Ok((Verdict::Pending, true))
    }

    /// Records the verdict on a file.
    pub(super) fn settle(&mut self, staged: &str, verdict: Verdict) {
        if let Some(pending) = self.0.get_mut(staged) {
            *pending = verdict;
        }
    }
}

impl Plugins {
    /// Lists the misnamed files of the folder, whose names are not those of services, with the reasons. The folder is
    /// not read on the calling thread, which a hanging mount would block; if reading takes too long, the list is empty.
    pub fn misnamed(&self) -> impl Future<Output = Vec<PluginReport>> + Send + 'static {
        let folder = self.folder.as_ref().map(|folder| folder.path.clone());
        async move {
            let Some(folder) = folder else { return Vec::new() };
            let reading = tokio::task::spawn_blocking(move || misnamed(&folder));
            tokio::time::timeout(READING, reading).await.ok().and_then(Result::ok).unwrap_or_default()
        }
    }

    /// Describes the folder for a program that puts files into it. For an administrator, a folder that may be missing
    /// is made.
    ///
    /// # Errors
    /// If the folder cannot be read, or this node loads no plugins.
    pub fn folder(&self, is_for_admin: bool) -> Result<PluginFolder, Failure> {
        let folder = self.folder.as_ref().ok_or_else(loads_nothing)?;
        folder.describe(is_for_admin, self.history.is_some())
    }

    /// Returns the verdict on a staged file; the first call for a file starts its trial. `called` is the name of the
    /// file in refusals.
    ///
    /// # Errors
    /// If the name is not that of a staged file, too many files are being tried, or this node loads no plugins.
    pub fn verdict(&mut self, service: &str, staged: &str, called: Option<&str>) -> Result<Verdict, Failure> {
        self.folder.as_ref().ok_or_else(loads_nothing)?;
        let service: ServiceName = service.parse()?;
        if !staged.starts_with('.') || staged.contains('/') || staged.len() > STAGED_BYTES {
            return Err(Failure::new(Code::Rejected, "the name of a staged file begins with a dot, and is no path"));
        }
        let (verdict, is_first) = self.trials.request(staged)?;
        if is_first {
            let called = called.map(|called| text::line(called, text::MAX_PATH).into_owned());
            self.hints.stage(Staged { service, file: staged.into(), called });
        }
        Ok(verdict)
    }

    /// Rolls a service back to the version before the serving one. The run is answered once the rollback survives a
    /// restart.
    ///
    /// # Errors
    /// If no plugin serves the service, or there is no earlier version.
    pub fn roll_back(&mut self, service: ServiceName, run: RunId) -> Result<(), Failure> {
        let rejected = |why: String| Failure::new(Code::Rejected, why);
        let generations = self.services.get_mut(&service).ok_or_else(|| {
            let why = format!("no plugin serves {service} here; `wasmnode plugins` lists those that do");
            Failure::new(Code::UnknownService, why)
        })?;
        match generations.roll_back() {
            Ok((from, to)) => {
                info!("generation {to} of {service} serves again, instead of {from}");
                let text = format!("generation {to} of {service} serves again, instead of {from}\n");
                self.keep_record(&service, Some((run, text)));
                Ok(())
            }
            // The version is still being restored, so the request waits.
            Err(RollbackError::Restoring(_)) => {
                self.pending_rollbacks.push((service, run));
                Ok(())
            }
            Err(RollbackError::Nothing { are_rolled_back }) => {
                let remedy = if are_rolled_back {
                    " that was not rolled back; to serve a newer one: wasmnode deploy FILE"
                } else {
                    ""
                };
                Err(rejected(format!("there is no generation of {service} before the serving one{remedy}")))
            }
        }
    }

    /// Resumes the rollbacks that wait for a version of this service, which has been restored or is lost.
    pub(super) fn resume_rollbacks(&mut self, restored: &ServiceName) {
        let (due, others) = std::mem::take(&mut self.pending_rollbacks).into_iter().partition(|(of, _)| of == restored);
        self.pending_rollbacks = others;
        let due: Vec<(ServiceName, RunId)> = due;
        for (service, run) in due {
            if let Err(failure) = self.roll_back(service, run) {
                self.sending.send(RunEvent::Finished(Finished { run, result: Err(failure) }));
            }
        }
    }
}

/// Returns reports of the first misnamed files of a folder, by name.
fn misnamed(folder: &Path) -> Vec<PluginReport> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_plugin =
        |file: &PathBuf| is_of_plugin(file) && file.extension().is_none_or(|extension| extension != "minisig");
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let report = |file: PathBuf| {
        let why = service_name(&file).err()?.to_string();
        let refused = Some(Refusal { digest: String::new(), why, at: at.clone() });
        Some(PluginReport { service: text::shown(Path::new(file.file_name()?)), generations: Vec::new(), refused })
    };
    let mut reports: Vec<PluginReport> = found.filter(is_plugin).filter_map(report).collect();
    reports.sort_by(|one, other| one.service.cmp(&other.service));
    reports.truncate(MISNAMED);
    reports
}

fn loads_nothing() -> Failure {
    Failure::new(Code::Rejected, "this node is a router, which loads no plugins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_be_missing_is_made_only_for_an_administrator() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("plugins");
        let folder = Folder { path: path.clone(), may_be_missing: true, plugin_bytes: 1, services: None };
        assert!(folder.describe(false, false).unwrap_err().reason.contains("cannot be read"));
        assert!(!path.exists());
        assert_eq!(folder.describe(true, false).unwrap().path, path.to_str().unwrap());
        assert!(folder.describe(false, false).is_ok());
    }
}
