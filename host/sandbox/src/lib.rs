//! Plugins: WebAssembly components from a folder, and runs of requests in them.
//!
//! [`Plugins`] is the interface for the driver: it starts and stops runs, and reports [`Event`]s. The sandbox does not
//! decide which requests run, and has no sockets of the broker.
//!
//! The modules are layers; each uses only those below it.
//!
//! | module | content |
//! |---|---|
//! | `plugins` | the services that plugins serve, and their runs |
//! | `loading` | from a file to a plugin: scan, verify, compile, try, keep versions |
//! | `plugin` | one version of a plugin, and its statistics |
//! | `guests` | kinds of guests: our own world, WASI commands, HTTP handlers |
//! | `run` | one request in a guest |
//! | `linker` | the engine with everything that guests may import |
//! | `host_state` | the host's side of an instance: folders, connections, stdio, calls, and their limits |
//! | `calls`, `engine`, `settings` | calls and events of runs; the engine; the settings |

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
pub use error::{EngineError, NotLoadable, SandboxError};
pub use event_sender::{Capacity, EventSender, Permit};
pub use host_state::egress_policy::NodeAddresses;
pub use host_state::fs::UnopenedFolder;
pub use loading::compile::compile_process;
pub use loading::content::digest;
pub use loading::inspect::{InspectError, Inspection, NotCompiled, inspect};
pub use loading::names::loadable;
pub use loading::scanner::signature_of;
pub use plugins::{FolderEvent, OfferChange, Plugins, check_folders, folder_identity};
pub use run::job::Run;
pub use settings::{
    BuiltIn, CompileSettings, FolderGrant, Grants, HttpGrant, Provenance, Reuse, SandboxSettings, Sandboxes, Settings,
    Signer, Trial,
};

use loading::event::PluginEvent;

/// Event that the sandbox reports to the driver.
#[derive(Debug)]
pub enum Event {
    /// About a run.
    Run(RunEvent),
    /// About a file in the plugin folder.
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
