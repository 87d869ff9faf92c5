//! What a node answers about itself: the JSON of `node.services`, `node.plugins`, `node.members` and `node.explain`.
//!
//! Plain data. A program that asks a node reads an answer with [`serde`]; fields that it does not know are ignored, so
//! that a newer node may say more.

mod plugins;

pub use plugins::{FolderIdentity, GenerationState, PluginFolder, PluginReport, PluginStatus, Refusal, Verdict};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name under which the state of everything that can be called is asked for.
pub const SERVICES: &str = "node.services";

/// The name under which the plugins are asked for, and rolled back.
pub const PLUGINS: &str = "node.plugins";

/// The name under which the members of the zone are asked for.
pub const MEMBERS: &str = "node.members";

/// The name under which it is asked why a request goes where it goes.
pub const EXPLAIN: &str = "node.explain";

/// The state of a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: u64,
    /// Where it listens, with the ports that the system chose.
    pub endpoints: Vec<String>,
    /// Every service that is offered or waited for, by name.
    pub services: Vec<ServiceReport>,
    /// What became of everything that arrived.
    pub counters: CounterReport,
}

/// The state of one service.
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

/// How one peer does with one service.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// The peer.
    pub node: String,
    /// The zone where the service is, if it is another.
    pub zone: Option<String>,
    /// What it costs to get there.
    pub cost: u32,
    /// Requests of this node that it has.
    pub outstanding: usize,
    /// Recent time to answer, microseconds.
    pub latency_us: u64,
    /// Requests in a row that it did not answer as it should.
    pub failures_in_a_row: u32,
    /// Whether it gives no sign of life.
    pub is_silent: bool,
    /// Milliseconds for which it is left out still, because it only failed; 0 if it is not so.
    pub paused_ms: u64,
}

/// One member of the zone.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// Where it can be dialled.
    pub endpoint: String,
    /// When its process started (RFC 3339, UTC).
    pub started_at: String,
    /// Whether it is the node that was asked.
    pub is_me: bool,
    /// Whether requests can be forwarded to it now.
    pub is_linked: bool,
    /// Whether it gives no sign of life, although it owes an answer.
    pub is_silent: bool,
    /// How many services it offers.
    pub offers: usize,
}

/// The members of a zone, as one node sees them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ZoneReport {
    /// The zone.
    pub zone: String,
    /// The node that was asked, then the others by name.
    pub members: Vec<MemberReport>,
}

/// Why a request would go where it would go.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The address that was asked for.
    pub address: String,
    /// How it is understood.
    pub meaning: String,
    /// Who could serve it.
    pub candidates: Vec<CandidateReport>,
    /// What would happen to a request that came now.
    pub verdict: String,
    /// The failure that it would get although somebody offers the service, if it would.
    #[serde(default)]
    pub failure: Option<FailureReport>,
}

/// A failure.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureReport {
    /// The number of its code.
    pub code: u16,
    /// What happened, and where.
    pub reason: String,
}

/// Somebody who could serve a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct CandidateReport {
    /// On which node.
    pub node: String,
    /// `plugin`, `workers`, `peer`, or the zone and what it costs to get there.
    pub what: String,
    /// Whether a request would go there now.
    pub is_ready: bool,
    /// What speaks for or against it.
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
    /// Replies that nobody waited for, or for requests of others.
    pub unclaimed: u64,
    /// Requests given to another worker or peer after theirs had gone.
    pub retried: u64,
    /// Requests forwarded to peers, each time counted.
    pub forwarded: u64,
    /// Messages given up because their receiver did not read.
    pub dropped: u64,
    /// Registrations of workers and adverts of members that their keys do not allow.
    pub forbidden: u64,
    /// Connections and messages of those who are not trusted.
    pub turned_away: u64,
    /// Connections that exceeded a limit before their message was complete, and were ended.
    pub over_limit: u64,
    /// Files of plugins that were refused.
    pub plugins_refused: u64,
}
