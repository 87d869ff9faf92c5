//! Limit on the log lines per second, by kind, with counts of those left out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Period over which lines are counted.
const SECOND: Duration = Duration::from_secs(1);

/// Largest number of kinds with separate counts: more than the node has. Further kinds share one count.
const MAX_KINDS: usize = 64;

/// Name of the kind that counts all further kinds.
const OTHER: &str = "other";

/// Allows a number of lines in each second.
#[derive(Debug)]
pub struct LogThrottle {
    per_second: u32,
    second: Instant,
    used: u32,
    dropped: u64,
}

/// Decision about one line.
#[derive(Debug, PartialEq, Eq)]
pub enum LogDecision {
    /// Write the line.
    Pass,
    /// Write the line, and the number of lines left out since the last one that passed.
    PassAfter(u64),
    /// Leave the line out.
    Drop,
}

impl LogThrottle {
    /// Allows `per_second` lines in each second, of which the first begins at `now`.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, second: now, used: 0, dropped: 0 }
    }

    /// Decides about one line.
    pub fn check(&mut self, now: Instant) -> LogDecision {
        if self.is_over(now) {
            self.second = now;
            self.used = 0;
        }
        if self.used >= self.per_second {
            self.dropped += 1;
            return LogDecision::Drop;
        }
        self.used += 1;
        match std::mem::take(&mut self.dropped) {
            0 => LogDecision::Pass,
            dropped => LogDecision::PassAfter(dropped),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.second) >= SECOND
    }
}

/// A [`LogThrottle`] per kind of line, so that a flood of one kind neither hides another nor counts against it.
#[derive(Debug)]
pub struct Kinds {
    per_second: u32,
    by_kind: BTreeMap<String, LogThrottle>,
}

impl Kinds {
    /// Allows `per_second` lines of each kind in each second.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, by_kind: BTreeMap::new() }
    }

    /// Decides about one line of a kind.
    pub fn check(&mut self, kind: &str, now: Instant) -> LogDecision {
        let known = if self.by_kind.contains_key(kind) || self.by_kind.len() < MAX_KINDS { kind } else { OTHER };
        if let Some(throttle) = self.by_kind.get_mut(known) {
            return throttle.check(now);
        }
        self.by_kind.entry(known.to_owned()).or_insert_with(|| LogThrottle::new(self.per_second, now)).check(now)
    }

    /// Takes the numbers of lines left out, by kind, of kinds whose second is over. Needed because no further line
    /// reports them once a flood has ended.
    pub fn take_left_out(&mut self, now: Instant) -> Vec<(String, u64)> {
        let over = self.by_kind.iter_mut().filter(|(_, throttle)| throttle.dropped > 0 && throttle.is_over(now));
        over.map(|(kind, throttle)| (kind.clone(), std::mem::take(&mut throttle.dropped))).collect()
    }

    /// Returns the time at which [`Self::take_left_out`] will have something to report, if lines were left out.
    pub fn next_left_out(&self) -> Option<Instant> {
        self.by_kind.values().filter(|throttle| throttle.dropped > 0).map(|throttle| throttle.second + SECOND).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_dropped_and_reported_with_the_next_that_passes() {
        let start = Instant::now();
        let mut throttle = LogThrottle::new(2, start);
        let verdicts: Vec<LogDecision> = (0..4).map(|_| throttle.check(start)).collect();
        assert_eq!(verdicts, [LogDecision::Pass, LogDecision::Pass, LogDecision::Drop, LogDecision::Drop]);
        assert_eq!(throttle.check(start + SECOND), LogDecision::PassAfter(2));
        assert_eq!(throttle.check(start + SECOND), LogDecision::Pass);
    }

    #[test]
    fn each_kind_is_counted_separately() {
        let (start, mut kinds) = (Instant::now(), Kinds::new(1));
        let verdicts = ["a", "a", "a", "b", "b"].map(|kind| kinds.check(kind, start));
        assert_eq!(
            verdicts,
            [LogDecision::Pass, LogDecision::Drop, LogDecision::Drop, LogDecision::Pass, LogDecision::Drop]
        );
        assert_eq!(kinds.check("a", start + SECOND), LogDecision::PassAfter(2));
        assert_eq!(kinds.check("b", start + SECOND), LogDecision::PassAfter(1));
    }

    #[test]
    fn lines_left_out_are_reported_after_a_flood() {
        let (start, mut kinds) = (Instant::now(), Kinds::new(1));
        for _ in 0..3 {
            kinds.check("a", start);
        }
        assert_eq!((kinds.take_left_out(start), kinds.next_left_out()), (vec![], Some(start + SECOND)));
        assert_eq!(kinds.take_left_out(start + SECOND), [("a".to_owned(), 2)]);
        assert_eq!((kinds.take_left_out(start + SECOND), kinds.next_left_out()), (vec![], None));
    }

    #[test]
    fn kinds_beyond_the_limit_share_one_count() {
        let (start, mut kinds) = (Instant::now(), Kinds::new(1));
        for number in 0..10 * MAX_KINDS {
            kinds.check(&number.to_string(), start);
        }
        assert_eq!(kinds.by_kind.len(), MAX_KINDS + 1);
        assert_eq!(kinds.check("new", start), LogDecision::Drop);
    }
}
