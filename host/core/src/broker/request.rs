//! A request on its way through the broker: who waits for it, where it is to be served, and what a plugin gets of it.

use super::MAX_HOPS;
use crate::connection::ConnectionId;
use crate::message::{Body, Dialect, Frame};
use crate::name::{Label, Pattern, ServiceName};
use crate::time::Time;
use std::fmt::{self, Write};
use std::time::Duration;

/// The node's number for a request: unique while the node runs, and ascending in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Address that a worker gets instead of the client's. It names the request, so that a reply for any other is
    /// recognised, in 16 hexadecimal digits, because some workers keep it as text that ends at a zero byte.
    pub(super) fn token(self) -> Frame {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut token = [0; 16];
        for (index, digit) in token.iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.0 >> (4 * index)) as usize & 15];
        }
        Frame::copy_from_slice(&token)
    }
}

/// The driver's number for a call that a running plugin makes; unique while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Who waits for an answer, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A client on a connection.
    Client {
        /// Its connection.
        connection: ConnectionId,
        /// How it speaks.
        dialect: Dialect,
        /// Its own number for the request; 0 where the dialect has none.
        id: u64,
        /// The address that it asked for, where that is more than the service's name.
        asked: Option<Frame>,
    },
    /// A running plugin that called another service.
    Call {
        /// The driver's number for the call.
        call: CallId,
        /// The request on whose behalf it calls.
        parent: RequestId,
        /// The service that it serves.
        caller: ServiceName,
    },
}

/// Where a request is to be served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Here, or else at a peer.
    Anywhere,
    /// Here only.
    Here,
    /// Here, or else at a peer of this zone.
    Home,
    /// At this peer only.
    Node(Label),
    /// In this other zone only.
    Zone(Label),
    /// On this node of another zone only.
    NodeIn {
        /// The zone.
        zone: Label,
        /// The node.
        node: Label,
    },
}

impl Destination {
    /// Whether this node may serve it.
    pub(crate) fn may_be_here(&self) -> bool {
        matches!(self, Self::Anywhere | Self::Here | Self::Home)
    }
}

/// A request with all that it brings along: made where it enters the node, and moved from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Who waits for the answer.
    pub requester: Requester,
    /// What is asked for.
    pub service: ServiceName,
    /// Where it is to be served.
    pub destination: Destination,
    /// Who asked in the first place, if a peer passes the request on.
    pub caller: Option<Caller>,
    /// What the user who asked in the first place may call, if a peer passes the request on and that is not everything.
    pub allowed: Option<Vec<Pattern>>,
    /// The services on whose behalf this one is called, outermost first.
    pub chain: Vec<ServiceName>,
    /// The zones that it has entered so far, if a peer passes the request on.
    pub crossed: Vec<Label>,
    /// How many more nodes it may be passed on to.
    pub hops: u8,
    /// Whether it has to leave this zone with the next link, because a router of it passed it on.
    pub is_outward: bool,
    /// Whether nothing is to be run, and only the way be told.
    pub is_trace: bool,
    /// Whether whoever passes it on has another way for it, and wants it back if no way here gives a sign of life.
    pub has_alternative: bool,
    /// The client's frames.
    pub body: Body,
    /// How long the client is ready to wait; the service's own deadline if it is shorter or this is `None`.
    pub deadline: Option<Duration>,
    /// How long to wait for a service that nobody offers; `None` fails at once.
    pub patience: Option<Duration>,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
}

impl RequestContext {
    /// Creates a request that was made here, with an empty body and no limits of its own.
    #[must_use]
    pub fn new(requester: Requester, service: ServiceName, destination: Destination) -> Self {
        Self {
            requester,
            service,
            destination,
            caller: None,
            allowed: None,
            chain: Vec::new(),
            crossed: Vec::new(),
            hops: MAX_HOPS,
            is_outward: false,
            is_trace: false,
            has_alternative: false,
            body: Body::new(),
            deadline: None,
            patience: None,
            traceparent: None,
            idempotency_key: None,
        }
    }

    /// Returns who asks, as the service is told.
    pub(super) fn caller(&self) -> Caller {
        match (&self.caller, &self.requester) {
            (Some(caller), _) => caller.clone(),
            (None, Requester::Client { connection, .. }) => Caller::Client(connection.clone()),
            (None, Requester::Call { caller, .. }) => Caller::Service(caller.clone()),
        }
    }
}

/// A request on its way into a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number; [`crate::Input::Finished`] names it.
    pub id: RequestId,
    /// The service, and so the plugin.
    pub service: ServiceName,
    /// Who asks.
    pub caller: Caller,
    /// The client's frames.
    pub body: Body,
    /// When it will be stopped.
    pub deadline: Time,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
}

/// Who asks, as the service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A client: by the name under which its key is trusted, or by its connection if it need not show one.
    Client(ConnectionId),
    /// Another service of this node.
    Service(ServiceName),
    /// Somebody at another node.
    Remote {
        /// That node.
        node: Label,
        /// Who asked there, as that node says.
        caller: String,
    },
}

impl Caller {
    /// As `Display` has it, in one allocation: each request that a plugin serves, or a peer gets, says who asks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(64);
        let _never_fails = write!(text, "{self}");
        text
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(peer) => match peer.principal() {
                Some(principal) => write!(f, "user:{principal}"),
                None => f.write_str("client:").and_then(|()| peer.fmt(f)),
            },
            Self::Service(service) => f.write_str("service:").and_then(|()| f.write_str(service.as_str())),
            Self::Remote { node, caller } => {
                ["node:", node.as_str(), "/", caller].iter().try_for_each(|part| f.write_str(part))
            }
        }
    }
}
