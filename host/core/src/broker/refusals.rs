//! Refused workers: the first is disconnected immediately, later ones of the same name after growing pauses.
//!
//! Workers of the ZeroMQ guide reconnect as soon as they are disconnected, under another routing id, and are refused
//! again: without a pause, they keep the node and its log busy. So the DISCONNECT is delayed, because a worker waits
//! until it gets an answer. Workers have the same name if they have the same key and register for the same service.

use crate::connection::ConnectionId;
use crate::message::{Dialect, Frame};
use crate::name::Label;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pause before the second DISCONNECT; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// Longest pause: the interval of the heartbeats that workers of the guide wait for.
const LONGEST: Duration = Duration::from_millis(2_500);

/// Time without a refusal after which the next DISCONNECT is immediate again. Longer than the longest pause and the
/// time in which workers of the guide reconnect.
const MEMORY: Duration = Duration::from_secs(10);

/// Largest number of refused names that are kept; a new one replaces the one refused longest ago.
const MOST_NAMES: usize = 1_000;

/// Largest number of workers that wait for a DISCONNECT; if there is one more, the oldest gets it immediately.
const MOST_WAITING: usize = 1_000;

/// Number of leading bytes of a service's name that are compared.
const NAME: usize = 64;

type Key = (Option<Label>, Frame);

/// Recently refused names, and the workers that wait for a DISCONNECT.
#[derive(Debug, Default)]
pub(super) struct WorkerRefusals {
    recent: BTreeMap<Key, Recent>,
    waiting: BTreeMap<ConnectionId, (Time, Dialect)>,
    by_due: BTreeSet<(Time, ConnectionId)>,
}

#[derive(Debug)]
struct Recent {
    last: Time,
    pause: Duration,
}

impl WorkerRefusals {
    /// Refuses a worker; returns the worker to disconnect now, if there is one.
    pub(super) fn refuse(
        &mut self,
        connection: &ConnectionId,
        dialect: Dialect,
        service: &Frame,
        now: Time,
    ) -> Option<(ConnectionId, Dialect)> {
        let key = (connection.principal().cloned(), Frame::copy_from_slice(&service[..service.len().min(NAME)]));
        let before = self.recent.get(&key).filter(|recent| now.since(recent.last) < MEMORY);
        let pause = before.map_or(Duration::ZERO, |recent| (recent.pause * 2).clamp(FIRST, LONGEST));
        if self.recent.len() >= MOST_NAMES && !self.recent.contains_key(&key) {
            self.forget();
        }
        // `MEMORY` counts from the end of the pause, so that a worker that comes then is delayed too.
        self.recent.insert(key, Recent { last: now + pause, pause });
        if pause.is_zero() {
            return Some((connection.clone(), dialect));
        }
        let oldest = (self.waiting.len() >= MOST_WAITING).then(|| self.take_first()).flatten();
        if !self.waiting.contains_key(connection) {
            self.waiting.insert(connection.clone(), (now + pause, dialect));
            self.by_due.insert((now + pause, connection.clone()));
        }
        oldest
    }

    /// Returns `true` if a worker waits for a DISCONNECT.
    pub(super) fn is_waiting(&self, connection: &ConnectionId) -> bool {
        self.waiting.contains_key(connection)
    }

    /// Removes a worker that is gone, registered or disconnected.
    pub(super) fn take(&mut self, connection: &ConnectionId) {
        if let Some((due, _)) = self.waiting.remove(connection) {
            self.by_due.remove(&(due, connection.clone()));
        }
    }

    /// Returns when the next worker is to be disconnected.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Removes and returns the next worker whose pause is over.
    pub(super) fn pop(&mut self, now: Time) -> Option<(ConnectionId, Dialect)> {
        if self.next()? <= now { self.take_first() } else { None }
    }

    fn take_first(&mut self) -> Option<(ConnectionId, Dialect)> {
        let (_, peer) = self.by_due.pop_first()?;
        self.waiting.remove(&peer).map(|(_, dialect)| (peer, dialect))
    }

    fn forget(&mut self) {
        let oldest = self.recent.iter().min_by_key(|(_, recent)| recent.last).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.recent.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: usize) -> ConnectionId {
        ConnectionId::new(format!("w{number}"))
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(1_000 * ms)
    }

    #[test]
    fn the_same_name_waits_longer_each_time_and_not_at_all_after_a_pause() {
        let (mut refusals, name, mut now, mut pauses) =
            (WorkerRefusals::default(), Frame::from_static(b"print"), at(0), vec![]);
        for number in 0..8 {
            let refused = refusals.refuse(&worker(number), Dialect::Majordomo01, &name, now);
            let due = refusals.next().unwrap_or(now);
            assert_eq!(refused.is_some(), due == now);
            pauses.push(due.since(now).as_millis());
            assert_eq!(refusals.pop(due).map(|(peer, _)| peer), (due > now).then(|| worker(number)));
            now = due;
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1_600, 2_500, 2_500]);
        let other = Frame::from_static(b"other");
        assert!(
            refusals.refuse(&worker(8), Dialect::Majordomo01, &other, now).is_some(),
            "another name has its own pause"
        );
        assert!(refusals.refuse(&worker(9), Dialect::Majordomo01, &name, now + MEMORY).is_some());
    }

    #[test]
    fn the_tables_of_refused_workers_are_bounded() {
        let mut refusals = WorkerRefusals::default();
        for number in 0..3_000 {
            let name = Frame::from(format!("{number:0>300}"));
            refusals.refuse(&worker(number), Dialect::Majordomo02, &name, at(number as u64));
            refusals.refuse(
                &worker(10_000 + number),
                Dialect::Majordomo02,
                &Frame::from_static(b"x"),
                at(number as u64),
            );
        }
        assert!(refusals.recent.len() <= MOST_NAMES && refusals.waiting.len() <= MOST_WAITING);
        assert!(refusals.recent.keys().all(|(_, name)| name.len() <= NAME));
    }
}
