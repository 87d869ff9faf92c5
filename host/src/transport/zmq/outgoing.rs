//! Outgoing messages: to libzmq, or into the send queues while a receiver reads too slowly.
//!
//! `limits.unread-bytes` bounds both together. Where it is reached, one receiver is to blame: a message to it is
//! dropped, and a message to another receiver ends the connection of the one to blame.

use super::dialer::Dialer;
use super::listener::Listener;
use super::polled::Polled;
use super::send_queue::{Receiver, weight};
use super::unread::{Token, Unread};
use super::{LARGE, Sockets, ffi, uninterrupted};
use std::collections::BTreeMap;
use tracing::warn;
use wasmnode_core::{ConnectionId, Frame, Input, Label, LinkId};

/// Receivers that are accounted together: the connections of one user, all connections without keys, or one link.
type User<'a> = (Option<LinkId>, Option<&'a Label>);

fn user_of(receiver: &Receiver) -> User<'_> {
    match receiver {
        Receiver::Peer(peer) => (None, peer.principal()),
        Receiver::Link(link) => (Some(*link), None),
    }
}

impl Sockets {
    /// Retries the messages that wait for slow receivers; returns those that turned out to be undeliverable.
    pub(crate) fn retry(&mut self) -> Vec<Input> {
        if self.send_queues.is_empty() {
            return Vec::new();
        }
        let (listener, dialer, unread) = (&mut self.listener, &mut self.dialer, &mut self.unread);
        let unsent =
            self.send_queues.retry(|to, frames| try_send(listener, dialer, unread, to, frames, weight(frames)));
        for message in &unsent {
            if let Input::Unsent { link, .. } = message {
                self.dialer.end(*link);
            }
        }
        unsent
    }

    /// Closes a connection and drops all that waits for its receiver.
    pub(crate) fn disconnect(&mut self, peer: &ConnectionId) {
        let to = Receiver::Peer(peer.clone());
        self.send_queues.take(&to).for_each(drop);
        self.unread.forget(&to);
        self.listener.disconnect(peer.as_bytes());
    }

    /// Sends a message, or queues it until its receiver reads.
    pub(super) fn deliver(&mut self, to: Receiver, frames: Vec<Frame>) -> Result<(), Input> {
        let bytes = weight(&frames);
        if !self.make_room(&to, bytes) {
            return self.give_up(to, frames);
        }
        if self.send_queues.waits_for(&to) {
            return self.keep(to, frames);
        }
        match try_send(&mut self.listener, &mut self.dialer, &mut self.unread, &to, &frames, bytes) {
            Ok(()) => Ok(()),
            Err(zmq::Error::EAGAIN) => self.keep(to, frames),
            Err(_) => {
                if let Receiver::Link(link) = to {
                    self.dialer.end(link);
                }
                Err(to.unsent(frames))
            }
        }
    }

    fn keep(&mut self, to: Receiver, frames: Vec<Frame>) -> Result<(), Input> {
        match self.send_queues.keep(to, frames) {
            Ok(()) => Ok(()),
            Err((to, frames)) => self.give_up(to, frames),
        }
    }

    /// Drops a message to an inbound connection, or returns one to a link as unsent.
    fn give_up(&mut self, to: Receiver, frames: Vec<Frame>) -> Result<(), Input> {
        let Receiver::Peer(to) = to else { return Err(to.unsent(frames)) };
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            let total = self.dropped;
            warn!(
                "{to} does not read its messages, and limits.unread-bytes is reached: {total} dropped since the start"
            );
        }
        Ok(())
    }

    /// Makes room for a message of this many bytes by ending connections. Returns `false` if the connection to end is
    /// that of the message's own receiver.
    fn make_room(&mut self, to: &Receiver, bytes: usize) -> bool {
        while self.unread.total() + self.send_queues.bytes() + bytes > self.max_unread {
            let Some((to_blame, held)) = self.to_blame() else { return true };
            if to_blame == *to {
                return false;
            }
            self.listener.report_over_limit(format!(
                "{to_blame} does not read the {held} bytes that wait for it, and limits.unread-bytes is reached: its \
                 connection is ended"
            ));
            self.end(&to_blame);
        }
        true
    }

    /// Returns the receiver to blame, with the bytes that it holds: of the user whose connections hold most, the
    /// receiver that has read nothing for longest. Size alone would blame a receiver that is just reading a large
    /// message.
    fn to_blame(&self) -> Option<(Receiver, usize)> {
        let waiting = self.send_queues.receivers().filter(|to| !self.unread.contains(to)).map(|to| (to, 0, 0));
        let mut users: BTreeMap<User<'_>, (usize, u64, (&Receiver, usize))> = BTreeMap::new();
        for (to, in_libzmq, read_at) in self.unread.receivers().chain(waiting) {
            let held = in_libzmq + self.send_queues.held(to);
            if held > 0 {
                let (sum, oldest, stalest) = users.entry(user_of(to)).or_insert((0, read_at, (to, held)));
                *sum += held;
                if read_at < *oldest {
                    (*oldest, *stalest) = (read_at, (to, held));
                }
            }
        }
        let most = users.into_values().max_by_key(|(sum, ..)| *sum);
        most.map(|(_, _, (stalest, held))| (stalest.clone(), held))
    }

    fn end(&mut self, receiver: &Receiver) {
        match receiver {
            Receiver::Peer(peer) => self.disconnect(peer),
            Receiver::Link(link) => {
                let waiting = self.send_queues.take(receiver);
                self.pending.extend(waiting.map(|frames| Input::Unsent { link: *link, frames }));
                self.unread.forget(receiver);
                self.dialer.end(*link);
            }
        }
    }

    pub(super) fn has_to_retry(&self) -> bool {
        self.send_queues.receivers().any(|to| match to {
            Receiver::Peer(_) => true,
            Receiver::Link(link) => !self.dialer.is_looking_up(*link),
        })
    }
}

fn try_send(
    listener: &mut Listener,
    dialer: &mut Dialer,
    unread: &mut Unread,
    to: &Receiver,
    frames: &[Frame],
    bytes: usize,
) -> Result<(), zmq::Error> {
    let token = || unread.count(to, bytes);
    match to {
        Receiver::Peer(peer) => listener.send(peer, frames, token),
        Receiver::Link(link) => dialer.send(*link, frames, token),
    }
}

/// Sends a message whole or not at all; the last frame carries the token.
pub(super) fn send(
    router: &mut Polled,
    routing_id: &[u8],
    frames: &[Frame],
    token: impl FnOnce() -> Option<Token>,
) -> Result<(), zmq::Error> {
    let router = router.socket_mut();
    // Only the first part can fail, because libzmq decides then whether the whole message fits.
    uninterrupted(|| ffi::send_copy(router, routing_id, zmq::SNDMORE | zmq::DONTWAIT))?;
    let mut token = token();
    for (index, frame) in frames.iter().enumerate() {
        let (more, token) = if index + 1 < frames.len() { (zmq::SNDMORE, None) } else { (0, token.take()) };
        let flags = more | zmq::DONTWAIT;
        if frame.len() < LARGE && token.is_none() {
            uninterrupted(|| ffi::send_copy(router, frame, flags))?;
        } else {
            ffi::send_shared(router, frame, token, flags)?;
        }
    }
    Ok(())
}
