//! Reasons why a request has no reply.

use std::fmt;
use std::time::Duration;
use wasmnode_protocol::Failure;
use wasmnode_protocol::message;

/// Reason why a request has no reply.
///
/// ```
/// use wasmnode_client::{Code, Error, Failure};
///
/// let busy = Error::from(Failure::new(Code::Overloaded, "the queue is full"));
/// assert!(!busy.may_have_run(), "so it can be sent again");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The node or the service answered with a failure.
    Failure(Failure),
    /// No connection to the endpoint was established within two seconds.
    Unreachable {
        /// Endpoint as passed to the client.
        endpoint: String,
    },
    /// The node rejects this client's key, or requires one, or has another key than expected.
    Refused {
        /// Endpoint of the node.
        endpoint: String,
        /// The reason, as far as it can be determined, and the remedy.
        why: &'static str,
    },
    /// The connection ended before the answer arrived.
    Lost {
        /// Endpoint of the node.
        endpoint: String,
    },
    /// No message arrived in time.
    Timeout {
        /// Time for which the client waited.
        waited: Duration,
    },
    /// The node sent a message that breaks the protocol.
    Malformed(message::Malformed),
    /// ZeroMQ failed, in most cases because the endpoint is invalid.
    Socket {
        /// Endpoint as passed to the client.
        endpoint: String,
        /// The error of ZeroMQ.
        source: SocketError,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::Unreachable { endpoint } => {
                write!(f, "no node answers at {endpoint}; start one with `wasmnode`, or name its endpoint")
            }
            Self::Refused { endpoint, why } => write!(f, "the node at {endpoint} rejects this client: {why}"),
            Self::Lost { endpoint } => write!(
                f,
                "the connection to {endpoint} ended before the answer arrived: the node stopped, or it ended the \
                 connection because of a message over twice its limits.message or a key that it does not trust; its \
                 log has the reason"
            ),
            Self::Timeout { waited } => write!(f, "no answer within {waited:?}"),
            Self::Malformed(malformed) => write!(f, "the node sent a message that {malformed}"),
            Self::Socket { endpoint, source } => write!(f, "cannot connect to {endpoint}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Malformed(malformed) => Some(malformed),
            Self::Socket { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Error {
    /// Returns `true` if the request may have run.
    ///
    /// A retry could then repeat its effect, unless both requests have the same idempotency key.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Failure(failure) => !failure.code.was_not_started(),
            Self::Unreachable { .. } | Self::Refused { .. } => false,
            Self::Lost { .. } | Self::Timeout { .. } | Self::Malformed(_) | Self::Socket { .. } => true,
        }
    }
}

/// Error of ZeroMQ.
#[derive(Debug)]
pub struct SocketError(pub(crate) zmq::Error);

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SocketError {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
