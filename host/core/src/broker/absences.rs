//! Clients that may reconnect: for a while, their requests continue and their replies are held.
//!
//! A client is back when it connects under the same identity and principal. A client whose identity libzmq chose cannot
//! come back, but may repeat a request with an idempotency key on any connection, so such requests continue as well.

use super::request::{RequestId, Requester};
use super::{Broker, ENDED_AT_A_TIME, Effect};
use crate::connection::ConnectionId;
use crate::failure::{Code, Failure};
use crate::message::{Reply, size};
use crate::name::ServiceName;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Clients that are away, by connection.
#[derive(Debug, Default)]
pub(super) struct Absences {
    by_connection: BTreeMap<ConnectionId, Absence>,
    ends: BTreeSet<(Time, ConnectionId)>,
}

#[derive(Debug)]
struct Absence {
    until: Time,
    held: Vec<HeldReply>,
}

/// Reply for a client that is away.
#[derive(Debug)]
pub(super) struct HeldReply {
    pub(super) requester: Requester,
    pub(super) service: ServiceName,
    pub(super) reply: Reply,
}

impl HeldReply {
    /// Returns the size of its frames in bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.reply {
            Reply::Partial(body) | Reply::Final(body) => size(body),
            Reply::Failure(failure) => failure.reason.len(),
        }
    }
}

impl Absences {
    /// Returns when the next absence ends, if there is one.
    pub(super) fn next(&self) -> Option<Time> {
        self.ends.first().map(|(time, _)| *time)
    }

    /// Marks a client as away; it may come back before `until`.
    pub(super) fn begin(&mut self, connection: &ConnectionId, until: Time) {
        self.by_connection.entry(connection.clone()).or_insert_with(|| {
            self.ends.insert((until, connection.clone()));
            Absence { until, held: Vec::new() }
        });
    }

    /// Returns `true` if the client is away.
    pub(super) fn contains(&self, connection: &ConnectionId) -> bool {
        self.by_connection.contains_key(connection)
    }

    /// Holds a reply for a client that is away.
    pub(super) fn hold(&mut self, connection: &ConnectionId, reply: HeldReply) {
        if let Some(absence) = self.by_connection.get_mut(connection) {
            absence.held.push(reply);
        }
    }

    /// Ends an absence, because the client is back or was given up. Returns the replies that were held.
    pub(super) fn end(&mut self, connection: &ConnectionId) -> Option<Vec<HeldReply>> {
        let absence = self.by_connection.remove(connection)?;
        self.ends.remove(&(absence.until, connection.clone()));
        Some(absence.held)
    }

    /// Returns a client that has been away for too long, if there is one.
    pub(super) fn overdue(&self, now: Time) -> Option<ConnectionId> {
        self.ends.first().filter(|(until, _)| *until <= now).map(|(_, connection)| connection.clone())
    }

    /// Returns `true` if no client is away.
    pub(super) fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }
}

impl Broker {
    /// Removes the worker of a connection that is gone, and ends its client's requests. If these are many,
    /// [`Self::wake`] ends the rest.
    pub fn connection_closed(&mut self, connection: &ConnectionId, now: Time) {
        self.refusals.take(connection);
        self.drop_held(connection);
        self.delete_worker(connection, "its connection is gone", now);
        if self.clients.depart(connection, self.requests.next_id()) {
            self.end_departed(now);
        }
    }

    /// Handles the end of a connection whose client may come back: see the module `absences`. A worker without an
    /// identity of its own cannot come back.
    pub fn connection_lost(&mut self, connection: &ConnectionId, now: Time) {
        if !connection.has_own_identity() {
            self.refusals.take(connection);
            self.delete_worker(connection, "its connection is gone", now);
        }
        let Some(client) = self.clients.get(connection) else { return };
        let is_kept = |request: &RequestId| {
            let pending = self.requests.get(request);
            connection.has_own_identity() || pending.is_some_and(|pending| pending.context.idempotency_key.is_some())
        };
        let (kept, dropped): (Vec<RequestId>, Vec<RequestId>) = client.requests().partition(is_kept);
        if kept.is_empty() {
            return self.connection_closed(connection, now);
        }
        self.absences.begin(connection, now + self.settings.limits.reconnect);
        for request in dropped {
            self.end(request, Failure::new(Code::Cancelled, "the client's connection is gone"), now);
        }
    }

    /// Ends the absence of a client from which a message arrived, and sends it the replies that were held.
    pub fn connection_used(&mut self, connection: &ConnectionId) {
        if self.absences.is_empty() {
            return;
        }
        for held in self.absences.end(connection).into_iter().flatten() {
            self.requests.release(held.bytes());
            let HeldReply { requester, service, reply } = held;
            self.effects.push_back(Effect::Reply { requester, service, reply });
        }
    }

    /// Returns `true` if the client of a connection is away, and may come back.
    #[must_use]
    pub fn is_away(&self, connection: &ConnectionId) -> bool {
        self.absences.contains(connection)
    }

    fn drop_held(&mut self, connection: &ConnectionId) {
        for held in self.absences.end(connection).into_iter().flatten() {
            self.requests.release(held.bytes());
            self.counters.unclaimed += 1;
        }
    }

    pub(super) fn end_departed(&mut self, now: Time) {
        for _ in 0..ENDED_AT_A_TIME {
            let Some(request) = self.clients.next_departed() else { break };
            self.end(request, Failure::new(Code::Cancelled, "the client's connection is gone"), now);
        }
    }

    /// Sends a reply, or holds it for a client that is away.
    pub(super) fn reply(&mut self, requester: Requester, service: ServiceName, reply: Reply) {
        match &requester {
            Requester::Client { connection, .. } if !self.absences.is_empty() && self.absences.contains(connection) => {
                let (connection, held) = (connection.clone(), HeldReply { requester, service, reply });
                if !self.requests.has_room(held.bytes()) {
                    self.counters.unclaimed += 1;
                    return;
                }
                self.requests.hold(held.bytes());
                self.absences.hold(&connection, held);
            }
            _ => self.effects.push_back(Effect::Reply { requester, service, reply }),
        }
    }
}
