//! What `node.plugins` answers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All that is known of one service's plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginReport {
    /// The service; of a file that no service can be named after, the file's name.
    pub service: String,
    /// Its versions that are kept, newest first.
    pub generations: Vec<PluginStatus>,
    /// Why the file that lies in the folder now does not serve, if it does not.
    pub refused: Option<Refusal>,
}

/// One version of a plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its number: 1 is the first that this node has loaded for the service.
    pub generation: u64,
    /// Whether requests go to it.
    pub state: GenerationState,
    /// The file it came from.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// When it was loaded (RFC 3339, UTC).
    pub loaded_at: String,
    /// Requests that it has answered, with a reply or a failure, or that were stopped.
    pub requests: u64,
    /// Of those, the ones in which an instance trapped or asked for more than it may have.
    pub crashes: u64,
    /// Milliseconds until a request is tried again, because it has crashed in the last ones; 0 if it is not so.
    pub quarantine_ms: u64,
    /// Mean time of its recent runs, microseconds.
    pub mean_us: u64,
    /// Log lines left out because they were over its rate.
    pub log_lines_dropped: u64,
}

/// What a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// Requests go to it.
    Serving,
    /// It served before, and may again.
    Previous,
    /// It was found wanting, by a person or by its crashes.
    RolledBack,
}

/// A file that lies in the folder and cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// SHA-256 of the file, hexadecimal; empty if it could not be read.
    pub digest: String,
    /// Why it cannot serve.
    pub why: String,
    /// When that was found (RFC 3339, UTC, to the microsecond).
    pub at: String,
}

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
    /// The device that it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// The running system, if it has a name: `/proc/sys/kernel/random/boot_id`.
    pub boot: Option<String>,
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
