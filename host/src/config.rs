//! Configuration: a TOML file to a checked [`Config`], or a list of every mistake in it.
//!
//! Parsed, not validated: each value becomes its final type where it is read (`config/value.rs`), then its meaning is
//! checked, and a `Config` exists only if nothing was wrong. A mistake never stops the reading: the default replaces
//! the bad value, so that the rest is checked too, and the result is discarded at the end. Unknown keys are mistakes.
//! Relative paths start at the folder of the file, wherever the node was started.

mod claims;
mod compile;
mod doubts;
mod endpoint;
mod error;
mod fields;
mod grants;
mod overrides;
mod peers;
mod provenance;
mod router;
mod security;
mod service;
mod source;
#[cfg(test)]
mod tests;
mod traffic;
pub(crate) mod value;

pub use endpoint::{Contact, Endpoint, InvalidEndpoint};
pub use error::ConfigError;
pub(crate) use fields::Fields;
pub use overrides::Overrides;
pub(crate) use security::GroupError;
pub use security::Permissions;
pub use source::{Reread, SourceSettings};
pub use traffic::{LoadConfig, LoadSender, Rhythm};
pub use value::{parse_duration, parse_size};

use crate::built_in;
use claims::Needs;
use error::Mistakes;
use peers::Peers;
use security::Security;
use service::ServiceFields;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;
use wasmnode_core::{Label, Limits, Majordomo, NodeSettings, OnFailure, RunningSettings, ServiceName};
use wasmnode_files as files;
use wasmnode_sandbox::{CompileSettings, Provenance, Sandboxes, Settings};

/// Largest configuration or plan, in bytes: 10,000 services with a table each take a tenth of it.
const FILE_BYTES: u64 = 16 << 20;

