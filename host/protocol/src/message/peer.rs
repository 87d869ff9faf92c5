//! Messages between nodes, on links of their own.
//!
//! A message is one header frame, followed by the frames of the body in requests and replies, and by nothing in other
//! messages. A message without a body is one frame. Integers are unsigned, in network byte order.
//!
//! ```text
//! offset size
//!      0    6  "WNODP1": the dialect
//!      6    1  command: 1 REQUEST, 2 PARTIAL, 3 FINAL, 4 FAILURE, 5 CANCEL (as in WNODC1), 6 HELLO, 7 WELCOME,
//!              8 REFUSED, 9 GOSSIP, 10 ADVERT, 11 PULL, 12 PING, 13 PONG, 14 OPEN, 15 PATHS
//!
//! REQUEST  body
//!      7    8  request id: chosen by the sender, ascending on each link
//!     15    8  time left to answer, in microseconds; all ones = no deadline, which a node without this rule reads as a
//!              very long time
//!     23    1  hops: number of further nodes that may forward it
//!     24    1  flags: bit 0 = trace, as in WNODC1; bit 1 = the sender has another route for the request, so a router
//!              whose own next hop is unresponsive is to return it; the others are 0. A request with an unknown flag is
//!              malformed
//!     25    1  n, the length of the service name
//!     26    n  service name
//!   26+n    …  fields. 1 = W3C traceparent (ASCII), 2 = idempotency key (1 to 255 bytes), 3 = a service on whose
//!              behalf the request is made (repeated, outermost first, at most 255), 4 = caller (UTF-8, at most 1,024
//!              bytes), 5 = the zone that is to serve it, 6 = the node that is to serve it, 7 = a zone that it has
//!              entered (repeated, in order, at most 32), 8 = a pattern of the services that the caller may call,
//!              unless these are all (repeated, at most 256; an empty one stands for none). Of several traceparents,
//!              keys, callers, zones or nodes, the last is valid
//! PARTIAL  body
//! FINAL    body
//!      7    8  request id; nothing more
//! FAILURE
//!      7    8  request id
//!     15    2  code (`Code::number`)
//!     17    …  reason, UTF-8, at most 4,096 bytes
//! CANCEL
//!      7    8  request id; nothing more. Without effect if the answer is already in transit
//!
//! HELLO    the first message on a link, from the node that opened it
//! WELCOME  the answer to HELLO that accepts the link
//!      7    1  version: the highest that the sender supports, at least 2; currently 2
//!      8    1  n, the length of the zone's name
//!      9    n  the sender's zone
//!    9+n    m  the sender: MEMBER
//!  9+n+m    …  fields; none yet
//! REFUSED  the answer to HELLO that rejects the link
//!      7    …  reason, UTF-8, at most 4,096 bytes
//! GOSSIP
//!      7    …  a datagram of the membership protocol
//!
//! ADVERT
//!      7    1  kind: 1 all services, 2 changes, 3 no changes
//!      8    8  version of the advert
//!     16    4  n, the number of services that are offered; kinds 1 and 2 only
//!     20    …  n times: flags (1), SERVICE, cost (4). Bit 0 of the flags = a request may safely run twice, bit 1 =
//!              only Majordomo workers serve it. Receivers ignore unknown bits, so that newer nodes can add properties:
//!              a node that does not support bit 1 assumes that a plugin serves it
//!      …    4  m, the number of services that are withdrawn; kind 2 only
//!      …    …  m times: SERVICE
//! PULL     nothing more
//! PING
//! PONG
//!      7    2  n, at most 1,024
//!      9   8n  request ids
//!
//! OPEN     begins a session between routers
//!      7    8  epoch
//! PATHS    an update on a session
//!      7    8  epoch of the session: the greater of the two epochs in OPEN, plus one
//!     15    …  the update ([`super::path`])
//!
//! SERVICE  within adverts
//!      0    1  n, the length of the service's name
//!      1    n  service
//!    1+n    1  m, the length of the name of its zone; 0 = the sender's own
//!    2+n    m  zone
//!
//! MEMBER   within other messages, and in those of the membership protocol
//!      0    1  n, the length of the name
//!      1    n  name
//!    1+n    8  boot
//!    9+n    2  renewal
//!   11+n    1  role: 1 node, 2 router
//!   12+n    2  m, the length of the endpoint, at most 1,024
//!   14+n    m  endpoint, UTF-8 without control characters
//! ```
//!
//! Fields follow each other up to the end of the header, each: type (1), length (2), value. Receivers ignore unknown
//! types. In messages without fields, a header with more bytes than described is malformed.
//!
//! Nodes of different versions interoperate: HELLO and WELCOME have the form above in every version, and additions to
//! them are fields. After them, each node sends in the lower of both versions. So only nodes that support a command,
//! code, kind or flag of a later version receive it; for others it is malformed.

