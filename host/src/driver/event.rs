//! Events that wake the driver, gathered from the modules that declare them.

use crate::keys::Keys;
use crate::reload::Reloaded;
use crate::transport::zmq::TransportEvent;
use wasmnode_core::Input;

/// Event that another thread sends to the driver.
#[derive(Debug)]
pub(super) enum DriverEvent {
    /// Input of the core.
    Input(Input),
    /// Event of the plugins and their runs.
    Sandbox(wasmnode_sandbox::Event),
    /// Event of the transport.
    Transport(TransportEvent),
    /// Changed set of trusted keys.
    Keys(Keys),
    /// The configuration was read again.
    Reloaded(Reloaded),
}

impl From<Input> for DriverEvent {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

impl From<wasmnode_sandbox::Event> for DriverEvent {
    fn from(event: wasmnode_sandbox::Event) -> Self {
        Self::Sandbox(event)
    }
}

impl From<TransportEvent> for DriverEvent {
    fn from(event: TransportEvent) -> Self {
        Self::Transport(event)
    }
}

impl From<Reloaded> for DriverEvent {
    fn from(reloaded: Reloaded) -> Self {
        Self::Reloaded(reloaded)
    }
}

impl From<Keys> for DriverEvent {
    fn from(keys: Keys) -> Self {
        Self::Keys(keys)
    }
}
