//! Effects of the broker's decisions, and events for the operator.

use super::request::{RequestId, Requester, Run};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::Failure;
use crate::message::majordomo::ToWorker;
use crate::message::peer::{Forward, Traits};
use crate::message::{Dialect, Reply};
use crate::name::ServiceName;
use crate::text;
use std::fmt;

/// Effect of a decision of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a reply to the requester. The one reply that is not partial is the answer.
    Reply {
        /// The requester.
        requester: Requester,
        /// The requested service.
        service: ServiceName,
        /// The reply.
        reply: Reply,
    },
    /// Start a run of the service's plugin. Each run must be confirmed by exactly one `finish`.
    Run(Box<Run>),
    /// Stop a run, which is still to be confirmed.
    Stop(RequestId),
    /// Send a command to a worker.
    Worker {
        /// Its connection.
        connection: ConnectionId,
        /// Its dialect.
        dialect: Dialect,
        /// The command.
        command: ToWorker,
    },
    /// Forward a request to a peer; [`super::Broker::peer_replied`] takes its replies.
    Forward {
        /// The link to it.
        link: LinkId,
        /// The request; boxed, because it is the largest of the effects.
        forward: Box<Forward>,
    },
    /// Cancel a request at a peer.
    CancelForward {
        /// The link to it.
        link: LinkId,
        /// The request's number on that link.
        id: u64,
    },
    /// The node has started to serve a service itself, or serves it with other traits.
    Serves {
        /// The service.
        service: ServiceName,
        /// How it is served.
        traits: Traits,
    },
    /// The node has stopped serving a service itself.
    Ceases(ServiceName),
    /// Report an event to the operator.
    Event(Event),
}

/// Event for the operator; `Display` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker registered.
    WorkerJoined {
        /// Its connection.
        connection: ConnectionId,
        /// The service.
        service: ServiceName,
    },
    /// A worker's registration has ended.
    WorkerLeft {
        /// Its connection.
        connection: ConnectionId,
        /// The service.
        service: ServiceName,
        /// The reason.
        why: &'static str,
    },
    /// Workers take requests for a service that a plugin serves too. Reported once while the service is offered.
    Shared {
        /// The service.
        service: ServiceName,
    },
    /// A message was refused.
    Refused {
        /// Its connection.
        connection: ConnectionId,
        /// The reason.
        why: String,
    },
    /// A client's request failed, and its protocol has no message for failures.
    UnreportedFailure {
        /// Its connection.
        connection: ConnectionId,
        /// The requested service.
        service: ServiceName,
        /// The failure, which the client does not receive.
        failure: Failure,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerJoined { connection, service } => write!(f, "worker {} serves {service}", connection.shown()),
            Self::WorkerLeft { connection, service, why } => {
                write!(f, "worker {} of {service} left: {why}", connection.shown())?;
                if self.is_doubled_identity() {
                    f.write_str("; if it did not restart, another worker has its identity: give each one of its own")?;
                }
                Ok(())
            }
            Self::Shared { service } => write!(
                f,
                "workers share {service} with its plugin, and take every second request; if that is not intended, end them, or \
                 limit `work` of their keys"
            ),
            Self::Refused { connection, why } => write!(f, "refused a message of {connection}: it {why}"),
            Self::UnreportedFailure { connection, service, failure } => {
                write!(f, "a request of Majordomo client {connection} for {service} ends without a reply: {failure}")
            }
        }
    }
}

impl Event {
    /// Returns the kind of the event, by which it is counted: events of one kind differ only in what they name.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::WorkerLeft { .. } if self.is_doubled_identity() => "workers that register twice",
            Self::WorkerJoined { .. } => "workers that join",
            Self::WorkerLeft { .. } => "workers that leave",
            Self::Shared { .. } => "services that workers share with plugins",
            Self::Refused { why, .. } => text::beginning(why),
            Self::UnreportedFailure { .. } => "requests that end without a reply",
        }
    }

    /// Returns `true` if a worker registered twice on one connection. Two workers that share an identity look like
    /// that, because the second takes over the connection of the first.
    #[must_use]
    pub fn is_doubled_identity(&self) -> bool {
        matches!(self, Self::WorkerLeft { why: REGISTERED_TWICE, .. })
    }
}

/// Reason to end the registration of a worker that sends READY again.
pub(super) const REGISTERED_TWICE: &str = "it registered twice";
