//! Settings of the sandbox: folders, and limits and grants of plugins. The documentation of each field names its key in
//! the configuration.

mod grants;

pub use grants::{FolderGrant, Grants, HttpGrant};

use minisign_verify::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use wasmnode_protocol::ServiceName;

/// All settings of the sandbox.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of plugins; each `.wasm` file in it serves the service of its name. `None`: no plugins are loaded.
    /// `node.plugins`.
    pub plugins: Option<PathBuf>,
    /// Plugins that serve while the folder has no file of their name. With any, the folder may be missing at the start.
    pub built_in: &'static [BuiltIn],
    /// Services whose plugins are loaded; `None`: all. `node.services`.
    pub services: Option<BTreeSet<ServiceName>>,
    /// Largest file of a plugin, in bytes. `limits.plugin`.
    pub plugin_bytes: u64,
    /// Required provenance of plugins; `None`: any file is loaded. `security.plugins`.
    pub provenance: Option<Provenance>,
    /// Folder of compiled plugins. `node.cache`.
    pub cache: PathBuf,
    /// Limits of compiling and of the cache. `limits`.
    pub compile: CompileSettings,
    /// Folder of the state that survives a restart. `node.state`.
    pub state: PathBuf,
    /// Largest size of the state folder, in bytes; the oldest versions are removed first. `limits.state-bytes`.
    pub state_bytes: u64,
    /// Largest number of instances of all plugins together; each reserves address space. `limits.instances`.
    pub instances: u32,
    /// Largest number of file descriptors of all plugins together; `None`: a quarter of the process's limit.
    /// `limits.plugin-descriptors`.
    pub descriptors: Option<usize>,
    /// Largest body in bytes, in either direction. `limits.message`.
    pub max_body: usize,
    /// Largest number of frames of a body, in either direction. `limits.frames`.
    pub max_frames: usize,
    /// Settings of all services.
    pub sandboxes: Sandboxes,
}

/// Settings of all services, which may change while the node runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandboxes {
    /// Settings of every service that `by_service` does not name. `[defaults]`.
    pub defaults: SandboxSettings,
    /// Settings by service. `[service.NAME]`.
    pub by_service: BTreeMap<ServiceName, SandboxSettings>,
}

/// A plugin that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Name of the service.
    pub service: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

impl Sandboxes {
    /// Returns the settings of a service: its own, else the defaults.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> &SandboxSettings {
        self.by_service.get(service).unwrap_or(&self.defaults)
    }
}

/// Limits, grants and lifetime of one service's instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Largest linear memory of an instance, in bytes. `memory`, default 64 MiB, 64 KiB to 4 GiB.
    pub memory: usize,
    /// Lifetime of an instance. `lifetime` and `reuse`, default one request.
    pub reuse: Reuse,
    /// Largest size of all replies to one request together, in bytes. `reply`, default 16 MiB, 1 KiB to 1 GiB.
    pub reply: usize,
    /// Lines that a service may log per second; the others are dropped and counted. `log-lines`, default 1,000, 0 to
    /// 1,000,000.
    pub log_lines: u32,
    /// Condition under which a new version of a plugin is rolled back.
    pub trial: Trial,
    /// Consecutive crashes after which requests are rejected for a while. `quarantine-after`, default 10, 0 (never) to
    /// 1,000,000.
    pub quarantine_after: u32,
    /// Resources beyond the sandbox that the service may access. Default none.
    pub grants: Grants,
}

/// Trial of a new version of a plugin. A version without an earlier one has no trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Number of first requests that the trial counts. `trial-requests`, default 20, 0 to 1,000,000.
    pub requests: u32,
    /// Percentage of these requests in which the version may crash. `trial-crashes`, default 50, 0 to 100.
    pub crashes: u32,
}

/// Lifetime of an instance: a trade-off between isolation of requests and the cost of a new instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The instance is replaced after this number of requests. `lifetime = "request"` with `reuse`; with 1, no request
    /// sees state of another.
    Requests(NonZeroU32),
    /// The only instance is never replaced, and serves one request at a time. `lifetime = "singleton"`.
    Singleton,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            reuse: Reuse::Requests(NonZeroU32::MIN),
            reply: 16 << 20,
            log_lines: 1_000,
            trial: Trial { requests: 20, crashes: 50 },
            quarantine_after: 10,
            grants: Grants::default(),
        }
    }
}

/// Limits of the processes that parse and compile the files of plugins, and of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileSettings {
    /// Processor time for a file of any size, rounded up to seconds. `limits.compile-time`, default 60 s, 1 ms to 30
    /// days.
    pub time: Duration,
    /// Processor time for each started MiB of the file, added to `time`. `limits.compile-time-per-mib`, default 10 s, 1
    /// ms to 30 days.
    pub time_per_mib: Duration,
    /// Memory of one process in bytes. `limits.compile-memory`, default 4 GiB, 64 MiB to 1 TiB.
    pub memory: u64,
    /// Bytes of all compiled plugins in `node.cache`; the least recently used are removed. `limits.cache-bytes`,
    /// default 2 GiB, 1 MiB to 1 TiB.
    pub cache_bytes: u64,
    /// Program that compiles: this binary, or one of the same build. There is no key for it, because only programs
    /// other than `wasmnode` that use this crate need to change it. Default `/proc/self/exe`.
    pub program: PathBuf,
}

impl Default for CompileSettings {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            time_per_mib: Duration::from_secs(10),
            memory: 4 << 30,
            cache_bytes: 2 << 30,
            program: "/proc/self/exe".into(),
        }
    }
}

/// Required provenance of plugins. A file with neither a listed digest nor a trusted signature is refused before it is
/// compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// SHA-256 of files that may be loaded, in lowercase hexadecimal. `security.plugins.digests`.
    pub digests: BTreeSet<String>,
    /// Signers whose signature suffices. `security.plugins.signers`.
    pub signers: Vec<Signer>,
}

/// A signer whose signature suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The key, or the path of its file, as written in the configuration.
    pub name: String,
    /// A public key of minisign.
    pub key: PublicKey,
}
