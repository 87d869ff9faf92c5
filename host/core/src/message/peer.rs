//! What nodes say to one another, on links of their own.

use super::{Body, Frame, Reply};
use crate::name::{Label, ServiceName};
use std::time::Duration;

/// A node, or a router, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name, unique in its zone.
    pub name: Label,
    /// When its process started, in microseconds since 1970: of two with one name, the later is right.
    pub boot: u64,
    /// How often it has come back under a new identity since its start, because it was taken for dead.
    pub renewal: u16,
    /// What it does.
    pub role: Role,
    /// Where it can be dialled.
    pub endpoint: String,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It serves clients.
    Node,
    /// It joins zones.
    Router,
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
    /// A request to serve, from the one who dialled.
    Request(Forward),
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
        /// Those requests.
        outstanding: Vec<u64>,
    },
    /// The sign of life, with those of the named requests that the sender does not have.
    Pong {
        /// Those requests.
        unknown: Vec<u64>,
    },
}

/// A request on its way from node to node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The sender's number for it, ascending on each link.
    pub id: u64,
    /// The time that is left to answer.
    pub remaining: Duration,
    /// How many more nodes it may be passed on to.
    pub hops: u8,
    /// The service.
    pub service: ServiceName,
    /// Who asked, as the first node saw it.
    pub caller: String,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
    /// The services on whose behalf this one is called, outermost first.
    pub chain: Vec<ServiceName>,
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
        withdrawn: Vec<ServiceName>,
    },
    /// Nothing new: this is still the version, and the lease begins anew.
    Still {
        /// The version.
        version: u64,
    },
}

/// A service that a member serves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub service: ServiceName,
    /// Whether a request may safely run twice.
    pub idempotent: bool,
}