/// Configuration of a node.
///
/// ```
/// use std::path::Path;
/// use wasmnode::config::Config;
///
/// let config = Config::parse("[node]\nname = 'paris1'\nlisten = ['ipc://node.ipc']", Path::new("etc/node.toml"))?;
/// assert_eq!(config.node.name.as_str(), "paris1");
/// assert_eq!(config.listen[0].to_string(), "ipc://etc/node.ipc");
/// # Ok::<(), wasmnode::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Settings of the core: names, limits, Majordomo, peers, and services. From `[node]`, `[limits]`, `[majordomo]`,
    /// `[peers]`, `[defaults]` and `[service.NAME]`. The default of the node's name is the host name up to its first
    /// dot.
    pub node: NodeSettings,
    /// Endpoints that the node listens on: at least one, none twice, none that another machine can reach without
    /// `keys`, unless `insecure`.
    pub listen: Vec<Endpoint>,
    /// Endpoint at which peers dial the node. `node.advertise`, default the first tcp endpoint of `listen`, else its
    /// first.
    pub advertise: Option<Endpoint>,
    /// `true` if the node may listen beyond this machine without requiring keys. `security.insecure`, default false.
    pub insecure: bool,
    /// Folder of the node's keys and of those that it trusts (module `keys`); without it no keys are required.
    /// `security.keys`, default `None`.
    pub keys: Option<PathBuf>,
    /// Users who may connect to ipc sockets. `security.ipc-group`, default only the node's own user.
    pub ipc: Permissions,
    /// Required provenance of plugins. `security.plugins`, default `None`: any file is loaded.
    pub provenance: Option<Provenance>,
    /// Folder of plugins; each `.wasm` file in it serves the service that it is named after. `node.plugins`, default
    /// `plugins`.
    pub plugins: PathBuf,
    /// `true` if the plugins of [`built_in`] serve while the folder has none of their name: for a node
    /// without a configuration file.
    pub has_built_in: bool,
    /// Services of that folder that this node loads; the others are ignored. `node.services`, default `None`: all.
    pub services: Option<BTreeSet<ServiceName>>,
    /// Folder of compiled plugins. `node.cache`, default `$XDG_CACHE_HOME/wasmnode`, or `~/.cache/wasmnode`, or
    /// `wasmnode-cache` in the folder for temporary files.
    pub cache: PathBuf,
    /// Folder of state that survives a restart, with a sub-folder for each node name. `node.state`, default
    /// `$XDG_STATE_HOME/wasmnode`, or `~/.local/state/wasmnode`, or `wasmnode-state` in the folder for temporary files.
    pub state: PathBuf,
    /// Time limit for requests in flight when the node stops. `node.drain`, default 10 s, 1 ms to 30 days.
    pub drain: Duration,
    /// Largest number of instances of all plugins together; each reserves address space. `limits.instances`, default
    /// 1,000, 1 to 100,000.
    pub instances: u32,
    /// Largest number of file descriptors of all plugins together: open files, folders and connections.
    /// `limits.plugin-descriptors`, default a quarter of those that the system allows the node, 0 to 10,000,000.
    pub plugin_descriptors: Option<usize>,
    /// Largest number of bytes of messages held for all receivers that read too slowly; one receiver may use a quarter.
    /// `limits.unread-bytes`, default 256 MiB, 1 MiB to 1 TiB.
    pub unread_bytes: usize,
    /// Largest number of bytes of the unfinished messages of all connections; a connection that would exceed it is
    /// ended. `limits.unfinished-bytes`, default 256 MiB, from 1 MiB to 1 TiB; it counts as at least twice
    /// `limits.message`.
    pub unfinished_bytes: usize,
    /// Largest plugin file, in bytes; a larger one is refused. `limits.plugin`, default 256 MiB, 1 KiB to 4 GiB.
    pub plugin_bytes: u64,
    /// Largest number of bytes of the node's state on disk; the oldest versions of plugins are removed first.
    /// `limits.state-bytes`, default 1 GiB, 1 MiB to 1 TiB.
    pub state_bytes: u64,
    /// Limits of compiling plugins, and of the compiled files that are kept. From `[limits]`.
    pub compile: CompileSettings,
    /// Sandbox settings of all services. From `[defaults]` and `[service.NAME]`.
    pub sandboxes: Sandboxes,
    /// File that the configuration was read from, if there is one.
    pub source: Option<SourceSettings>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has mistakes that [`Config::parse`] finds.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &Overrides::default())
    }

    /// Reads a file, and replaces some of its settings.
    ///
    /// # Errors
    /// If the file cannot be read, or the file or the replacements have mistakes.
    pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = text_of(path, ", or name none to run with the defaults")?;
        let config = parse(&text, path, |table, report| Self::read(table, folder_of(path), overrides, report))?;
        Ok(Self { source: Some(SourceSettings::new(path, text, overrides)), ..config })
    }

    /// Reads a file as [`Config::load`] does, and checks what a node needs on this machine to run with it: the folders
    /// that the file names, and the folder of keys, whose mistakes `of_keys` finds.
    ///
    /// # Errors
    /// Every mistake.
    pub fn check(path: &Path, of_keys: fn(&Path) -> Vec<String>) -> Result<Self, ConfigError> {
        parse(&text_of(path, "")?, path, |table, report| {
            let config = Self::read(table, folder_of(path), &Overrides::default(), report);
            report.check_claims(of_keys);
            config
        })
    }

    /// Parses the text of a file; messages contain `file`, and relative paths start at its folder.
    ///
    /// # Errors
    /// Every mistake of the text: either all breaches of TOML's grammar or, in a text without any, all unknown keys and
    /// all invalid values.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        parse(text, file, |table, report| Self::read(table, folder_of(file), &Overrides::default(), report))
    }

    /// Returns the configuration of a node without a file: that of an empty file in the current folder.
    #[must_use]
    pub fn embedded() -> Self {
        Self::read_embedded(&Overrides::default(), &Mistakes::new(""))
    }

    /// Returns the configuration of a node without a file, some of whose settings are replaced.
    ///
    /// # Errors
    /// If the replacements have mistakes.
    pub fn embedded_with(overrides: &Overrides) -> Result<Self, ConfigError> {
        let report = Mistakes::new("");
        let config = Self::read_embedded(overrides, &report);
        if report.is_empty() { Ok(config) } else { Err(ConfigError::new(Path::new("command line"), report)) }
    }

    fn read_embedded(overrides: &Overrides, report: &Mistakes<'_>) -> Self {
        let defaults = Self::read(&DeTable::new(), Path::new(""), overrides, report);
        Self { has_built_in: overrides.plugins.is_none(), ..defaults }
    }

    /// Takes from another configuration what may change while the node runs.
    pub fn take_running(&mut self, other: Self) {
        RunningSettings::of(&other.node).apply_to(&mut self.node);
        (self.sandboxes, self.drain, self.source) = (other.sandboxes, other.drain, other.source);
    }

    /// Returns the settings of the sandbox.
    #[must_use]
    pub fn sandbox(&self) -> Settings {
        Settings {
            // A router serves nothing itself.
            plugins: (!self.node.is_router()).then(|| self.plugins.clone()),
            built_in: if self.has_built_in { built_in::PLUGINS } else { &[] },
            services: self.services.clone(),
            plugin_bytes: self.plugin_bytes,
            provenance: self.provenance.clone(),
            cache: self.cache.clone(),
            compile: self.compile.clone(),
            state: self.state.join(self.node.name.as_str()),
            state_bytes: self.state_bytes,
            instances: self.instances,
            descriptors: self.plugin_descriptors,
            max_body: self.node.limits.message,
            max_frames: self.node.limits.frames,
            sandboxes: self.sandboxes.clone(),
        }
    }

    /// Reads all tables. The result is valid only if the report stays empty.
    fn read(table: &DeTable<'_>, folder: &Path, overrides: &Overrides, report: &Mistakes<'_>) -> Self {
        let mut root = Fields::root(table, report);
        let security = Security::read(root.table("security"), folder);
        let default = NodeSettings::default();
        let mut node = root.table("node");
        let name = node.take("name", value::label).or_else(host_name).unwrap_or(default.name.clone());
        let name = overrides.name.clone().unwrap_or(name);
        let zone = node.take("zone", value::label).unwrap_or(default.zone.clone());
        let is_anywhere = security.may_listen_anywhere();
        let listen = overrides.listen(listen(&mut node, folder, is_anywhere), is_anywhere, report);
        let advertise = peers::advertise(&mut node, &listen, folder);
        let seeds = peers::seeds(&mut node, folder, security.keys.is_some());
        let plugins = folder.join(node.take("plugins", value::path).unwrap_or_else(|| "plugins".into()));
        let plugins = overrides.plugins.clone().unwrap_or(plugins);
        // A router serves nothing itself.
        let is_router = table.get("router").is_some();
        node.claim("plugins", &plugins, if is_router { Needs::FolderIfThere } else { Needs::Folder });
        let services = node.list("services", value::service).map(BTreeSet::from_iter);
        let cache = node.take("cache", value::path).map(|path| folder.join(path));
        cache.iter().for_each(|cache| node.claim("cache", cache, Needs::FolderToMake));
        let state = node.take("state", value::path).map(|path| folder.join(path));
        state.iter().for_each(|state| node.claim("state", state, Needs::FolderToMake));
        let drain = node.take("drain", value::duration).unwrap_or(Duration::from_secs(10));
        node.done();

        let mut given = root.table("limits");
        let Peers { peers, members, routes } = Peers::read(root.table("peers"), &mut given);
        let state_bytes = given.take("state-bytes", value::size(1 << 20..=1 << 40)).unwrap_or(1 << 30) as u64;
        let plugin_descriptors = given.take("plugin-descriptors", value::number(0..=10_000_000));
        let unfinished_bytes = given.take("unfinished-bytes", value::size(1 << 20..=1 << 40)).unwrap_or(256 << 20);
        let compile = compile::read(&mut given);
        let (limits, instances, unread_bytes, plugin_bytes) = limits(given);
        let majordomo = majordomo(root.table("majordomo"));
        let router = router::router(root.table("router"), folder);
        let defaults = ServiceFields::read(root.table("defaults"), &ServiceFields::default(), folder);
        let named = service::named(root.table("service"), &defaults, folder);
        root.done();

        let (mut settings, mut sandboxes) = (BTreeMap::new(), BTreeMap::new());
        for (name, service) in named {
            let (core, sandbox) = service.settle();
            settings.insert(name.clone(), core);
            sandboxes.insert(name, sandbox);
        }
        let (defaults, sandbox_defaults) = defaults.settle();
        Self {
            node: NodeSettings {
                name,
                zone,
                seeds,
                limits,
                majordomo,
                peers,
                members,
                routes,
                defaults,
                services: settings,
                router,
                ..default
            },
            listen,
            advertise,
            insecure: security.insecure,
            keys: security.keys,
            ipc: security.ipc,
            provenance: security.provenance,
            plugins,
            has_built_in: false,
            services,
            cache: cache.unwrap_or_else(|| default_folder(&CACHE, |name| std::env::var_os(name))),
            state: state.unwrap_or_else(|| default_folder(&STATE, |name| std::env::var_os(name))),
            drain,
            instances,
            plugin_descriptors,
            unread_bytes,
            unfinished_bytes,
            plugin_bytes,
            compile,
            state_bytes,
            sandboxes: Sandboxes { defaults: sandbox_defaults, by_service: sandboxes },
            source: None,
        }
    }
}

