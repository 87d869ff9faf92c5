//! Quarantine of a plugin that crashes repeatedly: a circuit breaker, because running it for each new request takes
//! time from other plugins.

use std::time::{Duration, Instant};

/// Length of the first and of the longest quarantine; each one is twice as long as the previous one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Crashes of one generation, and its quarantine.
#[derive(Debug)]
pub(crate) struct Quarantine {
    /// Number of consecutive crashes that start a quarantine; 0 means never.
    tolerance: u32,
    in_a_row: u32,
    wait: Duration,
    /// End of the quarantine, after which one request is admitted as a probe.
    until: Option<Instant>,
    /// Whether the probe is still running.
    is_probing: bool,
}

impl Quarantine {
    pub(crate) fn new(tolerance: u32) -> Self {
        Self { tolerance, in_a_row: 0, wait: Duration::ZERO, until: None, is_probing: false }
    }

    /// Admits a request, or returns the time until the quarantine ends.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let left = self.quarantine(now);
        if !left.is_zero() {
            return Err(left);
        }
        // The probe may never end, so the next one is admitted after the same time.
        self.until = self.until.map(|_| now + self.wait);
        self.is_probing = self.until.is_some();
        Ok(())
    }

    /// Returns `true` if requests are rejected, except for probes.
    pub(crate) fn is_in_quarantine(&self) -> bool {
        self.until.is_some()
    }

    /// Returns the time until the quarantine ends; zero if there is none.
    pub(crate) fn quarantine(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Number of consecutive requests that crashed.
    pub(crate) fn crashes_in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Records the end of a request; returns the length of the quarantine that begins, if one does.
    pub(crate) fn record(&mut self, has_crashed: bool, now: Instant) -> Option<Duration> {
        if !has_crashed {
            *self = Self::new(self.tolerance);
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Requests admitted before the quarantine began do not extend it.
        let is_known = !std::mem::take(&mut self.is_probing) && self.is_in_quarantine();
        if self.tolerance == 0 || self.in_a_row < self.tolerance || is_known {
            return None;
        }
        self.wait = (self.wait * 2).clamp(FIRST, LONGEST);
        self.until = Some(now + self.wait);
        Some(self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn consecutive_crashes_start_a_quarantine_and_a_probe_ends_it() {
        let (mut health, start) = (Quarantine::new(3), Instant::now());
        assert_eq!(health.record(true, start), None);
        assert_eq!(health.record(true, start), None);
        assert_eq!(health.admit(start), Ok(()));
        assert_eq!(health.record(true, start), Some(SECOND));
        assert_eq!(health.crashes_in_a_row(), 3);
        assert_eq!(health.admit(start + SECOND / 4), Err(SECOND * 3 / 4));
        assert_eq!(health.admit(start + SECOND), Ok(()));
        assert_eq!(health.admit(start + SECOND), Err(SECOND), "only one is admitted");
        assert_eq!(health.record(false, start + SECOND), None);
        assert_eq!(health.admit(start + SECOND), Ok(()));
        assert_eq!(health.record(true, start + SECOND), None, "the count starts again");
    }

    #[test]
    fn each_quarantine_is_twice_as_long_up_to_a_minute() {
        let (mut health, mut now) = (Quarantine::new(1), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(health.record(true, now), Some(SECOND * seconds));
            now += SECOND * seconds;
            assert_eq!(health.admit(now), Ok(()));
        }
    }

    #[test]
    fn requests_admitted_before_do_not_extend_the_quarantine() {
        let (mut health, now) = (Quarantine::new(1), Instant::now());
        assert_eq!(health.record(true, now), Some(SECOND));
        assert_eq!([(); 9].map(|()| health.record(true, now)), [None; 9]);
        assert_eq!(health.admit(now + SECOND), Ok(()));
        assert_eq!(health.record(true, now + SECOND), Some(2 * SECOND), "the probe");
    }

    #[test]
    fn single_crashes_and_a_tolerance_of_zero_start_no_quarantine() {
        let now = Instant::now();
        let mut health = Quarantine::new(2);
        for _ in 0..10 {
            assert_eq!(health.record(true, now), None);
            assert_eq!(health.record(false, now), None);
        }
        let mut health = Quarantine::new(0);
        assert!((0..100).all(|_| health.record(true, now).is_none()));
    }
}
