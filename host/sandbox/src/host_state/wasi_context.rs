//! What an instance sees of the outside: WASI, its console, and others by HTTP. Many a guest never looks, so it is made
//! when one does for the first time: it would take a twentieth of a short request.

use crate::calls::{Calls, RunId};
use crate::event_sender::Capacity;
use crate::host_state::blocking::Blocking;
use crate::host_state::descriptors::{DescriptorLimit, DescriptorPermit};
use crate::host_state::egress::{self, Egress};
use crate::host_state::egress_policy::NodeAddresses;
use crate::host_state::exchange::Lookups;
use crate::host_state::fs::{GrantedFolder, Root, Usages};
use crate::host_state::grants;
use crate::host_state::stdio::{ServiceLog, Stdio};
use crate::settings::SandboxSettings;
use std::sync::Arc;
use tracing::Level;
use wasmnode_protocol::{Code, Failure, ServiceName};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

/// What all instances of a plugin have in common.
pub(crate) struct ServiceContext {
    pub(crate) service: ServiceName,
    pub(crate) settings: SandboxSettings,
    pub(crate) log: Arc<ServiceLog>,
    pub(crate) calls: Arc<Calls>,
    /// What their partial replies may take in the driver's queue.
    pub(crate) partial_capacity: Capacity,
    /// Bytes that a body may have, in either direction.
    pub(crate) max_body: usize,
    /// Frames that a reply may have.
    pub(crate) max_frames: usize,
    /// How it looks names up.
    pub(crate) lookups: Lookups,
    /// The folders that it is granted.
    pub(crate) folders: Vec<Arc<GrantedFolder>>,
    /// Where its calls run that may block.
    pub(crate) blocking: Blocking,
    /// What all plugins share.
    pub(crate) shared: Arc<SharedLimits>,
}

/// What all plugins of a node share.
pub(crate) struct SharedLimits {
    /// File descriptors.
    pub(crate) descriptors: Arc<DescriptorLimit>,
    /// What lies in the folders that are granted.
    pub(crate) usages: Arc<Usages>,
    /// Where nodes listen, this one included.
    pub(crate) node_addresses: Arc<NodeAddresses>,
}

impl ServiceContext {
    /// Takes a place among the plugins' descriptors; without one, the service's log says so.
    pub(crate) fn take_place(&self, request: RunId) -> Option<DescriptorPermit> {
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
    pub(crate) async fn open_folders(&self) -> Result<Vec<Arc<Root>>, Failure> {
        let mut roots = Vec::with_capacity(self.folders.len());
        for folder in &self.folders {
            let opened = folder.open(&self.blocking, &self.shared.usages, &self.log).await;
            roots.push(opened.map_err(|why| Failure::new(Code::Failed, why))?);
        }
        Ok(roots)
    }
}

/// The outside of one instance.
pub(crate) struct WasiContext {
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) outgoing: Egress,
    /// The folders that are granted.
    pub(crate) roots: Vec<Arc<Root>>,
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
    pub(crate) fn new(
        around: &Arc<ServiceContext>,
        wasi: WasiCtx,
        roots: Vec<Arc<Root>>,
        consoles: Vec<Stdio>,
    ) -> Self {
        Self { wasi, http: egress::context(), outgoing: Egress::new(Arc::clone(around)), roots, consoles }
    }

    /// What is printed goes to the log, errors as warnings.
    pub(crate) fn logging(around: &Arc<ServiceContext>, roots: Vec<Arc<Root>>) -> Self {
        let mut wasi = grants::context(&around.settings.grants);
        let [stdout, stderr] = [Level::INFO, Level::WARN].map(|level| Stdio::new(Arc::clone(&around.log), level));
        let wasi = wasi.stdout(stdout.clone()).stderr(stderr.clone()).build();
        Self::new(around, wasi, roots, vec![stdout, stderr])
    }

    /// Names the request that it is used for next.
    pub(crate) fn begin(&mut self, request: RunId) {
        self.outgoing.begin(request);
        self.consoles.iter().for_each(|console| console.begin(request));
    }

    /// What was written last becomes a line.
    pub(crate) fn end_lines(&self) {
        self.consoles.iter().for_each(Stdio::end_line);
    }
}
