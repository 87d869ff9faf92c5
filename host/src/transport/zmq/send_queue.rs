//! Bounded queues of messages for receivers that read too slowly.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use wasmnode_core::message::size;
use wasmnode_core::{ConnectionId, Frame, Input, LinkId};

/// Overhead in bytes that is counted for a waiting message and for each of its frames, so that small ones are not free.
const MESSAGE_OVERHEAD: usize = 256;
const FRAME_OVERHEAD: usize = 64;

/// Messages retried in one turn of the driver's loop, which takes a few milliseconds. The rest is retried in the next
/// turn, beginning with the next receiver.
const ATTEMPTS: u32 = 1_024;

/// Receiver of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receiver {
    /// Inbound connection.
    Peer(ConnectionId),
    /// Link to another node.
    Link(LinkId),
}

impl Receiver {
    /// Returns the input that reports a message as undeliverable to the core.
    pub(super) fn unsent(self, frames: Vec<Frame>) -> Input {
        match self {
            Self::Peer(to) => Input::Undeliverable { to, frames },
            Self::Link(link) => Input::Unsent { link, frames },
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Link(link) => link.fmt(f),
        }
    }
}

/// Messages by receiver, oldest first.
#[derive(Debug)]
pub(super) struct SendQueues {
    queues: BTreeMap<Receiver, Queue>,
    bytes: usize,
    /// Largest number of bytes of one receiver.
    max: usize,
    /// The first receiver of the next retry; `None` if all have had their turn.
    next: Option<Receiver>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Vec<Frame>>,
    bytes: usize,
}

impl SendQueues {
    pub(super) fn new(max: usize) -> Self {
        Self { queues: BTreeMap::new(), bytes: 0, max, next: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Returns the receivers that messages wait for.
    pub(super) fn receivers(&self) -> impl Iterator<Item = &Receiver> {
        self.queues.keys()
    }

    pub(super) fn waits_for(&self, to: &Receiver) -> bool {
        self.queues.contains_key(to)
    }

    /// Returns the number of bytes of all messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of bytes that wait for a receiver.
    pub(super) fn held(&self, to: &Receiver) -> usize {
        self.queues.get(to).map_or(0, |queue| queue.bytes)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The message itself, if the receiver's queue has no room for it.
    pub(super) fn keep(&mut self, to: Receiver, frames: Vec<Frame>) -> Result<(), (Receiver, Vec<Frame>)> {
        let weight = weight(&frames);
        if self.held(&to) + weight > self.max {
            return Err((to, frames));
        }
        let queue = self.queues.entry(to).or_default();
        self.bytes += weight;
        queue.bytes += weight;
        queue.messages.push_back(frames);
        Ok(())
    }

    /// Tries to send everything, each receiver's messages up to the first that still has to wait (EAGAIN), and at most
    /// [`ATTEMPTS`] in all; returns the messages that cannot be sent at all.
    pub(super) fn retry(&mut self, mut send: impl FnMut(&Receiver, &[Frame]) -> Result<(), zmq::Error>) -> Vec<Input> {
        let (mut unsent, mut left) = (Vec::new(), ATTEMPTS);
        let mut waited = std::mem::take(&mut self.queues);
        let first = self.next.take().map(|next| waited.split_off(&next)).unwrap_or_default();
        for (to, mut queue) in first.into_iter().chain(waited) {
            if left == 0 && self.next.is_none() {
                self.next = Some(to.clone());
            }
            while left > 0
                && let Some(frames) = queue.messages.pop_front()
            {
                left -= 1;
                let weight = weight(&frames);
                match send(&to, &frames) {
                    Ok(()) => {}
                    Err(zmq::Error::EAGAIN) => {
                        queue.messages.push_front(frames);
                        break;
                    }
                    Err(_) => unsent.push(to.clone().unsent(frames)),
                }
                queue.bytes -= weight;
                self.bytes -= weight;
            }
            if !queue.messages.is_empty() {
                self.queues.insert(to, queue);
            }
        }
        unsent
    }

    /// Removes and returns what waits for a receiver.
    pub(super) fn take(&mut self, to: &Receiver) -> impl Iterator<Item = Vec<Frame>> + use<> {
        let queue = self.queues.remove(to).unwrap_or_default();
        self.bytes -= queue.bytes;
        queue.messages.into_iter()
    }
}

/// Returns the number of bytes that a message counts, with its overhead.
pub(super) fn weight(frames: &[Frame]) -> usize {
    size(frames) + MESSAGE_OVERHEAD + frames.len() * FRAME_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(number: u64) -> Receiver {
        Receiver::Link(LinkId(number))
    }

    #[test]
    fn a_retry_is_bounded_and_every_receiver_gets_its_turn() {
        let mut queues = SendQueues::new(1 << 30);
        for number in 0..3 {
            for _ in 0..ATTEMPTS {
                queues.keep(to(number), vec![Frame::new()]).unwrap();
            }
        }
        for turn in [[0, 0], [1, 1], [2, 2]] {
            let mut sent = Vec::new();
            let unsent = queues.retry(|to, _| {
                sent.push(to.clone());
                Ok(())
            });
            assert!(unsent.is_empty());
            assert_eq!(sent.len(), ATTEMPTS as usize);
            assert_eq!([&sent[0], &sent[sent.len() - 1]], turn.map(to).each_ref());
        }
        assert!(queues.is_empty());
        assert_eq!(queues.bytes, 0);
    }

    #[test]
    fn a_fast_receiver_does_not_starve_the_next() {
        let mut queues = SendQueues::new(1 << 30);
        for number in 0..2 {
            for _ in 0..3 * ATTEMPTS {
                queues.keep(to(number), vec![Frame::new()]).unwrap();
            }
        }
        for expected in [0, 1, 0, 1, 0, 1] {
            let mut turn = Vec::new();
            queues.retry(|to, _| {
                turn.push(to.clone());
                Ok(())
            });
            assert!(turn.iter().all(|at| *at == to(expected)), "{expected}");
        }
        assert!(queues.is_empty());
    }

    #[test]
    fn empty_frames_count_too() {
        let mut queues = SendQueues::new(1 << 18);
        let kept = (0..10_000).filter(|_| queues.keep(to(0), vec![Frame::new(); 200]).is_ok()).count();
        assert_eq!(kept, (1 << 18) / (MESSAGE_OVERHEAD + 200 * FRAME_OVERHEAD));
    }
}
