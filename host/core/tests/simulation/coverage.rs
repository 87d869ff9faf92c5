//! Events over all seeds, so that the simulation cannot degrade into testing nothing.
//!
//! A case that no seed reaches is a failure of the simulation, like a broken invariant.

use std::collections::BTreeMap;
use wasmnode_core::Code;

/// Number of occurrences of each event.
#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeMap<&'static str, u64>);

/// Reasons of failures and events that have to occur, by a part of their text.
const REASONS: &[(Option<Code>, &str)] = &[
    (Some(Code::Malformed), "has no answer yet"),
    (Some(Code::Malformed), "the message has"),
    (Some(Code::Malformed), "the service name"),
    (Some(Code::Forbidden), "may not call"),
    (Some(Code::UnknownService), "no node offers"),
    (Some(Code::TooLarge), "limits.message"),
    (Some(Code::TooLarge), "limits.frames"),
    (Some(Code::Overloaded), "limits.requests ="),
    (Some(Code::Overloaded), "limits.requests-per-client"),
    (Some(Code::Overloaded), "limits.held-bytes"),
    (Some(Code::Overloaded), "the queue of"),
    (Some(Code::Cancelled), "cancelled by the client"),
    (Some(Code::Cancelled), "the client's connection is gone"),
    (Some(Code::Cancelled), "the calling request has ended"),
    (Some(Code::Draining), "is shutting down"),
    (Some(Code::Draining), "was not started"),
    (Some(Code::Deadline), "while the request waited"),
    (Some(Code::Deadline), "while the plugin ran"),
    (Some(Code::Deadline), "while a worker had the request"),
    (Some(Code::Loop), "already part of this chain"),
    (Some(Code::Loop), "limits.call-depth"),
    (Some(Code::Lost), "the worker that had the request is gone"),
    (Some(Code::Lost), "the node shut down"),
    (None, "whose request it does not have"),
    (None, "limits.workers"),
    (None, "which the node answers itself"),
    (None, "but the node is shutting down"),
    (None, "has no frames"),
    (None, "no known protocol"),
    (None, "without its leading empty frame"),
    (None, "sends an invalid request"),
];

/// Other events that must occur; the reasons for the end of registrations are the texts of the core.
const OCCASIONS: &[&str] = &[
    "final reply",
    "traced",
    "partial reply",
    "part kept",
    "shared",
    "reply too large",
    "native failure sent",
    "failure sent as status",
    "failure failure_not_sent",
    "call answered",
    "call failed",
    "mmi 200",
    "mmi 404",
    "mmi 501",
    "run",
    "run stopped",
    "handed to a worker",
    "handed to another worker",
    "handed over in vain",
    "handed over in vain, then elsewhere",
    "handed over although its plugin was there",
    "heartbeat",
    "disconnected",
    "worker joined",
    "it registered twice",
    "it sent DISCONNECT",
    "it sent nothing for too long",
    "it did not answer within the service's deadline",
    "it broke the protocol",
    "it replied without having a request",
    "its connection is gone",
    "the node shuts down",
    "retried",
    "unclaimed",
    "kept by a worker that stalls",
    "drained",
    "stopped",
    "pipe filled",
    "message lost",
    "message doubled",
    "message garbled",
    "connection lost",
    "connection ended",
    "woken late",
];

impl Coverage {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    /// Counts a reason only if it is not counted already, because searching every text for all reasons would take
    /// longer than the core.
    pub(crate) fn count_reason(&mut self, code: Option<Code>, reason: &str) {
        for &(of, part) in REASONS {
            if of == code && !self.0.contains_key(part) && reason.contains(part) {
                self.count(part);
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.count_many(what, *times);
        }
    }

    /// Returns the events that must occur and did not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        // A node without peers cannot fail to reach one.
        let codes = Code::ALL.iter().filter(|code| **code != Code::Unreachable).map(|code| code.name());
        let reasons = REASONS.iter().map(|(_, part)| *part);
        codes.chain(reasons).chain(OCCASIONS.iter().copied()).filter(|what| !self.0.contains_key(what)).collect()
    }

    /// Returns one line per event, for a person.
    pub(crate) fn report(&self) -> String {
        self.0.iter().map(|(what, times)| format!("{times:>10}  {what}\n")).collect()
    }
}
