use crate::message::peer::Member;
use crate::name::Label;
use crate::text;
use std::fmt;

/// Event of the zone for the operator; `Display` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneEvent {
    /// A node has become a member of the zone.
    MemberJoined(Member),
    /// A member of the zone has died or left.
    MemberLeft(Member),
    /// The zone considered this node dead, and has accepted it again.
    Renewed(Member),
    /// Another process has this node's name, and started later.
    NameTaken(Member),
    /// The link to a peer is gone.
    LinkLost {
        /// The peer.
        node: Label,
        /// The reason.
        why: String,
    },
    /// A peer has become unresponsive, or responds again.
    PeerUnresponsive {
        /// The peer.
        node: Label,
        /// `true` if the peer is unresponsive, `false` if it responds again.
        is_unresponsive: bool,
    },
    /// No node was found at an endpoint, or one that rejected this node.
    DialFailed {
        /// The endpoint.
        endpoint: String,
        /// The reason.
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
    /// A message of a node was rejected.
    PeerRefused {
        /// The node.
        node: String,
        /// The reason.
        why: String,
    },
    /// Services exceed the limit of offers, and are not advertised.
    Unlisted {
        /// Their number.
        services: usize,
    },
}

impl ZoneEvent {
    /// Returns the kind of the event, by which it is counted: events of one kind differ only in what they name.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::MemberJoined(_) => "members that join",
            Self::MemberLeft(_) => "members that leave",
            Self::Renewed(_) => "renewals of this node",
            Self::NameTaken(_) => "nodes with this name",
            Self::LinkLost { .. } => "links that are lost",
            Self::PeerUnresponsive { .. } => "peers that are unresponsive",
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
                write!(f, "node {} at {} joined the zone", member.name, member.endpoint)
            }
            Self::MemberLeft(member) => write!(f, "node {} at {} left the zone", member.name, member.endpoint),
            Self::Renewed(_) => f.write_str("the zone declared this node dead; it has rejoined"),
            Self::NameTaken(member) => write!(
                f,
                "the node at {} has this node's name, {}, and started later: this node left the zone, and rejoins \
                 when the other one is gone; change node.name of one",
                member.endpoint, member.name
            ),
            Self::LinkLost { node, why } => write!(f, "the link to node {node} is gone: {why}"),
            Self::PeerUnresponsive { node, is_unresponsive: true } => {
                write!(f, "node {node} is unresponsive; it gets no requests until it responds")
            }
            Self::PeerUnresponsive { node, is_unresponsive: false } => write!(f, "node {node} responds again"),
            Self::DialFailed { endpoint, why } => write!(f, "no peer at {endpoint}: {why}"),
            Self::SessionUp { zone, router } => write!(f, "the session with router {router} of zone {zone} began"),
            Self::SessionDown { router } => write!(f, "the session with router {router} ended"),
            Self::PeerRefused { node, why } => write!(f, "refused node {node}: {why}"),
            Self::Unlisted { services } => {
                write!(f, "over limits.offers: {} not advertised to peers", text::count(*services, "service"))
            }
        }
    }
}
