//! What the configuration decides about the core; each field with its default and what it trades.

use crate::access::Access;
use crate::name::{Label, Pattern, ServiceName};
use crate::policy::Policy;
use std::collections::BTreeMap;
use std::time::Duration;

/// All settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The node's name, unique in its zone.
    pub name: Label,
    /// The zone that the node belongs to.
    pub zone: Label,
    /// When its process started, in microseconds since 1970.
    pub boot: u64,
    /// Where other nodes can dial it; empty if nowhere, so that it can have no peers.
    pub endpoint: String,
    /// Where members of the zone may be found.
    pub seeds: Vec<Seed>,
    /// Who may do what; `None` if nobody has to show a key, and so everybody everything.
    pub access: Option<Access>,
    /// What the node holds at most.
    pub limits: Limits,
    /// How plain Majordomo peers are treated.
    pub majordomo: Majordomo,
    /// How the node lives with its peers.
    pub peers: PeerSettings,
    /// How it finds out who of them is alive.
    pub members: MembersSettings,
    /// What it keeps of the services that they serve.
    pub routes: DirectorySettings,
    /// Where all chance comes from.
    pub seed: u64,
    /// The settings of every service that `services` does not name.
    pub defaults: ServiceSettings,
    /// Settings by service.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// How it joins zones, if it is a router.
    pub router: Option<RouterSettings>,
}

impl NodeSettings {
    /// Whether it is a router, which serves nothing itself.
    #[must_use]
    pub fn is_router(&self) -> bool {
        self.router.is_some()
    }

    /// The settings of a service.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> &ServiceSettings {
        self.services.get(service).unwrap_or(&self.defaults)
    }
}

/// Where a member of the zone may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its name, if it is known: where keys are asked for, it has to prove it.
    pub name: Option<Label>,
    /// Where it can be dialled.
    pub endpoint: String,
}

impl Seed {
    /// Whoever is there.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self { name: None, endpoint: endpoint.into() }
    }
}

/// How a router joins its zone with others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterSettings {
    /// How it tells and keeps paths.
    pub paths: PathSettings,
    /// The routers of other zones that it is joined with.
    pub neighbours: Vec<Neighbour>,
}

/// A router of another zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name: where keys are asked for, it has to prove it.
    pub name: Label,
    /// Its zone.
    pub zone: Label,
    /// Where it can be dialled.
    pub endpoint: String,
    /// What it costs to cross the link; at least 1.
    pub cost: u32,
    /// What is believed of what it tells.
    pub import: Policy,
    /// What it is told, and may call.
    pub export: Policy,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: Label::from_static("node"),
            zone: Label::from_static("local"),
            boot: 0,
            endpoint: String::new(),
            seeds: Vec::new(),
            access: None,
            limits: Limits::default(),
            majordomo: Majordomo::default(),
            peers: PeerSettings::default(),
            members: MembersSettings::default(),
            routes: DirectorySettings::default(),
            seed: 0,
            defaults: ServiceSettings::default(),
            services: BTreeMap::new(),
            router: None,
        }
    }
}

/// What a node holds at most. Whatever would go over a limit is answered with a failure that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests that have no answer yet, of all clients together; each takes about 1 KB. Default 200,000.
    pub requests: usize,
    /// Requests of one client that have no answer yet. Default 100,000: the guide's asynchronous client sends as many
    /// before it reads the first answer.
    pub requests_per_client: usize,
    /// Requests that one peer may have of this node, or this node of one peer; the rest waits, or goes to another.
    /// Default 4,096.
    pub requests_per_peer: usize,
    /// Bytes of all request bodies held, in queues or running. Default 256 MiB.
    pub held_bytes: usize,
    /// Replies that are kept for requests with an idempotency key, for ten minutes. Default 10,000.
    pub kept_replies: usize,
    /// Bytes of those replies. Default 64 MiB.
    pub kept_bytes: usize,
    /// Bytes of one message, all frames together. Default 16 MiB.
    pub message: usize,
    /// Frames of one message. Default 256.
    pub frames: usize,
    /// Foreign workers registered. Default 1,000.
    pub workers: usize,
    /// How deep services may call services. Default 8.
    pub call_depth: usize,
    /// How long what a client has asked goes on after its connection ended, if it can come back for the answer: it
    /// chose its own ZeroMQ identity, or the request has an idempotency key. Default 30 s.
    pub reconnect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 200_000,
            requests_per_client: 100_000,
            requests_per_peer: 4_096,
            held_bytes: 256 << 20,
            kept_replies: 10_000,
            kept_bytes: 64 << 20,
            message: 16 << 20,
            frames: 256,
            workers: 1_000,
            call_depth: 8,
            reconnect: Duration::from_secs(30),
        }
    }
}

