//! Queue of events from other threads to the driver: a channel, and a file descriptor that becomes readable with it.
//! The queue depends on no type of event; each module declares its own, and the driver gathers them.
//!
//! The driver sleeps in `poll`, which waits for file descriptors but not for channels. A sender writes a byte only when
//! the driver may be asleep, so a burst of events costs one system call.
//!
//! The channel is unbounded; each kind of sender is bounded, see [`EventSender`].

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
pub(crate) use wasmnode_sandbox::{EventSender, Permit};

/// Event, and the capacity that it holds until the driver has handled it.
#[derive(Debug)]
pub(crate) struct QueuedEvent<E> {
    /// The event.
    pub(crate) event: E,
    /// Released when the queued event is dropped.
    pub(crate) permit: Option<Permit>,
}

/// Receiving end: the driver's.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    events: Receiver<QueuedEvent<E>>,
    waker: UnixStream,
    is_woken: Arc<AtomicBool>,
}

/// Creates a queue. Events that are sent once the receiving end is gone are dropped.
///
/// # Errors
/// If no file descriptor is left.
pub(crate) fn event_queue<E: Send + 'static>() -> std::io::Result<(EventSender<E>, EventQueue<E>)> {
    let (sender, receiver) = channel();
    let (write, read) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    let is_woken = Arc::new(AtomicBool::new(false));
    let is_awake = Arc::clone(&is_woken);
    let send = move |event, permit| {
        if sender.send(QueuedEvent { event, permit }).is_ok() && !is_awake.swap(true, Ordering::SeqCst) {
            // A full pipe holds a byte already, so the driver wakes up anyway.
            let _full_pipe_is_enough = (&write).write(&[1]);
        }
    };
    Ok((EventSender::new(send), EventQueue { events: receiver, waker: read, is_woken }))
}

impl<E> EventQueue<E> {
    /// Returns the descriptor that becomes readable with the queue.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    /// Lets the next sender wake the driver again. Call after waking up and before [`Self::next`].
    pub(crate) fn acknowledge(&mut self) {
        if !self.is_woken.load(Ordering::SeqCst) {
            return;
        }
        let mut bytes = [0; 64];
        while match self.waker.read(&mut bytes) {
            Ok(read) => read == bytes.len(),
            Err(error) => error.kind() == ErrorKind::Interrupted,
        } {}
        self.is_woken.store(false, Ordering::SeqCst);
    }

    /// Waits until there may be an event, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut waker = [PollFd::new(&self.waker, PollFlags::IN)];
        let _an_interruption_counts_as_an_event = poll(&mut waker, Timespec::try_from(timeout).ok().as_ref());
    }

    /// Returns the next event, if there is one.
    pub(crate) fn next(&mut self) -> Option<QueuedEvent<E>> {
        self.events.try_recv().ok()
    }
}
