//! The compiler: from the bytes of a file to a component. Untrusted bytes are never parsed or compiled in the node's
//! own process.
//!
//! The files of plugins are untrusted, and the crates that parse and compile them panic on some and take hours or all
//! memory for others. So each file is compiled by a process of its own ([`child`]) with limits on processor time and
//! memory; the node receives machine code ([`exchange`]), caches it ([`cache`]) and links it. If a process ends without
//! an answer, only its file is refused. The node trusts the code, because it comes from a program of the node's own
//! build, as the greeting proves, or from a folder that no other user can write to.
//!
//! | limit | value | beyond it |
//! |---|---|---|
//! | processor time of a process | `limits.compile-time`, and `limits.compile-time-per-mib` for each MiB of the file | refused |
//! | memory of a process | `limits.compile-memory` | refused |
//! | wall-clock time | [`WALL`] times the processor time | refused |
//! | processor time of small files, at first | [`BRIEF`], wall-clock time [`BRIEF_WALL`] | tried again in the slow lane |
//! | size of the code | [`MAX_CODE`], and [`CODE_PER_BYTE`] times the file | refused |
//! | size of all code in the cache | `limits.cache-bytes` | the least recently used code is removed |

mod adapt;
mod cache;
mod child;
mod exchange;
mod pool;
mod private;
mod process;
mod protocol;

pub use child::compile_process;
pub(crate) use private::{UnsafeFolder, private_folder};

use crate::engine::code_settings;
use crate::error::EngineError;
use crate::settings::{CompileSettings, Settings};
use cache::Cache;
pub(crate) use process::Cancel;
use process::{ProcessError, Processes};
use protocol::{Answer, CompileJob, Wanted};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;
use tracing::{info, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Hidden command of the binary that makes it a compiler process.
pub(crate) const COMMAND: &str = "compile-process";

/// Processor time in seconds after which a small file moves to the slow lane. The plugin `print`, of 59 KB, takes a
/// tenth of it.
const BRIEF: u64 = 1;

/// Wall-clock time for such a file, during which a busy machine gives it at least a fifth of [`BRIEF`].
const BRIEF_WALL: Duration = Duration::from_secs(5);

/// Wall-clock time per unit of processor time, because a busy machine gives a process of the lowest priority little.
const WALL: u32 = 20;

/// Largest size of compiled code in bytes: a constant part, and a part for each byte of the file. Known components have
/// up to 5 bytes per byte.
const MAX_CODE: u64 = 64 << 20;
const CODE_PER_BYTE: u64 = 32;

/// Effort that an attempt to compile a file may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A look-up in the cache, and no compiling.
    Cached,
    /// A process with little time, whose first thread has the node's priority.
    Brief,
    /// A process with all the time that the limits allow, at the lowest priority.
    Full,
}

/// One attempt to compile a file.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) effort: Effort,
    pub(crate) cancel: Cancel,
}

impl Attempt {
    /// Creates an attempt that is never cancelled.
    pub(crate) fn new(effort: Effort) -> Self {
        Self { effort, cancel: Cancel::default() }
    }
}

/// Reason why there is no component.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// The compiler process refuses the file, for the reason that it sent.
    Refused(String),
    /// The compiler process sent something other than what it was asked for.
    Unexpected {
        /// What was sent.
        sent: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Compiling the file takes more than this many seconds of processor time.
    ProcessorTime(u64),
    /// Compiling the file takes more than this many bytes of memory.
    Memory(u64),
    /// The compiler process ended in another way without an answer.
    Ended(ProcessError),
    /// The component needs more than the engine reserves for one.
    TooLarge(EngineError),
    /// The engine does not load the code.
    Unloadable(EngineError),
    /// Nothing can be compiled, for a reason that may pass.
    Unavailable(ProcessError),
    /// The file needs more effort.
    MoreEffort,
    /// The node stops, or the attempt was cancelled.
    Stopped,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Unexpected { sent, wanted } => write!(f, "the compiler process sent {sent} instead of {wanted}"),
            Self::ProcessorTime(seconds) => {
                let error = ProcessError::ProcessorTime;
                write!(f, "{error}: {seconds} s by limits.compile-time and limits.compile-time-per-mib")
            }
            Self::Memory(bytes) => write!(f, "{}: limits.compile-memory = {bytes}", ProcessError::Memory),
            Self::Ended(error) | Self::Unavailable(error) => error.fmt(f),
            Self::TooLarge(source) => write!(f, "it exceeds the limits of a plugin: {source}"),
            Self::Unloadable(source) => write!(f, "its compiled form cannot be loaded: {source}"),
            Self::MoreEffort | Self::Stopped => f.write_str("its compilation was interrupted"),
        }
    }
}

impl std::error::Error for CompileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ended(error) | Self::Unavailable(error) => Some(error),
            Self::TooLarge(source) | Self::Unloadable(source) => Some(source),
            _ => None,
        }
    }
}

/// Compiles files, and caches the code.
pub(crate) struct Compiler {
    engine: Engine,
    cache: Option<Cache>,
    processes: Processes,
    limits: CompileSettings,
}

impl Compiler {
    /// Creates a compiler for an engine. Without a usable cache folder, files are compiled again at each start.
    pub(crate) fn new(engine: &Engine, settings: &Settings) -> Self {
        let digest = settings_digest(engine);
        let limits = settings.compile.clone();
        let cache = Cache::open(&settings.cache, digest, limits.cache_bytes)
            .inspect_err(|why| {
                warn!("plugins will be compiled at each start: no cache in {}: {why}", settings.cache.display());
            })
            .ok();
        let processes = Processes::new(limits.program.clone(), &digest);
        Self { engine: engine.clone(), cache, processes, limits }
    }