/// How the node lives with its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// How often a peer that owes an answer is asked for a sign of life. After three without one it gets no request
    /// until it gives one. Default 250 ms.
    pub heartbeat: Duration,
    /// How long a peer may give no sign of life before its link is given up. A sign waits behind the message that is on
    /// its way, so this is longer than the largest takes to pass. Default 5 s.
    pub expiry: Duration,
    /// How many requests in a hundred may be tried a second time at another node. Default 20.
    pub retry_budget: u64,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(250), expiry: Duration::from_secs(5), retry_budget: 20 }
    }
}

/// What a node keeps of the services that the other members of its zone serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// How long what a member offers counts without a word from it; it sends one every third of this. Default 30 s.
    /// Shorter finds lost adverts sooner and costs more small messages. The same on all nodes of a zone: a node that
    /// speaks at longer intervals than another's lease comes and goes there.
    pub lease: Duration,
    /// Services that one member, this node included, may offer. Default 10,000.
    pub offers: usize,
    /// Services of all other members together, each counted once per member; each takes about 200 bytes. Default
    /// 100,000.
    pub routes: usize,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), offers: 10_000, routes: 100_000 }
    }
}

/// How a router lives with the routers of other zones, and what it keeps of what they tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSettings {
    /// How long a neighbour that was told routes is told no others, half of it at least; what is lost is told at once
    /// all the same, and so is what is new after a quiet time. Shorter settles sooner and costs more updates. Default
    /// 100 ms.
    pub batch: Duration,
    /// How often neighbours compare sums of what the one told and the other holds, which finds what got lost. Default
    /// 60 s.
    pub still: Duration,
    /// How often each origin of routes gives a sign of life. Default 30 min.
    pub refresh: Duration,
    /// How long routes count without a sign of life of their origin, three of which may get lost. Default 90 min; the
    /// same in all zones.
    pub lease: Duration,
    /// How long it is remembered what ended, so that nobody is believed who has not heard of it. Default 10 min: longer
    /// than news can be on its way.
    pub memory: Duration,
    /// How often other zones are told that a service came or went, if it does so again and again. Default 1 s.
    pub change: Duration,
    /// How many such changes they are told without a pause. Default 5.
    pub burst: u32,
    /// Services of the own zone that other zones are told of. Default 10,000.
    pub offers: usize,
    /// Routes that one neighbour may tell; each takes about 700 bytes, with what is told on of it. Default 20,000.
    pub routes_per_neighbour: usize,
    /// Routes of all neighbours together. Default 100,000.
    pub routes: usize,
    /// Dead links that are remembered, and as many tombstones; the oldest give way. Default 10,000.
    pub causes: usize,
}

impl Default for PathSettings {
    fn default() -> Self {
        Self {
            batch: Duration::from_millis(100),
            still: Duration::from_secs(60),
            refresh: Duration::from_secs(30 * 60),
            lease: Duration::from_secs(90 * 60),
            memory: Duration::from_secs(10 * 60),
            change: Duration::from_secs(1),
            burst: 5,
            offers: 10_000,
            routes_per_neighbour: 20_000,
            routes: 100_000,
            causes: 10_000,
        }
    }
}

/// How plain Majordomo peers (RFC 7 and RFC 18) are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Majordomo {
    /// How often a worker hears from us. Default 2.5 s, the longest that existing workers expect.
    pub heartbeat: Duration,
    /// How long an idle worker may be silent. Default 10 s, four of its heartbeats.
    pub expiry: Duration,
    /// How long a Majordomo client's request waits while nobody offers its service. Default 2 s, so that it is gone
    /// before the 2.5 s pass after which the guide's clients ask again.
    pub wait: Duration,
    /// Deadline of services that only workers serve and whose own settings have none. Default none, as in the RFCs: a
    /// request ends with its worker or its client.
    pub deadline: Option<Duration>,
    /// What a client hears of a failure: Majordomo has no message for it.
    pub on_failure: OnFailure,
}

