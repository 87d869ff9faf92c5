//! What the threads that load files tell.

use crate::loading::history::{Claim, Record};
use crate::plugin::Plugin;
use std::fmt;
use wasmnode_api::{Refusal, Verdict};
use wasmnode_protocol::ServiceName;

/// What happened to the file of a service.
pub(crate) enum PluginEvent {
    /// It is ready to serve.
    Loaded(ServiceName, Loaded),
    /// It served before a restart, in these versions; the plugin is the one that served, if it could be restored.
    Resumed(ServiceName, Record, Option<Box<Plugin>>),
    /// A version of the time before a restart, by its number, is ready, or is lost.
    Restored(ServiceName, u64, Option<Box<Plugin>>),
    /// What is thought of a staged file.
    Tried(String, Verdict),
    /// It cannot serve, and why.
    Refused(ServiceName, Refusal),
    /// It is in order, and holds what it held before.
    Unchanged(ServiceName),
    /// It is no longer there.
    Gone(ServiceName),
    /// All files that were there at the start have been tried; those of these services take longer.
    FirstPass(Vec<ServiceName>),
}

/// A file that is ready to serve.
pub(crate) struct Loaded {
    pub(crate) plugin: Box<Plugin>,
    /// Whether `deploy` asked for it: then it serves also if it was rolled back.
    pub(crate) is_deployed: bool,
    /// Keeps its bytes until a record names them.
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
