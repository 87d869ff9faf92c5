//! `wasmnode deploy`: places a component into the plugin folder of a running node, once the node has accepted it.
//!
//! The node reports its folder, and tries the file that is staged there under a name that is never loaded. The file
//! gets its final name only after the node has accepted it. If either process ends at any point, the old file or the
//! new one is in place, and the new one only if it can serve.

use super::{ANSWER, ConnectArgs, Failed, print, read};
use crate::cli::sign::SigningKey;
use clap::Args;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use wasmnode::config::{Config, parse_duration};
use wasmnode_api::{
    self as api, FolderIdentity, GenerationState, PluginFolder, PluginReport, PluginStatus, Refusal, Verdict,
};
use wasmnode_client::{self as client, Client, Request};
use wasmnode_core::{Code, ServiceName, text};
use wasmnode_files::{self as files, FileError};
use wasmnode_sandbox::{NotLoadable, folder_identity, signature_of};

/// Interval of polling the node for its verdict, and then for the version that serves.
const POLL: Duration = Duration::from_millis(50);

/// Grace period in which a file that replaced the deployed one may start to serve; after it, the deployment fails.
const REPLACED: Duration = Duration::from_millis(500);

/// Interval of the progress line on a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// Largest signature in bytes, the same as for a node.
const SIGNATURE_BYTES: u64 = 16 << 10;

/// Prefix of the names of staged files.
const STAGED: &str = ".deploy-";

/// Age from which a staged file is abandoned: longer than any compilation takes.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The component
    file: PathBuf,
    /// The service's name; by default the file's stem
    #[arg(long, value_parser = super::names::service)]
    name: Option<ServiceName>,
    /// Sign it with this secret key; by default FILE.minisig, the signature beside the file, is deployed with it if it
    /// exists
    #[arg(long, value_name = "SECRET")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub(super) to: ConnectArgs,
    /// Time limit until it serves
    #[arg(long, default_value = "60s", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Deploys a component to a node, and waits until it serves.
pub(crate) fn deploy(args: &DeployArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    if args.file.is_dir() {
        let message =
            format!("{} is a folder; name the component in it: wasmnode deploy FILE.wasm", args.file.display());
        return Err(Failed { message, exit: 2 });
    }
    let service = match &args.name {
        Some(name) => name.clone(),
        None => service_of(&args.file)?,
    };
    let named =
        |why: NotLoadable| Failed { message: format!("{why}; give the service another name with --name"), exit: 2 };
    wasmnode_sandbox::loadable(&service).map_err(named)?;
    let mut node = args.to.connect(config)?;
    let summary = match folder_of(&mut node)? {
        Some(folder) => deploy_to(args, &mut node, &service, &folder)?,
        None => put_without_node(args, config, &service)?,
    };
    print(&vec![summary.into()])?;
    Ok(ExitCode::SUCCESS)
}

fn service_of(file: &Path) -> Result<ServiceName, Failed> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| Failed { message: format!("{error}; give the service's name with --name"), exit: 2 })
}

/// Returns the plugin folder of a running node, and what it loads; `None` if there is no node.
fn folder_of(node: &mut Client) -> Result<Option<PluginFolder>, Failed> {
    match node.call(Request::new(api::PLUGINS).body(["folder"]).deadline(ANSWER), |_| {}) {
        Err(client::Error::Unreachable { .. }) => Ok(None),
        reply => read(&reply?).map(Some),
    }
}

fn deploy_to(
    args: &DeployArgs,
    node: &mut Client,
    service: &ServiceName,
    folder: &PluginFolder,
) -> Result<String, Failed> {
    let began = Instant::now();
    if folder.services.as_ref().is_some_and(|listed| !listed.contains(service.as_str())) {
        return Err(not_listed(service));
    }
    let path = Path::new(&folder.path);
    check_identity(args, path, &folder.identity)?;
    let (bytes, signature) = content(args, service, folder.plugin_bytes)?;
    let digest = wasmnode_sandbox::digest(&bytes);
    let staged = Staged::write(path, &bytes, signature.as_deref())?;
    wait_for_verdict(args, node, service, &staged)?;
    // An earlier refusal of the same bytes must not count as the outcome of this deployment.
    let before = plugin(node, service)?.and_then(|plugin| plugin.refused);
    if !folder.keeps_versions {
        keep_previous(&path.join(format!("{service}.wasm")));
    }
    staged.put(service)?;
    let left = args.timeout.saturating_sub(began.elapsed()).max(ANSWER);
    let placed = Placed::new(path.join(format!("{service}.wasm")), digest, folder.plugin_bytes);
    wait_until_serving(node, service, placed, before.as_ref(), left)
}

