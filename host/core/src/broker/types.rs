//! The words in which the broker is asked and answers.

use crate::failure::{Code, Failure};
use crate::message::majordomo::ToWorker;
use crate::message::peer::{Forward, Traits};
use crate::message::{Body, ConnectionId, Dialect, Frame, LinkId, Reply};
use crate::name::{Label, Pattern, ServiceName};
use crate::text;
use crate::time::Time;
use std::collections::BTreeMap;
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

/// A request as it reaches the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
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

/// What the broker decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell the asker. Anything but a partial reply is its one answer.
    Reply {
        /// Who waits.
        requester: Requester,
        /// The service it asked for.
        service: ServiceName,
        /// What to tell.
        reply: Reply,
    },
    /// Start the service's plugin. It must be confirmed by exactly one `finish`.
    Run(Box<Run>),
    /// Stop that run; it is still to be confirmed.
    Stop(RequestId),
    /// Tell a worker.
    Worker {
        /// Its connection.
        connection: ConnectionId,
        /// How it speaks.
        dialect: Dialect,
        /// What to tell.
        command: ToWorker,
    },
    /// Tell a peer to serve a request; [`super::Broker::hop_replies`] brings its answer.
    Forward {
        /// The link to it.
        link: LinkId,
        /// The request; in a box, as it is the largest of the effects.
        forward: Box<Forward>,
    },
    /// Tell a peer that a request is no longer wanted.
    CancelForward {
        /// The link to it.
        link: LinkId,
        /// The request's number on that link.
        id: u64,
    },
    /// This node serves a service itself from now on.
    Serves {
        /// The service.
        service: ServiceName,
        /// How it is served.
        traits: Traits,
    },
    /// This node no longer serves a service itself.
    Ceases(ServiceName),
    /// Something a person may want to know.
    Event(Event),
}

/// Something a person may want to know; `Display` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker registered.
    WorkerJoined {
        /// Its connection.
        connection: ConnectionId,
        /// What it serves.
        service: ServiceName,
    },
    /// A worker is no longer registered.
    WorkerLeft {
        /// Its connection.
        connection: ConnectionId,
        /// What it served.
        service: ServiceName,
        /// Why.
        why: &'static str,
    },
    /// Workers take requests for a service that a plugin serves too; said once, until nobody offers it.
    Shared {
        /// The service.
        service: ServiceName,
    },
    /// Something a peer sent was refused.
    Refused {
        /// Its connection.
        connection: ConnectionId,
        /// Why.
        why: String,
    },
    /// A client's request failed, and its protocol has no message to say so.
    Untold {
        /// Its connection.
        connection: ConnectionId,
        /// What it asked for.
        service: ServiceName,
        /// What it would have been told.
        failure: Failure,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerJoined { connection, service } => write!(f, "worker {} serves {service}", connection.shown()),
            Self::WorkerLeft { connection, service, why } => {
                write!(f, "worker {} no longer serves {service}: {why}", connection.shown())?;
                if self.is_doubled_identity() {
                    f.write_str(
                        "; if it did not start anew, another worker has its identity: give each one of its own",
                    )?;
                }
                Ok(())
            }
            Self::Shared { service } => write!(
                f,
                "workers share {service} with its plugin, and take every second request; if that is not intended, end them, or \
                 limit `work` of their keys"
            ),
            Self::Refused { connection, why } => write!(f, "refused a message of {connection}: it {why}"),
            Self::Untold { connection, service, failure } => {
                write!(f, "a request of Majordomo client {connection} for {service} ends without a reply: {failure}")
            }
        }
    }
}

impl Event {
    /// Kind of the event, by which it is counted: events of one kind differ in who and what alone.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::WorkerLeft { .. } if self.is_doubled_identity() => "workers that register twice",
            Self::WorkerJoined { .. } => "workers that join",
            Self::WorkerLeft { .. } => "workers that leave",
            Self::Shared { .. } => "services that workers share with plugins",
            Self::Refused { why, .. } => text::beginning(why),
            Self::Untold { .. } => "requests that end without a reply",
        }
    }

    /// Whether a worker registered twice on one connection, as it looks where two workers share an identity and the second
    /// takes the place of the first.
    #[must_use]
    pub fn is_doubled_identity(&self) -> bool {
        matches!(self, Self::WorkerLeft { why: REGISTERED_TWICE, .. })
    }
}

/// Why a worker is no longer registered that says again that it is ready.
pub(super) const REGISTERED_TWICE: &str = "it registered twice";

/// What became of everything that arrived, since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests accepted, that is, owed an answer.
    pub accepted: u64,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Failures told or owed, by code; those of requests that were never accepted included.
    pub failed: BTreeMap<Code, u64>,
    /// Messages refused because they break a protocol's rules.
    pub malformed: u64,
    /// Registrations of workers and adverts of members that their keys do not allow.
    pub forbidden: u64,
    /// Replies of plugins and workers that nobody waited for any more, or for requests that were never theirs.
    pub unclaimed: u64,
    /// Requests given to another worker or peer after theirs had gone.
    pub retried: u64,
    /// Requests forwarded to peers, each time counted.
    pub forwarded: u64,
}

/// The state of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Whether a plugin offers it.
    pub plugin: bool,
    /// Whether workers take requests that the plugin would serve.
    pub is_shared: bool,
    /// Requests running in the plugin.
    pub running: usize,
    /// Workers waiting for a request.
    pub workers_idle: usize,
    /// Workers serving one.
    pub workers_busy: usize,
    /// Requests waiting.
    pub queued: usize,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The peers that offer it.
    pub peers: Vec<PeerStatus>,
}

/// How somebody who could serve a request is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// It is here.
    Here,
    /// It is a peer.
    Peer,
    /// It is in another zone; the peer leads there.
    RemoteZone,
}

/// Somebody who could serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// On which node.
    pub node: String,
    /// How it is reached.
    pub via: Via,
    /// `plugin`, `workers`, `peer`, or the zone and what it costs.
    pub what: String,
    /// Whether a request would go there now.
    pub is_ready: bool,
    /// What speaks for or against it.
    pub why: String,
}

/// How one peer does with one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: Label,
    /// The zone where the service is, if it is another.
    pub zone: Option<Label>,
    /// What it costs to get there.
    pub cost: u32,
    /// Requests that it has.
    pub outstanding: usize,
    /// Recent time to answer, microseconds.
    pub latency_us: u64,
    /// Requests in a row that it did not answer as it should.
    pub failures_in_a_row: u32,
    /// Whether it gives no sign of life.
    pub is_silent: bool,
    /// Whether it has as many requests as it may have.
    pub is_full: bool,
    /// How long it is left out still, because it only failed.
    pub paused_for: Duration,
    /// Whether a request may safely run twice there.
    pub idempotent: bool,
}
