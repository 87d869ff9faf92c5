//! Frames in and out: the only file of the node that names zmq.
//!
//! One ROUTER serves clients and workers on all endpoints. libzmq's ROUTER drops silently what it cannot deliver unless
//! ROUTER_MANDATORY is set; then an unknown peer is an error (EHOSTUNREACH), and so is a full pipe (EAGAIN), for which
//! the message waits here, within limits. ROUTER_HANDOVER lets a peer with a fixed routing id come back after a lost
//! connection.

use crate::config::{Config, Endpoint};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{info, warn};
use wasmnode_core::message::size;
use wasmnode_core::{Frame, PeerId};

/// How often messages to a peer that reads too slowly are tried again.
const RETRY: Duration = Duration::from_millis(1);

/// Messages that libzmq holds for one peer, in each direction; its own default.
const HIGH_WATER_MARK: i32 = 1_000;

/// What a waiting message counts besides its frames, so that small ones are not free.
const MESSAGE_OVERHEAD: usize = 256;

/// The node's ROUTER socket, bound.
pub(crate) struct Sockets {
    router: zmq::Socket,
    /// Messages for peers whose pipes are full, oldest first.
    waiting: BTreeMap<PeerId, Waiting>,
    waiting_bytes: usize,
    max_waiting_bytes: usize,
    ipc_files: Vec<PathBuf>,
    endpoints: Vec<String>,
    /// Messages given up because their receiver did not read.
    dropped: u64,
}

/// What waits for one slow peer.
#[derive(Default)]
struct Waiting {
    messages: VecDeque<Vec<Frame>>,
    bytes: usize,
}

/// Why a node cannot listen.
#[derive(Debug)]
pub struct ListenError {
    endpoint: String,
    why: String,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.endpoint, self.why)
    }
}

impl std::error::Error for ListenError {}

/// A message that cannot be delivered, because its receiver's connection is gone.
#[derive(Debug)]
pub(crate) struct Undeliverable {
    pub(crate) to: PeerId,
    pub(crate) frames: Vec<Frame>,
}

impl Sockets {
    /// Binds all endpoints.
    ///
    /// # Errors
    /// If an endpoint is in use or not to be had; those already bound are given up.
    pub(crate) fn listen(config: &Config) -> Result<Self, ListenError> {
        let context = zmq::Context::new();
        let router = open(&context, config.node.limits.message)
            .map_err(|error| ListenError { endpoint: "a ROUTER socket".into(), why: error.to_string() })?;
        let mut sockets = Self {
            router,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            max_waiting_bytes: config.unread_bytes,
            ipc_files: Vec::new(),
            endpoints: Vec::new(),
            dropped: 0,
        };
        for endpoint in &config.listen {
            if let Err(why) = sockets.bind(endpoint) {
                sockets.close();
                return Err(ListenError { endpoint: endpoint.to_string(), why });
            }
        }
        Ok(sockets)
    }

    /// Where the node listens, with the ports that the system chose.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Messages given up because their receiver did not read.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next message that has arrived, if there is one.
    pub(crate) fn receive(&self) -> Option<(PeerId, Vec<Frame>)> {
        let mut frame = zmq::Message::new();
        self.router.recv(&mut frame, zmq::DONTWAIT).ok()?;
        let from = PeerId::new(Frame::copy_from_slice(&frame));
        let mut frames = Vec::with_capacity(4);
        while frame.get_more() {
            // The parts of a message arrive together.
            self.router.recv(&mut frame, zmq::DONTWAIT).ok()?;
            frames.push(Frame::copy_from_slice(&frame));
        }
        Some((from, frames))
    }

    /// Sends a message, now or as soon as its receiver reads.
    ///
    /// # Errors
    /// [`Undeliverable`] if the receiver's connection is gone.
    pub(crate) fn send(&mut self, to: PeerId, frames: Vec<Frame>) -> Result<(), Undeliverable> {
        if self.waiting.contains_key(&to) {
            self.wait_for_reader(&to, frames);
            return Ok(());
        }
        match self.try_send(&to, &frames) {
            Ok(()) => Ok(()),
            Err(zmq::Error::EAGAIN) => {
                self.wait_for_reader(&to, frames);
                Ok(())
            }
            Err(_) => Err(Undeliverable { to, frames }),
        }
    }

