//! Who is owed an answer: every request that reached the node, from its arrival to its answer.

use super::clock::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::{Dialect, size};
use wasmnode_core::{Body, CallId, ConnectionId, Failure, Frame, RequestId, ServiceName, Time};

/// Numbers requests in order of arrival, as the node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestNumber(u64);

/// All that an answer says about the request that it answers. Several requests can have it in common.
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
    /// What that is made of.
    pub(crate) clock: Clock,
    pub(crate) patience: Option<Duration>,
    /// The request on whose behalf it is called.
    pub(crate) parent: Option<RequestNumber>,
    /// The requests on behalf of this one.
    pub(crate) calls: Vec<RequestNumber>,
    /// The services of the requests that it is called by, outermost first.
    pub(crate) chain: Vec<ServiceName>,
    pub(crate) place: Place,
    /// How often it was run or handed to a worker, and how often of these in vain.
    pub(crate) starts: u32,
    pub(crate) in_vain: u32,
    pub(crate) last_in_vain: bool,
    pub(crate) token: Option<Frame>,
    /// Parts of its answer that are not told yet.
    pub(crate) parts: Vec<Body>,
    /// Frames of parts that come with the answer, because its dialect has no parts.
    pub(crate) gathered: Body,
    /// It is a trace, and this node's record of it is not told yet.
    pub(crate) record_due: bool,
    /// What its run or worker made of it.
    pub(crate) outcome: Option<Result<Body, Failure>>,
    /// What was made of it is over a limit.
    pub(crate) oversized: bool,
    pub(crate) cancelled: bool,
}

/// Where a request is.
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

    /// Gives a request another time.
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

    /// Keeps a part of an answer until the rest is there.
    pub(crate) fn gather(&mut self, id: RequestNumber, part: &Body) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        ask.gathered.extend(part.iter().cloned());
        ask.bytes += size(part);
        self.held_bytes += size(part);
    }

    /// Drops the parts that are kept: the request is to be started anew.
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

    /// The requests that an answer to `requester` may be for, oldest first.
    pub(crate) fn of(&self, requester: &Requester) -> &[RequestNumber] {
        self.by_asker.get(requester).map_or(&[], Vec::as_slice)
    }

    /// All requests of a client.
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

    /// How many requests have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.next
    }

    /// The request that must be answered first.
    pub(crate) fn first_due(&self) -> Option<(Time, RequestNumber)> {
        self.by_due.first().copied()
    }

    pub(crate) fn busiest_client(&self) -> usize {
        self.by_client.values().copied().max().unwrap_or(0)
    }
}
