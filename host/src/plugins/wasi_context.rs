//! What an instance sees of the outside: WASI, its console, and others by HTTP. Many a guest never looks, so it is made
//! when one does for the first time: it would take a twentieth of a short request.

use super::blocking::Blocking;
use super::descriptors::{DescriptorLimit, DescriptorPermit};
use super::egress::{self, Egress};
use super::exchange::Lookups;
use super::failed_runs::FailedRuns;
use super::fs::{GrantedFolder, Root, Usages};
use super::grants;
use super::host_state::Calls;
use super::stdio::{ServiceLog, Stdio};
use crate::config::SandboxSettings;
use crate::event_queue::Capacity;
use std::sync::Arc;
use tracing::Level;
use wasmnode_core::{Code, Failure, RequestId, ServiceName};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

/// What all instances of a plugin have in common.
pub(super) struct ServiceContext {
    pub(super) service: ServiceName,
    pub(super) settings: SandboxSettings,
    pub(super) log: Arc<ServiceLog>,
    pub(super) calls: Arc<Calls>,
    /// What their partial replies may take in the driver's mailbox.
    pub(super) partial_capacity: Capacity,
    /// Frames that a reply may have.
    pub(super) max_frames: usize,
    /// How it looks names up.
    pub(super) lookups: Lookups,
    pub(super) failed_runs: FailedRuns,
    /// The folders that it is granted.
    pub(super) folders: Vec<Arc<GrantedFolder>>,
    /// Where its calls run that may block.
    pub(super) blocking: Blocking,
    /// What all plugins share.
    pub(super) shared: Arc<SharedLimits>,
}

/// What all plugins of a node share.
pub(super) struct SharedLimits {
    /// File descriptors.
    pub(super) descriptors: Arc<DescriptorLimit>,
    /// What lies in the folders that are granted.
    pub(super) usages: Arc<Usages>,
}

impl ServiceContext {
    /// Takes a place among the plugins' descriptors; without one, the service's log says so.
    pub(super) fn take_place(&self, request: RequestId) -> Option<DescriptorPermit> {
        let place = self.shared.descriptors.take();
        if place.is_none() {
            let limit = self.shared.descriptors.limit();
            let why = "descriptors that plugins may have together (limits.plugin-descriptors) are in use";
            self.log.line(Level::WARN, request, &format!("all {limit} {why}"));
        }
        place
    }

    /// Opens the folders that are granted.
    ///
    /// # Errors
    /// If one is not there, or may not be opened.
    pub(super) async fn open_folders(&self) -> Result<Vec<Arc<Root>>, Failure> {
        let mut roots = Vec::with_capacity(self.folders.len());
        for folder in &self.folders {
            let opened = folder.open(&self.blocking, &self.shared.usages, &self.log).await;
            roots.push(opened.map_err(|why| Failure::new(Code::Failed, why))?);
        }
        Ok(roots)
    }
}

/// The outside of one instance.
pub(super) struct WasiContext {
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) outgoing: Egress,
    /// The folders that are granted.
    pub(super) roots: Vec<Arc<Root>>,
    consoles: Vec<Stdio>,
}

/// What was written last becomes a line.
impl Drop for WasiContext {
    fn drop(&mut self) {
        self.end_lines();
    }
}

impl WasiContext {
    /// What is written to the consoles is written to them by `wasi`.
    pub(super) fn new(
        around: &Arc<ServiceContext>,
        wasi: WasiCtx,
        roots: Vec<Arc<Root>>,
        consoles: Vec<Stdio>,
    ) -> Self {
        Self { wasi, http: egress::context(), outgoing: Egress::new(Arc::clone(around)), roots, consoles }
    }

    /// What is printed goes to the log, errors as warnings.
    pub(super) fn logging(around: &Arc<ServiceContext>, roots: Vec<Arc<Root>>) -> Self {
        let mut wasi = grants::context(&around.settings.grants);
        let [stdout, stderr] = [Level::INFO, Level::WARN].map(|level| Stdio::new(Arc::clone(&around.log), level));
        let wasi = wasi.stdout(stdout.clone()).stderr(stderr.clone()).build();
        Self::new(around, wasi, roots, vec![stdout, stderr])
    }

    /// Names the request that it is used for next.
    pub(super) fn begin(&mut self, request: RequestId) {
        self.outgoing.begin(request);
        self.consoles.iter().for_each(|console| console.begin(request));
    }

    /// What was written last becomes a line.
    pub(super) fn end_lines(&self) {
        self.consoles.iter().for_each(Stdio::end_line);
    }
}