    /// Tries again what waits for slow peers; returns what turned out to be undeliverable.
    pub(crate) fn retry(&mut self) -> Vec<Undeliverable> {
        let mut undeliverable = Vec::new();
        for (to, mut waiting) in std::mem::take(&mut self.waiting) {
            while let Some(frames) = waiting.messages.pop_front() {
                let weight = weight(&frames);
                match self.try_send(&to, &frames) {
                    Ok(()) => {}
                    Err(zmq::Error::EAGAIN) => {
                        waiting.messages.push_front(frames);
                        break;
                    }
                    Err(_) => undeliverable.push(Undeliverable { to: to.clone(), frames }),
                }
                waiting.bytes -= weight;
                self.waiting_bytes -= weight;
            }
            if !waiting.messages.is_empty() {
                self.waiting.insert(to, waiting);
            }
        }
        undeliverable
    }

    /// Sleeps until a message arrives, `bell` is readable, or the time is over (`None`: however long it takes).
    pub(crate) fn wait(&self, bell: RawFd, timeout: Option<Duration>) {
        let timeout = match timeout {
            _ if !self.waiting.is_empty() => RETRY.as_millis(),
            // Rounded up: waking up before the time would mean to wake up twice.
            Some(timeout) => timeout.as_micros().div_ceil(1000),
            None => return self.poll(bell, -1),
        };
        self.poll(bell, i64::try_from(timeout).unwrap_or(i64::MAX));
    }

    /// Gives the endpoints free and removes the ipc files.
    pub(crate) fn close(self) {
        for file in &self.ipc_files {
            let _libzmq_may_have_removed_it = std::fs::remove_file(file);
        }
    }

    fn poll(&self, bell: RawFd, timeout: i64) {
        let mut items = [self.router.as_poll_item(zmq::POLLIN), zmq::PollItem::from_fd(bell, zmq::POLLIN)];
        let _an_interrupted_wait_is_over = zmq::poll(&mut items, timeout);
    }

    fn try_send(&self, to: &PeerId, frames: &[Frame]) -> Result<(), zmq::Error> {
        // Only the first part can fail: libzmq decides with it whether the whole message fits.
        self.router.send(to.as_bytes(), zmq::SNDMORE | zmq::DONTWAIT)?;
        for (index, frame) in frames.iter().enumerate() {
            let more = if index + 1 < frames.len() { zmq::SNDMORE } else { 0 };
            self.router.send(frame.as_ref(), more | zmq::DONTWAIT)?;
        }
        Ok(())
    }

    fn wait_for_reader(&mut self, to: &PeerId, frames: Vec<Frame>) {
        let weight = weight(&frames);
        let waiting = self.waiting.entry(to.clone()).or_default();
        let all = self.waiting_bytes + weight;
        if all <= self.max_waiting_bytes && waiting.bytes + weight <= self.max_waiting_bytes / 4 {
            self.waiting_bytes = all;
            waiting.bytes += weight;
            return waiting.messages.push_back(frames);
        }
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            let total = self.dropped;
            warn!(
                "{to} does not read its messages, and limits.unread-bytes is reached: {total} dropped since the start"
            );
        }
    }

    fn bind(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        if let Endpoint::Ipc(path) = endpoint {
            clear_the_way(path)?;
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
}

fn weight(frames: &[Frame]) -> usize {
    size(frames) + MESSAGE_OVERHEAD
}

fn open(context: &zmq::Context, max_message: usize) -> Result<zmq::Socket, zmq::Error> {
    let router = context.socket(zmq::ROUTER)?;
    router.set_router_mandatory(true)?;
    router.set_router_handover(true)?;
    // A frame over the limit gets an answer; one over twice the limit ends its connection before it fills the memory.
    router.set_maxmsgsize(i64::try_from(max_message.saturating_mul(2)).unwrap_or(i64::MAX))?;
    router.set_sndhwm(HIGH_WATER_MARK)?;
    router.set_rcvhwm(HIGH_WATER_MARK)?;
    router.set_linger(500)?;
    router.set_handshake_ivl(5_000)?;
    router.set_heartbeat_ivl(1_000)?;
    router.set_heartbeat_timeout(5_000)?;
    router.set_heartbeat_ttl(10_000)?;
    router.set_tcp_keepalive(1)?;
    Ok(router)
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
