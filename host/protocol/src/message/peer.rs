//! What nodes say to one another, on links of their own.
//!
//! A message is one header frame; requests and replies have the frames of the body after it, other messages nothing.
//! The header is complete: a message without a body is one frame. Integers are unsigned, in network byte order.
//!
//! ```text
//! offset size
//!      0    6  "WNODP1": the dialect
//!      6    1  command: 1 REQUEST, 2 PARTIAL, 3 FINAL, 4 FAILURE, 5 CANCEL (as in WNODC1), 6 HELLO, 7 WELCOME,
//!              8 REFUSED, 9 GOSSIP, 10 ADVERT, 11 PULL, 12 PING, 13 PONG, 14 OPEN, 15 PATHS
//!
//! REQUEST  body
//!      7    8  request id: chosen by the sender, ascending on each link
//!     15    8  the time that is left to answer, in microseconds; all ones = no deadline, which a node that does not know that
//!              reads as a very long time
//!     23    1  hops: how many more nodes it may be passed on to
//!     24    1  flags: bit 0 = trace, as in WNODC1; bit 1 = the sender has another way for the request, and wants it back from a
//!              router whose way has fallen silent; the others are 0. A request with a flag that the receiver does not know is
//!              malformed
//!     25    1  n, the length of the service name
//!     26    n  service name
//!   26+n    …  fields. 1 = W3C traceparent (ASCII), 2 = idempotency key (1 to 255 bytes), 3 = a service on whose behalf
//!              the request is made (again for each, outermost first, at most 255), 4 = caller (UTF-8, at most 1,024
//!              bytes), 5 = the zone that is to serve it, 6 = the node that is to serve it, 7 = a zone that it has entered (again
//!              for each, in order, at most 32), 8 = a pattern of the services that the user who asked may call, where that
//!              is not everything (again for each, at most 256; an empty one stands for none). Of two traceparents, keys,
//!              callers, zones or nodes the last counts
//! PARTIAL  body
//! FINAL    body
//!      7    8  request id; nothing more
//! FAILURE
//!      7    8  request id
//!     15    2  code (`Code::number`)
//!     17    …  reason, UTF-8, at most 4,096 bytes
//! CANCEL
//!      7    8  request id; nothing more. Of no effect when the answer is already on its way
//!
//! HELLO    the first message on a link, from the one who dials
//! WELCOME  its answer, if the link may be used
//!      7    1  version: the highest that the sender speaks, at least 2; now 2
//!      8    1  n, the length of the zone's name
//!      9    n  the sender's zone
//!    9+n    m  the sender: MEMBER
//!  9+n+m    …  fields; none yet
//! REFUSED  its other answer
//!      7    …  reason, UTF-8, at most 4,096 bytes
//! GOSSIP
//!      7    …  a datagram of the membership protocol
//!
//! ADVERT
//!      7    1  kind: 1 all services, 2 what has changed, 3 nothing has changed
//!      8    8  version of the advert
//!     16    4  n, the number of services that are offered; kinds 1 and 2 only
//!     20    …  n times: flags (1), SERVICE, cost (4). Bit 0 of the flags = a request may safely run twice, bit 1 = only
//!              Majordomo workers serve it. Other bits say more of the service and are passed over, so that a newer node can
//!              say it to older ones: to a node that does not know bit 1, a plugin serves it
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
//!      7    8  epoch of the session: the greater of what both opened it with, and one more
//!     15    …  the update, as [`super::path`] says
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
//! Fields stand one after the other up to the end of the header, each: type (1), length (2), value. A type that the
//! receiver does not know is passed over. Where no fields stand, a header that goes on after its end is malformed.
//!
//! Nodes of different versions talk: HELLO and WELCOME stand as above in every version, what is new in them stands in
//! fields, and after them each node speaks to the other in the lower of both versions. So a command, code, kind or flag
//! of a later version comes only to nodes that know it; to the others it is malformed.

use super::{Body, Frame, Reply};
use crate::name::{Address, Label, Pattern, ServiceName};
use std::time::Duration;

