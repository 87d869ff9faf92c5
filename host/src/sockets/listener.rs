//! The ROUTER that serves clients and workers, bound to all endpoints.
//!
//! ROUTER_HANDOVER lets a peer with a fixed routing id come back after a lost connection.

use super::{LINGER, has_input, options, receive, router, send};
use crate::config::Endpoint;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tracing::info;
use wasmnode_core::{Frame, PeerId};

/// Messages that libzmq holds for one peer, in each direction; its own default.
const HIGH_WATER_MARK: i32 = 1_000;

pub(super) struct Listener {
    router: zmq::Socket,
    ipc_files: Vec<PathBuf>,
    endpoints: Vec<String>,
}

impl Listener {
    pub(super) fn open(context: &zmq::Context, max_message: usize) -> Result<Self, zmq::Error> {
        let router = router(context, max_message, HIGH_WATER_MARK)?;
        router.set_router_handover(true)?;
        router.set_linger(LINGER)?;
        router.set_handshake_ivl(5_000)?;
        Ok(Self { router, ipc_files: Vec::new(), endpoints: Vec::new() })
    }

    pub(super) fn bind(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        if let Endpoint::Ipc(path) = endpoint {
            clear_the_way(path)?;
        }
        if endpoint.is_ipv6() {
            self.router.set_ipv6(true).map_err(|error| error.to_string())?;
        }
        self.router.bind(&endpoint.to_string()).map_err(|error| match error {
            zmq::Error::EADDRINUSE => "another process listens there; stop it, or choose another endpoint".to_owned(),
            zmq::Error::ENOENT => "its folder does not exist".to_owned(),
            error => error.to_string(),
        })?;
        if let Endpoint::Ipc(path) = endpoint {
            self.ipc_files.push(path.clone());
        }
        let bound = self.router.get_last_endpoint().ok().and_then(Result::ok);
        let bound = bound.unwrap_or_else(|| endpoint.to_string());
        info!("listening on {bound}");
        self.endpoints.push(bound);
        Ok(())
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub(super) fn receive(&self) -> Option<(PeerId, Vec<Frame>)> {
        receive(&self.router, |id| PeerId::new(Frame::copy_from_slice(id)))
    }

    pub(super) fn send(&self, to: &PeerId, frames: &[Frame]) -> Result<(), zmq::Error> {
        send(&self.router, to.as_bytes(), frames)
    }

    /// Whether there is a message to receive.
    pub(super) fn has_input(&self) -> bool {
        has_input(&self.router)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        options::descriptor(&self.router)
    }

    /// Gives the endpoints free and removes the ipc files.
    pub(super) fn close(self) {
        for file in &self.ipc_files {
            let _libzmq_may_have_removed_it = std::fs::remove_file(file);
        }
    }
}

/// libzmq removes whatever file stands where it binds an ipc endpoint, a running node's socket too. So this looks first:
/// a socket that nobody answers is stale and goes, anything else stays.
fn clear_the_way(path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err("a file that is not a socket stands there; move it, or choose another endpoint".to_owned());
    }
    if UnixStream::connect(path).is_ok() {
        return Err("another node listens there; stop it, or choose another endpoint".to_owned());
    }
    info!("removing {}, left behind by a node that did not end properly", path.display());
    std::fs::remove_file(path).map_err(|error| format!("cannot remove the stale socket file: {error}"))
}
