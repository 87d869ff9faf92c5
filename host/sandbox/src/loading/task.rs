//! Tasks of the loader for a service, and their outcomes.

use crate::loading::event::PluginEvent;
use crate::loading::history::Version;
use crate::loading::scanner::Change;

/// One task for one service.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Handle a change of the service's file.
    Change(Change),
    /// Prepare a version from before a restart.
    Restore(Version),
    /// Give a verdict on a staged file.
    Try {
        /// Name in the plugin folder.
        staged: String,
        /// Name in refusals, if it differs.
        called: Option<String>,
        /// Number of bytes to compile.
        bytes: u64,
    },
}

impl Task {
    /// Number of bytes to compile.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Change(Change::Whole(_, stamp)) => stamp.bytes(),
            Self::Change(_) => 0,
            Self::Restore(version) => version.bytes,
            Self::Try { bytes, .. } => *bytes,
        }
    }
}

/// Outcome of an attempt at a task.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) news: Vec<PluginEvent>,
    /// Reason why the task is not complete; `None` if it is.
    pub(crate) postponed: Option<Postponed>,
}

/// Reason why a task is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Postponed {
    /// The task needs more effort.
    MoreEffort,
    /// The node stops, or the attempt was cancelled.
    Stopped,
}

impl From<Vec<PluginEvent>> for Done {
    fn from(news: Vec<PluginEvent>) -> Self {
        Self { news, postponed: None }
    }
}
