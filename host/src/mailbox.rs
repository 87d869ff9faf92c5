//! How other threads reach the driver: a channel, and a file descriptor that becomes readable when the channel does.
//!
//! The driver sleeps in `zmq_poll`, which waits for sockets and file descriptors but not for channels. A byte is written
//! only when the driver may be asleep, so a burst of messages costs one system call.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use wasmnode_core::Input;

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inputs: Receiver<Input>,
    bell: UnixStream,
    rung: Arc<AtomicBool>,
}

/// The other threads' end.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    inputs: Sender<Input>,
    bell: Arc<UnixStream>,
    rung: Arc<AtomicBool>,
}

/// Makes both ends.
///
/// # Errors
/// If the system has no file descriptor left.
pub(crate) fn mailbox() -> std::io::Result<(Sending, Mailbox)> {
    let (sender, receiver) = channel();
    let (ring, bell) = UnixStream::pair()?;
    ring.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let rung = Arc::new(AtomicBool::new(false));
    let sending = Sending { inputs: sender, bell: Arc::new(ring), rung: Arc::clone(&rung) };
    Ok((sending, Mailbox { inputs: receiver, bell, rung }))
}

impl Sending {
    /// Puts an input into the mailbox. When the driver has ended it goes nowhere: nobody waits for it then.
    pub(crate) fn send(&self, input: Input) {
        if self.inputs.send(input).is_ok() && !self.rung.swap(true, Ordering::SeqCst) {
            // A full pipe holds a byte already, so the driver wakes up all the same.
            let _full_pipe_is_enough = (&*self.bell).write(&[1]);
        }
    }
}

impl Mailbox {
    /// What `zmq_poll` waits for.
    pub(crate) fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Allows the next sender to ring again; call it after waking up and before [`Self::next`].
    pub(crate) fn silence(&mut self) {
        if !self.rung.load(Ordering::SeqCst) {
            return;
        }
        let mut bytes = [0; 64];
        while match self.bell.read(&mut bytes) {
            Ok(read) => read == bytes.len(),
            Err(error) => error.kind() == ErrorKind::Interrupted,
        } {}
        self.rung.store(false, Ordering::SeqCst);
    }

    /// The next input, if there is one.
    pub(crate) fn next(&mut self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }
}
