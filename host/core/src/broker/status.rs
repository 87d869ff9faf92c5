//! The broker's counters, and the state of its services.

use crate::failure::Code;
use crate::name::{Label, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// Counters of everything that arrived since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests accepted; each gets an answer.
    pub accepted: u64,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Requests that failed, by code, including those never accepted.
    pub failed: BTreeMap<Code, u64>,
    /// Messages refused because they violate a protocol.
    pub malformed: u64,
    /// Registrations of workers and adverts of members that their keys do not allow.
    pub forbidden: u64,
    /// Replies of plugins and workers to requests that had already ended, or that they never had.
    pub unclaimed: u64,
    /// Requests given back by a worker or peer, to be tried at another.
    pub retried: u64,
    /// Requests forwarded to peers, counted each time.
    pub forwarded: u64,
}

/// State of one service.
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

/// Kind of a provider, and so how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A plugin of this node.
    Plugin,
    /// Workers of this node.
    Workers,
    /// A peer.
    Peer,
    /// Another zone; the node of the candidate leads there.
    RemoteZone {
        /// The zone.
        zone: Label,
        /// Cost of the route.
        cost: u32,
    },
}

impl Via {
    /// Returns `true` if the provider is at this node.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Plugin | Self::Workers)
    }
}

/// Whether a provider takes a request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// A plugin runs requests.
    Running {
        /// Number of runs.
        running: usize,
        /// Largest number of runs: `service.NAME.concurrency`.
        limit: usize,
    },
    /// A plugin is in quarantine, for the remaining time.
    Quarantined(Duration),
    /// Workers are registered.
    Registered {
        /// Workers without a request.
        idle: usize,
        /// Workers with a request.
        busy: usize,
    },
    /// A peer is unresponsive.
    Unresponsive,
    /// A peer's window is full.
    Full {
        /// Outstanding requests.
        outstanding: usize,
    },
    /// A peer is paused after consecutive failures, for the remaining time.
    Paused(Duration),
    /// A peer takes requests.
    Open {
        /// Outstanding requests.
        outstanding: usize,
        /// Recent time to answer, in microseconds.
        latency_us: u64,
    },
}

impl Eligibility {
    /// Returns `true` if the provider takes a request now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Running { running, limit } => running < limit,
            Self::Registered { idle, .. } => *idle > 0,
            Self::Open { .. } => true,
            Self::Quarantined(_) | Self::Unresponsive | Self::Full { .. } | Self::Paused(_) => false,
        }
    }
}

/// Provider that could serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Node that a request would go to.
    pub node: Label,
    /// How it is reached.
    pub via: Via,
    /// Whether it takes a request, and why.
    pub eligibility: Eligibility,
}

impl Candidate {
    /// Returns `true` if a request would go there now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.eligibility.is_ready()
    }
}

/// State of one service at one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: Label,
    /// The zone where the service is, if it is another.
    pub zone: Option<Label>,
    /// Cost of the route.
    pub cost: u32,
    /// Outstanding requests.
    pub outstanding: usize,
    /// Recent time to answer, in microseconds.
    pub latency_us: u64,
    /// Number of consecutive failures.
    pub consecutive_failures: u32,
    /// Whether it is unresponsive.
    pub is_unresponsive: bool,
    /// Whether its window is full.
    pub is_full: bool,
    /// Remaining time of its pause after consecutive failures.
    pub paused_for: Duration,
    /// Whether a request may safely run twice there.
    pub idempotent: bool,
}
