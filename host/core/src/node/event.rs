use crate::message::peer::Member;
use crate::name::Label;
use crate::text;
use std::fmt;

/// Something about the zone that a person may want to know; `Display` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneEvent {
    /// A node has become a member of the zone.
    MemberJoined(Member),
    /// A member of the zone has died or left.
    MemberLeft(Member),
    /// This node was taken for dead, and is back.
    Renewed(Member),
    /// Another process has this node's name, and started later.
    NameTaken(Member),
    /// The link to a peer is gone.
    LinkLost {
        /// The peer.
        node: Label,
        /// Why.
        why: String,
    },
    /// A peer gives no sign of life, or does so again.
    PeerSilent {
        /// The peer.
        node: Label,
        /// Which of the two.
        is_silent: bool,
    },
    /// Nobody was found where a node was expected, or one that wants nothing of this one.
    DialFailed {
        /// Where.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// A session with another router has begun.
    SessionUp {
        /// Its zone.
        zone: Label,
        /// Its name.
        router: Label,
    },
    /// A session with another router has ended.
    SessionDown {
        /// Its name.
        router: Label,
    },
    /// Something a node said was refused.
    PeerRefused {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// So many services of this node are more than the members are told of.
    Unlisted {
        /// How many.
        services: usize,
    },
}

impl ZoneEvent {
    /// Kind of the event, by which it is counted: events of one kind differ in who and what alone.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::MemberJoined(_) => "members that join",
            Self::MemberLeft(_) => "members that leave",
            Self::Renewed(_) => "renewals of this node",
            Self::NameTaken(_) => "nodes with this name",
            Self::LinkLost { .. } => "links that are lost",
            Self::PeerSilent { .. } => "peers that are silent",
            Self::DialFailed { .. } => "endpoints without a peer",
            Self::SessionUp { .. } => "sessions that begin",
            Self::SessionDown { .. } => "sessions that end",
            Self::PeerRefused { why, .. } => text::beginning(why),
            Self::Unlisted { .. } => "services over a limit",
        }
    }
}

impl fmt::Display for ZoneEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemberJoined(member) => {
                write!(f, "node {} at {} is a peer from now on", member.name, member.endpoint)
            }
            Self::MemberLeft(member) => write!(f, "node {} at {} is no longer a peer", member.name, member.endpoint),
            Self::Renewed(_) => f.write_str("the zone took this node for dead; it is back"),
            Self::NameTaken(member) => write!(
                f,
                "the node at {} has this node's name, {}, and started later: this node has left the zone, and comes back if \
                 that one is gone; change node.name of one",
                member.endpoint, member.name
            ),
            Self::LinkLost { node, why } => write!(f, "the link to node {node} is gone: {why}"),
            Self::PeerSilent { node, is_silent: true } => {
                write!(f, "node {node} gives no sign of life; it gets no requests until it does")
            }
            Self::PeerSilent { node, is_silent: false } => write!(f, "node {node} gives signs of life again"),
            Self::DialFailed { endpoint, why } => write!(f, "no peer at {endpoint}: {why}"),
            Self::SessionUp { zone, router } => write!(f, "router {router} of zone {zone} is a neighbour from now on"),
            Self::SessionDown { router } => write!(f, "router {router} is no longer a neighbour"),
            Self::PeerRefused { node, why } => write!(f, "refused node {node}: {why}"),
            Self::Unlisted { services } => {
                write!(f, "over limits.offers: the peers are not told of {}", text::count(*services, "service"))
            }
        }
    }
}
