//! Log of the core's events, with limits on repetition.

use super::Driver;
use crate::config::Endpoint;
use std::fmt;
use std::time::Instant;
use tracing::{info, warn};
use wasmnode_core::{Event, ZoneEvent};
use wasmnode_sandbox::log_throttle::LogDecision;

impl Driver {
    /// Logs an event of workers or requests.
    pub(super) fn log_event(&mut self, event: &Event) {
        match event {
            // Two workers that share an identity keep replacing each other, so the event repeats.
            Event::WorkerLeft { .. } if event.is_doubled_identity() => {
                self.warn_now_and_then(event.kind(), &event.to_string());
            }
            Event::WorkerJoined { .. } | Event::WorkerLeft { .. } => info!("{event}"),
            _ => self.warn(event.kind(), event),
        }
    }

    /// Logs an event of the zone, and registers the addresses of its members.
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
            // The core keeps dialling, so the event repeats.
            ZoneEvent::DialFailed { .. } => self.warn_now_and_then(event.kind(), &event.to_string()),
            _ => self.warn(event.kind(), event),
        }
    }

    /// Logs a line that repeats: once, and then once a minute, with the number of repetitions left out.
    pub(super) fn warn_now_and_then(&mut self, kind: &str, line: &str) {
        if let Some(line) = self.repeats.check(line, Instant::now()) {
            self.warn(kind, &line);
        }
    }

    /// Logs a warning unless too many of its kind were logged within a second, so that garbage from a client cannot
    /// flood the log.
    pub(super) fn warn(&mut self, kind: &str, event: &impl fmt::Display) {
        match self.warnings.check(kind, Instant::now()) {
            LogDecision::Pass => warn!("{event}"),
            LogDecision::PassAfter(left_out) => warn!("{event} (and {left_out} more of this kind, left out)"),
            LogDecision::Drop => {}
        }
    }

    /// Logs the number of warnings left out of each flood that has ended.
    pub(super) fn warn_of_left_out(&mut self) {
        if self.warnings.next_left_out().is_some() {
            for (kind, left_out) in self.warnings.take_left_out(Instant::now()) {
                warn!("{left_out} more warnings of one kind were left out: {kind:?}");
            }
        }
    }
}

/// Returns the host and port of a tcp endpoint.
pub(super) fn tcp_address(endpoint: &str) -> Option<String> {
    match endpoint.parse().ok()? {
        Endpoint::Tcp(address) => Some(address),
        Endpoint::Ipc(_) => None,
    }
}
