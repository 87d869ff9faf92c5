//! ZeroMQ transport: frames in and out. No other module of the host uses the crate `zmq`.
//!
//! One ROUTER serves clients and workers on all endpoints (`listener`); another, with the links to other nodes, only
//! connects (`dialer`). libzmq's ROUTER silently drops what it cannot deliver unless ROUTER_MANDATORY is set. With it,
//! an unknown receiver is an error (EHOSTUNREACH), and so is a full pipe (EAGAIN): then the message waits here, within
//! limits (`outgoing`).

mod dialer;
mod error;
mod event;
mod ffi;
mod handshakes;
mod intake;
mod keepalive;
mod listener;
mod outgoing;
mod polled;
mod resolve;
mod rlimit;
mod send_queue;
#[cfg(test)]
mod tests;
mod unread;
mod zap;

use crate::config::Config;
use crate::event_queue::EventSender;
use crate::keys::Keys;
use dialer::{DialTimeouts, Dialer};
use error::BindError;
pub(crate) use error::ListenError;
use event::Reports;
pub(crate) use event::TransportEvent;
use ffi::with_batch_policy;
use intake::Intake;
use listener::Listener;
use outgoing::send;
use polled::Polled;
pub(crate) use resolve::Lookup;
use rustix::event::{PollFd, PollFlags, Timespec};
use send_queue::{Receiver, SendQueues};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use unread::Unread;
use wasmnode_core::{ConnectionId, Frame, Input, Label, LinkId};

/// Interval of retries for a receiver that reads too slowly.
const RETRY: Duration = Duration::from_millis(1);

/// Inputs taken in a row before all sockets are checked again, as long as there are links.
const RECHECK: usize = 64;

/// Largest number of messages of links read before another link is opened: more than libzmq queues for one link.
const MAX_DRAINED: usize = 50_000;

/// Bytes that a connection reads or writes at a time: libzmq's default of 8 KiB holds only seven requests of 1 KiB.
const BATCH_SIZE: i32 = 16 << 10;

/// Smallest frame, in bytes, that is received and sent without copying it.
const LARGE: usize = 16 << 10;

/// Time limit for the handshake of an inbound connection.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Time for which queued messages may still leave when the node ends, in milliseconds.
const LINGER: i32 = 500;

/// The node's sockets.
pub(crate) struct Sockets {
    listener: Listener,
    dialer: Dialer,
    /// Messages for receivers whose pipes are full.
    send_queues: SendQueues,
    /// Count of the bytes that libzmq holds for receivers.
    unread: Unread,
    /// Largest number of bytes of the two together: `limits.unread-bytes`.
    max_unread: usize,
    /// Inputs read from links and not yet returned by [`Self::receive`].
    pending: VecDeque<Input>,
    ready: Ready,
    /// Inputs received since the sockets were last checked.
    received: usize,
    /// Number of messages dropped because their receiver did not read.
    dropped: u64,
}

/// Sockets that may have something to read. Checking an empty one costs a system call.
#[derive(Debug, Clone, Copy)]
struct Ready {
    listener: bool,
    links: bool,
    events: bool,
}

impl Ready {
    const UNKNOWN: Self = Self { listener: true, links: true, events: true };
}

impl Sockets {
    /// Binds all endpoints. Host names of other nodes are looked up in threads; the results reach `events`, and from
    /// there [`Self::resolved`].
    ///
    /// # Errors
    /// If an endpoint is in use or cannot be bound; those bound before it are released.
    pub(crate) fn listen(
        config: &Config,
        keys: Option<Keys>,
        events: &EventSender<TransportEvent>,
    ) -> Result<Self, ListenError> {
        rlimit::raise();
        let keys = keys.map(|keys| (keys, config.node.name.clone()));
        let limits = &config.node.limits;
        let intake = Intake { message: limits.message, frames: limits.frames, unfinished: config.unfinished_bytes };
        // Twice the core's limit, so that the core drops an unresponsive peer first: it can report why.
        let timeouts = DialTimeouts { silence: config.node.peers.expiry.saturating_mul(2), ..DialTimeouts::default() };
        // Two of the largest messages always fit.
        let max_unread = config.unread_bytes.max(limits.message.saturating_mul(2));
        let mut sockets =
            with_batch_policy(|| Self::open(intake, max_unread, timeouts, keys, Reports::new(events.clone())))
                .map_err(|error| ListenError {
                    endpoint: "a ROUTER socket".into(),
                    source: BindError::Socket(error),
                })?;
        for endpoint in &config.listen {
            if let Err(source) = sockets.listener.bind(endpoint, &config.ipc) {
                sockets.close();
                return Err(ListenError { endpoint: endpoint.to_string(), source });
            }
        }
        Ok(sockets)
    }

    fn open(
        intake: Intake,
        max_unread: usize,
        timeouts: DialTimeouts,
        keys: Option<(Keys, Label)>,
        reports: Reports,
    ) -> Result<Self, zmq::Error> {
        let context = zmq::Context::new();
        Ok(Self {
            dialer: Dialer::open(
                &context,
                intake,
                timeouts,
                keys.as_ref().map(|(keys, _)| keys.clone()),
                reports.clone(),
            )?,
            listener: Listener::open(&context, intake, keys, reports)?,
            send_queues: SendQueues::new(max_unread / 4),
            unread: Unread::new(),
            max_unread,
            pending: VecDeque::new(),
            ready: Ready::UNKNOWN,
            received: 0,
            dropped: 0,
        })
    }

