//! How other threads reach the driver: a channel, and a file descriptor that becomes readable when the channel does.
//!
//! The driver sleeps in `poll`, which waits for file descriptors but not for channels. A byte is written
//! only when the driver may be asleep, so a burst of messages costs one system call.

use crate::keys::Keys;
use crate::plugins::News;
use crate::sockets::Lookup;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use wasmnode_core::Input;

/// What other threads tell the driver.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Something that the core decides about.
    Input(Input),
    /// Something that happened to a plugin.
    News(News),
    /// The address of another node, or that there is none.
    Lookup(Lookup),
    /// Others are trusted from now on.
    Keys(Keys),
    /// Somebody was not let in, and why.
    TurnedAway(String),
}

impl From<Input> for Mail {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

impl From<News> for Mail {
    fn from(news: News) -> Self {
        Self::News(news)
    }
}

impl From<Lookup> for Mail {
    fn from(lookup: Lookup) -> Self {
        Self::Lookup(lookup)
    }
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Mailbox {
    mails: Receiver<Mail>,
    bell: UnixStream,
    rung: Arc<AtomicBool>,
}

/// The other threads' end.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    mails: Sender<Mail>,
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
    let sending = Sending { mails: sender, bell: Arc::new(ring), rung: Arc::clone(&rung) };
    Ok((sending, Mailbox { mails: receiver, bell, rung }))
}

impl Sending {
    /// Puts something into the mailbox. When the driver has ended it goes nowhere: nobody waits for it then.
    pub(crate) fn send(&self, mail: impl Into<Mail>) {
        if self.mails.send(mail.into()).is_ok() && !self.rung.swap(true, Ordering::SeqCst) {
            // A full pipe holds a byte already, so the driver wakes up all the same.
            let _full_pipe_is_enough = (&*self.bell).write(&[1]);
        }
    }
}

impl Mailbox {
    /// What becomes readable.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
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

    /// What comes next, if anything has.
    pub(crate) fn next(&mut self) -> Option<Mail> {
        self.mails.try_recv().ok()
    }
}
