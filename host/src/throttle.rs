//! At most so many log lines per second; what is left out is counted and said.

use std::time::{Duration, Instant};

/// Allows a number of events in each second.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_second: u32,
    second: Instant,
    used: u32,
    dropped: u64,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it pass.
    Pass,
    /// Let it pass, and say how many were left out since the last one that passed.
    PassAfter(u64),
    /// Leave it out.
    Drop,
}

impl Throttle {
    /// Allows `per_second` events in each second from now on.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, second: Instant::now(), used: 0, dropped: 0 }
    }

    /// Decides about one event.
    pub(crate) fn check(&mut self, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.used = 0;
        }
        if self.used >= self.per_second {
            self.dropped += 1;
            return Verdict::Drop;
        }
        self.used += 1;
        match std::mem::take(&mut self.dropped) {
            0 => Verdict::Pass,
            dropped => Verdict::PassAfter(dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_rate_is_dropped_and_said_with_the_next_that_passes() {
        let mut throttle = Throttle::new(2);
        let start = throttle.second;
        let verdicts: Vec<Verdict> = (0..4).map(|_| throttle.check(start)).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Drop, Verdict::Drop]);
        assert_eq!(throttle.check(start + Duration::from_secs(1)), Verdict::PassAfter(2));
        assert_eq!(throttle.check(start + Duration::from_secs(1)), Verdict::Pass);
    }
}
