//! When the patience with each request ends.

use super::RequestId;
use crate::time::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a request is here before it gets a timer, unless it has less time.
const YOUNG: Duration = Duration::from_millis(10);

/// Requests in order of the time at which patience with them ends. Most are answered within milliseconds of the seconds
/// that they have: so a request gets its timer only when it is [`YOUNG`] no longer, or if it may end before.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Time, RequestId)>,
    /// Those of this number and after it are young.
    young: RequestId,
    /// When they get their timers, those that are still there.
    grown: Option<Time>,
}

impl Timers {
    /// When somebody has to look at the timers.
    pub(super) fn next(&self) -> Option<Time> {
        self.set.first().map(|(time, _)| *time).into_iter().chain(self.grown).min()
    }

    /// A request whose timer has run out, if there is one.
    pub(super) fn overdue(&self, now: Time) -> Option<RequestId> {
        self.set.first().filter(|(time, _)| *time <= now).map(|(_, request)| *request)
    }

    /// Sets the timer of a request that has none.
    pub(super) fn insert(&mut self, time: Time, request: RequestId, now: Time) {
        if request >= self.young {
            self.grown.get_or_insert(now + YOUNG);
        }
        if self.is_set(time, request) {
            self.set.insert((time, request));
        }
    }

    /// Takes the timer of a request away, which was set to this time.
    pub(super) fn remove(&mut self, time: Time, request: RequestId) {
        if self.is_set(time, request) {
            self.set.remove(&(time, request));
        }
    }

    /// The number from which on requests are young, if they are so no longer.
    pub(super) fn grown(&self, now: Time) -> Option<RequestId> {
        self.grown.filter(|grown| *grown <= now).map(|_| self.young)
    }

    /// Those that were young get these timers; those from `next` on are young.
    pub(super) fn grow(&mut self, timers: impl Iterator<Item = (Time, RequestId)>, next: RequestId) {
        self.set.extend(timers);
        (self.young, self.grown) = (next, None);
    }

    fn is_set(&self, time: Time, request: RequestId) -> bool {
        request < self.young || self.grown.is_some_and(|grown| time <= grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_micros(1_000 * milliseconds)
    }

    #[test]
    fn a_request_gets_its_timer_when_it_is_young_no_longer() {
        let mut timers = Timers::default();
        let [quick, slow, last] = [0, 1, 2].map(RequestId);
        timers.insert(at(5_000), quick, at(0));
        timers.insert(at(4_000), slow, at(1));
        assert_eq!((timers.next(), timers.grown(at(9))), (Some(at(10)), None));
        timers.remove(at(5_000), quick);
        assert_eq!(timers.grown(at(10)), Some(quick));
        timers.grow([(at(4_000), slow)].into_iter(), last);
        assert_eq!((timers.next(), timers.overdue(at(3_999))), (Some(at(4_000)), None));
        assert_eq!(timers.overdue(at(4_000)), Some(slow));
        timers.remove(at(4_000), slow);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_request_that_has_little_time_gets_its_timer_at_once() {
        let mut timers = Timers::default();
        let [first, second] = [0, 1].map(RequestId);
        timers.insert(at(5_000), first, at(0));
        timers.insert(at(3), second, at(1));
        assert_eq!((timers.next(), timers.overdue(at(3))), (Some(at(3)), Some(second)));
        timers.remove(at(3), second);
        assert_eq!(timers.next(), Some(at(10)));
    }
}
