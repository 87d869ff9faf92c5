//! Settings of the core; each field with its default and trade-off.

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
    /// Start of its process, in microseconds since 1970.
    pub boot: u64,
    /// Endpoint for other nodes; empty if there is none, so that the node has no peers.
    pub endpoint: String,
    /// Endpoints at which members of the zone may be found.
    pub seeds: Vec<Seed>,
    /// Rights of principals; `None`: no keys are required, and every client has all rights.
    pub access: Option<Access>,
    /// Limits on what the node holds.
    pub limits: Limits,
    /// Treatment of plain Majordomo clients and workers.
    pub majordomo: Majordomo,
    /// Monitoring of peers, and retries.
    pub peers: PeerSettings,
    /// Membership protocol.
    pub members: MembersSettings,
    /// Directory of the services of other members.
    pub routes: DirectorySettings,
    /// Seed of all randomness.
    pub seed: u64,
    /// The settings of every service that `services` does not name.
    pub defaults: ServiceSettings,
    /// Settings by service.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// Settings of a router; `None` for a node.
    pub router: Option<RouterSettings>,
}

impl NodeSettings {
    /// Returns `true` for a router, which serves nothing itself.
    #[must_use]
    pub fn is_router(&self) -> bool {
        self.router.is_some()
    }

    /// Returns the settings of a service.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> &ServiceSettings {
        self.services.get(service).unwrap_or(&self.defaults)
    }
}

/// The settings that may change while the node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSettings {
    /// As [`Limits::requests`].
    pub requests: usize,
    /// As [`Limits::requests_per_client`].
    pub requests_per_client: usize,
    /// As [`Limits::workers`].
    pub workers: usize,
    /// As [`Limits::call_depth`].
    pub call_depth: usize,
    /// As [`Limits::reconnect`].
    pub reconnect: Duration,
    /// As [`NodeSettings::majordomo`].
    pub majordomo: Majordomo,
    /// As [`NodeSettings::defaults`].
    pub defaults: ServiceSettings,
    /// As [`NodeSettings::services`].
    pub services: BTreeMap<ServiceName, ServiceSettings>,
}

impl RunningSettings {
    /// Returns those of a node.
    #[must_use]
    pub fn of(settings: &NodeSettings) -> Self {
        let Limits { requests, requests_per_client, workers, call_depth, reconnect, .. } = settings.limits;
        let NodeSettings { majordomo, defaults, services, .. } = settings.clone();
        Self { requests, requests_per_client, workers, call_depth, reconnect, majordomo, defaults, services }
    }

    /// Replaces those of a node.
    pub fn apply_to(self, settings: &mut NodeSettings) {
        let Self { requests, requests_per_client, workers, call_depth, reconnect, majordomo, defaults, services } =
            self;
        let limits = Limits { requests, requests_per_client, workers, call_depth, reconnect, ..settings.limits };
        (settings.limits, settings.majordomo, settings.defaults, settings.services) =
            (limits, majordomo, defaults, services);
    }
}

/// Endpoint at which a member of the zone may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Name of the member, if known; the member must prove it if keys are required.
    pub name: Option<Label>,
    /// The endpoint.
    pub endpoint: String,
}

impl Seed {
    /// Returns a seed of any member at an endpoint.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self { name: None, endpoint: endpoint.into() }
    }
}

/// Settings of a router, which joins its zone with others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterSettings {
    /// Path protocol.
    pub paths: PathSettings,
    /// The routers of other zones that it is joined with.
    pub neighbours: Vec<Neighbour>,
}

/// Router of another zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name, which it must prove if keys are required.
    pub name: Label,
    /// Its zone.
    pub zone: Label,
    /// Its endpoint.
    pub endpoint: String,
    /// Cost of the link; at least 1.
    pub cost: u32,
    /// Routes that are accepted from it.
    pub import: Policy,
    /// Routes that are advertised to it, and services that it may call.
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

