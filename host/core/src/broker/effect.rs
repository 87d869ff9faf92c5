//! What the broker decided, and what of it a person may want to know.

use super::request::{RequestId, Requester, Run};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::Failure;
use crate::message::majordomo::ToWorker;
use crate::message::peer::{Forward, Traits};
use crate::message::{Dialect, Reply};
use crate::name::ServiceName;
use crate::text;
use std::fmt;

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
    /// Tell a peer to serve a request; [`super::Broker::peer_replied`] brings its answer.
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

    /// Whether a worker registered twice on one connection, as it looks where two workers share an identity and the
    /// second takes the place of the first.
    #[must_use]
    pub fn is_doubled_identity(&self) -> bool {
        matches!(self, Self::WorkerLeft { why: REGISTERED_TWICE, .. })
    }
}

/// Why a worker is no longer registered that says again that it is ready.
pub(super) const REGISTERED_TWICE: &str = "it registered twice";
