//! Sender of events. The sandbox depends neither on the queue behind it nor on the queue's other content.
//!
//! A sender is unbounded; its users are bounded. A user that can produce any number of events holds a [`Permit`] for
//! each until it has been handled: a run waits for a permit before its next partial reply. Other users send one event
//! and wait for its effect (calls and ends of runs, bounded by the number of runs), or one per changed file.

use std::fmt;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sends events, from any thread and without blocking.
pub struct EventSender<E>(Arc<dyn Fn(E, Option<Permit>) + Send + Sync>);

/// Bound on the events in flight of one user of a sender.
#[derive(Debug, Clone)]
pub struct Capacity {
    free: Arc<Semaphore>,
    size: u32,
}

/// Part of a [`Capacity`], released on drop.
pub type Permit = OwnedSemaphorePermit;

impl<E> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> fmt::Debug for EventSender<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSender")
    }
}

impl<E: 'static> EventSender<E> {
    /// Creates a sender that passes each event to `send`, with the permit to drop once the event has been handled.
    pub fn new(send: impl Fn(E, Option<Permit>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Returns a sender of one kind of these events.
    #[must_use]
    pub fn narrow<N: 'static>(&self) -> EventSender<N>
    where
        E: From<N>,
    {
        let wide = self.clone();
        EventSender::new(move |event: N, permit| wide.send_in(permit, event.into()))
    }

    /// Sends an event.
    pub fn send(&self, event: E) {
        self.send_in(None, event);
    }

    /// Sends an event that holds a permit until it has been handled.
    pub fn send_in(&self, permit: Option<Permit>, event: E) {
        (self.0)(event, permit);
    }
}

impl Capacity {
    /// Creates a capacity of `size` units; the user decides whether a unit is an event or a byte.
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Waits for `weight` units; a weight above the size waits for all units.
    pub async fn take(&self, weight: usize) -> Option<Permit> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.size);
        // Nothing closes the semaphore.
        Arc::clone(&self.free).acquire_many_owned(weight).await.ok()
    }

    /// Takes one unit, if one is free.
    #[must_use]
    pub fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
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
    fn capacity_is_released_when_the_event_has_been_handled() {
        let (sender, events) = std::sync::mpsc::channel();
        let sending = EventSender::new(move |event: u8, permit| sender.send((event, permit)).unwrap());
        let capacity = Capacity::new(100);
        sending.send_in(take(&capacity, 60), 1);
        assert!(take(&capacity, 60).is_none(), "one fits");
        assert!(take(&capacity, 40).is_some());
        let received = events.recv().unwrap();
        assert!(take(&capacity, 60).is_none(), "received, and not yet handled");
        drop(received);
        assert!(take(&capacity, 60).is_some());
    }

    #[test]
    fn an_event_larger_than_the_capacity_waits_for_the_whole_capacity() {
        let capacity = Capacity::new(100);
        let small = take(&capacity, 1).unwrap();
        assert!(take(&capacity, usize::MAX).is_none());
        drop(small);
        assert!(take(&capacity, usize::MAX).is_some());
    }
}