/// Limits on what a node holds. A request over a limit is answered with a failure that names the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests without an answer, of all clients together; each takes about 1 KB. Default 200,000.
    pub requests: usize,
    /// Requests of one client without an answer. Default 100,000: the asynchronous client of the ZeroMQ guide sends as
    /// many before it reads the first answer.
    pub requests_per_client: usize,
    /// Requests that one peer may have of this node, or this node of one peer; further ones wait, or are forwarded to
    /// another peer. Default 4,096.
    pub requests_per_peer: usize,
    /// Bytes of all request bodies held, in queues or running. Default 256 MiB.
    pub held_bytes: usize,
    /// Replies kept for requests with an idempotency key, for ten minutes. Default 10,000.
    pub kept_replies: usize,
    /// Bytes of those replies. Default 64 MiB.
    pub kept_bytes: usize,
    /// Bytes of one message, all frames together. Default 16 MiB.
    pub message: usize,
    /// Frames of one message. Default 256.
    pub frames: usize,
    /// Foreign workers registered. Default 1,000.
    pub workers: usize,
    /// Depth of calls from service to service. Default 8.
    pub call_depth: usize,
    /// Time for which the requests of a client continue after its connection ended, if the client can reconnect for the
    /// answers: it chose its own ZeroMQ identity, or the request has an idempotency key. Default 30 s.
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

/// Settings of the links to peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Interval of pings to a peer that owes an answer. After three without a message from it, the peer gets no
    /// requests until it responds. Default 250 ms.
    pub heartbeat: Duration,
    /// Time without a message after which a link is closed, while an answer is outstanding on it. Must exceed the
    /// transfer time of the largest message, because other messages wait behind the one in transit. Default 5 s.
    pub expiry: Duration,
    /// Percentage of requests that may be retried at another node. Default 20.
    pub retry_budget: u64,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(250), expiry: Duration::from_secs(5), retry_budget: 20 }
    }
}

/// Settings of the directory of services in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// Validity of a member's offers without a renewal; members renew every third of it. Default 30 s. A shorter lease
    /// detects lost adverts sooner and costs more small messages. Must be equal on all nodes of a zone: the offers of a
    /// node that renews at longer intervals than another's lease expire there repeatedly.
    pub lease: Duration,
    /// Services that one member, including this node, may offer. Default 10,000.
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

/// Settings of the path protocol between routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSettings {
    /// Interval between route advertisements to one neighbour, at random between half of this value and all of it.
    /// Lost routes are sent immediately, and so are new ones after a quiet time. A shorter interval converges sooner
    /// and costs more updates. Default 100 ms.
    pub batch: Duration,
    /// Interval at which neighbours compare digests of the routes sent and held, to detect lost updates. Default 60 s.
    pub still: Duration,
    /// Interval of the keepalives of each origin. Default 30 min.
    pub refresh: Duration,
    /// Validity of routes without a keepalive of their origin; three may be lost. Default 90 min; equal in all zones.
    pub lease: Duration,
    /// Time for which dead links and tombstones are kept, so that updates of routers that have not received them are
    /// not accepted. Default 10 min: longer than any update is in transit.
    pub memory: Duration,
    /// Interval of advertisements of a service that comes and goes repeatedly. Default 1 s.
    pub change: Duration,
    /// Number of such changes that are advertised without a pause. Default 5.
    pub burst: u32,
    /// Services of the own zone that are advertised to other zones. Default 10,000.
    pub offers: usize,
    /// Routes from one neighbour; each takes about 700 bytes, including its copies to others. Default 20,000.
    pub routes_per_neighbour: usize,
    /// Routes from all neighbours together. Default 100,000.
    pub routes: usize,
    /// Dead links that are kept, and as many tombstones; the oldest are evicted. Default 10,000.
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

