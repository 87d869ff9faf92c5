//! Errors of the sandbox as a whole; the errors of a single plugin are a [`wasmnode_api::Refusal`].

use std::fmt;
use std::io;
use std::path::PathBuf;
use wasmnode_protocol::ServiceName;

/// Reason why no plugin can be run or inspected.
#[derive(Debug)]
#[non_exhaustive]
pub enum SandboxError {
    /// The engine cannot start.
    Engine {
        /// `limits.instances`, which determines what the engine needs of the system.
        instances: u32,
        /// What the system lacks.
        source: EngineError,
    },
    /// An interface of the host cannot be offered to plugins.
    Interfaces(EngineError),
    /// The plugin folder cannot be read.
    Folder {
        /// Path of the folder.
        path: PathBuf,
        /// Reason that the system gives.
        source: io::Error,
    },
    /// The system refuses to start a thread.
    Thread(io::Error),
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine { instances, source } => {
                write!(f, "cannot start the WebAssembly engine for limits.instances = {instances}: {source}")
            }
            Self::Interfaces(source) => write!(f, "cannot offer the host's interfaces to plugins: {source}"),
            Self::Folder { path, source } => {
                let path = path.display();
                write!(f, "cannot read the plugin folder {path}: {source}; create it, or name another in node.plugins")
            }
            Self::Thread(source) => write!(f, "the system refuses to start a thread: {source}"),
        }
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine { source, .. } | Self::Interfaces(source) => Some(source),
            Self::Folder { source, .. } | Self::Thread(source) => Some(source),
        }
    }
}

/// Error of the WebAssembly engine. The message includes those of its causes.
#[derive(Debug)]
pub struct EngineError(pub(crate) wasmtime::Error);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for EngineError {}

/// Reason why no file can serve under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotLoadable {
    /// The node answers the name itself.
    Reserved(ServiceName),
    /// The name is a path.
    Path(ServiceName),
    /// The name is too long for that of a file.
    TooLong {
        /// The name.
        name: ServiceName,
        /// Largest length in bytes.
        limit: usize,
    },
    /// The name begins with a dot.
    Hidden(ServiceName),
}

impl fmt::Display for NotLoadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(name) => write!(f, "the node answers {name} itself"),
            Self::Path(name) => write!(f, "{name} is a path, and the name of a plugin has no '/'"),
            Self::TooLong { name, limit } => write!(f, "{name} is longer than {limit} bytes, too long for a file"),
            Self::Hidden(name) => write!(f, "{name} begins with a dot, and such files are not loaded"),
        }
    }
}

impl std::error::Error for NotLoadable {}
