//! Queue of events from other threads to the driver: a channel, and a file descriptor that becomes readable with it.
//!
//! The driver sleeps in `poll`, which waits for file descriptors but not for channels. A sender writes a byte only when the
//! driver may be asleep, so a burst of events costs one system call.
//!
//! The channel itself is unbounded; each kind of sender is not. A sender that can produce any number of events holds a
//! [`Permit`] for each until the driver has handled it: a run waits for one before its next partial reply, and a refused
//! connection that finds none is only counted. All others send one event and wait for its effect (calls, ends of runs,
//! lookups: as many as there are runs or lookups), or one per changed file or received signal.

use crate::keys::Keys;
use crate::plugins::PluginEvent;
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

/// Largest number of queued reports of refused connections: more than the driver logs in a second, and few enough to cost
/// nothing. Refusals beyond it are only counted.
const REFUSALS: u32 = 64;

/// Event that another thread sends to the driver.
#[derive(Debug)]
pub(crate) enum DriverEvent {
    /// Input of the core.
    Input(Input),
    /// Change of a plugin.
    Plugin(PluginEvent),
    /// Result of a DNS lookup for a link.
    Lookup(Lookup),
    /// Changed set of trusted keys.
    Keys(Keys),
    /// A connection or message was refused.
    TurnedAway {
        /// Why.
        why: String,
        /// Number of refusals, including earlier ones that were only counted.
        times: u64,
    },
    /// A connection exceeded a limit and was ended.
    OverLimit {
        /// Which connection, and which limit.
        what: String,
        /// Number of ended connections, including earlier ones that were only counted.
        times: u64,
    },
}

/// Event, and the capacity that it holds until the driver has handled it.
#[derive(Debug)]
pub(crate) struct QueuedEvent {
    /// The event.
    pub(crate) event: DriverEvent,
    /// Released when the queued event is dropped.
    pub(crate) permit: Option<Permit>,
}

/// Bound on what one sender has in the queue.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    free: Arc<Semaphore>,
    size: u32,
}

/// Part of a [`Capacity`], released on drop.
pub(crate) type Permit = OwnedSemaphorePermit;

impl Capacity {
    /// Creates a capacity of `size` units; the sender decides whether a unit is an event or a byte.
    pub(crate) fn new(size: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Waits for `weight` units. A weight above the size waits for all of them.
    pub(crate) async fn take(&self, weight: usize) -> Option<Permit> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.size);
        // Nothing closes the semaphore.
        Arc::clone(&self.free).acquire_many_owned(weight).await.ok()
    }

    /// Takes one unit, if one is free.
    fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }
}

impl From<Input> for DriverEvent {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

impl From<PluginEvent> for DriverEvent {
    fn from(news: PluginEvent) -> Self {
        Self::Plugin(news)
    }
}

impl From<Lookup> for DriverEvent {
    fn from(lookup: Lookup) -> Self {
        Self::Lookup(lookup)
    }
}

/// Receiving end: the driver's.
#[derive(Debug)]
pub(crate) struct EventQueue {
    events: Receiver<QueuedEvent>,
    waker: UnixStream,
    is_woken: Arc<AtomicBool>,
}

/// Sending end.
#[derive(Debug, Clone)]
pub(crate) struct EventSender {
    events: Sender<QueuedEvent>,
    waker: Arc<UnixStream>,
    is_woken: Arc<AtomicBool>,
    refusals: Capacity,
    /// Refused connections and messages that have not been reported.
    turned_away: Arc<AtomicU64>,
    /// Connections over a limit that have not been reported.
    over_limit: Arc<AtomicU64>,
}

/// Creates a queue.
///
/// # Errors
/// If no file descriptor is left.
pub(crate) fn event_queue() -> std::io::Result<(EventSender, EventQueue)> {
    let (sender, receiver) = channel();
    let (write, read) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    let is_woken = Arc::new(AtomicBool::new(false));
    let sending = EventSender {
        events: sender,
        waker: Arc::new(write),
        is_woken: Arc::clone(&is_woken),
        refusals: Capacity::new(REFUSALS),
        turned_away: Arc::default(),
        over_limit: Arc::default(),
    };
    Ok((sending, EventQueue { events: receiver, waker: read, is_woken }))
}

impl EventSender {
    /// Queues an event. Without effect once the driver has ended.
    pub(crate) fn send(&self, event: impl Into<DriverEvent>) {
        self.send_in(None, event);
    }

