//! What `node.plugins` is asked for: the list, a step back, and what `deploy` needs: the folder, and a verdict on a file
//! that lies in it under a name that is never loaded.
//!
//! A step back needs a key that says `admin`. A trial does not: whoever names a staged file could read the folder, and
//! whoever put it there could write to it, and so could have had it loaded by its final name.

use super::names::service_name;
use super::scanner::is_of_plugin;
use super::versions::NoWayBack;
use super::watch::Staged;
use super::{Plugins, Refusal};
use crate::admin::{self, PluginReport};
use crate::config::Config;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tracing::info;
use wasmnode_core::{Caller, Code, Failure, Input, Node, RequestId, Run, ServiceName, text};

/// Trials whose verdict nobody may have asked for yet.
const TRIALS: usize = 64;

/// Files that are listed although no service can be named after them.
const MISNAMED: usize = 100;

/// How long the folder may take to be read for a list of plugins, which is otherwise answered without such files: well within
/// the two seconds that a plugin has by default.
const READING: Duration = Duration::from_secs(1);

/// Longest name of a staged file in bytes, as file systems have it.
const STAGED_BYTES: usize = 255;

/// What a program that puts files into the plugin folder needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFolder {
    /// Its path on the node's machine.
    pub path: String,
    /// Which folder that is; on another machine or in another container the path names another one, or none.
    pub identity: FolderIdentity,
    /// Largest file that the node loads, in bytes: `limits.plugin`.
    pub plugin_bytes: u64,
    /// The services that the node loads; `None`: all.
    pub services: Option<BTreeSet<String>>,
    /// Whether the node keeps the bytes of versions that were replaced.
    pub keeps_versions: bool,
}

/// Distinguishes one folder from another, as far as one can without writing to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderIdentity {
    device: u64,
    inode: u64,
    /// The running system, if it has a name: `/proc/sys/kernel/random/boot_id`.
    boot: Option<String>,
}

impl FolderIdentity {
    /// Returns which folder this path names here.
    ///
    /// # Errors
    /// If it names none that can be looked at.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let found = fs::metadata(folder)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|boot| boot.trim().to_owned());
        Ok(Self { device: found.dev(), inode: found.ino(), boot })
    }
}

/// What a node thinks of a file that lies in its plugin folder under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is still being looked into.
    Pending,
    /// It could serve; its digest is this.
    Accepted(String),
    /// It cannot serve, for this reason.
    Refused(String),
}

/// What is loaded, from where.
pub(super) struct Loads {
    folder: PathBuf,
    plugin_bytes: u64,
    services: Option<BTreeSet<String>>,
    is_router: bool,
}

impl Loads {
    pub(super) fn new(config: &Config) -> Self {
        let services = config.services.as_ref();
        Self {
            folder: config.plugins.clone(),
            plugin_bytes: config.plugin_bytes,
            services: services.map(|services| services.iter().map(ToString::to_string).collect()),
            is_router: config.node.is_router(),
        }
    }

    fn refuse_as_router(&self) -> Result<(), Failure> {
        if self.is_router {
            return Err(Failure::new(Code::Rejected, "this node is a router, which loads no plugins"));
        }
        Ok(())
    }

