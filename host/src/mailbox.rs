//! How other threads reach the driver: a channel, and a file descriptor that becomes readable when the channel does.
//!
//! The driver sleeps in `poll`, which waits for file descriptors but not for channels. A byte is written
//! only when the driver may be asleep, so a burst of messages costs one system call.
//!
//! The channel itself has no bound; each kind of sender has one. A sender that can make any number of mails holds
//! [`Room`] for each until the driver has handled it: a plugin's run waits for room before the next partial reply, and a
//! refused connection that finds none is only counted. All others send one mail and wait for its effect (calls of
//! plugins, ends of runs, lookups, each as many as there are runs or lookups), or as many as files change or signals
//! arrive.

use crate::keys::Keys;
use crate::plugins::News;
use crate::sockets::Lookup;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmnode_core::Input;

/// Largest number of refused connections whose reasons wait for the driver: more than the driver logs in a second, and few
/// enough to cost nothing. Those beyond it are only counted.
const REFUSALS: u32 = 64;

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
    /// A connection or message was refused.
    TurnedAway {
        /// Why.
        why: String,
        /// How many were refused, with those before it whose reasons found no room.
        times: u64,
    },
    /// A connection exceeded a limit and was ended.
    OverLimit {
        /// Which connection, and which limit.
        what: String,
        /// How many were ended, with those before it that found no room.
        times: u64,
    },
}

/// A mail, and the room that it takes until it has been handled.
#[derive(Debug)]
pub(crate) struct Letter {
    /// What was sent.
    pub(crate) mail: Mail,
    /// Given back when the letter is dropped.
    pub(crate) taken: Option<Taken>,
}

/// Bound on what one sender has in the mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    size: u32,
}

/// Part of a [`Room`], free again when this is dropped.
pub(crate) type Taken = OwnedSemaphorePermit;

impl Room {
    /// Room of this size; what one unit is, a mail or a byte, is up to the sender.
    pub(crate) fn new(size: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Waits until there is room for a mail of this weight. One that is larger than the room waits until all of it is free.
    pub(crate) async fn take(&self, weight: usize) -> Option<Taken> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.size);
        // Nothing closes the semaphore.
        Arc::clone(&self.free).acquire_many_owned(weight).await.ok()
    }

    /// Takes room for a mail of weight 1, if there is any.
    fn try_take(&self) -> Option<Taken> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }
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
    mails: Receiver<Letter>,
    bell: UnixStream,
    rung: Arc<AtomicBool>,
}

/// The other threads' end.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    mails: Sender<Letter>,
    bell: Arc<UnixStream>,
    rung: Arc<AtomicBool>,
    refusals: Room,
    /// Connections and messages turned away whose reports found no room.
    turned_away: Arc<AtomicU64>,
    /// Connections over a limit whose reports found no room.
    over_limit: Arc<AtomicU64>,
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
    let sending = Sending {
        mails: sender,
        bell: Arc::new(ring),
        rung: Arc::clone(&rung),
        refusals: Room::new(REFUSALS),
        turned_away: Arc::default(),
        over_limit: Arc::default(),
    };
    Ok((sending, Mailbox { mails: receiver, bell, rung }))
}

impl Sending {
    /// Puts something into the mailbox. When the driver has ended it goes nowhere: nobody waits for it then.
    pub(crate) fn send(&self, mail: impl Into<Mail>) {
        self.send_in(None, mail);
    }

    /// Puts something into the mailbox that takes room there until the driver has handled it.
    pub(crate) fn send_in(&self, taken: Option<Taken>, mail: impl Into<Mail>) {
        if self.mails.send(Letter { mail: mail.into(), taken }).is_ok() && !self.rung.swap(true, Ordering::SeqCst) {
            // A full pipe holds a byte already, so the driver wakes up all the same.
            let _full_pipe_is_enough = (&*self.bell).write(&[1]);
        }
    }

    /// Reports a connection or message that was refused. While too many such reports wait, it is only counted.
    pub(crate) fn turned_away(&self, why: impl Into<String>) {
        self.report(&self.turned_away, |times| Mail::TurnedAway { why: why.into(), times });
    }

    /// Reports a connection that exceeded a limit and was ended. While too many such reports wait, it is only counted.
    pub(crate) fn over_limit(&self, what: impl Into<String>) {
        self.report(&self.over_limit, |times| Mail::OverLimit { what: what.into(), times });
    }

    fn report(&self, unreported: &AtomicU64, mail: impl FnOnce(u64) -> Mail) {
        let Some(taken) = self.refusals.try_take() else {
            unreported.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.send_in(Some(taken), mail(unreported.swap(0, Ordering::Relaxed) + 1));
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

    /// Waits until there may be something, at most so long.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut bell = [PollFd::new(&self.bell, PollFlags::IN)];
        let _an_interruption_is_a_reason_to_look = poll(&mut bell, Timespec::try_from(timeout).ok().as_ref());
    }

    /// What comes next, if anything has.
    pub(crate) fn next(&mut self) -> Option<Letter> {
        self.mails.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn take(room: &Room, weight: usize) -> Option<Taken> {
        match std::pin::pin!(room.take(weight)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => None,
        }
    }

    #[test]
    fn room_is_free_again_when_the_driver_has_handled_what_took_it() {
        let (sending, mut mailbox) = mailbox().unwrap();
        let room = Room::new(100);
        sending.send_in(take(&room, 60), Input::Tick);
        assert!(take(&room, 60).is_none(), "there is room for one");
        assert!(take(&room, 40).is_some());
        let letter = mailbox.next().unwrap();
        assert!(take(&room, 60).is_none(), "it is taken, and not yet handled");
        drop(letter);
        assert!(take(&room, 60).is_some());
    }

    #[test]
    fn a_mail_larger_than_the_room_waits_until_it_is_alone() {
        let room = Room::new(100);
        let small = take(&room, 1).unwrap();
        assert!(take(&room, usize::MAX).is_none());
        drop(small);
        assert!(take(&room, usize::MAX).is_some());
    }

    #[test]
    fn refusals_that_nobody_reads_are_counted_and_take_no_more_room() {
        let (sending, mut mailbox) = mailbox().unwrap();
        for _ in 0..1_000 {
            sending.turned_away("a stranger");
        }
        let mut times = 0;
        let mut waiting = 0;
        while let Some(Letter { mail: Mail::TurnedAway { times: more, .. }, .. }) = mailbox.next() {
            times += more;
            waiting += 1;
        }
        assert_eq!((waiting, times), (REFUSALS, u64::from(REFUSALS)));
        sending.turned_away("the next");
        let Some(Letter { mail: Mail::TurnedAway { times: more, .. }, .. }) = mailbox.next() else {
            panic!("it is not reported");
        };
        assert_eq!(times + more, 1_001);
    }
}