impl Default for Majordomo {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(2500),
            expiry: Duration::from_secs(10),
            wait: Duration::from_secs(2),
            deadline: None,
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

/// Deadline of plugins' services where none is configured: as long as a person waits without wondering.
pub const PLUGIN_DEADLINE: Duration = Duration::from_secs(2);

/// The settings of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How long a request may take from arrival to answer; a client may ask for less. Default: where a plugin serves it
    /// that of [`NodeSettings::defaults`], and there [`PLUGIN_DEADLINE`]; where only workers do,
    /// [`Majordomo::deadline`].
    pub deadline: Option<Duration>,
    /// Requests that run in this node's plugin at once. Default 64.
    pub concurrency: usize,
    /// Requests that wait. Default 100,000.
    pub queue: usize,
    /// Requests that wait here although a peer offers the service too; the rest goes there. Default 64.
    pub spill: usize,
    /// Whether a request may safely run twice, so that one whose worker died is given to another. Default no.
    pub idempotent: bool,
    /// Which services its plugin may call. Default none.
    pub calls: Vec<Pattern>,
    /// In whose name its plugin calls. Default its own.
    pub calls_as: CallsAs,
}

/// In whose name a plugin calls other services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallsAs {
    /// In its own: `calls` alone counts, so whoever may call the service reaches through it what it calls.
    #[default]
    Service,
    /// In that of the user who asked in the first place: `calls` counts, and what that user's key may call.
    Caller,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            deadline: None,
            concurrency: 64,
            queue: 100_000,
            spill: 64,
            idempotent: false,
            calls: Vec::new(),
            calls_as: CallsAs::Service,
        }
    }
}

/// How a node finds out who is alive. All nodes of a zone had better agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersSettings {
    /// How often a node probes another, each in turn. A shorter period finds the dead sooner and costs traffic in
    /// proportion. Default 1 s; at least 10 ms.
    pub probe_period: Duration,
    /// How long a probed node may take to answer before others are asked to probe it too: longer than almost every
    /// round trip. Default 300 ms; taken as half of `probe_period` if it is longer.
    pub probe_rtt: Duration,
    /// How long a node that no probe has reached has to object before it is taken for dead. A longer time forgives
    /// longer pauses and lets requests go to the dead for longer. Default 1.5 s: a crash is known after 3 to 5 s, a
    /// pause of 2 s is forgiven. At least 10 ms.
    pub suspicion: Duration,
    /// How often news is passed on while there is some, each time to three nodes. Default 200 ms; at least 10 ms.
    pub gossip: Duration,
    /// How often a node asks another for all it knows, which repairs what was lost. Default 15 s; at least 10 ms.
    pub exchange: Duration,
    /// How often two of the dead are greeted, so that the parts of a zone that was cut in two find each other again.
    /// Default 10 s; at least 10 ms.
    pub reunion: Duration,
    /// How long the dead are remembered. A node that was unreachable for longer has to come back by itself. Default 24
    /// h.
    pub memory: Duration,
    /// Bytes of one datagram. What a newcomer is told at once has to fit; the rest follows over some exchanges. A
    /// member takes about 50 bytes. All nodes must agree on it. Default 64 KiB; 1,400 bytes to 1 MiB.
    pub datagram: usize,
    /// Members that a node knows, dead or alive, itself not counted: `limits.members`. The dead give way to newcomers;
    /// a newcomer for whom there is no room is refused. Default 1,000.
    pub limit: usize,
}

impl Default for MembersSettings {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(300),
            suspicion: Duration::from_millis(1500),
            gossip: Duration::from_millis(200),
            exchange: Duration::from_secs(15),
            reunion: Duration::from_secs(10),
            memory: Duration::from_secs(24 * 60 * 60),
            datagram: 64 << 10,
            limit: 1_000,
        }
    }
}
