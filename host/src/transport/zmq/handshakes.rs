//! What becomes of connections that are accepted: let in, turned away for a reason that libzmq tells, or neither.
//!
//! Neither is what does not begin as ZeroMQ does: libzmq closes it and tells only that it came and went. Whether a
//! connection was let in is told without saying which one. So they are counted: of all that are gone, or older than a
//! handshake can be, those that were neither let in nor turned away are the rest.

use super::HANDSHAKE;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zmq::SocketEvent::{
    self, ACCEPTED, DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL, HANDSHAKE_FAILED_PROTOCOL,
    HANDSHAKE_SUCCEEDED,
};

/// How often it is looked who is older than a handshake, and how much older.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Until when each may be in its handshake, by the descriptor of its connection.
    young: BTreeMap<i32, Instant>,
    /// When to look next who is not young any more.
    look_at: Option<Instant>,
    /// Those who are gone, or old enough to be known.
    over: u64,
    /// Those of whom it was told what became of them, let in or not.
    settled: u64,
}

impl Handshakes {
    /// The events of a socket that it has to hear.
    pub(super) fn events() -> u64 {
        let outcomes =
            [HANDSHAKE_SUCCEEDED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_FAILED_NO_DETAIL];
        [ACCEPTED, DISCONNECTED].iter().chain(&outcomes).fold(0, |all, event| all | u64::from(event.to_raw()))
    }

    /// Hears an event of the monitored socket; says whether it tells of somebody who was turned away without being
    /// judged. The ZAP handler tells of those that it refuses.
    pub(super) fn record(&mut self, event: &[Vec<u8>], now: Instant) -> bool {
        let Some(&[a, b, c, d, e, f]) = event.first().map(Vec::as_slice) else { return false };
        let (kind, descriptor) = (u16::from_ne_bytes([a, b]), i32::from_ne_bytes([c, d, e, f]));
        match SocketEvent::from_raw(kind) {
            ACCEPTED => {
                let before = self.young.insert(descriptor, now + HANDSHAKE + SECOND);
                self.over += u64::from(before.is_some());
                self.look_at.get_or_insert(now + SECOND);
            }
            DISCONNECTED => self.over += u64::from(self.young.remove(&descriptor).is_some()),
            HANDSHAKE_FAILED_PROTOCOL | HANDSHAKE_FAILED_NO_DETAIL => {
                self.settled += 1;
                return true;
            }
            _ => self.settled += 1,
        }
        false
    }

    /// How many were neither let in nor turned away, as far as that is certain, since the last time.
    pub(super) fn take_abandoned(&mut self, now: Instant) -> u64 {
        if self.look_at.is_some_and(|look_at| look_at <= now) {
            let before = self.young.len();
            self.young.retain(|_, end| *end > now);
            self.over += (before - self.young.len()) as u64;
            self.look_at = (!self.young.is_empty()).then(|| now + SECOND);
        }
        let unheard = self.over.saturating_sub(self.settled);
        self.settled += unheard;
        unheard
    }

    /// How long nothing has to be looked at, in milliseconds for libzmq; -1 for ever.
    pub(super) fn timeout(&self, now: Instant) -> i64 {
        let rest = self.look_at.map(|look_at| look_at.saturating_duration_since(now));
        // One more, as it rounds down.
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
    fn who_goes_without_being_let_in_or_turned_away_is_counted() {
        let (mut handshakes, start) = (Handshakes::default(), Instant::now());
        assert_eq!(handshakes.timeout(start), -1);
        for descriptor in 1..=5 {
            assert!(!handshakes.record(&event(ACCEPTED, descriptor), start));
        }
        let told = [HANDSHAKE_SUCCEEDED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_PROTOCOL];
        assert_eq!(told.map(|kind| handshakes.record(&event(kind, 0), start)), [false, false, true]);
        for descriptor in 2..=5 {
            assert!(!handshakes.record(&event(DISCONNECTED, descriptor), start));
        }
        assert_eq!(handshakes.take_abandoned(start), 1, "it could be that the one who stays is not let in yet");
        assert_eq!(handshakes.timeout(start), 1_001);
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE), 0);
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE + SECOND), 1, "but then it would have been cut off");
        assert_eq!(handshakes.timeout(start + HANDSHAKE), -1);
        assert!(!handshakes.record(&event(DISCONNECTED, 1), start + HANDSHAKE));
        assert_eq!(handshakes.take_abandoned(start + HANDSHAKE), 0);
    }
}
