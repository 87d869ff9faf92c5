//! Why a worker may not register.

use crate::name::{InvalidName, ServiceName};
use std::fmt;

/// Why a worker may not register. The message continues a sentence about its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RegistrationRefusal {
    /// Its service has an invalid name.
    Name(InvalidName),
    /// The node itself answers the service.
    Reserved(ServiceName),
    /// A plugin serves the service, and the worker may be any user's.
    Unproven(ServiceName),
    /// `limits.workers` is reached.
    Full {
        /// Its service.
        service: ServiceName,
        /// The limit.
        limit: usize,
    },
    /// The node is shutting down.
    Draining(ServiceName),
}

impl fmt::Display for RegistrationRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(invalid) => write!(f, "registers a worker, but {invalid}"),
            Self::Reserved(name) => write!(f, "registers a worker for {name}, which the node answers itself"),
            Self::Unproven(name) => write!(
                f,
                "registers a worker for {name}, which a plugin serves, and may be any user of this machine: connect it by ipc, \
                 or set security.keys"
            ),
            Self::Full { service, limit } => {
                write!(f, "registers a worker for {service}, but limits.workers = {limit} is reached")
            }
            Self::Draining(name) => write!(f, "registers a worker for {name}, but the node is shutting down"),
        }
    }
}

impl std::error::Error for RegistrationRefusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(invalid) => Some(invalid),
            _ => None,
        }
    }
}
