//! Count of the bytes that libzmq holds for receivers that have not read them yet: libzmq bounds each of its queues,
//! but not their sum.
//!
//! A large message carries a [`Token`], which libzmq drops together with the message. Small messages are copied; one in
//! [`SAMPLE`] bytes of them carries a token for all. Messages to one receiver leave in order, so a token that still
//! exists also covers what was sent before it.

use super::LARGE;
use super::send_queue::Receiver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Bytes of small messages that one token covers: large enough to make the count nearly free.
const SAMPLE: usize = 64 << 10;

/// Number of receivers from which idle ones are removed.
const PRUNE_FROM: usize = 64;

/// Bytes by receiver.
#[derive(Debug)]
pub(super) struct Unread {
    total: Arc<AtomicUsize>,
    receivers: BTreeMap<Receiver, Arc<Held>>,
    /// Bytes sent since the last token.
    small: usize,
    /// Number of receivers at which the idle ones are removed.
    prune_at: usize,
    began: Instant,
}

/// Bytes held for one receiver.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    /// Time at which it last read a message with a token, or began to hold some, in µs since `Unread::began`.
    read_at: AtomicU64,
}

/// Share of a receiver's bytes, released when it is dropped, in any thread.
#[derive(Debug)]
pub(super) struct Token {
    bytes: usize,
    held: Arc<Held>,
    total: Arc<AtomicUsize>,
    began: Instant,
}

impl Unread {
    pub(super) fn new() -> Self {
        let (total, receivers) = (Arc::default(), BTreeMap::new());
        Self { total, receivers, small: 0, prune_at: PRUNE_FROM, began: Instant::now() }
    }

    /// Returns the number of bytes of all receivers.
    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a message of this many bytes. The message has to carry the returned token.
    pub(super) fn count(&mut self, to: &Receiver, bytes: usize) -> Option<Token> {
        self.small += bytes;
        (bytes >= LARGE || self.small >= SAMPLE).then(|| {
            let (bytes, began) = (std::mem::take(&mut self.small), self.began);
            let held = Arc::clone(self.receiver(to));
            if held.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
                held.has_read(began);
            }
            self.total.fetch_add(bytes, Ordering::Relaxed);
            Token { bytes, held, total: Arc::clone(&self.total), began }
        })
    }

    /// Returns the receivers, with the bytes held for each, and the time at which it last read some, in µs.
    pub(super) fn receivers(&self) -> impl Iterator<Item = (&Receiver, usize, u64)> {
        let figures = |(to, held): (_, &Arc<Held>)| {
            (to, held.bytes.load(Ordering::Relaxed), held.read_at.load(Ordering::Relaxed))
        };
        self.receivers.iter().map(figures)
    }

    /// Returns `true` if [`Self::receivers`] contains the receiver.
    pub(super) fn contains(&self, to: &Receiver) -> bool {
        self.receivers.contains_key(to)
    }

    /// Stops counting the bytes of a receiver: its connection ends, and libzmq frees the bytes soon.
    pub(super) fn forget(&mut self, to: &Receiver) {
        if let Some(held) = self.receivers.remove(to) {
            self.total.fetch_sub(held.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn receiver(&mut self, to: &Receiver) -> &Arc<Held> {
        if self.receivers.len() >= self.prune_at {
            self.receivers.retain(|_, held| held.bytes.load(Ordering::Relaxed) > 0);
            self.prune_at = PRUNE_FROM.max(2 * self.receivers.len());
        }
        self.receivers.entry(to.clone()).or_default()
    }
}

impl Held {
    fn has_read(&self, began: Instant) {
        let now = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.read_at.store(now, Ordering::Relaxed);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // The bytes of a forgotten receiver have been subtracted already.
        let given_back =
            self.held.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(self.bytes));
        if given_back.is_ok() {
            self.total.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.held.has_read(self.began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmnode_core::LinkId;

    fn to(number: u64) -> Receiver {
        Receiver::Link(LinkId(number))
    }

    #[test]
    fn large_messages_count_until_they_are_released() {
        let mut unread = Unread::new();
        let first = unread.count(&to(1), 1 << 20);
        let second = unread.count(&to(2), 2 << 20);
        assert_eq!(unread.total(), 3 << 20);
        let held: Vec<_> = unread.receivers().map(|(to, bytes, _)| (to.clone(), bytes)).collect();
        assert_eq!(held, [(to(1), 1 << 20), (to(2), 2 << 20)]);
        unread.forget(&to(2));
        assert_eq!(unread.total(), 1 << 20);
        drop(second);
        assert_eq!(unread.total(), 1 << 20, "given back once");
        drop(first);
        assert_eq!(unread.total(), 0);
    }

    #[test]
    fn small_messages_count_together() {
        let mut unread = Unread::new();
        let tokens: Vec<_> = (0..1_000).filter_map(|_| unread.count(&to(1), 1_000)).collect();
        assert_eq!(tokens.len(), 15);
        assert!(unread.total() > 1_000_000 - SAMPLE && unread.total() <= 1_000_000);
        drop(tokens);
        assert_eq!(unread.total(), 0);
    }

    #[test]
    fn idle_receivers_are_removed() {
        let mut unread = Unread::new();
        let kept = unread.count(&to(0), LARGE);
        (1..10_000).for_each(|number| drop(unread.count(&to(number), LARGE)));
        assert!(unread.receivers().count() <= PRUNE_FROM);
        assert!(unread.receivers().any(|(receiver, bytes, _)| (receiver, bytes) == (&to(0), LARGE)));
        drop(kept);
    }
}
