//! What the driver logs of what the core tells, and how often.

use super::Driver;
use crate::config::Endpoint;
use std::fmt;
use std::time::Instant;
use tracing::{info, warn};
use wasmnode_core::{Event, ZoneEvent};
use wasmnode_sandbox::log_throttle::LogDecision;

impl Driver {
    /// Logs what happened to workers and requests.
    pub(super) fn log_event(&mut self, event: &Event) {
        match event {
            // Two workers that share an identity take turns for ever.
            Event::WorkerLeft { .. } if event.is_doubled_identity() => {
                self.warn_now_and_then(event.kind(), &event.to_string());
            }
            Event::WorkerJoined { .. } | Event::WorkerLeft { .. } => info!("{event}"),
            _ => self.warn(event.kind(), event),
        }
    }

    /// Logs what happened in the zone, and notes where its members listen.
    pub(super) fn log_zone_event(&mut self, event: &ZoneEvent) {
        let addresses = self.plugins.node_addresses();
        match event {
            ZoneEvent::MemberJoined(member) => tcp_address(&member.endpoint).iter().for_each(|at| addresses.add(at)),
            ZoneEvent::MemberLeft(member) => tcp_address(&member.endpoint).iter().for_each(|at| addresses.remove(at)),
            _ => {}
        }
        match event {
            ZoneEvent::MemberJoined(_)
            | ZoneEvent::MemberLeft(_)
            | ZoneEvent::Renewed(_)
            | ZoneEvent::SessionUp { .. } => info!("{event}"),
            // It is dialled again and again.
            ZoneEvent::DialFailed { .. } => self.warn_now_and_then(event.kind(), &event.to_string()),
            _ => self.warn(event.kind(), event),
        }
    }

    /// Logs what is the same again and again: once, and then once a minute, with how often it was left out.
    pub(super) fn warn_now_and_then(&mut self, kind: &str, line: &str) {
        if let Some(line) = self.repeats.check(line, Instant::now()) {
            self.warn(kind, &line);
        }
    }

    /// Whoever sends rubbish does not fill the log with it.
    pub(super) fn warn(&mut self, kind: &str, event: &impl fmt::Display) {
        match self.warnings.check(kind, Instant::now()) {
            LogDecision::Pass => warn!("{event}"),
            LogDecision::PassAfter(left_out) => warn!("{event} (and {left_out} more of this kind, left out)"),
            LogDecision::Drop => {}
        }
    }

    /// Logs what was left out of floods that are over.
    pub(super) fn warn_of_the_rest(&mut self) {
        if self.warnings.next_left_out().is_some() {
            for (kind, left_out) in self.warnings.take_left_out(Instant::now()) {
                warn!("{left_out} more warnings of one kind were left out: {kind:?}");
            }
        }
    }
}

/// Host and port of a TCP endpoint.
pub(super) fn tcp_address(endpoint: &str) -> Option<String> {
    match endpoint.parse().ok()? {
        Endpoint::Tcp(address) => Some(address),
        Endpoint::Ipc(_) => None,
    }
}
