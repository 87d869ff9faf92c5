//! Connections between the peers and the node: in order, as ZeroMQ's are, but slow, lossy, and sometimes lost.

use crate::scenario::up_to;
use fastrand::Rng;
use std::time::Duration;
use wasmnode_core::{ConnectionId, Frame, Time};

/// The connection of one peer, and those that it had before.
pub(crate) struct Link {
    peer: usize,
    pub(crate) id: ConnectionId,
    /// Whether it keeps its routing id when it connects again.
    fixed: bool,
    pub(crate) up: bool,
    /// Number of the connection: messages sent on a lost one do not arrive on the next.
    pub(crate) connection: u64,
    /// Arrival of the last message in each direction; the next one is not earlier.
    to_node: Time,
    from_node: Time,
    /// Messages that wait because the pipe to the peer is full.
    pub(crate) waiting: Option<Vec<Vec<Frame>>>,
    /// The routing id, and the number of the connection, for which the first of them waits.
    pub(crate) waiting_for: ConnectionId,
    waiting_since: u64,
}

impl Link {
    pub(crate) fn new(peer: usize, fixed: bool) -> Self {
        Self {
            peer,
            id: routing_id(peer, 0),
            fixed,
            up: true,
            connection: 0,
            to_node: Time::ZERO,
            from_node: Time::ZERO,
            waiting: None,
            waiting_for: routing_id(peer, 0),
            waiting_since: 0,
        }
    }

    /// Queues a message, and all later ones, because the pipe is full.
    pub(crate) fn wait(&mut self, frames: Vec<Frame>) {
        self.waiting = Some(vec![frames]);
        self.waiting_for = self.id.clone();
        self.waiting_since = self.connection;
    }

    pub(crate) fn was_lost_since_waiting(&self) -> bool {
        self.waiting_since != self.connection
    }

    /// Ends the connection. Returns it with the arrival of its last message, unless the peer comes back under the same
    /// routing id.
    pub(crate) fn hang_up(&mut self, now: Time) -> Option<(ConnectionId, Time)> {
        self.up = false;
        self.connection += 1;
        (!self.fixed).then(|| (self.id.clone(), self.to_node.max(now)))
    }

    pub(crate) fn connect(&mut self) {
        self.up = true;
        if !self.fixed {
            self.id = routing_id(self.peer, self.connection);
        }
    }

    /// Returns the arrival time of a message to the node that is sent now.
    pub(crate) fn reaches_node(&mut self, now: Time, delay: Duration, rng: &mut Rng) -> Time {
        self.to_node = self.to_node.max(now + up_to(rng, delay));
        self.to_node
    }

    /// Returns the arrival time of a message from the node that is sent now.
    pub(crate) fn reaches_peer(&mut self, now: Time, delay: Duration, rng: &mut Rng) -> Time {
        self.from_node = self.from_node.max(now + up_to(rng, delay));
        self.from_node
    }
}

/// Returns a routing id that begins with a zero byte and is not text, like those of libzmq.
fn routing_id(peer: usize, connection: u64) -> ConnectionId {
    let (peer, connection) = (peer.to_be_bytes(), connection.to_be_bytes());
    ConnectionId::new(vec![0, 0xff, peer[7], connection[6], connection[7]])
}
