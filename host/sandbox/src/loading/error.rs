//! Error of the loader.

use crate::error::NotLoadable;
use crate::guests::kind::Unfit;
use crate::host_state::fs::UnopenedFolder;
use crate::loading::compile::CompileError;
use crate::loading::content::ContentError;
use crate::loading::history::HistoryError;
use crate::loading::provenance::Unverified;
use crate::loading::task::Postponed;
use std::fmt;
use std::path::PathBuf;
use wasmnode_files::FileError;
use wasmnode_protocol::ServiceName;

/// Reason why a file, or a version from before a restart, does not become a plugin.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// No file can serve under the name.
    Name(NotLoadable),
    /// `node.services` does not list the service.
    NotListed(ServiceName),
    /// A staged file cannot be examined.
    Staged {
        /// Path of the file.
        file: PathBuf,
        /// Why it cannot be examined.
        source: FileError,
    },
    /// The file cannot be read.
    Content(ContentError),
    /// The origin of the file is not proven.
    Unverified(Unverified),
    /// This node keeps no bytes of versions.
    NothingKept,
    /// The bytes of the version cannot be read.
    History(HistoryError),
    /// There is no component.
    Compile(CompileError),
    /// The component is not a plugin.
    Unfit(Unfit),
    /// A folder that is granted to the service cannot be opened.
    Folder(UnopenedFolder),
}

impl LoadError {
    /// Returns why the task is not complete, if this is no verdict on the file.
    pub(crate) fn postponed(&self) -> Option<Postponed> {
        match self {
            Self::Compile(CompileError::MoreEffort) => Some(Postponed::MoreEffort),
            Self::Compile(CompileError::Stopped) => Some(Postponed::Stopped),
            _ => None,
        }
    }

    /// Returns `true` if another attempt may succeed although nothing changes.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Compile(error) => matches!(error, CompileError::Unavailable(_)),
            Self::Content(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(source) => source.fmt(f),
            Self::NotListed(service) => {
                write!(f, "node.services does not list {service}; add it there first")
            }
            Self::Staged { file, source } => write!(f, "{}: {source}", file.display()),
            Self::Content(source) => source.fmt(f),
            Self::Unverified(source) => source.fmt(f),
            Self::NothingKept => f.write_str("nothing was kept"),
            Self::History(source) => source.fmt(f),
            Self::Compile(source) => source.fmt(f),
            Self::Unfit(source) => source.fmt(f),
            Self::Folder(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(source) => Some(source),
            Self::Staged { source, .. } => Some(source),
            Self::Content(source) => Some(source),
            Self::Unverified(source) => Some(source),
            Self::History(source) => Some(source),
            Self::Compile(source) => Some(source),
            Self::Unfit(source) => Some(source),
            Self::Folder(source) => Some(source),
            Self::NotListed(_) | Self::NothingKept => None,
        }
    }
}

impl From<CompileError> for LoadError {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}
