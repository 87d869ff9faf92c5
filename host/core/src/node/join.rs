//! Why a node that sent HELLO may not become a peer.

use crate::access::Denial;
use crate::name::Label;
use std::fmt;

/// Why a node that sent HELLO may not become a peer. The message is sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JoinRefusal {
    /// Its key does not suffice.
    Denied(Denial),
    /// It is of another zone.
    OtherZone {
        /// Name of the other node.
        guest: Label,
        /// Zone of the other node.
        zone: Label,
        /// Name of this node.
        me: Label,
        /// Zone of this node.
        own: Label,
    },
    /// A live node of the zone has its name.
    NameTaken {
        /// The name.
        name: Label,
        /// The zone.
        zone: Label,
        /// Endpoint of the node that has the name.
        endpoint: String,
    },
    /// This node has `limits.members` of them.
    Full(Label),
    /// This node is shutting down.
    Leaving(Label),
}

impl fmt::Display for JoinRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => denial.fmt(f),
            Self::OtherZone { guest, zone, me, own } => write!(
                f,
                "node {guest} is of zone {zone}, and node {me} is of zone {own}: correct node.zone of one, or the seed"
            ),
            Self::NameTaken { name, zone, endpoint } => {
                write!(f, "the name {name} is taken in zone {zone} by the node at {endpoint}: change node.name of one")
            }
            Self::Full(me) => write!(f, "node {me} has limits.members members already"),
            Self::Leaving(me) => write!(f, "node {me} is shutting down"),
        }
    }
}

impl std::error::Error for JoinRefusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(denial) => Some(denial),
            _ => None,
        }
    }
}

impl From<Denial> for JoinRefusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