/// Checks that the path of the node's folder names the same folder here, for this user.
fn check_identity(args: &DeployArgs, path: &Path, expected: &FolderIdentity) -> Result<(), Failed> {
    match folder_identity(path) {
        Ok(identity) if identity == *expected => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(may_not_write(path, &error)),
        _ => {
            let (path, file) = (path.display(), args.file.display());
            let message = format!(
                "the node's plugin folder {path} is on another machine, or in another container; run deploy there, or \
                 copy {file} into that folder"
            );
            Err(Failed { message, exit: 1 })
        }
    }
}

fn may_not_write(folder: &Path, error: &io::Error) -> Failed {
    let folder = folder.display();
    let message = format!("cannot write into the node's plugin folder {folder}: {error}; run deploy as a user who may");
    Failed { message, exit: if error.kind() == io::ErrorKind::PermissionDenied { 8 } else { 1 } }
}

/// Places a component into the folder that the configuration names, for a node that is not running.
fn put_without_node(args: &DeployArgs, config: Option<&Path>, service: &ServiceName) -> Result<String, Failed> {
    let settings = match config {
        Some(file) => Config::load(file)?,
        None => Config::embedded(),
    };
    let folder = settings.plugins.display();
    if args.to.is_named() {
        let message = "no node answers at that endpoint to report its plugin folder; nothing was put in \
                       place; start the node, or leave out --to to name its configuration with --config alone";
        return Err(Failed { message: message.into(), exit: 9 });
    }
    if !settings.plugins.is_dir() {
        let message = format!(
            "no node answers, and there is no folder {folder} here; start the node, or name its configuration with \
             --config"
        );
        return Err(Failed { message, exit: 9 });
    }
    if settings.services.as_ref().is_some_and(|listed| !listed.contains(service)) {
        return Err(not_listed(service));
    }
    let (bytes, signature) = content(args, service, settings.plugin_bytes)?;
    let refused = |why: String| {
        let why = text::into_line(why, text::MAX_LINE);
        Failed { message: format!("{} as {service} is refused: {why}", text::shown(&args.file)), exit: 1 }
    };
    let inspection =
        wasmnode_sandbox::inspect(&bytes, &settings.sandbox()).map_err(|error| refused(error.to_string()))?;
    if !inspection.can_serve() {
        return Err(refused("it could not serve; `wasmnode inspect` lists what it lacks".into()));
    }
    Staged::write(&settings.plugins, &bytes, signature.as_deref())?.put(service)?;
    Ok(format!("{service} is in place in {folder}; no node is running: it serves when the node starts\n"))
}

fn not_listed(service: &ServiceName) -> Failed {
    let message = format!("node.services does not list {service}, so the node would not load it; add it there first");
    Failed { message, exit: 1 }
}

/// Returns the bytes of the component and the text of its signature: a new one, or the one beside the file.
fn content(args: &DeployArgs, service: &ServiceName, limit: u64) -> Result<(Vec<u8>, Option<String>), Failed> {
    let failed = |file: &Path, error: FileError| Failed { message: format!("{}: {error}", file.display()), exit: 1 };
    let (bytes, _) = files::read(&args.file, limit).map_err(|error| match error {
        FileError::TooLarge(limit) => {
            let size = files::Stamp::of(&args.file).map_or(0, |stamp| stamp.bytes());
            let message = format!("{service} is refused: its {size} bytes are over limits.plugin = {limit}");
            Failed { message, exit: 1 }
        }
        error => failed(&args.file, error),
    })?;
    if let Some(key) = &args.sign_key {
        let signature = SigningKey::load(key)?.sign(&args.file, &bytes)?;
        return Ok((bytes, Some(signature)));
    }
    let beside = signature_of(&args.file);
    match files::read(&beside, SIGNATURE_BYTES) {
        Ok((signature, _)) => Ok((bytes, Some(String::from_utf8_lossy(&signature).into_owned()))),
        Err(FileError::NotFound) => Ok((bytes, None)),
        Err(error) => Err(failed(&beside, error)),
    }
}

