//! The broker's counters, and the state of its services.

use crate::failure::Code;
use crate::name::{Label, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of everything that arrived, since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests accepted, that is, owed an answer.
    pub accepted: u64,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Failures told or owed, by code; those of requests that were never accepted included.
    pub failed: BTreeMap<Code, u64>,
    /// Messages refused because they break a protocol's rules.
    pub malformed: u64,
    /// Registrations of workers and adverts of members that their keys do not allow.
    pub forbidden: u64,
    /// Replies of plugins and workers that nobody waited for any more, or for requests that were never theirs.
    pub unclaimed: u64,
    /// Requests given to another worker or peer after theirs had gone.
    pub retried: u64,
    /// Requests forwarded to peers, each time counted.
    pub forwarded: u64,
}

/// The state of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Whether a plugin offers it.
    pub plugin: bool,
    /// Whether workers take requests that the plugin would serve.
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
    pub peers: Vec<PeerStatus>,
}

/// How somebody who could serve a request is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// It is here.
    Here,
    /// It is a peer.
    Peer,
    /// It is in another zone; the peer leads there.
    RemoteZone,
}

/// Somebody who could serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// On which node.
    pub node: String,
    /// How it is reached.
    pub via: Via,
    /// `plugin`, `workers`, `peer`, or the zone and what it costs.
    pub what: String,
    /// Whether a request would go there now.
    pub is_ready: bool,
    /// What speaks for or against it.
    pub why: String,
}

/// How one peer does with one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: Label,
    /// The zone where the service is, if it is another.
    pub zone: Option<Label>,
    /// What it costs to get there.
    pub cost: u32,
    /// Requests that it has.
    pub outstanding: usize,
    /// Recent time to answer, microseconds.
    pub latency_us: u64,
    /// Requests in a row that it did not answer as it should.
    pub failures_in_a_row: u32,
    /// Whether it gives no sign of life.
    pub is_silent: bool,
    /// Whether it has as many requests as it may have.
    pub is_full: bool,
    /// How long it is left out still, because it only failed.
    pub paused_for: Duration,
    /// Whether a request may safely run twice there.
    pub idempotent: bool,
}
