//! Denials: uses of a key that the access rules do not allow.

use crate::name::{Label, ServiceName};
use std::fmt;

/// Use of a key that the access rules do not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The key is not trusted.
    NotTrusted,
    /// `work` of the key does not list the service that a worker registers for.
    Work(ServiceName),
    /// A node uses a key that is trusted under another name.
    OtherName {
        /// Name that the key is trusted as.
        principal: Label,
        /// Name of the node.
        node: Label,
    },
    /// A node uses the key of a client.
    Client(Label),
    /// A node uses a key that is trusted in another zone than the node claims.
    OtherZone {
        /// Name of the node.
        node: Label,
        /// Zone that the key is trusted in.
        own: Label,
        /// Zone that the node claims.
        zone: Label,
    },
    /// A node that is not a router of a certain zone uses the key of one.
    RouterOnly {
        /// Name of the node.
        node: Label,
        /// Zone of the router.
        zone: Label,
    },
    /// The dialled node has another name than the one that was dialled.
    Dialled {
        /// Name that was dialled.
        expected: Label,
        /// Name of the node.
        node: Label,
    },
    /// The name of the dialled node is trusted, but not as that of a node.
    NotANode(Label),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted => f.write_str("the key of this connection is not trusted"),
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
                write!(f, "the key of {node} is trusted only as that of a router of zone {zone}")
            }
            Self::Dialled { expected, node } => {
                write!(f, "the key there is that of {expected}, and cannot be used by node {node}")
            }
            Self::NotANode(node) => write!(f, "the key of {node} is not trusted as a node's there"),
        }
    }
}

impl std::error::Error for Denial {}
