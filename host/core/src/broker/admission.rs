//! Which requests are accepted: every limit, and the failure that names it.

use super::{Asker, Broker, Pending, Submission, Where};
use crate::failure::{Code, Failure};
use crate::message::{self, Body};
use crate::name::ServiceName;
use crate::time::Time;

impl Broker {
    pub(super) fn may_submit(&mut self, submission: &Submission, now: Time) -> Result<(), Failure> {
        let limits = &self.settings.limits;
        let refuse = |code, reason: String| Err(Failure::new(code, reason));
        let is_call = matches!(submission.asker, Asker::Call { .. });
        if self.draining && !is_call {
            return refuse(Code::Draining, format!("node {} is shutting down", self.settings.name));
        }
        self.may_carry(&submission.body)?;
        let bytes = message::size(&submission.body);
        if self.requests.len() >= limits.requests {
            return refuse(Code::Overloaded, format!("limits.requests = {} is reached", limits.requests));
        }
        if self.held_bytes.saturating_add(bytes) > limits.held_bytes {
            return refuse(Code::Overloaded, format!("limits.held-bytes = {} is reached", limits.held_bytes));
        }
        self.may_ask(&submission.asker)?;
        self.may_queue(submission)?;
        match &submission.asker {
            Asker::Client { peer, .. } => peer.principal().map_or(Ok(()), |user| self.quotas.admit(user, bytes, now)),
            Asker::Call { .. } => Ok(()),
        }
    }

    /// Whether a body, of a request or a reply, is within the limits of a message.
    pub(super) fn may_carry(&self, body: &Body) -> Result<(), Failure> {
        let (limits, bytes, frames) = (&self.settings.limits, message::size(body), body.len());
        let reason = if bytes > limits.message {
            format!("a body of {bytes} bytes is over limits.message = {}", limits.message)
        } else if frames > limits.frames {
            format!("a body of {frames} frames is over limits.frames = {}", limits.frames)
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::TooLarge, reason))
    }

    fn may_ask(&self, asker: &Asker) -> Result<(), Failure> {
        let Asker::Client { peer, dialect, id, .. } = asker else { return Ok(()) };
        let Some(client) = self.clients.get(peer) else { return Ok(()) };
        let limits = &self.settings.limits;
        let (name, limit) = match dialect {
            message::Dialect::Peer => ("limits.requests-per-peer", limits.requests_per_peer),
            _ => ("limits.requests-per-client", limits.requests_per_client),
        };
        if client.requests.len() >= limit {
            let reason = format!("{name} = {limit} is reached; wait for answers");
            return Err(Failure::new(Code::Overloaded, reason));
        }
        if dialect.has_ids() && client.numbered.contains_key(id) {
            return Err(Failure::new(Code::Malformed, format!("request id {id} has no answer yet; use another")));
        }
        Ok(())
    }

    fn may_queue(&self, submission: &Submission) -> Result<(), Failure> {
        let name = &submission.service;
        if submission.patience.is_none() && !self.is_reachable(name, &submission.place) {
            return Err(self.unknown(name, &submission.place));
        }
        match self.services.get(name) {
            Some(service) if service.queued() >= service.settings.queue => Err(Failure::new(
                Code::Overloaded,
                format!("the queue of {name} is full: service.{name}.queue = {}", service.settings.queue),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn may_call(&self, caller: &Pending, callee: &ServiceName) -> Result<(), Failure> {
        let name = &caller.service;
        if !self.settings_of(name).calls.iter().any(|pattern| pattern.matches(callee)) {
            let reason = format!("service {name} may not call {callee}; service.{name}.calls would have to list it");
            return Err(Failure::new(Code::Forbidden, reason));
        }
        if name == callee || caller.chain.contains(callee) {
            return Err(Failure::new(Code::Loop, format!("{callee} is already part of this chain of calls")));
        }
        let limit = self.settings.limits.call_depth;
        if caller.chain.len() >= limit {
            return Err(Failure::new(Code::Loop, format!("the chain of calls is over limits.call-depth = {limit}")));
        }
        Ok(())
    }

    pub(super) fn unknown(&self, service: &ServiceName, place: &Where) -> Failure {
        let (node, zone) = (&self.settings.name, &self.settings.zone);
        let reason = match place {
            Where::Anywhere => {
                format!("nobody offers {service} at node {node}; asked zone {zone}, and those that its routers know")
            }
            Where::Home => format!("nobody offers {service} in zone {zone}, as far as node {node} knows"),
            Where::Zone(asked) | Where::NodeIn { zone: asked, .. } => {
                format!("nobody offers {service} in zone {asked}, as far as node {node} of zone {zone} knows")
            }
            Where::Here => format!("nobody offers {service} at node {node}"),
            Where::Node(asked) => format!("nobody offers {service} at node {asked}, as far as node {node} knows"),
        };
        Failure::new(Code::UnknownService, reason)
    }
}
