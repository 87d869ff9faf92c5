//! What the sandbox is told when it starts: its folders, and what plugins may take and reach. Docstrings name the key
//! of the configuration that sets each.

mod grants;

pub use grants::{FolderGrant, Grants, HttpGrant};

use minisign_verify::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use wasmnode_protocol::ServiceName;

/// All that the sandbox is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of plugins; each `.wasm` file in it serves the service it is named after. `None`: none is loaded.
    /// `node.plugins`.
    pub plugins: Option<PathBuf>,
    /// The services of that folder that are loaded; `None`: all. `node.services`.
    pub services: Option<BTreeSet<ServiceName>>,
    /// Bytes of a plugin's file; a larger one is refused. `limits.plugin`.
    pub plugin_bytes: u64,
    /// Where plugins must come from; `None`: any file is loaded. `security.plugins`.
    pub provenance: Option<Provenance>,
    /// The folder of compiled plugins. `node.cache`.
    pub cache: PathBuf,
    /// What compiling a plugin may take, and what is kept of it. `limits`.
    pub compile: CompileSettings,
    /// The folder of what outlives a restart. `node.state`.
    pub state: PathBuf,
    /// Bytes of that folder; the oldest versions of plugins go first. `limits.state-bytes`.
    pub state_bytes: u64,
    /// Instances of all plugins together; each reserves address space. `limits.instances`.
    pub instances: u32,
    /// File descriptors of all plugins together; `None`: a quarter of those that the system allows the process.
    /// `limits.plugin-descriptors`.
    pub descriptors: Option<usize>,
    /// Bytes that a body may have, in either direction. `limits.message`.
    pub max_body: usize,
    /// Frames that a body may have, in either direction. `limits.frames`.
    pub max_frames: usize,
    /// What every service gets that `by_service` does not name. `[defaults]`.
    pub defaults: SandboxSettings,
    /// What a service gets. `[service.NAME]`.
    pub by_service: BTreeMap<ServiceName, SandboxSettings>,
}

impl Settings {
    /// What a service gets: its own, else the default.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> &SandboxSettings {
        self.by_service.get(service).unwrap_or(&self.defaults)
    }
}

/// What one instance of a plugin may use, and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Linear memory of an instance, in bytes; a guest that asks for more is refused it. `memory`, default 64 MiB, 64
    /// KiB to 4 GiB.
    pub memory: usize,
    /// How long an instance lives. `lifetime` and `reuse`, default one request.
    pub reuse: Reuse,
    /// Bytes of all replies to one request together. `reply`, default 16 MiB, 1 KiB to 1 GiB.
    pub reply: usize,
    /// Lines a service may log per second; the rest is counted, not kept. `log-lines`, default 1,000, 0 to 1,000,000.
    pub log_lines: u32,
    /// When a new version of a plugin counts as broken, so that the one before it serves again.
    pub trial: Trial,
    /// Crashes in a row after which requests are refused for a while. `quarantine-after`, default 10, 0 (never) to
    /// 1,000,000.
    pub quarantine_after: u32,
    /// What it may reach beyond the sandbox. Default nothing.
    pub grants: Grants,
}

/// How a new version of a plugin is tried. One that has nothing before it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Its first requests, which are watched. `trial-requests`, default 20, 0 to 1,000,000.
    pub requests: u32,
    /// The percentage of them in which it may crash. `trial-crashes`, default 50, 0 to 100.
    pub crashes: u32,
}

/// How long an instance lives: what a guest remembers between requests, against what an instance costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// For so many requests, then it is replaced. `lifetime = "request"` with `reuse`; 1 means that no request ever
    /// meets what another left behind.
    Requests(NonZeroU32),
    /// For ever, as the only instance, one request at a time. `lifetime = "singleton"`.
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

/// Limits of the processes that parse and compile the files of plugins, and of what is kept of their work.
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
    /// Bytes of all compiled plugins in `node.cache`; those unused for longest are removed. `limits.cache-bytes`,
    /// default 2 GiB, 1 MiB to 1 TiB.
    pub cache_bytes: u64,
    /// The program that compiles: this binary, or one of the same build. No key sets it; programs other than `wasmnode`
    /// that use this crate do. Default `/proc/self/exe`.
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

/// Where plugins must come from. One that nothing here vouches for is refused before it is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// SHA-256 of files that may be loaded, hexadecimal, in small letters. `security.plugins.digests`.
    pub digests: BTreeSet<String>,
    /// Whose signature suffices. `security.plugins.signers`.
    pub signers: Vec<Signer>,
}

/// Somebody whose signature suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The key, or the path of its file, as the configuration has it.
    pub name: String,
    /// A public key of minisign.
    pub key: PublicKey,
}
