//! Clients whose connection has ended and that may come back: what they asked goes on for a while, and the replies wait.
//!
//! A client comes back if it connects under the same identity and principal. One whose identity libzmq chose cannot, but a
//! request with an idempotency key may be asked for again on any connection, so it goes on as well.

use super::request::Requester;
use crate::connection::ConnectionId;
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

/// A reply that could not be sent to a client, because it is away.
#[derive(Debug)]
pub(super) struct HeldReply {
    pub(super) requester: Requester,
    pub(super) service: ServiceName,
    pub(super) reply: Reply,
}

impl HeldReply {
    /// Bytes of its frames.
    pub(super) fn bytes(&self) -> usize {
        match &self.reply {
            Reply::Partial(body) | Reply::Final(body) => size(body),
            Reply::Failure(failure) => failure.reason.len(),
        }
    }
}

impl Absences {
    /// When the next absence ends, if there is one.
    pub(super) fn next(&self) -> Option<Time> {
        self.ends.first().map(|(time, _)| *time)
    }

    /// Notes that a client is away; it may come back until then.
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

    /// Ends an absence, because the client is back, or nobody waits for it. Returns the replies that were held.
    pub(super) fn end(&mut self, connection: &ConnectionId) -> Option<Vec<HeldReply>> {
        let absence = self.by_connection.remove(connection)?;
        self.ends.remove(&(absence.until, connection.clone()));
        Some(absence.held)
    }

    /// Returns a client that has been away for too long, if there is one.
    pub(super) fn overdue(&self, now: Time) -> Option<ConnectionId> {
        self.ends.first().filter(|(until, _)| *until <= now).map(|(_, connection)| connection.clone())
    }

    /// Returns `true` if nobody is away.
    pub(super) fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }
}
