//! Limits of compiling plugins: `compile-*` and `cache-bytes` in `[limits]`.

use super::fields::Fields;
use super::value::{duration, size};
use std::path::PathBuf;
use std::time::Duration;

/// Limits of the processes that parse and compile the files of plugins, and of what is kept of their work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileSettings {
    /// Processor time for a file of any size, rounded up to seconds. `limits.compile-time`, default 60 s, 1 ms to 30 days.
    pub time: Duration,
    /// Processor time for each started MiB of the file, added to `time`. `limits.compile-time-per-mib`, default 10 s, 1 ms
    /// to 30 days.
    pub time_per_mib: Duration,
    /// Memory of one process in bytes. `limits.compile-memory`, default 4 GiB, 64 MiB to 1 TiB.
    pub memory: u64,
    /// Bytes of all compiled plugins in `node.cache`; those unused for longest are removed. `limits.cache-bytes`, default
    /// 2 GiB, 1 MiB to 1 TiB.
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

impl CompileSettings {
    /// Reads the keys; those left out keep their defaults.
    pub(super) fn read(limits: &mut Fields<'_>) -> Self {
        let default = Self::default();
        Self {
            time: limits.take("compile-time", duration).unwrap_or(default.time),
            time_per_mib: limits.take("compile-time-per-mib", duration).unwrap_or(default.time_per_mib),
            memory: limits
                .take("compile-memory", size(64 << 20..=1 << 40))
                .map_or(default.memory, |bytes| bytes as u64),
            cache_bytes: limits
                .take("cache-bytes", size(1 << 20..=1 << 40))
                .map_or(default.cache_bytes, |bytes| bytes as u64),
            program: default.program,
        }
    }
}