    /// Returns the endpoints that the node listens on, with the ports that the system chose.
    pub(crate) fn endpoints(&self) -> &[String] {
        self.listener.endpoints()
    }

    /// Returns the number of messages dropped because their receiver did not read.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the next input, if there is any: a message, or an event of a link. After `None`, it returns nothing
    /// until the next [`Self::wait`].
    pub(crate) fn receive(&mut self) -> Option<Input> {
        if self.dialer.is_unused() && self.pending.is_empty() {
            return self.receive_from_peer();
        }
        self.received += 1;
        if self.received.is_multiple_of(RECHECK) {
            self.ready = Ready::UNKNOWN;
        }
        // Alternates, so that neither clients nor links starve.
        let from_peer = if self.received.is_multiple_of(2) { self.receive_from_peer() } else { None };
        from_peer.or_else(|| self.receive_from_link()).or_else(|| self.receive_from_peer())
    }

    /// Sends a message on an inbound connection, immediately or as soon as the receiver reads. If `limits.unread-bytes`
    /// is reached, the message is dropped.
    ///
    /// # Errors
    /// [`Input::Undeliverable`] if the receiver's connection is gone.
    pub(crate) fn send(&mut self, to: ConnectionId, frames: Vec<Frame>) -> Result<(), Input> {
        self.deliver(Receiver::Peer(to), frames)
    }

    /// Connects to another node; the outcome is received as an input. Messages posted meanwhile wait.
    ///
    /// The link's number must not have been used before. With keys, `name` is the node whose key is expected.
    pub(crate) fn dial(&mut self, link: LinkId, endpoint: &str, name: Option<&Label>) {
        self.drain_links();
        if let Err(error) = self.dialer.dial(link, endpoint, name) {
            self.pending.push_back(Input::LinkDown { link, why: error.to_string() });
        }
    }

    /// Continues to open a link whose host name was looked up.
    pub(crate) fn resolved(&mut self, lookup: Lookup) {
        self.drain_links();
        if let Err((link, error)) = self.dialer.resolved(lookup) {
            self.report_down(link, error.to_string());
        }
    }

    /// Sends a message on a link, as soon as the link is connected and the other node reads.
    ///
    /// # Errors
    /// [`Input::Unsent`] if the link is down, or if `limits.unread-bytes` is reached.
    pub(crate) fn post(&mut self, link: LinkId, frames: Vec<Frame>) -> Result<(), Input> {
        self.deliver(Receiver::Link(link), frames)
    }

    /// Replaces the trusted keys. Connections and links whose key is not among them end, with all that waits on them.
    pub(crate) fn trust(&mut self, keys: &Keys) {
        self.listener.trust(keys);
        for link in self.dialer.trust(keys) {
            self.hang_up(link);
            self.pending.push_back(Input::LinkDown { link, why: "the trust in its key was revoked".into() });
        }
    }

    /// Closes a link and drops all that waits to be sent on it; nothing more is received from it.
    pub(crate) fn hang_up(&mut self, link: LinkId) {
        self.dialer.hang_up(link);
        self.send_queues.take(&Receiver::Link(link)).for_each(drop);
        self.pending.retain(|pending| !concerns(pending, link));
    }

    /// Sleeps until something arrives, `waker` is readable, or the timeout has passed (`None`: without a timeout).
    pub(crate) fn wait(&mut self, waker: BorrowedFd<'_>, timeout: Option<Duration>) {
        let timeout = match timeout {
            _ if !self.pending.is_empty() || self.dialer.has_ended() => Some(Duration::ZERO),
            _ if self.has_to_retry() => Some(RETRY),
            timeout => timeout,
        };
        let is_used = !self.dialer.is_unused();
        let [links, events] = self.dialer.polled();
        self.ready = Ready {
            listener: self.listener.polled().has_unsignalled_input(),
            links: is_used && links.has_unsignalled_input(),
            events: is_used && events.has_unsignalled_input(),
        };
        if !self.ready.listener && !self.ready.links && !self.ready.events {
            self.poll(waker, timeout);
        }
    }

    /// Releases the endpoints and removes the ipc files.
    pub(crate) fn close(self) {
        self.dialer.close();
        self.listener.close();
    }

    fn receive_from_peer(&mut self) -> Option<Input> {
        if !self.ready.listener {
            return None;
        }
        let received = self.listener.receive();
        self.ready.listener = received.is_some();
        received
    }

    fn receive_from_link(&mut self) -> Option<Input> {
        if self.pending.is_empty() {
            self.read_link();
        }
        self.pending.pop_front()
    }

    /// Reads all messages and events of links, up to [`MAX_DRAINED`]. If events are left after that, the next link may
    /// mistake one for its own, and end; then it is dialled again.
    fn drain_links(&mut self) {
        self.ready = Ready::UNKNOWN;
        for _ in 0..MAX_DRAINED {
            if !self.read_link() {
                break;
            }
        }
    }

