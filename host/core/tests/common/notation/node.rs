//! Notation of the inputs and outputs of a node.

use super::{Notation, Text, words};
use wasmnode_core::{Access, Body, Caller, Event, Failure, Grant, Input, Output, Quota, Role, Run, ZoneEvent};

impl Notation for Input {
    fn write(&self, line: &mut String) {
        match self {
            Self::Message { from, frames } => words!(line, from, ">", frames),
            Self::Request { from, request } => words!(line, from, "asks", request.id, request.service, request.body),
            Self::Cancel { from, id } => words!(line, from, "cancels", id),
            Self::Undeliverable { to, frames } => words!(line, "gone", to, frames),
            Self::Gone(connection) => words!(line, "lost", connection),
            Self::LinkMessage { link, frames } => words!(line, link, ">", frames),
            Self::Unsent { link, frames } => words!(line, "unsent", link, frames),
            Self::LinkDown { link, why } => words!(line, "lost", link, why),
            Self::Offered(service) => words!(line, "plugin", service),
            Self::Withdrawn(service) => words!(line, "withdraw", service),
            Self::Quarantine { service, lasts } => words!(line, "quarantine", service, lasts),
            Self::Partial { request, body } => words!(line, "partial", request, body),
            Self::Finished { request, result } => words!(line, "finish", request, result),
            Self::Call { call, parent, service, body } => words!(line, "call", call, "of", parent, service, body),
            Self::Trust(access) => words!(line, "trust", access),
            Self::Reconfigure(settings) => words!(line, "reconfigure", settings.requests, settings.workers),
            Self::Tick => words!(line, "tick"),
            Self::Drain => words!(line, "node", "drains"),
            Self::Stop => words!(line, "node", "stops"),
        }
    }
}

impl Notation for Output {
    fn write(&self, line: &mut String) {
        match self {
            Self::Send { to, frames } => words!(line, to, "<", frames),
            Self::Reply { to, id, reply } => words!(line, to, "replied", id, format!("{reply:?}")),
            Self::Dial { link, endpoint, name } => words!(line, "dial", link, endpoint, name),
            Self::Post { link, frames } => words!(line, link, "<", frames),
            Self::HangUp(link) => words!(line, "hang-up", link),
            Self::Disconnect(peer) => words!(line, "disconnect", peer),
            Self::Run(request) => words!(line, "run", **request),
            Self::Stop(request) => words!(line, "stop", request),
            Self::Answer { call, result } => words!(line, "answer", call, result),
            Self::Event(event) => {
                words!(line, "event", event, "said", event.to_string(), "counted-as", Text(event.kind()));
            }
            Self::Zone(event) => {
                words!(line, "event", event, "said", event.to_string(), "counted-as", Text(event.kind()));
            }
        }
    }
}

impl Notation for Result<Body, Failure> {
    fn write(&self, line: &mut String) {
        match self {
            Ok(body) => body.write(line),
            Err(failure) => failure.write(line),
        }
    }
}

impl Notation for Failure {
    fn write(&self, line: &mut String) {
        let Self { code, reason } = self;
        words!(line, "failure", code, reason);
    }
}

impl Notation for Run {
    fn write(&self, line: &mut String) {
        let Self { id, service, caller, body, deadline, traceparent, idempotency_key } = self;
        words!(line, service, body, "as", id, "for", caller, "until", deadline);
        words!(line, "trace", traceparent, "key", idempotency_key);
    }
}

impl Notation for Caller {
    fn write(&self, line: &mut String) {
        match self {
            Self::Client(peer) => words!(line, "client", peer),
            Self::Service(service) => words!(line, "service", service),
            Self::Remote { node, caller } => words!(line, "node", node, caller),
        }
        words!(line, "called", self.to_text());
    }
}

impl Notation for Event {
    fn write(&self, line: &mut String) {
        match self {
            Self::WorkerJoined { connection, service } => words!(line, "worker-joined", connection, service),
            Self::WorkerLeft { connection, service, why } => {
                words!(line, "worker-left", connection, service, Text(why));
            }
            Self::Shared { service } => words!(line, "shared", service),
            Self::Refused { connection, why } => words!(line, "refused", connection, why),
            Self::UnreportedFailure { connection, service, failure } => {
                words!(line, "untold", connection, service, failure);
            }
        }
    }
}

impl Notation for ZoneEvent {
    fn write(&self, line: &mut String) {
        match self {
            Self::MemberJoined(member) => words!(line, "member-joined", member),
            Self::MemberLeft(member) => words!(line, "member-left", member),
            Self::Renewed(member) => words!(line, "renewed", member),
            Self::NameTaken(member) => words!(line, "name-taken", member),
            Self::LinkLost { node, why } => words!(line, "link-lost", node, why),
            Self::PeerUnresponsive { node, is_unresponsive } => words!(line, "peer-silent", node, is_unresponsive),
            Self::DialFailed { endpoint, why } => words!(line, "dial-failed", endpoint, why),
            Self::SessionUp { zone, router } => words!(line, "session-up", zone, router),
            Self::SessionDown { router } => words!(line, "session-down", router),
            Self::PeerRefused { node, why } => words!(line, "peer-refused", node, why),
            Self::Unlisted { services } => words!(line, "unlisted", services),
        }
    }
}

impl Notation for Access {
    fn write(&self, line: &mut String) {
        let Self { grants } = self;
        words!(line, grants.iter().collect::<Vec<_>>());
    }
}

impl Notation for Grant {
    fn write(&self, line: &mut String) {
        let Self { role: part, allow, work, is_admin, quota } = self;
        words!(line, "is", part, "allow", allow, "work", work, "admin", is_admin, quota);
    }
}

impl Notation for Role {
    fn write(&self, line: &mut String) {
        match self {
            Self::Owner => words!(line, "owner"),
            Self::Client => words!(line, "client"),
            Self::Peer { offer } => words!(line, "peer", offer),
            Self::Router { zone } => words!(line, "router", zone),
        }
    }
}

impl Notation for Quota {
    fn write(&self, line: &mut String) {
        let Self { requests_per_second, bytes_per_second, outstanding } = self;
        words!(line, "rate", requests_per_second, "bytes", bytes_per_second, "outstanding", outstanding);
    }
}
