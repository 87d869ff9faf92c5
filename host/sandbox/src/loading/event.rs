//! Events of the threads that load files.

use crate::loading::history::{Claim, Record};
use crate::plugin::Plugin;
use std::fmt;
use wasmnode_api::{Refusal, Verdict};
use wasmnode_protocol::ServiceName;

/// Event of a file of the plugin folder.
pub(crate) enum PluginEvent {
    /// The file of a service is ready to serve.
    Loaded(ServiceName, Loaded),
    /// A service had these versions before a restart; the plugin is the version that served, if it could be restored.
    Resumed(ServiceName, Record, Option<Box<Plugin>>),
    /// A version from before a restart, by its number, is ready or lost.
    Restored(ServiceName, u64, Option<Box<Plugin>>),
    /// The verdict on a staged file.
    Tried(String, Verdict),
    /// The file of a service cannot serve, for this reason.
    Refused(ServiceName, Refusal),
    /// The file of a service is valid, and has the content that was loaded last.
    Unchanged(ServiceName),
    /// The file of a service was removed.
    Gone(ServiceName),
    /// All initial files have been tried, except those of these services, which take longer.
    FirstPass(Vec<ServiceName>),
}

/// A file that is ready to serve.
pub(crate) struct Loaded {
    pub(crate) plugin: Box<Plugin>,
    /// Whether the file is from `deploy`: then it serves even if it was rolled back.
    pub(crate) is_deployed: bool,
    /// Claim that keeps the bytes of the file until a record names them.
    pub(crate) claim: Option<Claim>,
}

impl fmt::Debug for PluginEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded(service, loaded) => write!(f, "Loaded({service}, {})", loaded.plugin.digest()),
            Self::Resumed(service, _, plugin) => write!(f, "Resumed({service}, {})", plugin.is_some()),
            Self::Restored(service, number, plugin) => write!(f, "Restored({service}, {number}, {})", plugin.is_some()),
            Self::Tried(staged, verdict) => write!(f, "Tried({staged}, {verdict:?})"),
            Self::Refused(service, refusal) => write!(f, "Refused({service}, {})", refusal.why),
            Self::Unchanged(service) => write!(f, "Unchanged({service})"),
            Self::Gone(service) => write!(f, "Gone({service})"),
            Self::FirstPass(unfinished) => write!(f, "FirstPass({unfinished:?})"),
        }
    }
}