/// Treatment of plain Majordomo clients and workers (RFC 7 and RFC 18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Majordomo {
    /// Interval of heartbeats to workers. Default 2.5 s, the longest that existing workers expect.
    pub heartbeat: Duration,
    /// Time without a message after which an idle worker counts as lost. Default 10 s, four of its heartbeats.
    pub expiry: Duration,
    /// Time for which a request of a Majordomo client waits for a service that is not offered. Default 2 s, so that it
    /// ends before the clients of the ZeroMQ guide repeat it after 2.5 s.
    pub wait: Duration,
    /// Deadline of services that only workers serve and whose own settings have none. Default none, as in the RFCs: a
    /// request ends with its worker or its client.
    pub deadline: Option<Duration>,
    /// Answer to a client for a failure, because Majordomo has no message for it.
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

/// Answer to a plain Majordomo client for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// No answer, as in the RFCs; the client detects the failure by its own timeout.
    Silence,
    /// A final reply whose body is `["wasmnode-failure", code, reason]`.
    Status,
}

/// Default deadline of services that plugins serve: about as long as a person waits without doubt that an answer will
/// come.
pub const PLUGIN_DEADLINE: Duration = Duration::from_secs(2);

/// Settings of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Time from the arrival of a request to its answer; clients may set a shorter one. Default: if a plugin serves it,
    /// that of [`NodeSettings::defaults`], and there [`PLUGIN_DEADLINE`]; if only workers do, [`Majordomo::deadline`].
    pub deadline: Option<Duration>,
    /// Requests that run in this node's plugin at the same time. Default 64.
    pub concurrency: usize,
    /// Requests that wait. Default 100,000.
    pub queue: usize,
    /// Requests that wait here although a peer offers the service too; further ones are forwarded. Default 64.
    pub spill: usize,
    /// Whether a request may safely run twice, so that it is retried if its worker dies. Default no.
    pub idempotent: bool,
    /// Services that its plugin may call. Default none.
    pub calls: Vec<Pattern>,
    /// Principal in whose name its plugin calls. Default the service.
    pub calls_as: CallsAs,
}

/// Principal in whose name a plugin calls other services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallsAs {
    /// The service: only `calls` limits its calls, so its callers reach through it all services that it calls.
    #[default]
    Service,
    /// The user of the original request: `calls` and the rights of that user's key limit its calls.
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

/// Settings of the membership protocol (SWIM). Should be equal on all nodes of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersSettings {
    /// Interval of probes; each probes the next node in turn. A shorter period detects dead nodes sooner and costs
    /// traffic in proportion. Default 1 s; at least 10 ms.
    pub probe_period: Duration,
    /// Time for a probed node to answer before others probe it too: longer than almost every round trip. Default
    /// 300 ms. A value that is not below `probe_period` is replaced by half of `probe_period`.
    pub probe_rtt: Duration,
    /// Time for a suspected node, which no probe has reached, to refute its death. A longer time tolerates longer
    /// pauses, and sends requests to dead nodes for longer. Default 1.5 s: a crash is detected after 3 to 5 s, a
    /// pause of 2 s is tolerated. At least 10 ms.
    pub suspicion: Duration,
    /// Interval of gossip while there are updates, each time to three nodes. Default 200 ms; at least 10 ms.
    pub gossip: Duration,
    /// Interval of requests for another node's whole state, which repair losses. Default 15 s; at least 10 ms.
    pub exchange: Duration,
    /// Interval of announcements to two dead members, by which the parts of a partitioned zone find each other again.
    /// Default 10 s; at least 10 ms.
    pub reunion: Duration,
    /// Time for which dead members are kept. A node that was unreachable for longer has to rejoin by itself. Default
    /// 24 h.
    pub memory: Duration,
    /// Bytes of one datagram. Limits what a new member receives first; the rest follows over some exchanges. A member
    /// takes about 50 bytes. Must be equal on all nodes. Default 64 KiB; 1,400 bytes to 1 MiB.
    pub datagram: usize,
    /// Members that a node keeps, dead or alive, without itself: `limits.members`. New members evict dead ones; a new
    /// member without room is rejected. Default 1,000.
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
