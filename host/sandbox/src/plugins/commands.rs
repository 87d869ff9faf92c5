//! What an administrator asks for: a step back, and what `deploy` needs: the folder, and a verdict on a file that lies
//! in it under a name that is never loaded.
//!
//! A trial needs no right of its own: whoever names a staged file could read the folder, and
//! whoever put it there could write to it, and so could have had it loaded by its final name.

use super::Plugins;
use crate::calls::{Finished, RunEvent, RunId};
use crate::loading::names::service_name;
use crate::loading::scanner::is_of_plugin;
use crate::loading::versions::NoWayBack;
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

/// Trials whose verdict nobody may have asked for yet.
const TRIALS: usize = 64;

/// Files that are listed although no service can be named after them.
const MISNAMED: usize = 100;

/// How long the folder may take to be read for a list of plugins, which is otherwise answered without such files: well
/// within the two seconds that a plugin has by default.
const READING: Duration = Duration::from_secs(1);

/// Longest name of a staged file in bytes, as file systems have it.
const STAGED_BYTES: usize = 255;

/// What is loaded, from where.
pub(super) struct Folder {
    path: PathBuf,
    plugin_bytes: u64,
    services: Option<BTreeSet<String>>,
}

impl Folder {
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let services = settings.services.as_ref();
        Some(Self {
            path: settings.plugins.clone()?,
            plugin_bytes: settings.plugin_bytes,
            services: services.map(|services| services.iter().map(ToString::to_string).collect()),
        })
    }

    fn describe(&self, keeps_versions: bool) -> Result<PluginFolder, String> {
        let path = std::path::absolute(&self.path).map_err(|error| error.to_string())?;
        let identity = folder_identity(&path)
            .map_err(|error| format!("the plugin folder {} cannot be read: {error}", path.display()))?;
        let path = path.to_str().ok_or("the path of the plugin folder is not UTF-8")?.to_owned();
        let (plugin_bytes, services) = (self.plugin_bytes, self.services.clone());
        Ok(PluginFolder { path, identity, plugin_bytes, services, keeps_versions })
    }
}

/// Returns which folder this path names here.
///
/// # Errors
/// If it names none that can be looked at.
pub fn folder_identity(folder: &Path) -> io::Result<FolderIdentity> {
    let found = fs::metadata(folder)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|boot| boot.trim().to_owned());
    Ok(FolderIdentity { device: found.dev(), inode: found.ino(), boot })
}

/// The files that were tried, by their name.
#[derive(Default)]
pub(super) struct Trials(BTreeMap<String, Verdict>);

impl Trials {
    /// Returns the verdict on a file, and whether this is the first time that it is asked for.
    fn ask(&mut self, staged: &str) -> Result<(Verdict, bool), Failure> {
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

    /// Notes the verdict on a file.
    pub(super) fn settle(&mut self, staged: &str, verdict: Verdict) {
        if let Some(pending) = self.0.get_mut(staged) {
            *pending = verdict;
        }
    }
}

impl Plugins {
    /// Looks up the files of the folder that no service can be named after, and why. The folder is not read on the
    /// calling thread, which would wait where its mount hangs; what takes too long is left out.
    pub fn misnamed(&self) -> impl Future<Output = Vec<PluginReport>> + Send + 'static {
        let folder = self.folder.as_ref().map(|folder| folder.path.clone());
        async move {
            let Some(folder) = folder else { return Vec::new() };
            let reading = tokio::task::spawn_blocking(move || misnamed(&folder));
            tokio::time::timeout(READING, reading).await.ok().and_then(Result::ok).unwrap_or_default()
        }
    }

    /// Describes the folder to a program that puts files into it.
    ///
    /// # Errors
    /// If it cannot be read, or nothing is loaded here.
    pub fn folder(&self) -> Result<PluginFolder, Failure> {
        let folder = self.folder.as_ref().ok_or_else(loads_nothing)?;
        folder.describe(self.history.is_some()).map_err(|why| Failure::new(Code::Failed, why))
    }

    /// Returns the verdict on a file that lies in the folder under a name that is never loaded; the first time that it
    /// is asked for, one is begun. `called` is what refusals call the file.
    ///
    /// # Errors
    /// If the name is not that of a staged file, too many files are being tried, or nothing is loaded here.
    pub fn verdict(&mut self, service: &str, staged: &str, called: Option<&str>) -> Result<Verdict, Failure> {
        self.folder.as_ref().ok_or_else(loads_nothing)?;
        let service: ServiceName = service.parse()?;
        if !staged.starts_with('.') || staged.contains('/') || staged.len() > STAGED_BYTES {
            return Err(Failure::new(Code::Rejected, "the name of a staged file begins with a dot, and is no path"));
        }
        let (verdict, is_first) = self.trials.ask(staged)?;
        if is_first {
            let called = called.map(|called| text::line(called, text::MAX_PATH).into_owned());
            self.hints.stage(Staged { service, file: staged.into(), called });
        }
        Ok(verdict)
    }

    /// Makes the version before the serving one serve; the run is answered once that outlives a restart.
    ///
    /// # Errors
    /// If no plugin serves it, or there is no version before.
    pub fn step_back(&mut self, service: ServiceName, run: RunId) -> Result<(), Failure> {
        let rejected = |why: String| Failure::new(Code::Rejected, why);
        let generations = self.services.get_mut(&service).ok_or_else(|| {
            let why = format!("no plugin serves {service} here; `wasmnode plugins` lists those that do");
            Failure::new(Code::UnknownService, why)
        })?;
        match generations.roll_back() {
            Ok((from, to)) => {
                info!("generation {to} of {service} serves again, in the place of {from}");
                let text = format!("generation {to} of {service} serves again, in the place of {from}\n");
                self.keep_record(&service, Some((run, text)));
                Ok(())
            }
            // It is being restored: the request waits for it.
            Err(NoWayBack::NotYet(_)) => {
                self.stepping_back.push((service, run));
                Ok(())
            }
            Err(NoWayBack::Nothing { are_rolled_back }) => {
                let forward = if are_rolled_back {
                    " that was not rolled back; to go forward again: wasmnode deploy FILE"
                } else {
                    ""
                };
                Err(rejected(format!("there is no generation of {service} before the one that serves{forward}")))
            }
        }
    }

    /// A version has been restored, or is lost: goes on with the requests that wait for it.
    pub(super) fn go_on_stepping_back(&mut self, restored: &ServiceName) {
        let (due, others) = std::mem::take(&mut self.stepping_back).into_iter().partition(|(of, _)| of == restored);
        self.stepping_back = others;
        let due: Vec<(ServiceName, RunId)> = due;
        for (service, run) in due {
            if let Err(failure) = self.step_back(service, run) {
                self.sending.send(RunEvent::Finished(Finished { run, result: Err(failure) }));
            }
        }
    }
}

/// The files of a folder that no service can be named after, and why, first by name.
fn misnamed(folder: &Path) -> Vec<PluginReport> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_plugin =
        |file: &PathBuf| is_of_plugin(file) && file.extension().is_none_or(|extension| extension != "minisig");
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let report = |file: PathBuf| {
        let why = service_name(&file).err()?;
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
