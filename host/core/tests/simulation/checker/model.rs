//! Requests without an answer: every request that reached the node, from its arrival to its answer.

use super::clock::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::{Dialect, size};
use wasmnode_core::{Body, CallId, ConnectionId, Failure, Frame, RequestId, ServiceName, Time};

/// Number of a request in order of arrival, as the node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestNumber(u64);

/// Requester, as an answer identifies it. Several requests may have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requester {
    Native(ConnectionId, u64),
    Majordomo(ConnectionId, Frame),
    Call(CallId),
}

impl Requester {
    pub(crate) fn peer(&self) -> Option<&ConnectionId> {
        match self {
            Self::Native(peer, _) | Self::Majordomo(peer, _) => Some(peer),
            Self::Call(_) => None,
        }
    }
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct RequestModel {
    pub(crate) requester: Requester,
    /// `None` for a call.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) service: ServiceName,
    pub(crate) body: Body,
    pub(crate) bytes: usize,
    pub(crate) traceparent: Option<Frame>,
    pub(crate) idempotency_key: Option<Frame>,
    /// The step and the time at which it arrived.
    pub(crate) arrived: (u64, Time),
    pub(crate) due: Time,
    /// Components of that time.
    pub(crate) clock: Clock,
    pub(crate) patience: Option<Duration>,
    /// The request on whose behalf it is called.
    pub(crate) parent: Option<RequestNumber>,
    /// The requests on behalf of this one.
    pub(crate) calls: Vec<RequestNumber>,
    /// The services of the requests that it is called by, outermost first.
    pub(crate) chain: Vec<ServiceName>,
    pub(crate) place: Place,
    /// Number of times that it was run or handed to a worker, and how many of these failed.
    pub(crate) starts: u32,
    pub(crate) in_vain: u32,
    pub(crate) last_in_vain: bool,
    pub(crate) token: Option<Frame>,
    /// Partial replies that are not sent yet.
    pub(crate) parts: Vec<Body>,
    /// Frames of partial replies that precede the answer, because its dialect has none.
    pub(crate) gathered: Body,
    /// Whether it is a trace, and this node's record is not sent yet.
    pub(crate) record_due: bool,
    /// Result of its run or worker.
    pub(crate) outcome: Option<Result<Body, Failure>>,
    /// Whether the result is over a limit.
    pub(crate) oversized: bool,
    pub(crate) cancelled: bool,
}

/// Stage of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Plugin(RequestId),
    Worker(ConnectionId),
    /// Its worker left it in this step.
    Adrift(u64),
}

/// The requests without an answer.
#[derive(Debug, Default)]
pub(crate) struct Model {
    asks: BTreeMap<RequestNumber, RequestModel>,
    by_asker: BTreeMap<Requester, Vec<RequestNumber>>,
    by_due: BTreeSet<(Time, RequestNumber)>,
    by_client: BTreeMap<ConnectionId, usize>,
    pub(crate) held_bytes: usize,
    next: u64,
}

impl Model {
    pub(crate) fn open(&mut self, ask: RequestModel) -> RequestNumber {
        let id = RequestNumber(self.next);
        self.next += 1;
        self.by_asker.entry(ask.requester.clone()).or_default().push(id);
        self.by_due.insert((ask.due, id));
        if let Some(peer) = ask.requester.peer() {
            *self.by_client.entry(peer.clone()).or_default() += 1;
        }
        self.held_bytes += ask.bytes;
        self.asks.insert(id, ask);
        id
    }

    pub(crate) fn close(&mut self, id: RequestNumber) -> Option<RequestModel> {
        let ask = self.asks.remove(&id)?;
        self.by_due.remove(&(ask.due, id));
        self.held_bytes -= ask.bytes;
        if let Some(same) = self.by_asker.get_mut(&ask.requester) {
            same.retain(|other| *other != id);
            if same.is_empty() {
                self.by_asker.remove(&ask.requester);
            }
        }
        if let Some(peer) = ask.requester.peer()
            && let Some(count) = self.by_client.get_mut(peer)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(peer);
            }
        }
        Some(ask)
    }

    /// Sets the deadline of a request.
    pub(crate) fn set_clock(&mut self, id: RequestNumber, clock: Clock, due: Time) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        self.by_due.remove(&(ask.due, id));
        (ask.clock, ask.due) = (clock, due);
        self.by_due.insert((due, id));
    }

    /// The requests without an answer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RequestModel> {
        self.asks.values()
    }

    /// Keeps a partial reply until the answer is complete.
    pub(crate) fn gather(&mut self, id: RequestNumber, part: &Body) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        ask.gathered.extend(part.iter().cloned());
        ask.bytes += size(part);
        self.held_bytes += size(part);
    }

    /// Drops the kept partial replies, because the request starts again.
    pub(crate) fn drop_gathered(&mut self, id: RequestNumber) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        let bytes = size(&std::mem::take(&mut ask.gathered));
        ask.bytes -= bytes;
        self.held_bytes -= bytes;
    }

    pub(crate) fn get(&self, id: RequestNumber) -> Option<&RequestModel> {
        self.asks.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: RequestNumber) -> Option<&mut RequestModel> {
        self.asks.get_mut(&id)
    }

    /// Returns the requests that an answer to `requester` may belong to, oldest first.
    pub(crate) fn of(&self, requester: &Requester) -> &[RequestNumber] {
        self.by_asker.get(requester).map_or(&[], Vec::as_slice)
    }

    /// Returns all requests of a client.
    pub(crate) fn all_of<'a>(&'a self, peer: &'a ConnectionId) -> impl Iterator<Item = RequestNumber> + 'a {
        self.by_asker
            .iter()
            .filter(move |(requester, _)| requester.peer() == Some(peer))
            .flat_map(|(_, asks)| asks.iter().copied())
    }

    pub(crate) fn of_client(&self, peer: &ConnectionId) -> usize {
        self.by_client.get(peer).copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    /// Returns the number of requests that have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.next
    }

    /// Returns the request that must be answered first.
    pub(crate) fn first_due(&self) -> Option<(Time, RequestNumber)> {
        self.by_due.first().copied()
    }

    pub(crate) fn busiest_client(&self) -> usize {
        self.by_client.values().copied().max().unwrap_or(0)
    }
}
