//! A ZeroMQ socket whose descriptor is polled.
//!
//! libzmq signals an arrival on the descriptor (`ZMQ_FD` in `zmq_getsockopt(3)`) once, and only to an owner that has
//! found the socket empty before: a socket that was never read from signals nothing, and any call on a socket may
//! consume the signal. So sleeping on the descriptor is safe only after the latest use of the socket has found it
//! empty. Every use passes through [`Polled`], which keeps track of that.

use super::{ffi, uninterrupted};
use std::cell::Cell;
use std::os::fd::BorrowedFd;

pub(super) struct Polled {
    socket: zmq::Socket,
    /// Set if the latest use has found the socket empty.
    is_empty: Cell<bool>,
}

impl Polled {
    pub(super) fn new(socket: zmq::Socket) -> Self {
        Self { socket, is_empty: Cell::new(false) }
    }

    /// Returns the socket, for anything but reading.
    pub(super) fn socket(&self) -> &zmq::Socket {
        self.is_empty.set(false);
        &self.socket
    }

    /// Returns the socket, for anything but reading.
    pub(super) fn socket_mut(&mut self) -> &mut zmq::Socket {
        self.is_empty.set(false);
        &mut self.socket
    }

    /// Reads without blocking. `read` returns `None` only if the socket is empty.
    pub(super) fn read<T>(&self, read: impl FnOnce(&zmq::Socket) -> Option<T>) -> Option<T> {
        let read = read(&self.socket);
        self.is_empty.set(read.is_none());
        read
    }

    /// Returns `true` if there is a message to read.
    pub(super) fn has_input(&self) -> bool {
        let has_input = uninterrupted(|| self.socket.get_events()).is_ok_and(|events| events.contains(zmq::POLLIN));
        self.is_empty.set(!has_input);
        has_input
    }

    /// Returns `true` if there is a message to read that the descriptor may not signal. Costs a system call only if the
    /// socket was used since it was found empty.
    pub(super) fn has_unsignalled_input(&self) -> bool {
        !self.is_empty.get() && self.has_input()
    }

    /// Returns the descriptor. Poll it only while [`Self::has_unsignalled_input`] returns `false`.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        ffi::descriptor(&self.socket)
    }

    /// Records that the descriptor was readable, so that there may be a message.
    pub(super) fn signalled(&self) {
        self.is_empty.set(false);
    }
}
