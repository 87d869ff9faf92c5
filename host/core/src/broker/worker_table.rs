//! Registered workers: the state of each, the time of its last message, and when heartbeats are due.

use super::RequestId;
use crate::connection::ConnectionId;
use crate::message::Dialect;
use crate::name::ServiceName;
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Number of heartbeats of a busy worker after which more are expected. One may have been in transit when the worker
/// got its request.
const HEARTBEATS: u32 = 2;

/// Registered workers, by connection.
#[derive(Debug, Default)]
pub(super) struct WorkerTable {
    workers: BTreeMap<ConnectionId, Worker>,
    next_stamp: u64,
    next_round: Option<Time>,
}

/// A registered worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) dialect: Dialect,
    pub(super) service: ServiceName,
    last_received: Time,
    state: State,
}

/// State of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waiting; the stamp orders workers by how long they have been idle.
    Idle(u64),
    /// Serving this request, which may have ended in the meantime. The worker has until this time: the service's full
    /// deadline, if it has one, so that a request that waited for long, or a client's short limit, does not make the
    /// worker look dead. The last field counts the heartbeats since the worker got the request.
    Busy(RequestId, Time, u32),
}

/// Action of a round of heartbeats on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a heartbeat.
    Send(Dialect),
    /// Expel the worker: it sent nothing for longer than its expiry.
    Expired,
    /// Expel the worker: it has had a request for longer than its service allows.
    Overdue,
}

impl Worker {
    /// Returns the request that the worker has.
    pub(super) fn request(&self) -> Option<RequestId> {
        match self.state {
            State::Idle(_) => None,
            State::Busy(request, ..) => Some(request),
        }
    }

    /// Returns `true` if the worker sent nothing for longer than `expiry`.
    pub(super) fn is_expired(&self, expiry: Duration, now: Time) -> bool {
        now.since(self.last_received) > expiry
    }

    /// Returns `true` if it has had a request for longer than its service allows.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        matches!(self.state, State::Busy(_, until, _) if until <= now)
    }

    /// Many workers, such as those of the ZeroMQ guide, send nothing while they work, so a busy one expires only if it
    /// has sent heartbeats while it had this request.
    fn beat(&self, expiry: Duration, now: Time) -> Beat {
        let sends_heartbeats = matches!(self.state, State::Idle(_) | State::Busy(_, _, HEARTBEATS..));
        if sends_heartbeats && self.is_expired(expiry, now) {
            Beat::Expired
        } else if self.is_overdue(now) {
            Beat::Overdue
        } else {
            Beat::Send(self.dialect)
        }
    }
}

impl WorkerTable {
    pub(super) fn get(&self, connection: &ConnectionId) -> Option<&Worker> {
        self.workers.get(connection)
    }

    pub(super) fn first(&self) -> Option<ConnectionId> {
        self.workers.keys().next().cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Iterates over the workers, by connection.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnectionId, &Worker)> {
        self.workers.iter()
    }

    /// Inserts a worker that [`Self::rest`] makes idle. The first round of heartbeats is due after `interval`.
    pub(super) fn insert(
        &mut self,
        connection: &ConnectionId,
        dialect: Dialect,
        service: &ServiceName,
        interval: Duration,
        now: Time,
    ) {
        let worker = Worker { dialect, service: service.clone(), last_received: now, state: State::Idle(u64::MAX) };
        self.workers.insert(connection.clone(), worker);
        self.next_round.get_or_insert(now + interval);
    }

    pub(super) fn remove(&mut self, connection: &ConnectionId) -> Option<Worker> {
        self.workers.remove(connection)
    }

    /// Records a message of a worker. Returns `false` if none is registered on the connection.
    pub(super) fn record_message(&mut self, connection: &ConnectionId, now: Time) -> bool {
        self.workers.get_mut(connection).map(|worker| worker.last_received = now).is_some()
    }

    /// Records a heartbeat of a worker.
    pub(super) fn count_heartbeat(&mut self, connection: &ConnectionId) {
        if let Some(Worker { state: State::Busy(.., heartbeats), .. }) = self.workers.get_mut(connection) {
            *heartbeats = heartbeats.saturating_add(1);
        }
    }

    /// Makes a worker idle. Returns its stamp and its service.
    pub(super) fn rest(&mut self, connection: &ConnectionId) -> Option<(u64, &ServiceName)> {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let worker = self.workers.get_mut(connection)?;
        worker.state = State::Idle(stamp);
        Some((stamp, &worker.service))
    }

    /// Assigns a request to a worker; the worker has until `until` to answer it.
    pub(super) fn occupy(&mut self, connection: &ConnectionId, request: RequestId, until: Time) {
        if let Some(worker) = self.workers.get_mut(connection) {
            worker.state = State::Busy(request, until, 0);
        }
    }

    /// Takes the state of a worker, whose place in the counts of its service the caller releases. Returns the state and
    /// the service.
    pub(super) fn release(&mut self, connection: &ConnectionId) -> Option<(State, &ServiceName)> {
        let worker = self.workers.get_mut(connection)?;
        Some((std::mem::replace(&mut worker.state, State::Idle(u64::MAX)), &worker.service))
    }

    /// Returns when the next round of heartbeats is due.
    pub(super) fn next_round(&self) -> Option<Time> {
        self.next_round
    }

    /// Returns the action of a round of heartbeats on each worker; empty if no round is due.
    pub(super) fn round(&self, expiry: Duration, now: Time) -> Vec<(ConnectionId, Beat)> {
        if self.next_round.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.workers.iter().map(|(connection, worker)| (connection.clone(), worker.beat(expiry, now))).collect()
    }

    /// Ends a round; the next is due after `interval`, if a worker is left.
    pub(super) fn end_round(&mut self, interval: Duration, now: Time) {
        if self.next_round.is_some_and(|due| due <= now) {
            self.next_round = (!self.workers.is_empty()).then(|| now + interval);
        }
    }
}
