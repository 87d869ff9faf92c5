//! Error of the history.

use super::store::FORMAT;
use crate::loading::compile::UnsafeFolder;
use std::fmt;
use std::io;
use std::path::PathBuf;
use wasmnode_files::FileError;

/// Reason why the history cannot be read or written.
#[derive(Debug)]
pub(crate) enum HistoryError {
    /// The state folder is not private.
    Folder(UnsafeFolder),
    /// The lock cannot be opened.
    OpenLock(io::Error),
    /// Another process, whose number is known in most cases, holds the lock.
    InUse(Option<u32>),
    /// The lock cannot be taken.
    TakeLock(io::Error),
    /// The system fails at something that has no path worth naming.
    System(io::Error),
    /// A file or folder cannot be written to.
    Write {
        /// Its path.
        path: PathBuf,
        /// Reason that the system gives.
        source: io::Error,
    },
    /// A file cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// Why it cannot be read.
        source: FileError,
    },
    /// The bytes of a version do not match their digest.
    Damaged(PathBuf),
    /// A version is larger than all that may be kept.
    TooLarge {
        /// Size of the version in bytes.
        bytes: u64,
        /// `limits.state-bytes`.
        limit: u64,
    },
    /// The records are not JSON of the expected form.
    Malformed(serde_json::Error),
    /// The records do not match their digest.
    Seal,
    /// The records have this format, which is unknown.
    Format(u32),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(source) => source.fmt(f),
            Self::OpenLock(source) => write!(f, "cannot open its lock: {source}"),
            Self::InUse(holder) => {
                let process = holder.map(|id| format!(", process {id},")).unwrap_or_default();
                write!(f, "another node with this name{process} uses it; give each a node.name of its own")
            }
            Self::TakeLock(source) => write!(f, "cannot lock it: {source}"),
            Self::System(source) => source.fmt(f),
            Self::Write { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Damaged(path) => write!(f, "{} is damaged", path.display()),
            Self::TooLarge { bytes, limit } => {
                write!(f, "a plugin of {bytes} bytes is over limits.state-bytes = {limit}")
            }
            Self::Malformed(source) => source.fmt(f),
            Self::Seal => f.write_str("its SHA-256 is not the one in its second line"),
            Self::Format(other) => write!(f, "its format is {other}, and this version of wasmnode reads {FORMAT}"),
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder(source) => Some(source),
            Self::OpenLock(source) | Self::TakeLock(source) | Self::System(source) | Self::Write { source, .. } => {
                Some(source)
            }
            Self::Read { source, .. } => Some(source),
            Self::Malformed(source) => Some(source),
            Self::InUse(_) | Self::Damaged(_) | Self::TooLarge { .. } | Self::Seal | Self::Format(_) => None,
        }
    }
}

impl From<UnsafeFolder> for HistoryError {
    fn from(error: UnsafeFolder) -> Self {
        Self::Folder(error)
    }
}