/// Parses another TOML file, with the same reports of mistakes; `read` gets its root table.
pub(crate) fn read_content<T>(
    file: &Path,
    content: Vec<u8>,
    read: impl FnOnce(Fields<'_>) -> T,
) -> Result<T, ConfigError> {
    parse(&text_in(file, content)?, file, |table, report| read(Fields::root(table, report)))
}

/// Reads the text of a file; `or_else` is a further remedy if it cannot be read, besides naming another file.
fn text_of(path: &Path, or_else: &str) -> Result<String, ConfigError> {
    let (bytes, _) = files::read(path, FILE_BYTES).map_err(|error| ConfigError::unreadable(path, &error, or_else))?;
    text_in(path, bytes)
}

fn text_in(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| ConfigError::not_text(path, error.as_bytes(), error.utf8_error()))
}

/// Parses TOML; the result of `read` counts only if nothing was wrong.
fn parse<T>(text: &str, file: &Path, read: impl FnOnce(&DeTable<'_>, &Mistakes<'_>) -> T) -> Result<T, ConfigError> {
    let report = Mistakes::new(text);
    let (table, breaches) = DeTable::parse_recoverable(text);
    for breach in &breaches {
        report.add(breach.span().map(|span| span.start), format!("not TOML: {}", breach.message()));
    }
    if !breaches.is_empty() {
        return Err(ConfigError::new(file, report));
    }
    let read = read(table.get_ref(), &report);
    if report.is_empty() { Ok(read) } else { Err(ConfigError::new(file, report)) }
}

