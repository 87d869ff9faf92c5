//! Whether a plugin is fit to run. A plugin that crashes in request after request is not tried with each new request,
//! because that costs time that other plugins could use.

use std::time::{Duration, Instant};

/// Length of the first and of the longest quarantine; each further one is twice as long as the one before.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Crashes of one generation, and its quarantine.
#[derive(Debug)]
pub(crate) struct Quarantine {
    /// Crashes in a row that lead to quarantine; 0 means that none do.
    tolerance: u32,
    in_a_row: u32,
    wait: Duration,
    /// End of the quarantine; then one request is let through as a probe.
    until: Option<Instant>,
    /// Whether the probe is still running.
    is_probing: bool,
}

impl Quarantine {
    pub(crate) fn new(tolerance: u32) -> Self {
        Self { tolerance, in_a_row: 0, wait: Duration::ZERO, until: None, is_probing: false }
    }

    /// Lets a request through, or returns the time until the quarantine ends.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let left = self.quarantine(now);
        if !left.is_zero() {
            return Err(left);
        }
        // The probe may never end; the next one follows after the same time again.
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

    /// Number of requests in a row that crashed.
    pub(crate) fn crashes_in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Records the end of a request; returns the length of the quarantine that begins with it, if one does.
    pub(crate) fn record(&mut self, has_crashed: bool, now: Instant) -> Option<Duration> {
        if !has_crashed {
            *self = Self::new(self.tolerance);
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Requests admitted before the quarantine began do not make it longer.
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
    fn crashes_in_a_row_lead_to_quarantine_and_one_request_at_a_time_leads_out() {
        let (mut health, start) = (Quarantine::new(3), Instant::now());
        assert_eq!(health.record(true, start), None);
        assert_eq!(health.record(true, start), None);
        assert_eq!(health.admit(start), Ok(()));
        assert_eq!(health.record(true, start), Some(SECOND));
        assert_eq!(health.crashes_in_a_row(), 3);
        assert_eq!(health.admit(start + SECOND / 4), Err(SECOND * 3 / 4));
        assert_eq!(health.admit(start + SECOND), Ok(()));
        assert_eq!(health.admit(start + SECOND), Err(SECOND), "only one is let through");
        assert_eq!(health.record(false, start + SECOND), None);
        assert_eq!(health.admit(start + SECOND), Ok(()));
        assert_eq!(health.record(true, start + SECOND), None, "the count begins anew");
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
    fn requests_that_were_let_in_before_do_not_make_the_quarantine_longer() {
        let (mut health, now) = (Quarantine::new(1), Instant::now());
        assert_eq!(health.record(true, now), Some(SECOND));
        assert_eq!([(); 9].map(|()| health.record(true, now)), [None; 9]);
        assert_eq!(health.admit(now + SECOND), Ok(()));
        assert_eq!(health.record(true, now + SECOND), Some(2 * SECOND), "the probe");
    }

    #[test]
    fn single_crashes_and_a_tolerance_of_zero_do_no_harm() {
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
