//! WASI context of one instance: stdio, sockets, folders and outgoing HTTP. Created on first use, because most guests
//! never use it, and it costs about 5 % of a short request.

use crate::calls::{Calls, RunId};
use crate::event_sender::Capacity;
use crate::host_state::blocking::Blocking;
use crate::host_state::descriptors::{DescriptorLimit, DescriptorPermit};
use crate::host_state::egress::{self, Egress};
use crate::host_state::egress_policy::NodeAddresses;
use crate::host_state::exchange::Lookups;
use crate::host_state::fs::{GrantedFolder, Root, Usages};
use crate::host_state::stdio::{ServiceLog, Stdio};
use crate::host_state::{PARTIAL_ROOM, grants};
use crate::settings::SandboxSettings;
use std::sync::Arc;
use tracing::Level;
use wasmnode_protocol::{Code, Failure, ServiceName};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

/// Context that all instances of a plugin share.
pub(crate) struct ServiceContext {
    pub(crate) service: ServiceName,
    pub(crate) settings: SandboxSettings,
    pub(crate) log: Arc<ServiceLog>,
    pub(crate) calls: Arc<Calls>,
    /// Bound on partial replies in the driver's queue.
    pub(crate) partial_capacity: Capacity,
    /// Largest body in bytes, in either direction.
    pub(crate) max_body: usize,
    /// Largest number of frames of a reply.
    pub(crate) max_frames: usize,
    /// Name look-ups.
    pub(crate) lookups: Lookups,
    /// Folders that are granted to the service.
    pub(crate) folders: Vec<Arc<GrantedFolder>>,
    /// Threads for calls that may block.
    pub(crate) blocking: Blocking,
    /// Limits that all plugins share.
    pub(crate) shared: Arc<SharedLimits>,
}

/// Limits that all plugins of a node share.
pub(crate) struct SharedLimits {
    /// File descriptors.
    pub(crate) descriptors: Arc<DescriptorLimit>,
    /// Usage of the folders that are granted.
    pub(crate) usages: Arc<Usages>,
    /// Addresses on which nodes listen, this one included.
    pub(crate) node_addresses: Arc<NodeAddresses>,
}

impl ServiceContext {
    pub(crate) fn new(
        service: ServiceName,
        settings: SandboxSettings,
        calls: Arc<Calls>,
        max_body: usize,
        max_frames: usize,
        shared: Arc<SharedLimits>,
    ) -> Self {
        Self {
            log: Arc::new(ServiceLog::new(service.clone(), settings.log_lines)),
            folders: settings.grants.fs.iter().cloned().map(GrantedFolder::new).collect(),
            lookups: Lookups::new(Arc::clone(&shared.node_addresses)),
            service,
            settings,
            calls,
            partial_capacity: Capacity::new(PARTIAL_ROOM),
            max_body,
            max_frames,
            blocking: Blocking::new(),
            shared,
        }
    }

    /// Takes a permit for a descriptor; logs a warning if none is left.
    pub(crate) fn take_descriptor(&self, request: RunId) -> Option<DescriptorPermit> {
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
    /// If a folder does not exist, or may not be opened.
    pub(crate) async fn open_folders(&self) -> Result<Vec<Arc<Root>>, Failure> {
        let mut roots = Vec::with_capacity(self.folders.len());
        for folder in &self.folders {
            let opened = folder.open(&self.blocking, &self.shared.usages, &self.log).await;
            roots.push(opened.map_err(|error| Failure::new(Code::Failed, error.to_string()))?);
        }
        Ok(roots)
    }
}

/// WASI context of one instance.
pub(crate) struct WasiContext {
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) outgoing: Egress,
    /// The folders that are granted.
    pub(crate) roots: Vec<Arc<Root>>,
    consoles: Vec<Stdio>,
}

/// Logs unfinished lines.
impl Drop for WasiContext {
    fn drop(&mut self) {
        self.end_lines();
    }
}

impl WasiContext {
    /// Creates a context of `wasi`, whose output streams are `consoles`.
    pub(crate) fn new(
        context: &Arc<ServiceContext>,
        wasi: WasiCtx,
        roots: Vec<Arc<Root>>,
        consoles: Vec<Stdio>,
    ) -> Self {
        Self { wasi, http: egress::context(), outgoing: Egress::new(Arc::clone(context)), roots, consoles }
    }

    /// Creates a context that logs stdout at level `info`, and stderr at level `warn`.
    pub(crate) fn logging(context: &Arc<ServiceContext>, roots: Vec<Arc<Root>>) -> Self {
        let mut wasi = grants::context(&context.settings.grants);
        let [stdout, stderr] = [Level::INFO, Level::WARN].map(|level| Stdio::new(Arc::clone(&context.log), level));
        let wasi = wasi.stdout(stdout.clone()).stderr(stderr.clone()).build();
        Self::new(context, wasi, roots, vec![stdout, stderr])
    }

    /// Sets the request that is served next.
    pub(crate) fn begin(&mut self, request: RunId) {
        self.outgoing.begin(request);
        self.consoles.iter().for_each(|console| console.begin(request));
    }

    /// Logs unfinished lines.
    pub(crate) fn end_lines(&self) {
        self.consoles.iter().for_each(Stdio::end_line);
    }
}
