//! Limits of compiling plugins: `compile-*` and `cache-bytes` in `[limits]`.

use super::fields::Fields;
use super::value::{duration, size};
use wasmnode_sandbox::CompileSettings;

/// Reads the keys; those left out keep their defaults.
pub(super) fn read(limits: &mut Fields<'_>) -> CompileSettings {
    let default = CompileSettings::default();
    CompileSettings {
        time: limits.take("compile-time", duration).unwrap_or(default.time),
        time_per_mib: limits.take("compile-time-per-mib", duration).unwrap_or(default.time_per_mib),
        memory: limits.take("compile-memory", size(64 << 20..=1 << 40)).map_or(default.memory, |bytes| bytes as u64),
        cache_bytes: limits
            .take("cache-bytes", size(1 << 20..=1 << 40))
            .map_or(default.cache_bytes, |bytes| bytes as u64),
        program: default.program,
    }
}