use super::{Body, Frame, Reply};
use crate::name::{Address, Label, Pattern, ServiceName};
use std::time::Duration;

mod codec;

pub use codec::{decode, decode_member, encode, encode_member, member_len, request_id};

/// First bytes of every header frame.
pub const MAGIC: &[u8] = b"WNODP1";

/// Highest version of the dialect that this node supports. Nodes of version N interoperate with version N-1.
pub const VERSION: u8 = 2;

/// Lowest supported version: version 1 encoded the role of a member differently in datagrams.
pub const OLDEST_VERSION: u8 = 2;

/// Largest endpoint, in bytes.
pub const MAX_ENDPOINT: usize = 1024;

/// Largest caller, in bytes.
pub const MAX_CALLER: usize = 1024;

/// Largest number of patterns of the services that a user may call.
pub const MAX_ALLOWED: usize = 256;

/// Largest number of services on whose behalf a request is made.
pub const MAX_CHAIN: usize = 255;

/// Largest number of zones that a request may enter.
pub const MAX_CROSSED: usize = 32;

/// Largest number of requests in a ping or a pong.
pub const MAX_NAMED: usize = 1024;

/// Node or router of a zone, as its members identify it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name, unique in its zone.
    pub name: Label,
    /// Start of its process, in microseconds since 1970: of two members with one name, the later one is valid.
    ///
    /// A process that has to outrank an earlier one takes a later time, with the same bits of [`Self::PROCESS`].
    pub boot: u64,
    /// Number of times that it returned with a new identity since its start, because it was declared dead.
    pub renewal: u16,
    /// Its role.
    pub role: MemberKind,
    /// The endpoint that it listens on: at most [`MAX_ENDPOINT`] bytes without control characters.
    pub endpoint: String,
}

impl Member {
    /// Bits of [`Self::boot`] that distinguish processes of one name and endpoint.
    ///
    /// They count 17 s in microseconds, so a process and its successor have the same bits once in 17 million starts.
    pub const PROCESS: u64 = (1 << 24) - 1;

    /// Returns `true` if both members are the same process, under any identity.
    #[must_use]
    pub fn is_same_process(&self, other: &Self) -> bool {
        let process = |member: &Self| member.boot & Self::PROCESS;
        (&self.name, process(self), &self.endpoint) == (&other.name, process(other), &other.endpoint)
    }

    /// Returns the earliest boot after `other` with this process's bits of [`Self::PROCESS`].
    ///
    /// Without one, returns the largest time.
    #[must_use]
    pub fn boot_after(&self, other: u64) -> u64 {
        let boot = (other & !Self::PROCESS) | (self.boot & Self::PROCESS);
        if boot > other { boot } else { boot.saturating_add(Self::PROCESS + 1) }
    }
}

/// Role of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    /// A node, which serves clients.
    Node,
    /// A router, which joins zones.
    Router,
}

impl MemberKind {
    /// Returns the byte that encodes the role in every message.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Router => 2,
        }
    }

    /// Returns the role that a byte encodes, if it encodes one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Node, Self::Router].into_iter().find(|kind| kind.number() == number)
    }
}

