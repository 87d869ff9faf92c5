//! Answers of `node.plugins`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// State of the plugin of one service.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginReport {
    /// The service; the name of the file if that is not the name of a service.
    pub service: String,
    /// The versions that are kept, newest first.
    pub generations: Vec<PluginStatus>,
    /// Why the file in the folder does not serve, if it was refused.
    pub refused: Option<Refusal>,
}

/// State of one version of a plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Number of the version: 1 is the first that this node has loaded for the service.
    pub generation: u64,
    /// Whether it serves requests.
    pub state: GenerationState,
    /// The file that it was loaded from.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// Time at which it was loaded (RFC 3339, UTC).
    pub loaded_at: String,
    /// Requests that ended with a reply or a failure, or whose run was stopped.
    pub requests: u64,
    /// Number of these requests in which an instance trapped or exceeded its limits.
    pub crashes: u64,
    /// Milliseconds until the next attempt to run a request, because recent runs crashed; 0 without a quarantine.
    pub quarantine_ms: u64,
    /// Mean duration of its recent runs, in microseconds.
    pub mean_us: u64,
    /// Log lines dropped because they exceeded the plugin's rate.
    pub log_lines_dropped: u64,
}

/// State of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// Serves requests.
    Serving,
    /// Served before; a rollback can return to it.
    Previous,
    /// Rolled back, by an operator or because of its crashes.
    RolledBack,
}

/// Rejection of a file in the plugin folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// SHA-256 of the file, hexadecimal; empty if it could not be read.
    pub digest: String,
    /// Why the file cannot serve.
    pub why: String,
    /// Time of the rejection (RFC 3339, UTC, to the microsecond).
    pub at: String,
}

/// Plugin folder, described for programs that put files into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFolder {
    /// Its path on the node's machine.
    pub path: String,
    /// Identity of the folder, because on another machine or in another container the path may name another folder.
    pub identity: FolderIdentity,
    /// Largest file that the node loads, in bytes: `limits.plugin`.
    pub plugin_bytes: u64,
    /// The services whose plugins the node loads; `None` means all.
    pub services: Option<BTreeSet<String>>,
    /// Whether the node keeps the bytes of versions that were replaced.
    pub keeps_versions: bool,
}

/// Identity of a folder, as far as it can be determined without writing to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderIdentity {
    /// The device of the folder (`st_dev`).
    pub device: u64,
    /// The inode of the folder on that device.
    pub inode: u64,
    /// The boot of the system, if it has an identifier: `/proc/sys/kernel/random/boot_id`.
    pub boot: Option<String>,
}

/// Verdict on a staged file, which is in the plugin folder under a name that is never loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The file is still being checked.
    Pending,
    /// The file can serve. The value is its digest (SHA-256, hexadecimal).
    Accepted(String),
    /// The file cannot serve. The value is the reason.
    Refused(String),
}