/// Returns the folder at which a file's relative paths start; empty for a file in the current folder, so that they stay
/// short.
fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Returns the host name up to its first dot, if it can be a node's name.
fn host_name() -> Option<Label> {
    let system = rustix::system::uname();
    let host = system.nodename().to_str().unwrap_or_default();
    host.split('.').next()?.parse().ok()
}

/// XDG location of one kind of file: environment variable, folder in the user's home, folder among temporary files.
type Xdg = (&'static str, &'static str, &'static str);

const CACHE: Xdg = ("XDG_CACHE_HOME", ".cache", "wasmnode-cache");
const STATE: Xdg = ("XDG_STATE_HOME", ".local/state", "wasmnode-state");

/// Returns the default folder for one kind of file. By the specification, a relative path in the variable is invalid.
fn default_folder((xdg, in_home, temporary): &Xdg, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let folder = |name| variable(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    folder(xdg)
        .or_else(|| folder("HOME").map(|home| home.join(in_home)))
        .map_or_else(|| std::env::temp_dir().join(temporary), |folder| folder.join("wasmnode"))
}

fn listen(node: &mut Fields<'_>, folder: &Path, is_anywhere: bool) -> Vec<Endpoint> {
    let mut listen: Vec<Endpoint> = Vec::new();
    let given = node.list("listen", |value| {
        let endpoint = value::endpoint(value)?.to_listen(folder, is_anywhere).map_err(|error| error.to_string())?;
        if listen.iter().any(|other| other.collides(&endpoint)) {
            return Err(format!("{:?} is given twice; leave one", endpoint.to_string()));
        }
        listen.push(endpoint);
        Ok(())
    });
    match given {
        Some(items) if items.is_empty() && node.is_good("listen") => {
            node.complain(
                "listen",
                "is empty, so that no client could reach the node; name an endpoint, or leave the key out",
            );
        }
        Some(_) => {}
        None => match Endpoint::Ipc("wasmnode.ipc".into()).to_listen(folder, is_anywhere) {
            Ok(ipc) => listen = vec![ipc, Endpoint::Tcp("127.0.0.1:5555".into())],
            Err(error) => node.complain("listen", &format!("the default {error}")),
        },
    }
    for endpoint in &listen {
        if let Endpoint::Ipc(path) = endpoint {
            node.claim("listen", path, Needs::FolderOfSocket);
        }
    }
    listen
}

fn limits(mut given: Fields<'_>) -> (Limits, u32, usize, u64) {
    use value::{number, size};
    let default = Limits::default();
    let limits = Limits {
        requests: given.take("requests", number(1..=10_000_000)).unwrap_or(default.requests),
        requests_per_client: given
            .take("requests-per-client", number(1..=10_000_000))
            .unwrap_or(default.requests_per_client),
        requests_per_peer: given.take("requests-per-peer", number(1..=1_000_000)).unwrap_or(default.requests_per_peer),
        held_bytes: given.take("held-bytes", size(1 << 20..=1 << 40)).unwrap_or(default.held_bytes),
        kept_replies: given.take("kept-replies", number(0..=10_000_000)).unwrap_or(default.kept_replies),
        kept_bytes: given.take("kept-bytes", size(0..=1 << 40)).unwrap_or(default.kept_bytes),
        message: given.take("message", size(1 << 10..=1 << 30)).unwrap_or(default.message),
        frames: given.take("frames", number(16..=65_536)).unwrap_or(default.frames),
        workers: given.take("workers", number(0..=1_000_000)).unwrap_or(default.workers),
        call_depth: given.take("call-depth", number(0..=64)).unwrap_or(default.call_depth),
        reconnect: given.take("reconnect", value::duration).unwrap_or(default.reconnect),
    };
    let instances = given.take("instances", number(1..=100_000)).unwrap_or(1_000);
    let unread_bytes = given.take("unread-bytes", size(1 << 20..=1 << 40)).unwrap_or(256 << 20);
    let plugin_bytes = given.take("plugin", size(1 << 10..=4 << 30)).unwrap_or(256 << 20) as u64;
    given.done();
    (limits, instances, unread_bytes, plugin_bytes)
}

fn majordomo(mut given: Fields<'_>) -> Majordomo {
    let default = Majordomo::default();
    let on_failure = [("silence", OnFailure::Silence), ("status", OnFailure::Status)];
    let majordomo = Majordomo {
        heartbeat: given.take("heartbeat", value::duration).unwrap_or(default.heartbeat),
        expiry: given.take("expiry", value::duration).unwrap_or(default.expiry),
        wait: given.take("wait", value::duration).unwrap_or(default.wait),
        deadline: given.take("deadline", value::duration).or(default.deadline),
        on_failure: given.take("on-failure", value::choice(&on_failure)).unwrap_or(default.on_failure),
    };
    let least = majordomo.heartbeat * 3;
    if given.is_good("heartbeat") && given.is_good("expiry") && majordomo.expiry < least {
        let (expiry, least) = (humantime::format_duration(majordomo.expiry), humantime::format_duration(least));
        let message = format!("an expiry of {expiry} is less than three heartbeats; set expiry to {least} or more");
        given.complain(if given.has("expiry") { "expiry" } else { "heartbeat" }, &message);
    }
    given.done();
    majordomo
}
