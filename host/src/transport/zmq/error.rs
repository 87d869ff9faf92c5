//! Errors of the transport: why an endpoint cannot be bound, and why a link cannot connect.

use crate::config::{GroupError, InvalidEndpoint};
use std::error::Error;
use std::{fmt, io};
use wasmnode_core::{Label, LinkId};

/// Why a node cannot listen.
#[derive(Debug)]
pub struct ListenError {
    pub(super) endpoint: String,
    pub(super) source: BindError,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.endpoint, self.source)
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Why an endpoint cannot be bound. The message continues a line that begins with the endpoint and a colon.
#[derive(Debug)]
pub(super) enum BindError {
    /// Something other than a socket is at its path.
    NotASocket,
    /// Another node listens at its path.
    NodeListens,
    /// A stale socket file stays.
    Stale(io::Error),
    /// libzmq rejects the keys.
    Keys(zmq::Error),
    /// The socket file cannot be given to its group.
    Group(GroupError),
    /// Another process listens there.
    InUse,
    /// The folder of its path does not exist.
    NoFolder,
    /// libzmq fails for another reason.
    Socket(zmq::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASocket => {
                f.write_str("a file that is not a socket exists there; move it, or choose another endpoint")
            }
            Self::NodeListens => f.write_str("another node listens there; stop it, or choose another endpoint"),
            Self::Stale(error) => write!(f, "cannot remove the stale socket file: {error}"),
            Self::Keys(error) => write!(f, "ZeroMQ rejects the keys: {error}"),
            Self::Group(error) => error.fmt(f),
            Self::InUse => f.write_str("another process listens there; stop it, or choose another endpoint"),
            Self::NoFolder => f.write_str("its folder does not exist"),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Stale(error) => Some(error),
            Self::Keys(error) | Self::Socket(error) => Some(error),
            Self::Group(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a link cannot connect. The message continues a sentence about its endpoint.
#[derive(Debug)]
pub(super) enum DialError {
    /// The link is open already.
    InUse(LinkId),
    /// The text is not an endpoint.
    Endpoint(InvalidEndpoint),
    /// The endpoint has no port.
    NoPort(String),
    /// As many other hosts as possible are being looked up.
    Busy {
        /// Host and port.
        address: String,
        /// Largest number of concurrent lookups.
        limit: usize,
    },
    /// The system has no thread left for the lookup.
    Thread(io::Error),
    /// The host cannot be looked up.
    Lookup {
        /// Host and port.
        address: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The host has no address.
    NoAddress(String),
    /// Every spelling of the endpoint is taken by another link.
    NoSpelling,
    /// libzmq rejects the endpoint.
    Connect {
        /// Endpoint in libzmq's spelling.
        endpoint: String,
        /// Error of libzmq.
        source: zmq::Error,
    },
    /// A key is required, and the name of the node is not known.
    Nameless,
    /// No key of the node is trusted.
    NoKey(Label),
    /// libzmq rejects the keys.
    Keys(zmq::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(link) => write!(f, "{link} is in use"),
            Self::Endpoint(invalid) => invalid.fmt(f),
            Self::NoPort(endpoint) => write!(f, "{endpoint} is for listening only: it has no port"),
            Self::Busy { address, limit } => {
                write!(f, "cannot look up {address}: {limit} other names are being looked up")
            }
            Self::Thread(error) => write!(f, "cannot look it up: {error}"),
            Self::Lookup { address, source } => write!(f, "cannot look up {address}: {source}"),
            Self::NoAddress(address) => write!(f, "{address} has no address"),
            Self::NoSpelling => f.write_str("too many links to that endpoint are open"),
            Self::Connect { endpoint, source } => write!(f, "ZeroMQ does not connect to {endpoint}: {source}"),
            Self::Nameless => {
                f.write_str("its key cannot be checked, because its name is not known: write NAME@tcp://...")
            }
            Self::NoKey(name) => write!(
                f,
                "no key of {name} is trusted here; to link with it: wasmnode trust {name} KEY --role peer, or router"
            ),
            Self::Keys(error) => write!(f, "ZeroMQ rejects the keys: {error}"),
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Endpoint(invalid) => Some(invalid),
            Self::Thread(error) | Self::Lookup { source: error, .. } => Some(error),
            Self::Connect { source, .. } | Self::Keys(source) => Some(source),
            _ => None,
        }
    }
}
