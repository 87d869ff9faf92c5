//! The engine with everything that guests may import.

use crate::engine;
use crate::error::{EngineError, SandboxError};
use crate::host_state::descriptors::DescriptorLimit;
use crate::host_state::wasi_context::SharedLimits;
use crate::host_state::{HostState, link};
use crate::settings::Settings;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// The engine, its linker, and the limits that all plugins share.
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<HostState>,
    /// Largest body in bytes, in either direction.
    pub(crate) max_body: usize,
    /// Largest number of frames of a body, in either direction.
    pub(crate) max_frames: usize,
    pub(crate) shared: Arc<SharedLimits>,
}

impl Sandbox {
    /// Starts the engine.
    ///
    /// # Errors
    /// If the system lacks resources for the engine, most likely address space.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SandboxError> {
        let instances = settings.instances;
        let cannot_start = |error| SandboxError::Engine { instances, source: EngineError(error) };
        let engine = engine::start(instances).map_err(cannot_start)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(|error| SandboxError::Interfaces(EngineError(error)))?;
        let places = Arc::new(DescriptorLimit::new(settings.descriptors));
        let shares =
            Arc::new(SharedLimits { descriptors: places, usages: Arc::default(), node_addresses: Arc::default() });
        Ok(Self { engine, linker, max_body: settings.max_body, max_frames: settings.max_frames, shared: shares })
    }
}