    fn describe(&self, keeps_versions: bool) -> Result<PluginFolder, String> {
        let path = std::path::absolute(&self.folder).map_err(|error| error.to_string())?;
        let identity = FolderIdentity::of(&path)
            .map_err(|error| format!("the plugin folder {} cannot be read: {error}", path.display()))?;
        let path = path.to_str().ok_or("the path of the plugin folder is not UTF-8")?.to_owned();
        let (plugin_bytes, services) = (self.plugin_bytes, self.services.clone());
        Ok(PluginFolder { path, identity, plugin_bytes, services, keeps_versions })
    }
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
    /// Answers a request to `node.plugins`; `None` if the answer comes later, by the mailbox.
    pub(crate) fn command(&mut self, node: &Node, request: &Run) -> Option<Input> {
        let words: Vec<_> = request.body.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let result = match (&words[..], &request.caller) {
            ([] | [""], _) => {
                self.list_all(request.id);
                return None;
            }
            (["folder"], _) => self.folder_report(),
            (["try", service, staged], _) => self.try_staged(service, staged, None),
            (["try", service, staged, called], _) => self.try_staged(service, staged, Some(called)),
            (["rollback", service], Caller::Client(peer)) if node.is_admin(peer) => {
                match service.parse().map_err(Failure::from).and_then(|service| self.step_back(service, request.id)) {
                    Ok(()) => return None,
                    Err(failure) => Err(failure),
                }
            }
            (["rollback", _], _) => {
                let reason = "only a client of this node may do that, with a key that says `admin`, or by ipc where nobody \
                              has to show a key";
                Err(Failure::new(Code::Forbidden, reason))
            }
            _ => {
                let reason = "node.plugins takes no body, or the frames \"rollback\" and NAME, \"folder\", or \"try\", \
                              NAME, the name of a file in that folder, and what to call it";
                Err(Failure::new(Code::Rejected, reason))
            }
        };
        Some(Input::Finished { request: request.id, result: result.map(|text| vec![text.into()]) })
    }

    /// Answers with all plugins, and the files of the folder that cannot be any. The folder is not read on this thread, which
    /// would wait where its mount hangs.
    fn list_all(&self, request: RequestId) {
        let (mut all, sending) = (admin::plugins(self), self.sending.clone());
        let folder = (!self.loads.is_router).then(|| self.loads.folder.clone());
        tokio::spawn(async move {
            if let Some(folder) = folder {
                let reading = tokio::task::spawn_blocking(move || misnamed(&folder));
                all.extend(tokio::time::timeout(READING, reading).await.ok().and_then(Result::ok).unwrap_or_default());
            }
            sending.send(Input::Finished { request, result: json(&all).map(|text| vec![text.into()]) });
        });
    }

    fn folder_report(&self) -> Result<String, Failure> {
        self.loads.refuse_as_router()?;
        let folder = self.loads.describe(self.history.is_some()).map_err(|why| Failure::new(Code::Failed, why))?;
        json(&folder)
    }

    fn try_staged(&mut self, service: &str, staged: &str, called: Option<&str>) -> Result<String, Failure> {
        self.loads.refuse_as_router()?;
        let service: ServiceName = service.parse()?;
        if !staged.starts_with('.') || staged.contains('/') || staged.len() > STAGED_BYTES {
            return Err(Failure::new(Code::Rejected, "the name of a staged file begins with a dot, and is no path"));
        }
        let (verdict, is_first) = self.trials.ask(staged)?;
        if is_first {
            let called = called.map(|called| text::line(called, text::MAX_PATH).into_owned());
            self.hints.stage(Staged { service, file: staged.into(), called });
        }
        json(&verdict)
    }

    /// Makes the version before the serving one serve; the request is answered once that outlives a restart.
    fn step_back(&mut self, service: ServiceName, request: RequestId) -> Result<(), Failure> {
        let rejected = |why: String| Failure::new(Code::Rejected, why);
        let generations = self.services.get_mut(&service).ok_or_else(|| {
            let why = format!("no plugin serves {service} here; `wasmnode plugins` lists those that do");
            Failure::new(Code::UnknownService, why)
        })?;
        match generations.roll_back() {
            Ok((from, to)) => {
                info!("generation {to} of {service} serves again, in the place of {from}");
                let text = format!("generation {to} of {service} serves again, in the place of {from}\n");
                self.keep_record(&service, Some((request, text)));
                Ok(())
            }
            // It is being restored: the request waits for it.
            Err(NoWayBack::NotYet(_)) => {
                self.stepping_back.push((service, request));
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
        let due: Vec<(ServiceName, RequestId)> = due;
        for (service, request) in due {
            if let Err(failure) = self.step_back(service, request) {
                self.sending.send(Input::Finished { request, result: Err(failure) });
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

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(Code::Failed, error.to_string()))
}
