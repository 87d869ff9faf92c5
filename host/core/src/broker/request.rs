//! A request in the broker: its requester, its destination, and the part of it that a plugin gets.

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
    /// Returns the address that a worker gets in place of the client's. The token identifies the request, so that a
    /// reply to any other is recognised. Its 16 characters are hexadecimal digits, because some workers keep it as text
    /// that ends at a zero byte.
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

/// Client or run that waits for an answer, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A client on a connection.
    Client {
        /// Its connection.
        connection: ConnectionId,
        /// Its dialect.
        dialect: Dialect,
        /// Its own number for the request; 0 where the dialect has none.
        id: u64,
        /// The address that it sent, if that is more than the service's name.
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
    /// Returns `true` if this node may serve the request.
    pub(crate) fn may_be_here(&self) -> bool {
        matches!(self, Self::Anywhere | Self::Here | Self::Home)
    }
}

/// Request with all its parameters: created where it enters the node, and then moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The client or run that waits for the answer.
    pub requester: Requester,
    /// The requested service.
    pub service: ServiceName,
    /// Where it is to be served.
    pub destination: Destination,
    /// The original caller, if a peer forwarded the request.
    pub caller: Option<Caller>,
    /// The services that the original user may call, if a peer forwarded the request and they are not all.
    pub allowed: Option<Vec<Pattern>>,
    /// The services on whose behalf this one is called, outermost first.
    pub chain: Vec<ServiceName>,
    /// The zones that it has entered so far, if a peer forwarded it.
    pub crossed: Vec<Label>,
    /// Remaining hops: number of nodes that it may still be forwarded to.
    pub hops: u8,
    /// Whether its next link must leave this zone, because a router of this zone forwarded it.
    pub is_outward: bool,
    /// Whether it is a trace: it runs nowhere, and only its path is reported.
    pub is_trace: bool,
    /// Whether the node that forwarded it has another route, and gets it back if all routes from here are unresponsive.
    pub has_alternative: bool,
    /// The client's frames.
    pub body: Body,
    /// The client's time limit. The service's own deadline applies if it is shorter, or if this is `None`.
    pub deadline: Option<Duration>,
    /// How long to wait for a service without a provider; `None` fails immediately.
    pub patience: Option<Duration>,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Idempotency key: requests with the same key run once.
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

    /// Returns the caller, as the service receives it.
    pub(super) fn caller(&self) -> Caller {
        match (&self.caller, &self.requester) {
            (Some(caller), _) => caller.clone(),
            (None, Requester::Client { connection, .. }) => Caller::Client(connection.clone()),
            (None, Requester::Call { caller, .. }) => Caller::Service(caller.clone()),
        }
    }
}

/// Request that a plugin is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number; [`crate::Input::Finished`] names it.
    pub id: RequestId,
    /// The service, and so the plugin.
    pub service: ServiceName,
    /// The caller.
    pub caller: Caller,
    /// The client's frames.
    pub body: Body,
    /// The time at which it is stopped.
    pub deadline: Time,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Idempotency key: requests with the same key run once.
    pub idempotency_key: Option<Frame>,
}

/// Caller of a service, as the service receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A client, by the name of its trusted key, or by its connection if no key is required.
    Client(ConnectionId),
    /// Another service of this node.
    Service(ServiceName),
    /// A caller at another node.
    Remote {
        /// That node.
        node: Label,
        /// The caller there, as that node reports it.
        caller: String,
    },
}

impl Caller {
    /// Returns the text of `Display`, in one allocation, because every run and every forwarded request needs it.
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
