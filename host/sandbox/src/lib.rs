//! Plugins: WebAssembly components from a folder, and runs of requests in them.
//!
//! [`Plugins`] is the whole of it for whoever drives it: it starts runs, stops them, and tells by [`Event`]s what comes
//! later. Nothing here decides who is served, and nothing knows of sockets.
//!
//! Modules are layers; each uses only those below it.
//!
//! | module | what it has |
//! |---|---|
//! | `plugins` | the services that plugins serve, and their runs |
//! | `loading` | from a file to a plugin: scan, verify, compile, try, keep versions |
//! | `plugin` | one version of a plugin, and its statistics |
//! | `guests` | kinds of guests: our own world, WASI commands, HTTP handlers |
//! | `run` | one request in a guest |
//! | `linker` | the engine with all that guests may import |
//! | `host_state` | what a guest can do: folders, connections, console, calls, and their limits |
//! | `calls`, `engine`, `settings` | calls and events of runs; the engine; what the sandbox is told |

mod calls;
mod engine;
mod error;
mod event_sender;
mod guard;
mod guests;
mod host_state;
mod linker;
mod loading;
pub mod log_throttle;
mod plugin;
mod plugins;
mod run;
mod settings;

pub use calls::{CallId, Finished, RunEvent, RunId};
pub use error::{InspectError, NotLoadable, SandboxError};
pub use event_sender::{Capacity, EventSender, Permit};
pub use host_state::egress_policy::NodeAddresses;
pub use loading::compile::compile_process;
pub use loading::content::digest;
pub use loading::inspect::{Inspection, inspect};
pub use loading::names::loadable;
pub use loading::scanner::signature_of;
pub use plugins::{FolderEvent, OfferChange, Plugins, folder_identity};
pub use run::job::Run;
pub use settings::{
    CompileSettings, FolderGrant, Grants, HttpGrant, Provenance, Reuse, SandboxSettings, Settings, Signer, Trial,
};

use loading::event::PluginEvent;

/// What the sandbox tells whoever drives it.
#[derive(Debug)]
pub enum Event {
    /// Of a run.
    Run(RunEvent),
    /// Of a file in the plugin folder.
    Folder(FolderEvent),
}

impl From<RunEvent> for Event {
    fn from(event: RunEvent) -> Self {
        Self::Run(event)
    }
}

impl From<FolderEvent> for Event {
    fn from(event: FolderEvent) -> Self {
        Self::Folder(event)
    }
}

impl From<PluginEvent> for FolderEvent {
    fn from(event: PluginEvent) -> Self {
        Self(event)
    }
}
