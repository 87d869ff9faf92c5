//! A request between acceptance and answer, and the tables that hold it.

use super::deadlines::{Clock, Deadline};
use super::fair_queue::StartTag;
use super::partial_replies::PartialReplies;
use super::trace::Trace;
use super::{Broker, RequestContext, RequestId, Requester};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::{Code, Failure};
use crate::time::Time;
use std::collections::BTreeSet;

/// A request without an answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its parameters; the body is empty while a plugin has it.
    pub(super) context: RequestContext,
    pub(super) stage: Stage,
    pub(super) start_tag: StartTag,
    pub(super) bytes: usize,
    pub(super) deadline: Deadline,
    pub(super) clock: Clock,
    pub(super) timer: Time,
    /// Number of workers that it was sent to, and may have run at.
    pub(super) attempts: u32,
    /// Links that it was forwarded on.
    pub(super) tried: Vec<LinkId>,
    /// Whether it may have run at one of their peers.
    pub(super) may_have_run: bool,
    /// Last failure from one of them.
    pub(super) last_failure: Option<Failure>,
    /// Whether the requester has received partial replies, which a second run would repeat.
    pub(super) has_sent_partial: bool,
    /// Partial replies that are kept until the final one.
    pub(super) parts: PartialReplies,
    /// State of the trace, if it is one.
    pub(super) trace: Option<Box<Trace>>,
    /// Calls that the plugin made for this request and that have no answer.
    pub(super) calls: BTreeSet<RequestId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    /// Waiting for the reply to another with the same idempotency key.
    Following,
    Plugin,
    Worker(ConnectionId),
    /// At a peer, under this number.
    Forwarded(LinkId, u64),
}

impl Pending {
    /// Returns the failure for the requester. The code for a request that was not started is kept only if no provider
    /// may have run it.
    pub(super) fn final_failure(&self, failure: Failure) -> Failure {
        if failure.code.was_not_started() && (self.may_have_run || self.attempts > 0) {
            let reason = format!("the request may have run; it was tried again, but: {}", failure.reason);
            return Failure::new(Code::Lost, reason);
        }
        failure
    }
}

impl Broker {
    /// Removes a request from every table.
    pub(super) fn take(&mut self, id: RequestId) -> Option<Box<Pending>> {
        let pending = self.requests.remove(id)?;
        if let (Stage::Queued, Some(service)) = (&pending.stage, self.services.get_mut(&pending.context.service)) {
            service.dequeue(pending.start_tag, &pending.context.destination);
        }
        match &pending.context.requester {
            Requester::Client { connection, dialect, id: number, .. } => {
                if let Some(user) = connection.principal() {
                    self.quotas.end(user);
                }
                self.clients.end(connection, *dialect, *number, id);
            }
            Requester::Call { parent, .. } => {
                if let Some(parent) = self.requests.get_mut(parent) {
                    parent.calls.remove(&id);
                }
            }
        }
        Some(pending)
    }

    /// Adds a new request to the table of its client, or to its calling request.
    pub(super) fn remember(&mut self, requester: &Requester, request: RequestId) {
        match requester {
            Requester::Client { connection, dialect, id, .. } => {
                if let Some(user) = connection.principal() {
                    self.quotas.begin(user);
                }
                self.clients.begin(connection, *dialect, *id, request);
            }
            Requester::Call { parent, .. } => {
                if let Some(parent) = self.requests.get_mut(parent) {
                    parent.calls.insert(request);
                }
            }
        }
    }
}