mod codec;

pub use codec::{decode, decode_member, encode, encode_member, member_len, request_id};

/// How every header frame begins.
pub const MAGIC: &[u8] = b"WNODP1";

/// Highest version of the dialect that this node speaks. A node of version N works with one of version N-1.
pub const VERSION: u8 = 2;

/// Lowest version that it speaks: version 1 wrote the role of a member in datagrams in another way.
pub const OLDEST_VERSION: u8 = 2;

/// The longest endpoint, in bytes.
pub const MAX_ENDPOINT: usize = 1024;

/// The longest caller, in bytes.
pub const MAX_CALLER: usize = 1024;
/// Largest number of patterns of what a user may call.
pub const MAX_ALLOWED: usize = 256;

/// The most services on whose behalf a request can be made.
pub const MAX_CHAIN: usize = 255;

/// The most zones that a request may enter.
pub const MAX_CROSSED: usize = 32;

/// The most requests that a ping or a pong can name.
pub const MAX_NAMED: usize = 1024;

/// A node, or a router, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name, unique in its zone.
    pub name: Label,
    /// When its process started, in microseconds since 1970: of two with one name, the later is right. A process that
    /// has to outrank an earlier one takes a later time; the bits of [`Self::PROCESS`] stay as they were.
    pub boot: u64,
    /// How often it has come back under a new identity since its start, because it was taken for dead.
    pub renewal: u16,
    /// What it does.
    pub role: MemberKind,
    /// Where it can be dialled: at most [`MAX_ENDPOINT`] bytes without control characters.
    pub endpoint: String,
}

impl Member {
    /// The bits of [`Self::boot`] by which processes of one name and endpoint are told apart: 17 s of microseconds, so
    /// that a process and its successor agree in them once in 17 million starts.
    pub const PROCESS: u64 = (1 << 24) - 1;

    /// Whether it is the same process, under whatever identity.
    #[must_use]
    pub fn is_same_process(&self, other: &Self) -> bool {
        let process = |member: &Self| member.boot & Self::PROCESS;
        (&self.name, process(self), &self.endpoint) == (&other.name, process(other), &other.endpoint)
    }

    /// The earliest time after another at which this process could have started, as far as [`Self::PROCESS`] tells; the
    /// last time of all if there is none.
    #[must_use]
    pub fn boot_after(&self, other: u64) -> u64 {
        let boot = (other & !Self::PROCESS) | (self.boot & Self::PROCESS);
        if boot > other { boot } else { boot.saturating_add(Self::PROCESS + 1) }
    }
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    /// It serves clients.
    Node,
    /// It joins zones.
    Router,
}

impl MemberKind {
    /// Returns the byte that stands for it in every message.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Router => 2,
        }
    }

    /// Returns what a byte stands for, if it stands for a role.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Node, Self::Router].into_iter().find(|kind| kind.number() == number)
    }
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Who dials; the first message on a link.
    Hello {
        /// Its zone.
        zone: Label,
        /// Itself.
        member: Member,
    },
    /// Who was dialled: the answer to a hello. From then on the link carries everything else.
    Welcome {
        /// Its zone.
        zone: Label,
        /// Itself.
        member: Member,
    },
    /// The other answer to a hello, with the reason.
    Refused(String),
    /// A datagram of the membership protocol.
    Gossip(Frame),
    /// What the sender offers.
    Advert(Advert),
    /// Asks for a whole advert.
    Pull,
    /// Begins a session between routers, with what its epoch is made of (`link_epoch` of the core).
    Open {
        /// The sender's epoch.
        epoch: u64,
    },
    /// What a router tells another of paths.
    Paths {
        /// The epoch of the session that it is told on (`link_epoch` of the core).
        epoch: u64,
        /// The update ([`super::path`]).
        update: Frame,
    },
    /// A request to serve, from the one who dialled.
    Request(Box<Forward>),
    /// What became of a request, from the one who was dialled.
    Reply {
        /// The request.
        id: u64,
        /// What to tell.
        reply: Reply,
    },
    /// The request of this number is no longer wanted.
    Cancel {
        /// The request.
        id: u64,
    },
    /// Asks for a sign of life, and names requests that have been outstanding for long.
    Ping {
        /// Those requests, at most [`MAX_NAMED`].
        outstanding: Vec<u64>,
    },
    /// The sign of life, with those of the named requests that the sender does not have.
    Pong {
        /// Those requests, at most [`MAX_NAMED`].
        unknown: Vec<u64>,
    },
}

