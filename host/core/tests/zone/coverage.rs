//! Events over all seeds, so that the simulation cannot degrade into testing nothing.

use std::collections::BTreeMap;

/// Number of occurrences of each event.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    most: BTreeMap<&'static str, u64>,
}

/// Reasons of failures that have to occur, by a part of their text.
const REASONS: &[&str] = &[
    "the queue of",
    "limits.requests =",
    "limits.requests-per-client",
    "cancelled by the client",
    "is shutting down",
    "in zone elsewhere",
    "which had the request, is gone",
    "does not answer; it may have run",
    "does not have the request",
    "cannot be reached; the request was not started",
    "had the request; it may have run",
    "already part of this chain",
    "the node shut down while the request ran",
];

/// Reasons that occur only in overload.
const RARE: &[&str] = &["the retry budget is spent"];

/// Other events that must occur.
const OCCASIONS: &[&str] = &[
    "a clock is wrong",
    "request to a named node",
    "request to a dead node",
    "request to a named zone",
    "asymmetric cut",
    "cancel travels",
    "cancelled",
    "connection broken",
    "crashed",
    "crashed with the whole machine",
    "cut",
    "deadline",
    "dial failed",
    "dialled across a cut",
    "drained",
    "draining",
    "final reply of a peer",
    "frozen",
    "link down",
    "link lost",
    "lost",
    "malformed",
    "member joined",
    "member left",
    "message doubled",
    "message held up by a cut",
    "message lost",
    "message out of order",
    "name refused",
    "name taken",
    "not welcomed in time",
    "overloaded",
    "partial reply",
    "partition",
    "peer full",
    "peer refused",
    "peer unresponsive",
    "peer responds again",
    "ping",
    "pull",
    "ran a second time",
    "reloaded",
    "request unsent",
    "restarted",
    "spilled over",
    "stopped",
    "declared dead and rejoined",
    "tried at another node",
    "unclaimed",
    "undeliverable",
    "unknown service",
    "unreachable",
];

/// Further events that must occur in joined zones.
pub(crate) const JOINED: &[&str] = &[
    "a clock is wrong",
    "a false path",
    "false crossed zones",
    "a policy changes",
    "asymmetric cut",
    "crashed",
    "cut",
    "drained",
    "enters a zone",
    "frozen",
    "loop",
    "old news",
    "partition",
    "ran a second time",
    "ran in another zone",
    "restarted",
    "session down",
    "tried at another node",
];

impl Coverage {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.counts.entry(what).or_default() += times;
        }
    }

    pub(crate) fn count_reason(&mut self, reason: &str) {
        for part in REASONS.iter().chain(RARE) {
            if reason.contains(part) {
                self.count(part);
            }
        }
    }

    pub(crate) fn most(&mut self, what: &'static str, value: u64) {
        let most = self.most.entry(what).or_default();
        *most = value.max(*most);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.counts.iter().for_each(|(what, times)| self.count_many(what, *times));
        other.most.iter().for_each(|(what, value)| self.most(what, *value));
    }

    pub(crate) fn times(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.counts.contains_key(what)
    }

    /// Returns the events that must occur in a zone and did not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        [self.missing_of(REASONS), self.missing_of(OCCASIONS)].concat()
    }

    pub(crate) fn missing_of(&self, what: &[&'static str]) -> Vec<&'static str> {
        what.iter().copied().filter(|what| !self.counts.contains_key(what)).collect()
    }

    /// Returns one line per event, for a person.
    pub(crate) fn report(&self) -> String {
        let lines = self.counts.iter().chain(&self.most);
        lines.map(|(what, times)| format!("{times:>10}  {what}\n")).collect()
    }
}
