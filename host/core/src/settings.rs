//! What the configuration decides about the core; each field with its default and what it trades.

use crate::name::{Pattern, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// All settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The node's name, unique in its zone.
    pub name: String,
    /// The zone that the node belongs to.
    pub zone: String,
    /// What the node holds at most.
    pub limits: Limits,
    /// How plain Majordomo peers are treated.
    pub majordomo: Majordomo,
    /// The settings of every service that `services` does not name.
    pub defaults: ServiceSettings,
    /// Settings by service.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: "node".into(),
            zone: "local".into(),
            limits: Limits::default(),
            majordomo: Majordomo::default(),
            defaults: ServiceSettings::default(),
            services: BTreeMap::new(),
        }
    }
}

/// What a node holds at most. Whatever would go over a limit is answered with a failure that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests that have no answer yet, of all clients together; each takes about 1 KB. Default 200,000.
    pub requests: usize,
    /// Requests of one client that have no answer yet. Default 100,000: the guide's asynchronous client sends as many before
    /// it reads the first answer.
    pub requests_per_client: usize,
    /// Bytes of all request bodies held, in queues or running. Default 256 MiB.
    pub held_bytes: usize,
    /// Bytes of one message, all frames together. Default 16 MiB.
    pub message: usize,
    /// Frames of one message. Default 256.
    pub frames: usize,
    /// Foreign workers registered. Default 1,000.
    pub workers: usize,
    /// How deep services may call services. Default 8.
    pub call_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 200_000,
            requests_per_client: 100_000,
            held_bytes: 256 << 20,
            message: 16 << 20,
            frames: 256,
            workers: 1_000,
            call_depth: 8,
        }
    }
}

/// What a node keeps of the services that the other members of its zone serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutesSettings {
    /// How long what a member offers counts without a word from it; it sends one every third of this. Default 30 s. Shorter
    /// finds lost adverts sooner and costs more small messages. The same on all nodes of a zone: a node that speaks at
    /// longer intervals than another's lease comes and goes there.
    pub lease: Duration,
    /// Services that one member, this node included, may offer. Default 10,000.
    pub offers: usize,
    /// Services of all other members together, each counted once per member; each takes about 200 bytes. Default
    /// 100,000.
    pub routes: usize,
}

impl Default for RoutesSettings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), offers: 10_000, routes: 100_000 }
    }
}

/// How plain Majordomo peers (RFC 7 and RFC 18) are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Majordomo {
    /// How often a worker hears from us. Default 2.5 s, the longest that existing workers expect.
    pub heartbeat: Duration,
    /// How long an idle worker may be silent. Default 10 s, four of its heartbeats.
    pub expiry: Duration,
    /// How long a request waits for a service that nobody offers, at most its deadline. Default 2 s, so that it is gone
    /// before the 2.5 s pass after which the guide's clients ask again.
    pub wait: Duration,
    /// What a client hears of a failure: Majordomo has no message for it.
    pub on_failure: OnFailure,
}

impl Default for Majordomo {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(2500),
            expiry: Duration::from_secs(10),
            wait: Duration::from_secs(2),
            on_failure: OnFailure::Silence,
        }
    }
}

/// What a plain Majordomo client hears of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing, as the RFCs have it; the client's own timeout tells it.
    Silence,
    /// A final reply whose body is `["wasmnode-failure", code, reason]`.
    Status,
}

/// The settings of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How long a request may take from arrival to answer; a client may ask for less. Default 2 s.
    pub deadline: Duration,
    /// Requests that run in this node's plugin at once. Default 64.
    pub concurrency: usize,
    /// Requests that wait. Default 100,000.
    pub queue: usize,
    /// Whether a request may safely run twice, so that one whose worker died is given to another. Default no.
    pub idempotent: bool,
    /// Which services its plugin may call. Default none.
    pub calls: Vec<Pattern>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(2), concurrency: 64, queue: 100_000, idempotent: false, calls: Vec::new() }
    }
}
