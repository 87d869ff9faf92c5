//! What waits for receivers that do not read, within limits.

use std::collections::{BTreeMap, VecDeque};
use wasmnode_core::message::size;
use wasmnode_core::{Frame, Input, LinkId, PeerId};

/// What a waiting message, and each of its frames, counts besides the frames' bytes, so that small ones are not free.
const MESSAGE_OVERHEAD: usize = 256;
const FRAME_OVERHEAD: usize = 64;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    /// Somebody who connected to this node.
    Peer(PeerId),
    /// Another node that this one has connected to.
    Link(LinkId),
}

impl To {
    /// What the core is told of a message that cannot be sent there.
    pub(super) fn unsent(self, frames: Vec<Frame>) -> Input {
        match self {
            Self::Peer(to) => Input::Undeliverable { to, frames },
            Self::Link(link) => Input::Unsent { link, frames },
        }
    }
}

/// Messages by receiver, oldest first. All together hold `max` bytes, and one receiver's a quarter of them.
#[derive(Debug)]
pub(super) struct Backlog {
    queues: BTreeMap<To, Queue>,
    bytes: usize,
    max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Vec<Frame>>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(max: usize) -> Self {
        Self { queues: BTreeMap::new(), bytes: 0, max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whoever something waits for.
    pub(super) fn receivers(&self) -> impl Iterator<Item = &To> {
        self.queues.keys()
    }

    pub(super) fn waits_for(&self, to: &To) -> bool {
        self.queues.contains_key(to)
    }

    /// Keeps a message.
    ///
    /// # Errors
    /// Gives it back if there is no room for it.
    pub(super) fn keep(&mut self, to: To, frames: Vec<Frame>) -> Result<(), (To, Vec<Frame>)> {
        let weight = weight(&frames);
        let held = self.queues.get(&to).map_or(0, |queue| queue.bytes);
        if self.bytes + weight > self.max || held + weight > self.max / 4 {
            return Err((to, frames));
        }
        let queue = self.queues.entry(to).or_default();
        self.bytes += weight;
        queue.bytes += weight;
        queue.messages.push_back(frames);
        Ok(())
    }

    /// Tries to send everything, each receiver's messages up to the first that has to wait on (EAGAIN); returns what
    /// cannot be sent at all.
    pub(super) fn retry(&mut self, mut send: impl FnMut(&To, &[Frame]) -> Result<(), zmq::Error>) -> Vec<Input> {
        let mut unsent = Vec::new();
        for (to, mut queue) in std::mem::take(&mut self.queues) {
            while let Some(frames) = queue.messages.pop_front() {
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

    /// Gives up what waits for a receiver.
    pub(super) fn take(&mut self, to: &To) -> impl Iterator<Item = Vec<Frame>> + use<> {
        let queue = self.queues.remove(to).unwrap_or_default();
        self.bytes -= queue.bytes;
        queue.messages.into_iter()
    }
}

fn weight(frames: &[Frame]) -> usize {
    size(frames) + MESSAGE_OVERHEAD + frames.len() * FRAME_OVERHEAD
}
