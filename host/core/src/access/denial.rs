//! Why the key of a connection or of a node does not suffice.

use crate::name::{Label, ServiceName};
use std::fmt;

/// Why the key of a connection or of a node does not suffice for what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The key is not trusted.
    NotTrusted,
    /// `work` of the key does not list the service that a worker registers for.
    Work(ServiceName),
    /// The key belongs to another name than that of the node that uses it.
    OtherName {
        /// Name that the key is trusted as.
        principal: Label,
        /// Name of the node.
        node: Label,
    },
    /// The key of a client is used by a node.
    Client(Label),
    /// The key of a node is trusted in another zone.
    OtherZone {
        /// Name of the node.
        node: Label,
        /// Zone that the key is trusted in.
        own: Label,
        /// Zone that the node claims.
        zone: Label,
    },
    /// The key of a router is used for something else than its zone's routers.
    RouterOnly {
        /// Name of the node.
        node: Label,
        /// Zone of the router.
        zone: Label,
    },
    /// The key of a dialled node belongs to another node.
    Dialled {
        /// Name that was dialled.
        expected: Label,
        /// Name of the node.
        node: Label,
    },
    /// The key of a dialled node is not trusted as that of a node.
    NotANode(Label),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted => f.write_str("the key of this connection is not trusted any more"),
            Self::Work(service) => {
                write!(f, "registers a worker for {service}, but `work` of its key does not list it")
            }
            Self::OtherName { principal, node } => {
                write!(f, "this key is trusted as that of {principal}, so it cannot be used by node {node}")
            }
            Self::Client(node) => {
                write!(f, "the key of {node} is trusted as a client's, not as a node's: give it a role")
            }
            Self::OtherZone { node, own, zone } => {
                write!(f, "the key of {node} is trusted in zone {own}, not in {zone}")
            }
            Self::RouterOnly { node, zone } => {
                write!(f, "the key of {node} is trusted as that of a router of zone {zone}, and of nothing else")
            }
            Self::Dialled { expected, node } => {
                write!(f, "the key there is that of {expected}, and cannot be used by node {node}")
            }
            Self::NotANode(node) => write!(f, "the key of {node} is not trusted as a node's there"),
        }
    }
}

impl std::error::Error for Denial {}