    /// Reads one message, or the end of one link, if there is any.
    fn read_link(&mut self) -> bool {
        if self.dialer.is_unused() {
            return false;
        }
        loop {
            if self.ready.links {
                if let Some((link, frames)) = self.dialer.receive() {
                    self.pending.push_back(Input::LinkMessage { link, frames });
                    return true;
                }
                self.ready.links = false;
            }
            // No messages are left, so none of the ended link either.
            if let Some((link, why)) = self.dialer.next_ended() {
                self.report_down(link, why);
                return true;
            }
            // Messages that arrived before an event can be read when the event can.
            self.ready.links = self.ready.events && self.dialer.read_events();
            self.ready.events = false;
            if !self.ready.links {
                return false;
            }
        }
    }

    fn report_down(&mut self, link: LinkId, why: String) {
        let waiting = self.send_queues.take(&Receiver::Link(link));
        self.pending.extend(waiting.map(|frames| Input::Unsent { link, frames }));
        self.pending.push_back(Input::LinkDown { link, why });
    }

    /// Polls descriptors only: `zmq_poll` checks each socket with a system call before and after it sleeps.
    fn poll(&mut self, waker: BorrowedFd<'_>, timeout: Option<Duration>) {
        let [links, events] = self.dialer.polled();
        let sockets = [self.listener.polled(), links, events];
        let [listener, links, events] = sockets.map(Polled::descriptor);
        let mut items = [waker, listener, links, events].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let used = if self.dialer.is_unused() { 2 } else { items.len() };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let is_interrupted = rustix::event::poll(&mut items[..used], timeout.as_ref()).is_err();
        let [_, listener, links, events] = items.map(|item| is_interrupted || !item.revents().is_empty());
        let signals = [listener, links, events];
        sockets.iter().zip(signals).filter(|(_, signal)| *signal).for_each(|(socket, _)| socket.signalled());
        self.ready = Ready { listener, links, events };
        self.received = 0;
    }
}

fn concerns(input: &Input, link: LinkId) -> bool {
    match input {
        Input::LinkMessage { link: about, .. }
        | Input::Unsent { link: about, .. }
        | Input::LinkDown { link: about, .. } => *about == link,
        _ => false,
    }
}

/// Creates a ROUTER with the options that all of the node's sockets share.
fn router(context: &zmq::Context, intake: Intake, high_water_mark: i32) -> Result<zmq::Socket, zmq::Error> {
    let mut router = context.socket(zmq::ROUTER)?;
    router.set_router_mandatory(true)?;
    intake.apply(&mut router)?;
    router.set_sndhwm(high_water_mark)?;
    router.set_rcvhwm(high_water_mark)?;
    keepalive::apply(&mut router)?;
    for option in [ffi::IN_BATCH_SIZE, ffi::OUT_BATCH_SIZE] {
        ffi::set(&mut router, option, &BATCH_SIZE.to_ne_bytes())?;
    }
    Ok(router)
}

/// Converts a duration to the milliseconds that libzmq's options take.
fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Returns the next message of a ROUTER, if there is one: what `read_id` makes of its routing id, and its other frames.
fn receive<T>(router: &Polled, read_id: impl FnOnce(&mut zmq::Message, &[Frame]) -> T) -> Option<(T, Vec<Frame>)> {
    router.read(|router| receive_at(router, read_id))
}

fn receive_at<T>(
    router: &zmq::Socket,
    read_id: impl FnOnce(&mut zmq::Message, &[Frame]) -> T,
) -> Option<(T, Vec<Frame>)> {
    let (mut id, mut frame) = (zmq::Message::new(), zmq::Message::new());
    uninterrupted(|| router.recv(&mut id, zmq::DONTWAIT)).ok()?;
    let mut frames = Vec::with_capacity(4);
    let mut more = id.get_more();
    while more {
        // The parts of a message arrive together.
        uninterrupted(|| router.recv(&mut frame, zmq::DONTWAIT)).ok()?;
        more = frame.get_more();
        frames.push(take(&mut frame));
    }
    Some((read_id(&mut id, &frames), frames))
}

/// Takes the bytes of a frame, without a copy if it is large. A small frame is copied, because it would keep the whole
/// batch that libzmq read it in ([`BATCH_SIZE`]).
fn take(frame: &mut zmq::Message) -> Frame {
    struct Large(zmq::Message);
    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    if frame.len() < LARGE {
        return Frame::copy_from_slice(frame);
    }
    Frame::from_owner(Large(std::mem::replace(frame, zmq::Message::new())))
}

/// Repeats a call that a signal, such as SIGTERM, interrupted (EINTR): libzmq has done nothing then. Treating EINTR as
/// a failure would tear a message apart.
fn uninterrupted<T>(mut attempt: impl FnMut() -> Result<T, zmq::Error>) -> Result<T, zmq::Error> {
    loop {
        match attempt() {
            Err(zmq::Error::EINTR) => {}
            result => return result,
        }
    }
}
