//! What an instance sees of the outside: WASI, its console, and others by HTTP. Many a guest never looks, so it is made
//! when one does for the first time: it would take a twentieth of a short request.

use super::console::{Console, ServiceLog};
use super::exchange::Lookups;
use super::grants;
use super::guest::Calls;
use super::outgoing::{self, Outgoing};
use crate::config::SandboxSettings;
use crate::mailbox::Room;
use std::sync::Arc;
use tracing::Level;
use wasmnode_core::{RequestId, ServiceName};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

/// What all instances of a plugin have in common.
pub(super) struct Surroundings {
    pub(super) service: ServiceName,
    pub(super) settings: SandboxSettings,
    pub(super) log: Arc<ServiceLog>,
    pub(super) calls: Arc<Calls>,
    /// What their partial replies may take in the driver's mailbox.
    pub(super) partials: Room,
    /// Frames that a reply may have.
    pub(super) max_frames: usize,
    pub(super) lookups: Lookups,
}

/// The outside of one instance.
pub(super) struct Outside {
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) outgoing: Outgoing,
    consoles: Vec<Console>,
}

/// What was written last becomes a line.
impl Drop for Outside {
    fn drop(&mut self) {
        self.end_lines();
    }
}

impl Outside {
    /// What is written to the consoles is written to them by `wasi`.
    pub(super) fn new(around: &Arc<Surroundings>, wasi: WasiCtx, consoles: Vec<Console>) -> Self {
        Self { wasi, http: outgoing::context(), outgoing: Outgoing::new(Arc::clone(around)), consoles }
    }

    /// What is printed goes to the log, errors as warnings.
    pub(super) fn logging(around: &Arc<Surroundings>, wasi: &mut WasiCtxBuilder) -> Self {
        let [stdout, stderr] = [Level::INFO, Level::WARN].map(|level| Console::new(Arc::clone(&around.log), level));
        let wasi = wasi.stdout(stdout.clone()).stderr(stderr.clone()).build();
        Self::new(around, wasi, vec![stdout, stderr])
    }

    /// The same for a service that is granted no folder: nothing of that can fail.
    pub(super) fn without_folders(around: &Arc<Surroundings>) -> Self {
        Self::logging(around, &mut grants::without_folders(&around.settings.grants))
    }

    /// Names the request that it is used for next.
    pub(super) fn begin(&mut self, request: RequestId) {
        self.outgoing.begin(request);
        self.consoles.iter().for_each(|console| console.begin(request));
    }

    /// What was written last becomes a line.
    pub(super) fn end_lines(&self) {
        self.consoles.iter().for_each(Console::end_line);
    }
}
