//! Path updates, in which routers advertise to each other the services that can be reached through them.
//!
//! Routers of one zone and of different zones exchange them. An update is one frame; a session between two routers
//! delivers updates in order. Integers are unsigned, in network byte order. Each name is preceded by its length (1). A
//! ROUTER is the name of its zone and its own name.
//!
//! ```text
//! offset size
//!      0    8  number: one more than that of the previous update on this session; the first is 1
//!      8    1  kind: 1 NEWS, 2 BEGIN, 3 COMPLETE, 4 STILL, 5 ASK
//!
//! NEWS     five lists, each after its count (4):
//!              dead links: ROUTER, ROUTER, epoch (8)
//!              tombstones: ROUTER, boot (8), version (8), name of the service, empty for all that the router serves
//!              withdrawn: name of the zone, name of the service
//!              groups: PATH, boot of its origin (8), cost (4), and after their count (4) services: name, version (8),
//!                  flags (1): bit 0 = a request may safely run twice, bit 1 = only Majordomo workers serve it;
//!                  receivers ignore the other bits
//!              keepalives: ROUTER, boot (8), version (8)
//! BEGIN    nothing more: all valid routes follow
//! COMPLETE nothing more: all valid routes have been sent since BEGIN
//! STILL
//!      9    4  number of valid routes on this session
//!     13    8  sum of their digests
//! ASK      nothing more: requests all valid routes
//!
//! PATH     number of hops (1), at most 32; for each, nearest first: ROUTER, epoch (8) of its session with the next
//!          hop, 0 for the last
//! ```

use super::peer::Traits;
use crate::name::{Label, ServiceName};
use std::fmt;

mod codec;

pub use codec::{decode, encode};

/// Largest number of routers on a path.
pub const MAX_HOPS: usize = 32;

/// Approximate largest size of an update, in bytes: larger changes are sent in several updates.
pub const MAX_UPDATE: usize = 256 << 10;

/// Name of a router with its zone, written like a node of another zone: `gate.paris`.
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

/// Router on a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The router.
    pub at: RouterId,
    /// Epoch of its session with the next router on the path; 0 for the last.
    pub epoch: u64,
}

/// Ended session between two routers, which is the cause of lost routes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLink {
    /// The lesser of the two routers.
    pub a: RouterId,
    /// The greater one, or the same.
    pub b: RouterId,
    /// Epoch of the ended session. Paths over a session of a later epoch stay valid.
    pub epoch: u64,
}

impl DeadLink {
    /// Creates a dead link from two routers in either order.
    #[must_use]
    pub fn new(one: RouterId, other: RouterId, epoch: u64) -> Self {
        let (a, b) = if one <= other { (one, other) } else { (other, one) };
        Self { a, b, epoch }
    }
}

/// Withdrawal by the origin: its routes up to a version are invalid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    /// The origin.
    pub origin: RouterId,
    /// Start of the origin's process, in microseconds since 1970.
    pub boot: u64,
    /// The last version that is invalid.
    pub version: u64,
    /// The service; `None` for all of them.
    pub service: Option<ServiceName>,
}

/// Services of one zone that are reached on one path, whose last hop is their origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The routers to cross, the sender first; at most [`MAX_HOPS`].
    pub path: Vec<Hop>,
    /// Start of the origin's process, in microseconds since 1970.
    pub boot: u64,
    /// The cost from the sender to the origin.
    pub cost: u32,
    /// The services.
    pub services: Vec<OfferedService>,
}

/// Service as its origin offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedService {
    /// Its name.
    pub service: ServiceName,
    /// Version of the offer, which orders the statements of the origin.
    pub version: u64,
    /// The traits of the service.
    pub traits: Traits,
}

/// Renewal of all offers of an origin for another lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keepalive {
    /// The origin.
    pub origin: RouterId,
    /// Start of its process, in microseconds since 1970.
    pub boot: u64,
    /// Version, later than those of all earlier statements of the origin.
    pub version: u64,
}

/// Service of a zone.
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

/// Changes of routes. The receiver applies the lists in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ended sessions because of which routes are lost.
    pub causes: Vec<DeadLink>,
    /// Routes that their origins withdrew.
    pub tombstones: Vec<Tombstone>,
    /// Services that the sender does not reach, or does not advertise to this receiver.
    pub withdrawn: Vec<RouteKey>,
    /// Services that the sender reaches; replaces its earlier paths to the same services.
    pub groups: Vec<Group>,
    /// Origins that are alive. An entry of the receiver itself is the latest process of its name known to the sender.
    pub fresh: Vec<Keepalive>,
}

/// Content of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateContent {
    /// Changes of routes.
    Changes(Changes),
    /// Start of a refresh: all valid routes follow.
    BeginRefresh,
    /// End of a refresh: all valid routes have been sent since [`Self::BeginRefresh`].
    EndRefresh,
    /// Digest of all valid routes, sent when nothing has changed.
    Digest {
        /// Number of valid routes.
        routes: u32,
        /// Sum of their digests.
        digest: u64,
    },
    /// Request for a refresh.
    RequestRefresh,
}

/// Message on a session between routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// One more than that of the previous update on this session; the first is 1.
    pub number: u64,
    /// The content.
    pub content: UpdateContent,
}
