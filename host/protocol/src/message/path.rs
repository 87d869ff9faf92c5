//! What routers of different zones, and those of one zone, tell each other of the services that can be reached through
//! them.
//!
//! An update is one frame, which travels in order on a session between two routers. Integers are unsigned, in network
//! byte order. Names have a length of one byte before them. A ROUTER is the name of its zone and its own name.
//!
//! ```text
//! offset size
//!      0    8  number: one more than in the update before, on this session; the first is 1
//!      8    1  kind: 1 NEWS, 2 BEGIN, 3 COMPLETE, 4 STILL, 5 ASK
//!
//! NEWS     five lists, each after its count (4):
//!              dead links: ROUTER, ROUTER, epoch (8)
//!              tombstones: ROUTER, boot (8), version (8), name of the service, empty for all that the router serves
//!              withdrawn: name of the zone, name of the service
//!              groups: PATH, boot of its origin (8), cost (4), and after their count (4) services: name, version (8),
//!                  flags (1): bit 0 = a request may safely run twice, bit 1 = only Majordomo workers serve it; other
//!                  bits are passed over
//!              signs of life: ROUTER, boot (8), version (8)
//! BEGIN    all that counts follows, nothing more
//! COMPLETE all that counts has been told since BEGIN, nothing more
//! STILL
//!      9    4  how many routes count on this session
//!     13    8  the sum of their digests
//! ASK      tell me all that counts, nothing more
//!
//! PATH     hops (1), at most 32; for each, nearest first: ROUTER, epoch (8) of its session with the next; 0 for the last
//! ```

use super::peer::Traits;
use crate::name::{Label, ServiceName};
use std::fmt;

mod codec;

pub use codec::{decode, encode};

/// The most routers on a path.
pub const MAX_HOPS: usize = 32;

/// About how many bytes of news one update has at most: news that are larger are told in several.
pub const MAX_UPDATE: usize = 256 << 10;

/// A router by its names. Written like a node of another zone: `gate.paris`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterId {
    /// Its zone.
    pub zone: Label,
    /// Its name in the zone.
    pub router: Label,
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.router, self.zone)
    }
}

/// A router on a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The router.
    pub at: RouterId,
    /// The epoch of its session with the next router on the path; 0 for the last.
    pub epoch: u64,
}

/// The cause of lost routes: the session between two routers ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLink {
    /// One of the two.
    pub a: RouterId,
    /// The other, which is not less.
    pub b: RouterId,
    /// The epoch of the session: what is said of a newer one still counts.
    pub epoch: u64,
}

impl DeadLink {
    /// The end of a session between two routers, whichever is named first.
    #[must_use]
    pub fn new(one: RouterId, other: RouterId, epoch: u64) -> Self {
        let (a, b) = if one <= other { (one, other) } else { (other, one) };
        Self { a, b, epoch }
    }
}

/// The orderly end of what a router serves: no route of that origin counts up to this version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    /// The origin.
    pub origin: RouterId,
    /// When the origin's process started.
    pub boot: u64,
    /// The last version that does not count.
    pub version: u64,
    /// The service; `None` for all of them.
    pub service: Option<ServiceName>,
}

/// Services of one zone that are reached on one path. The last hop is their origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The routers to cross, the sender first; at most [`MAX_HOPS`].
    pub path: Vec<Hop>,
    /// When the origin's process started.
    pub boot: u64,
    /// The cost from the sender to the origin.
    pub cost: u32,
    /// The services.
    pub services: Vec<OfferedService>,
}

/// A service as its origin offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedService {
    /// Its name.
    pub service: ServiceName,
    /// Orders what the origin says.
    pub version: u64,
    /// How it is served.
    pub traits: Traits,
}

/// A sign of life of an origin: all that it offers counts for another lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keepalive {
    /// The origin.
    pub origin: RouterId,
    /// When its process started.
    pub boot: u64,
    /// Newer than all that it said before.
    pub version: u64,
}

/// A service of a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The zone that serves it.
    pub zone: Label,
    /// The service.
    pub service: ServiceName,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.zone)
    }
}

/// What is new. The receiver takes the lists in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Why routes are lost.
    pub causes: Vec<DeadLink>,
    /// What ended in good order.
    pub tombstones: Vec<Tombstone>,
    /// What the sender no longer reaches, or no longer tells this receiver.
    pub withdrawn: Vec<RouteKey>,
    /// What it reaches, in place of what it said of the same services before.
    pub groups: Vec<Group>,
    /// Origins that are alive. One that is the receiver itself is the latest process of its name that the sender knows
    /// of.
    pub fresh: Vec<Keepalive>,
}

/// What an update says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateContent {
    /// What is new.
    Changes(Changes),
    /// All that counts follows.
    BeginRefresh,
    /// All that counts has been told since [`Self::BeginRefresh`].
    EndRefresh,
    /// Nothing is new: so many routes count, with this sum of digests.
    Digest {
        /// How many.
        routes: u32,
        /// The sum of their digests.
        digest: u64,
    },
    /// Tell me all that counts.
    RequestRefresh,
}

/// One message on a session between routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// One more than that of the update before, on this session; the first is 1.
    pub number: u64,
    /// What it says.
    pub content: UpdateContent,
}