    /// Queues an event that holds a permit until the driver has handled it.
    pub(crate) fn send_in(&self, permit: Option<Permit>, event: impl Into<DriverEvent>) {
        if self.events.send(QueuedEvent { event: event.into(), permit }).is_ok()
            && !self.is_woken.swap(true, Ordering::SeqCst)
        {
            // A full pipe holds a byte already, so the driver wakes up all the same.
            let _full_pipe_is_enough = (&*self.waker).write(&[1]);
        }
    }

    /// Reports a refused connection or message. While [`REFUSALS`] reports wait, it is only counted.
    pub(crate) fn turned_away(&self, why: impl Into<String>) {
        self.report(&self.turned_away, |times| DriverEvent::TurnedAway { why: why.into(), times });
    }

    /// Reports a connection that exceeded a limit and was ended. While [`REFUSALS`] reports wait, it is only counted.
    pub(crate) fn over_limit(&self, what: impl Into<String>) {
        self.report(&self.over_limit, |times| DriverEvent::OverLimit { what: what.into(), times });
    }

    fn report(&self, unreported: &AtomicU64, event: impl FnOnce(u64) -> DriverEvent) {
        let Some(permit) = self.refusals.try_take() else {
            unreported.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.send_in(Some(permit), event(unreported.swap(0, Ordering::Relaxed) + 1));
    }
}

impl EventQueue {
    /// Descriptor that becomes readable with the queue.
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
        let _an_interruption_is_a_reason_to_look = poll(&mut waker, Timespec::try_from(timeout).ok().as_ref());
    }

    /// Returns the next event, if there is one.
    pub(crate) fn next(&mut self) -> Option<QueuedEvent> {
        self.events.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn take(capacity: &Capacity, weight: usize) -> Option<Permit> {
        match std::pin::pin!(capacity.take(weight)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => permit,
            Poll::Pending => None,
        }
    }

    #[test]
    fn capacity_is_released_when_the_driver_has_handled_the_event() {
        let (sending, mut events) = event_queue().unwrap();
        let capacity = Capacity::new(100);
        sending.send_in(take(&capacity, 60), Input::Tick);
        assert!(take(&capacity, 60).is_none(), "one fits");
        assert!(take(&capacity, 40).is_some());
        let queued = events.next().unwrap();
        assert!(take(&capacity, 60).is_none(), "received, and not yet handled");
        drop(queued);
        assert!(take(&capacity, 60).is_some());
    }

    #[test]
    fn an_event_larger_than_the_capacity_waits_for_all_of_it() {
        let capacity = Capacity::new(100);
        let small = take(&capacity, 1).unwrap();
        assert!(take(&capacity, usize::MAX).is_none());
        drop(small);
        assert!(take(&capacity, usize::MAX).is_some());
    }

    #[test]
    fn refusals_beyond_the_capacity_are_counted() {
        let (sending, mut events) = event_queue().unwrap();
        for _ in 0..1_000 {
            sending.turned_away("a stranger");
        }
        let mut times = 0;
        let mut waiting = 0;
        while let Some(QueuedEvent { event: DriverEvent::TurnedAway { times: more, .. }, .. }) = events.next() {
            times += more;
            waiting += 1;
        }
        assert_eq!((waiting, times), (REFUSALS, u64::from(REFUSALS)));
        sending.turned_away("the next");
        let Some(QueuedEvent { event: DriverEvent::TurnedAway { times: more, .. }, .. }) = events.next() else {
            panic!("it is not reported");
        };
        assert_eq!(times + more, 1_001);
    }
}