/// Component and signature in the plugin folder, under names that are never loaded; removed unless they are put in
/// place.
struct Staged {
    file: PathBuf,
    is_signed: bool,
}

impl Staged {
    fn write(folder: &Path, bytes: &[u8], signature: Option<&str>) -> Result<Self, Failed> {
        remove_left_behind(folder);
        let file = folder.join(format!("{STAGED}{:032x}", fastrand::u128(..)));
        let staged = Self { file, is_signed: signature.is_some() };
        let written = write_new(&staged.file, bytes).and_then(|()| match signature {
            Some(signature) => write_new(&signature_of(&staged.file), signature.as_bytes()),
            None => Ok(()),
        });
        written.map_err(|error| may_not_write(folder, &error))?;
        Ok(staged)
    }

    fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Moves the component and its signature to their final names, in such quick succession that a node sees one
    /// change. The signature of another version is removed.
    fn put(self, service: &ServiceName) -> Result<(), Failed> {
        let target = self.file.with_file_name(format!("{service}.wasm"));
        let beside = signature_of(&target);
        let put = || {
            if self.is_signed {
                fs::rename(signature_of(&self.file), &beside)?;
            }
            fs::rename(&self.file, &target)?;
            if !self.is_signed {
                match fs::remove_file(&beside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(|error| Failed { message: format!("{}: {error}", target.display()), exit: 1 })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for file in [&self.file, &signature_of(&self.file)] {
            let _it_is_in_place_or_was_never_there = fs::remove_file(file);
        }
    }
}

/// Writes a new file so that it survives a power failure; fails if the file exists.
fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes the staged files of killed deployments.
fn remove_left_behind(folder: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        entry.file_name().to_string_lossy().starts_with(STAGED) && age.is_some_and(|age| age >= LEFT_BEHIND)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_old) {
        let _another_deploy_may_have_removed_it = fs::remove_file(entry.path());
    }
}

/// Keeps the replaced file beside its successor, for a node that does not keep versions.
fn keep_previous(target: &Path) {
    let previous = target.with_file_name(format!(".{}.previous", target.file_name().unwrap_or_default().display()));
    let _there_may_be_none = fs::remove_file(&previous);
    let _there_may_be_no_file_yet = fs::hard_link(target, &previous);
}

/// Waits for the node's verdict on a staged file.
fn wait_for_verdict(
    args: &DeployArgs,
    node: &mut Client,
    service: &ServiceName,
    staged: &Staged,
) -> Result<(), Failed> {
    let mut progress = Progress::new(service);
    let began = Instant::now();
    loop {
        let words = ["try".to_owned(), service.to_string(), staged.name(), text::shown(&args.file)];
        let verdict = match node.call(Request::new(api::PLUGINS).body(words).deadline(ANSWER), |_| {}) {
            Ok(reply) => read(&reply)?,
            Err(client::Error::Failure(failure)) if failure.code == Code::Overloaded => Verdict::Pending,
            Err(error) => {
                let mut failed = Failed::from(error);
                failed.message.push_str("; nothing was put in place");
                return Err(failed);
            }
        };
        match verdict {
            Verdict::Accepted(_) => return Ok(()),
            Verdict::Refused(why) => {
                let file = text::shown(&args.file);
                return Err(Failed { message: format!("{file} as {service} is refused: {why}"), exit: 1 });
            }
            Verdict::Pending => {}
        }
        if began.elapsed() >= args.timeout {
            let message = format!(
                "the node has no verdict on {service} after {:?} (--timeout), and stops compiling it; nothing was \
                 put in place",
                args.timeout
            );
            return Err(Failed { message, exit: 4 });
        }
        progress.show();
        std::thread::sleep(POLL);
    }
}

/// Progress line on a terminal while the node compiles.
struct Progress {
    service: String,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    fn new(service: &ServiceName) -> Self {
        Self { service: service.to_string(), began: Instant::now(), shown: None }
    }

    fn show(&mut self) {
        let mut stderr = io::stderr();
        if !stderr.is_terminal() || self.shown.unwrap_or(self.began).elapsed() < PROGRESS {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs();
        let _progress_is_optional = write!(stderr, "\r{}: compiling on the node, {seconds} s", self.service);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _progress_is_optional = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Returns the node's report on a service's plugin, if there is one.
fn plugin(node: &mut Client, service: &ServiceName) -> Result<Option<PluginReport>, Failed> {
    let reply = node.call(Request::new(api::PLUGINS).deadline(ANSWER), |_| {})?;
    let plugins: Vec<PluginReport> = read(&reply)?;
    Ok(plugins.into_iter().find(|plugin| plugin.service == service.as_str()))
}

/// Returns the outcome of a file that was put in place, if there is one yet. `before` is the refusal that the node
/// reported earlier.
fn outcome(plugin: &PluginReport, digest: &str, before: Option<&Refusal>) -> Option<Result<String, Failed>> {
    let is_it =
        |generation: &&PluginStatus| generation.digest == digest && generation.state == GenerationState::Serving;
    if let Some(serving) = plugin.generations.iter().find(is_it) {
        return Some(Ok(format!("generation {} of {} serves\n", serving.generation, plugin.service)));
    }
    let refused = plugin.refused.as_ref().filter(|refused| refused.digest == digest && Some(*refused) != before)?;
    Some(Err(Failed { message: format!("{} is in place, but refused: {}", plugin.service, refused.why), exit: 1 }))
}

/// File that was put in place, and may be replaced there at any moment.
struct Placed {
    file: PathBuf,
    digest: String,
    /// Largest file that the node loads, in bytes.
    limit: u64,
    /// Stamp of the file when it was last found to hold these bytes.
    stamp: Option<files::Stamp>,
}

impl Placed {
    fn new(file: PathBuf, digest: String, limit: u64) -> Self {
        Self { file, digest, limit, stamp: None }
    }

    /// Returns `true` if the file is gone or has other bytes. An unreadable file does not count as replaced.
    fn is_replaced(&mut self) -> bool {
        let stamp = files::Stamp::of(&self.file);
        if stamp.as_ref().is_ok_and(|stamp| self.stamp.as_ref() == Some(stamp)) {
            return false;
        }
        match files::read(&self.file, self.limit) {
            Ok((bytes, _)) if wasmnode_sandbox::digest(&bytes) != self.digest => true,
            Ok(_) => {
                self.stamp = stamp.ok();
                false
            }
            Err(error) => matches!(error, FileError::NotFound),
        }
    }
}

/// Reports that the deployed file is gone from the folder; `plugin` is the node's report after that.
fn replaced(service: &ServiceName, plugin: Option<&PluginReport>) -> Failed {
    let serving = plugin
        .and_then(|plugin| plugin.generations.iter().find(|generation| generation.state == GenerationState::Serving));
    let serves = match serving {
        Some(serving) => format!("generation {} serves, sha256:{}", serving.generation, serving.digest),
        None => "no version serves".into(),
    };
    let message = format!("another deploy, a copy or a removal has replaced the file of {service}: {serves}");
    Failed { message, exit: 1 }
}

/// Waits until the node serves the file that was put in place, or the file is replaced.
fn wait_until_serving(
    node: &mut Client,
    service: &ServiceName,
    mut placed: Placed,
    before: Option<&Refusal>,
    timeout: Duration,
) -> Result<String, Failed> {
    let began = Instant::now();
    let mut replaced_at = None;
    loop {
        let plugin = plugin(node, service)?;
        if let Some(outcome) = plugin.as_ref().and_then(|plugin| outcome(plugin, &placed.digest, before)) {
            return outcome;
        }
        if replaced_at.is_none() && placed.is_replaced() {
            replaced_at = Some(Instant::now());
        }
        if replaced_at.is_some_and(|at| at.elapsed() >= REPLACED) {
            return Err(replaced(service, plugin.as_ref()));
        }
        if began.elapsed() >= timeout {
            let message = format!("{service} is in place, but does not serve after {timeout:?}; see the node's log");
            return Err(Failed { message, exit: 4 });
        }
        std::thread::sleep(POLL);
    }
}
