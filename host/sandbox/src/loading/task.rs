//! What the loader has to do for a service, and what comes of it.

use crate::loading::compile::CompileError;
use crate::loading::event::PluginEvent;
use crate::loading::history::Version;
use crate::loading::scanner::Change;

/// What there is to do for one service.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Something happened to its file.
    Change(Change),
    /// A version of the time before a restart is to be made ready.
    Restore(Version),
    /// A verdict is wanted on this file of the plugin folder.
    Try {
        /// Its name there.
        staged: String,
        /// What refusals call it, if it is known under another name.
        called: Option<String>,
        /// Bytes that there are to compile.
        bytes: u64,
    },
}

impl Task {
    /// Bytes that there are to compile.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Change(Change::Whole(_, stamp)) => stamp.bytes(),
            Self::Change(_) => 0,
            Self::Restore(version) => version.bytes,
            Self::Try { bytes, .. } => *bytes,
        }
    }
}

/// What comes of a task.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) news: Vec<PluginEvent>,
    /// Why something is left to do.
    pub(crate) postponed: Option<Postponed>,
}

/// Why a task is not done to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Postponed {
    /// It takes a larger effort.
    MoreEffort,
    /// The node stops, or it was cancelled.
    Stopped,
}

impl From<Vec<PluginEvent>> for Done {
    fn from(news: Vec<PluginEvent>) -> Self {
        Self { news, postponed: None }
    }
}

/// Why there is no component.
///
/// # Errors
/// If there may be one with a larger effort, the node stops, or the attempt was cancelled.
pub(crate) fn why(error: CompileError) -> Result<String, Postponed> {
    match error {
        CompileError::Refused(why) | CompileError::Unavailable(why) => Ok(why),
        CompileError::MoreEffort => Err(Postponed::MoreEffort),
        CompileError::Stopped => Err(Postponed::Stopped),
    }
}