/// Message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// First message on a link, from the node that opened it.
    Hello {
        /// Zone of the sender.
        zone: Label,
        /// The sender.
        member: Member,
    },
    /// Answer to a hello that accepts the link, which carries all other messages afterwards.
    Welcome {
        /// Zone of the sender.
        zone: Label,
        /// The sender.
        member: Member,
    },
    /// Answer to a hello that rejects the link, with the reason.
    Refused(String),
    /// A datagram of the membership protocol.
    Gossip(Frame),
    /// Offers of the sender.
    Advert(Advert),
    /// Request for a whole advert.
    Pull,
    /// Start of a session between routers. Its epoch is computed from those of both (`link_epoch` of the core).
    Open {
        /// The sender's epoch.
        epoch: u64,
    },
    /// Path update of a router.
    Paths {
        /// The epoch of the session (`link_epoch` of the core).
        epoch: u64,
        /// The update ([`super::path`]).
        update: Frame,
    },
    /// Request to serve, from the node that opened the link.
    Request(Box<Forward>),
    /// Reply to a request, from the node that accepted the link.
    Reply {
        /// The number of the request.
        id: u64,
        /// The reply.
        reply: Reply,
    },
    /// Withdrawal of a request.
    Cancel {
        /// The number of the request.
        id: u64,
    },
    /// Liveness check, with the numbers of requests that have been outstanding for long.
    Ping {
        /// Those requests, at most [`MAX_NAMED`].
        outstanding: Vec<u64>,
    },
    /// Answer to a ping, with the numbers of the named requests that the sender does not have.
    Pong {
        /// Those requests, at most [`MAX_NAMED`].
        unknown: Vec<u64>,
    },
}

/// Request that a node forwards to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The sender's number for it, ascending on each link.
    pub id: u64,
    /// Time left to answer, encoded in whole microseconds; `None` if it has no deadline.
    pub remaining: Option<Duration>,
    /// Number of further nodes that may forward it.
    pub hops: u8,
    /// Whether to trace the request instead of running it ([`super::trace`]).
    pub is_trace: bool,
    /// Whether the sender has another route, so that a router whose own next hop is unresponsive returns the request.
    pub has_alternative: bool,
    /// The service.
    pub service: ServiceName,
    /// The caller, as the first node identified it, in at most [`MAX_CALLER`] bytes; empty if unknown.
    pub caller: String,
    /// Services that the caller may call; `None`: all. More than [`MAX_ALLOWED`] patterns are cut.
    pub allowed: Option<Vec<Pattern>>,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Idempotency key, 1 to 255 bytes, which identifies repetitions of one request.
    pub idempotency_key: Option<Frame>,
    /// The services on whose behalf this one is called, outermost first; at most [`MAX_CHAIN`].
    pub chain: Vec<ServiceName>,
    /// The zone that is to serve it; `None`: the zone of the sender.
    pub zone: Option<Label>,
    /// The node that is to serve it; `None`: any.
    pub node: Option<Label>,
    /// The zones that it has entered, including that of the first node; it enters none twice. At most [`MAX_CROSSED`].
    pub crossed: Vec<Label>,
    /// The client's frames.
    pub body: Body,
}

/// Report of a member on its offers. Each change makes a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advert {
    /// All offers.
    Whole {
        /// Version of the offers.
        version: u64,
        /// All offers of the member.
        offers: Vec<Offer>,
    },
    /// Changes since the previous version.
    Change {
        /// Version after the changes, which apply only to the previous one.
        version: u64,
        /// New and changed offers.
        offers: Vec<Offer>,
        /// Withdrawn services.
        withdrawn: Vec<Address>,
    },
    /// Renewal of the lease without changes.
    Still {
        /// Current version of the offers.
        version: u64,
    },
}

/// Service that a member serves itself, or that a router reaches in another zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name, with the zone if that is another one.
    pub service: Address,
    /// Cost from the member to the service: 0 if the member serves it itself.
    pub cost: u32,
    /// The traits of the service.
    pub traits: Traits,
}

/// Properties of a service that decide how requests to it are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Traits {
    /// Whether a request may safely run twice.
    pub idempotent: bool,
    /// Whether only Majordomo workers serve it, so that the deadline of workers applies to a request.
    pub by_workers: bool,
}

impl Traits {
    const IDEMPOTENT: u8 = 1;
    const BY_WORKERS: u8 = 2;

    /// Returns the traits of a service that a plugin serves.
    #[must_use]
    pub fn of_plugin(idempotent: bool) -> Self {
        Self { idempotent, by_workers: false }
    }

    /// Returns the traits that both providers of a service have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { idempotent: self.idempotent && other.idempotent, by_workers: self.by_workers && other.by_workers }
    }

    /// Returns the traits that the flags of an advert or a path update encode; unknown bits are ignored.
    pub(super) fn from_flags(flags: u8) -> Self {
        Self { idempotent: flags & Self::IDEMPOTENT != 0, by_workers: flags & Self::BY_WORKERS != 0 }
    }

    pub(super) fn to_flags(self) -> u8 {
        (if self.idempotent { Self::IDEMPOTENT } else { 0 }) | (if self.by_workers { Self::BY_WORKERS } else { 0 })
    }
}