/// A request on its way from node to node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The sender's number for it, ascending on each link.
    pub id: u64,
    /// The time that is left to answer; whole microseconds travel. `None` if it has no deadline.
    pub remaining: Option<Duration>,
    /// How many more nodes it may be passed on to.
    pub hops: u8,
    /// Whether nothing is to be run, and only the way that the request would take be told ([`super::trace`]).
    pub is_trace: bool,
    /// Whether there is another way for it, so that a router whose way has fallen silent is to give it back.
    pub has_alternative: bool,
    /// The service.
    pub service: ServiceName,
    /// Who asked, as the first node saw it, in at most [`MAX_CALLER`] bytes; empty if it did not say.
    pub caller: String,
    /// What the user who asked may call, if that is not everything; more than [`MAX_ALLOWED`] patterns are cut.
    pub allowed: Option<Vec<Pattern>>,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
    /// The services on whose behalf this one is called, outermost first; at most [`MAX_CHAIN`].
    pub chain: Vec<ServiceName>,
    /// The zone that is to serve it, if it is to leave the sender's.
    pub zone: Option<Label>,
    /// The node that is to serve it, if not any.
    pub node: Option<Label>,
    /// The zones that it has entered so far, the first one's own included: none is entered twice.
    pub crossed: Vec<Label>,
    /// The client's frames.
    pub body: Body,
}

/// What a member tells of its services. Each change makes a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advert {
    /// All of them.
    Whole {
        /// The version that this is.
        version: u64,
        /// Every service that it serves itself.
        offers: Vec<Offer>,
    },
    /// What is different from the version before.
    Change {
        /// The version that this makes; it counts only upon the one before.
        version: u64,
        /// New, or changed.
        offers: Vec<Offer>,
        /// Gone.
        withdrawn: Vec<Address>,
    },
    /// Nothing new: this is still the version, and the lease begins anew.
    Still {
        /// The version.
        version: u64,
    },
}

/// A service that a member serves itself; a router also tells what can be reached in other zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name; of a service in another zone, with that zone.
    pub service: Address,
    /// What it costs to get there: 0 for what the member serves itself.
    pub cost: u32,
    /// How it is served.
    pub traits: Traits,
}

/// How a service is served, as far as whoever passes requests on has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Traits {
    /// Whether a request may safely run twice.
    pub idempotent: bool,
    /// Whether only Majordomo workers serve it, so that a request has the deadline of workers.
    pub by_workers: bool,
}

impl Traits {
    const IDEMPOTENT: u8 = 1;
    const BY_WORKERS: u8 = 2;

    /// Those of a service that a plugin serves.
    #[must_use]
    pub fn of_plugin(idempotent: bool) -> Self {
        Self { idempotent, by_workers: false }
    }

    /// What holds of all of several providers.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { idempotent: self.idempotent && other.idempotent, by_workers: self.by_workers && other.by_workers }
    }

    /// As adverts and updates of paths carry them. Bits that this version does not know are passed over.
    pub(super) fn from_flags(flags: u8) -> Self {
        Self { idempotent: flags & Self::IDEMPOTENT != 0, by_workers: flags & Self::BY_WORKERS != 0 }
    }

    pub(super) fn to_flags(self) -> u8 {
        (if self.idempotent { Self::IDEMPOTENT } else { 0 }) | (if self.by_workers { Self::BY_WORKERS } else { 0 })
    }
}