    /// Returns the component in these bytes, whose SHA-256 is `digest`.
    ///
    /// # Errors
    /// If the component cannot be compiled, or not with this effort, or the attempt is cancelled.
    pub(crate) fn component(&self, bytes: &[u8], digest: &str, attempt: &Attempt) -> Result<Component, CompileError> {
        if let Some(component) = self.cached(digest) {
            return Ok(component);
        }
        if attempt.effort == Effort::Cached {
            return Err(CompileError::MoreEffort);
        }
        let (answer, code) = self.run(bytes, attempt, Wanted::Code)?;
        match answer {
            Answer::Code { .. } => {}
            Answer::Refused(why) => return Err(CompileError::Refused(why)),
            Answer::Description(_) => {
                return Err(CompileError::Unexpected { sent: "a description", wanted: "code" });
            }
        }
        let component = self.load(&code)?;
        if let Some(cache) = &self.cache {
            cache.put(digest, &code);
        }
        Ok(component)
    }

    /// Returns the exported interfaces of a component or core module by name, with their types and functions as WIT.
    ///
    /// # Errors
    /// If the bytes are neither.
    pub(crate) fn describe(&self, bytes: &[u8]) -> Result<BTreeMap<String, String>, CompileError> {
        match self.run(bytes, &Attempt::new(Effort::Full), Wanted::Description)?.0 {
            Answer::Description(exports) => Ok(exports.into_iter().collect()),
            Answer::Refused(why) => Err(CompileError::Refused(why)),
            Answer::Code { .. } => Err(CompileError::Unexpected { sent: "code", wanted: "a description" }),
        }
    }

    /// Kills all compiler processes, without waiting for their exits, and starts no others.
    pub(crate) fn stop(&self) {
        self.processes.close();
    }

    /// Kills all compiler processes, and returns when none is left.
    pub(crate) fn end(&self) {
        self.processes.end();
    }

    fn cached(&self, digest: &str) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        let code = cache.get(digest)?;
        let loaded = self.load(code.bytes());
        loaded
            .inspect_err(|why| {
                info!("an entry of the cache does not load, compiling it again: {why}");
                cache.remove(digest);
            })
            .ok()
    }

    fn run(&self, bytes: &[u8], attempt: &Attempt, wanted: Wanted) -> Result<(Answer, Vec<u8>), CompileError> {
        let Attempt { effort, cancel } = attempt;
        let size = bytes.len() as u64;
        let seconds = match effort {
            Effort::Cached | Effort::Brief => BRIEF.min(self.seconds(size)),
            Effort::Full => self.seconds(size),
        };
        let is_low_priority = *effort == Effort::Full;
        let threads = if is_low_priority { pool::cores().div_ceil(2) } else { pool::cores() };
        let job = CompileJob { bytes: size, seconds, memory: self.limits.memory, threads, is_low_priority, wanted };
        let wall = Duration::from_secs(seconds).saturating_mul(WALL);
        let wall = if is_low_priority { wall } else { wall.min(BRIEF_WALL) };
        let most = MAX_CODE.saturating_add(size.saturating_mul(CODE_PER_BYTE));
        self.processes.run(&job, bytes, most, wall, cancel).map_err(|error| {
            let is_short = *effort == Effort::Brief && seconds < self.seconds(size);
            match error {
                ProcessError::Stopped => CompileError::Stopped,
                ProcessError::CannotStart(..) => CompileError::Unavailable(error),
                ProcessError::ProcessorTime | ProcessError::WallTime(_) if is_short => CompileError::MoreEffort,
                ProcessError::ProcessorTime => CompileError::ProcessorTime(seconds),
                ProcessError::Memory => CompileError::Memory(self.limits.memory),
                error => CompileError::Ended(error),
            }
        })
    }

    /// Returns the limit of processor time for a file of this size, in seconds.
    fn seconds(&self, size: u64) -> u64 {
        let started = u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let time = self.limits.time.saturating_add(self.limits.time_per_mib.saturating_mul(started));
        time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
    }

    /// Creates a component from machine code.
    #[allow(unsafe_code, reason = "the engine runs what it loads; the module says why this code is trusted")]
    fn load(&self, code: &[u8]) -> Result<Component, CompileError> {
        // SAFETY: the code was compiled by a program of this build for an engine of these settings, and it reached this
        // process by a pipe, or by an entry of the cache whose digest matches these very bytes.
        unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| {
            let error = EngineError(error);
            let why = error.to_string();
            // The pool's texts for a valid component that is larger than a slot.
            let is_too_large = why.contains("pooling allocator") || why.contains("exceeds the limit of");
            if is_too_large { CompileError::TooLarge(error) } else { CompileError::Unloadable(error) }
        })
    }
}

/// Creates the engine of a compiler process, which runs no instances and so reserves no memory for them.
fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&code_settings())
}

/// Returns the digest of all inputs to compiled code except the file: the engine's version and settings, the
/// processor's features, this crate's version, and the adapters for core modules.
fn settings_digest(engine: &Engine) -> [u8; 32] {
    let mut digest = Hashed(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.write(env!("CARGO_PKG_VERSION").as_bytes());
    adapt::ADAPTERS.iter().for_each(|adapter| digest.write(adapter));
    digest.0.finalize().into()
}

/// A [`Hasher`] that feeds SHA-256.
struct Hashed(Sha256);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the result is taken from the digest.
    fn finish(&self) -> u64 {
        0
    }
}

/// Returns `true` if these bytes begin like WebAssembly.
fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

/// Returns `true` if these bytes are a core module; its version field is 1, that of a component is not.
pub(crate) fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}
