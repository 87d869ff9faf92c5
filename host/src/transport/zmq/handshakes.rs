//! Outcomes of accepted connections: authenticated, rejected for a reason that libzmq reports, or neither.
//!
//! "Neither" is a connection that does not start with a ZMTP greeting: libzmq closes it, and reports only that it came
//! and went. A success is reported without the connection that it belongs to. So outcomes are counted: of all
//! connections that closed or outlived the handshake timeout, those that were neither authenticated nor rejected are
//! the rest.

use super::HANDSHAKE;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zmq::SocketEvent::{
    self, ACCEPTED, DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL, HANDSHAKE_FAILED_PROTOCOL,
    HANDSHAKE_SUCCEEDED,
};

/// Interval of the handshake sweep, and margin added to the handshake timeout.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Latest end of each pending handshake, by the connection's descriptor.
    pending: BTreeMap<i32, Instant>,
    /// Time of the next sweep.
    sweep_at: Option<Instant>,
    /// Number of connections that closed or outlived the handshake timeout.
    ended: u64,
    /// Number of connections with a known outcome, or already counted as abandoned.
    settled: u64,
}

impl Handshakes {
    /// Returns the socket events that [`Self::record`] needs.
    pub(super) fn events() -> u64 {
        let outcomes =
            [HANDSHAKE_SUCCEEDED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_FAILED_NO_DETAIL];
        [ACCEPTED, DISCONNECTED].iter().chain(&outcomes).fold(0, |all, event| all | u64::from(event.to_raw()))
    }

    /// Records an event of the monitored socket. Returns `true` if it reports a connection that was rejected without a
    /// decision of the ZAP handler, which reports its own rejections.
    pub(super) fn record(&mut self, event: &[Vec<u8>], now: Instant) -> bool {
        let Some(&[a, b, c, d, e, f]) = event.first().map(Vec::as_slice) else { return false };
        let (kind, descriptor) = (u16::from_ne_bytes([a, b]), i32::from_ne_bytes([c, d, e, f]));
        match SocketEvent::from_raw(kind) {
            ACCEPTED => {
                let before = self.pending.insert(descriptor, now + HANDSHAKE + SECOND);
                self.ended += u64::from(before.is_some());
                self.sweep_at.get_or_insert(now + SECOND);
            }
            DISCONNECTED => self.ended += u64::from(self.pending.remove(&descriptor).is_some()),
            HANDSHAKE_FAILED_PROTOCOL | HANDSHAKE_FAILED_NO_DETAIL => {
                self.settled += 1;
                return true;
            }
            _ => self.settled += 1,
        }
        false
    }

    /// Takes the number of connections that closed without completing a ZMTP handshake (a lower bound).
    pub(super) fn take_abandoned(&mut self, now: Instant) -> u64 {
        if self.sweep_at.is_some_and(|sweep_at| sweep_at <= now) {
            let before = self.pending.len();
            self.pending.retain(|_, end| *end > now);
            self.ended += (before - self.pending.len()) as u64;
            self.sweep_at = (!self.pending.is_empty()).then(|| now + SECOND);
        }
        let abandoned = self.ended.saturating_sub(self.settled);
        self.settled += abandoned;
        abandoned
    }

    /// Returns the time until the next sweep, in milliseconds for libzmq; -1 for none.
    pub(super) fn timeout(&self, now: Instant) -> i64 {
        let rest = self.sweep_at.map(|sweep_at| sweep_at.saturating_duration_since(now));
        // One more, because `as_millis` rounds down.
        rest.map_or(-1, |rest| i64::try_from(rest.as_millis()).unwrap_or(i64::MAX).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: SocketEvent, descriptor: i32) -> Vec<Vec<u8>> {
        vec![[&kind.to_raw().to_ne_bytes()[..], &descriptor.to_ne_bytes()].concat(), b"tcp://127.0.0.1:1".to_vec()]
    }

    #[test]
    fn connections_without_an_outcome_are_counted() {
        let (mut handshakes, start) = (Handshakes::default(), Instant::now());
        assert_eq!(handshakes.timeout(start), -1);
        for descriptor in 1..=5 {
            assert!(!handshakes.record(&event(ACCEPTED, descriptor), start));
        }
        let reported = [HANDSHAKE_SUCCEEDED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_PROTOCOL];
        assert_eq!(reported.map(|kind| handshakes.record(&event(kind, 0), start)), [false, false, true]);
        for descriptor in 2..=5 {
            assert!(!handshakes.record(&event(DISCONNECTED, descriptor), start));
        }
        assert_eq!(handshakes.take_abandoned(start), 1, "the remaining connection may still be in its handshake");
        assert_eq!(handshakes.timeout(start), 1_001);
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE), 0);
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE + SECOND), 1, "its handshake would have timed out");
        assert_eq!(handshakes.timeout(start + HANDSHAKE), -1);
        assert!(!handshakes.record(&event(DISCONNECTED, 1), start + HANDSHAKE));
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE), 0);
    }
}
