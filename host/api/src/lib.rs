//! Reports of a node in JSON: `node.services`, `node.plugins`, `node.members`, `node.explain` and `node.reload`.
//!
//! Plain data, which clients read with [`serde`]. Unknown fields are ignored, so that newer nodes can add some.

mod plugins;

pub use plugins::{FolderIdentity, GenerationState, PluginFolder, PluginReport, PluginStatus, Refusal, Verdict};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Service that returns the state of the node and of its services: a [`Report`].
pub const SERVICES: &str = "node.services";

/// Service that returns the plugins, and rolls them back.
pub const PLUGINS: &str = "node.plugins";

/// Service that returns the members of the zone: a [`ZoneReport`].
pub const MEMBERS: &str = "node.members";

/// Service that explains where a request would be served, and why: an [`ExplainReport`].
pub const EXPLAIN: &str = "node.explain";

/// Service that reads the configuration and the keys of the node again: a [`ReloadReport`].
pub const RELOAD: &str = "node.reload";

/// Outcome of reading the configuration again.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Keys whose new values the node uses now.
    pub changed: Vec<String>,
    /// Keys whose new values the node will use after a restart.
    pub needs_restart: Vec<String>,
}

/// State of a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: u64,
    /// The endpoints that it listens on, with the ports that the system chose.
    pub endpoints: Vec<String>,
    /// Every service that is offered or waited for, by name.
    pub services: Vec<ServiceReport>,
    /// Counts of requests and messages by outcome.
    pub counters: CounterReport,
}

/// State of one service.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Its plugin, if one is loaded.
    pub plugin: Option<PluginStatus>,
    /// Whether workers take requests that the plugin would serve.
    #[serde(default)]
    pub is_shared: bool,
    /// Requests running in the plugin.
    pub running: usize,
    /// Workers waiting for a request.
    pub workers_idle: usize,
    /// Workers serving one.
    pub workers_busy: usize,
    /// Requests waiting.
    pub queued: usize,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The peers that offer it.
    pub peers: Vec<PeerReport>,
}

/// State of one service at one peer.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// The peer.
    pub node: String,
    /// The zone of the service, if it is another one.
    pub zone: Option<String>,
    /// Cost of the route to the service.
    pub cost: u32,
    /// Unanswered requests that this node has forwarded to the peer.
    pub outstanding: usize,
    /// Recent latency of its answers, in microseconds.
    pub latency_us: u64,
    /// Consecutive requests that it failed to answer properly.
    pub consecutive_failures: u32,
    /// Whether it is unresponsive.
    pub is_unresponsive: bool,
    /// Milliseconds for which it stays excluded, because its recent requests all failed; 0 if it is not excluded.
    pub paused_ms: u64,
}

/// Member of the zone.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// The endpoint that it listens on.
    pub endpoint: String,
    /// Start of its process (RFC 3339, UTC).
    pub started_at: String,
    /// Whether it is the node that made the report.
    pub is_me: bool,
    /// Whether requests can currently be forwarded to it.
    pub is_linked: bool,
    /// Whether it is unresponsive with requests outstanding.
    pub is_unresponsive: bool,
    /// Number of services that it offers.
    pub offers: usize,
}

/// Members of a zone, as one node sees them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ZoneReport {
    /// The zone.
    pub zone: String,
    /// The node that made the report, then the others by name.
    pub members: Vec<MemberReport>,
}

/// Explanation of where a request would be served, and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The address of the request.
    pub address: String,
    /// The node's interpretation of the address.
    pub meaning: String,
    /// The plugins, workers, peers and zones that could serve the request.
    pub candidates: Vec<CandidateReport>,
    /// The outcome of a request that arrived at this moment.
    pub verdict: String,
    /// The failure that such a request would end in although the service is offered, if any.
    #[serde(default)]
    pub failure: Option<FailureReport>,
}

/// Failure that a request would end in.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureReport {
    /// The number of its code.
    pub code: u16,
    /// What happened, and where.
    pub reason: String,
}

/// Candidate that could serve a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct CandidateReport {
    /// The node.
    pub node: String,
    /// `plugin`, `workers`, `peer`, or the zone with the cost of the route.
    pub what: String,
    /// Whether it could currently take a request.
    pub is_ready: bool,
    /// Why it is eligible or not.
    pub why: String,
}

/// Counts since the node started.
#[derive(Debug, Serialize, Deserialize)]
pub struct CounterReport {
    /// Requests accepted.
    pub accepted: u64,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Failures by code and name.
    pub failed: BTreeMap<String, u64>,
    /// Messages refused because they break a protocol's rules.
    pub malformed: u64,
    /// Replies without a pending request, or to requests of other connections.
    pub unclaimed: u64,
    /// Requests sent to another worker or peer after theirs was lost.
    pub retried: u64,
    /// Requests forwarded to peers; a request counts each time that it is forwarded.
    pub forwarded: u64,
    /// Messages dropped because their receiver did not read.
    pub dropped: u64,
    /// Worker registrations and member adverts that the sender's key does not allow.
    pub forbidden: u64,
    /// Connections and messages of untrusted senders.
    pub rejected: u64,
    /// Connections ended because they exceeded a limit before their message was complete.
    pub over_limit: u64,
    /// Plugin files that were rejected.
    pub plugins_refused: u64,
}
