//! Why there is no reply.

use std::fmt;
use std::time::Duration;
use wasmnode_protocol::Failure;
use wasmnode_protocol::message;

/// Why there is no reply.
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
    /// The answer is a failure; the node or the service says why.
    Failure(Failure),
    /// Nobody listens at the endpoint.
    Unreachable {
        /// Where the node was expected.
        endpoint: String,
    },
    /// The node does not let this client in, or is not the one that was expected.
    Refused {
        /// Where the node is.
        endpoint: String,
        /// What it said, as far as that is known.
        why: &'static str,
    },
    /// The connection ended before the answer came.
    Lost {
        /// Where the node is.
        endpoint: String,
    },
    /// No message arrived in time.
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The node sent something that is not of the protocol.
    Malformed(message::Malformed),
    /// ZeroMQ refused: the endpoint is wrong, above all.
    Socket {
        /// Where the node was expected.
        endpoint: String,
        /// What ZeroMQ said.
        source: SocketError,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::Unreachable { endpoint } => {
                write!(f, "no node answers at {endpoint}; is it running, and listening there?")
            }
            Self::Refused { endpoint, why } => write!(f, "the node at {endpoint} does not let this client in: {why}"),
            Self::Lost { endpoint } => write!(
                f,
                "the connection to {endpoint} ended before the answer came: the node stopped, or it ended the connection, \
                 because of a message of more than twice its limits.message, or a key that it no longer trusts; its \
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
    /// Returns `true` if the request may have run, so that a second one could have its effect twice, unless both have
    /// the same idempotency key.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Failure(failure) => !failure.code.was_not_started(),
            Self::Unreachable { .. } | Self::Refused { .. } => false,
            Self::Lost { .. } | Self::Timeout { .. } | Self::Malformed(_) | Self::Socket { .. } => true,
        }
    }
}

/// An error of ZeroMQ.
#[derive(Debug)]
pub struct SocketError(zmq::Error);

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SocketError {}

impl From<zmq::Error> for SocketError {
    fn from(error: zmq::Error) -> Self {
        Self(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
