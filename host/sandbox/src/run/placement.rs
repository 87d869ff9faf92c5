//! Where the runs of a plugin begin: on the driver's own thread while they are short, else in the thread pool.
//!
//! A thread hop costs 4 to 20 µs, so it pays only for runs that take much longer; but a long run on the driver's thread
//! delays everything else. A guest yields the thread after two ticks of the epoch (2 ms), but not within a single call
//! of the host or a single bulk operation on its memory. A plugin that has held the driver's thread for longer than
//! [`HELD`] stays in the pool for a while, which doubles each time, however quick its other runs are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Mean times, in nanoseconds, above which a plugin counts as slow and below which as quick; the gap keeps a plugin
/// from flapping.
const SLOW_NS: u64 = 100_000;
const QUICK_NS: u64 = 50_000;

/// Time on the driver's thread after which a plugin is kept off it: five times what the epoch allows, so that a thread
/// that the system preempted is not mistaken for a long call.
const HELD: Duration = Duration::from_millis(10);

/// First and longest time that a plugin is kept off the driver's thread.
const FIRST_PENALTY: Duration = Duration::from_secs(1);
const MAX_PENALTY: Duration = Duration::from_secs(600);

/// How long the recent runs of a plugin took, and where its next run begins.
pub(crate) struct Placement {
    mean_ns: AtomicU64,
    is_quick: AtomicBool,
    penalty: Mutex<Penalty>,
}

/// How long a plugin is kept off the driver's thread.
#[derive(Default)]
struct Penalty {
    length: Duration,
    until: Option<Instant>,
}

impl Default for Placement {
    fn default() -> Self {
        Self { mean_ns: AtomicU64::new(0), is_quick: AtomicBool::new(true), penalty: Mutex::default() }
    }
}

impl Placement {
    /// Returns `true` if the next run begins on the driver's thread.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_quick.load(Ordering::Relaxed)
    }

    /// Mean time of the recent runs, in microseconds.
    pub(crate) fn mean_us(&self) -> u64 {
        self.mean_ns.load(Ordering::Relaxed) / 1000
    }

    /// Adds the time of one run to the mean, with a weight of an eighth.
    pub(crate) fn record(&self, time: Duration, now: Instant) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.mean_ns.load(Ordering::Relaxed);
        // If another thread records at the same time, one of the two times is lost, which does no harm.
        let mean = mean - mean / 8 + time / 8;
        self.mean_ns.store(mean, Ordering::Relaxed);
        if mean > SLOW_NS {
            self.is_quick.store(false, Ordering::Relaxed);
        } else if mean < QUICK_NS && !self.is_quick() && !self.is_kept_away(now) {
            self.is_quick.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a run did not end within its first slice of time.
    pub(crate) fn record_handover(&self) {
        self.mean_ns.fetch_max(2 * SLOW_NS, Ordering::Relaxed);
        self.is_quick.store(false, Ordering::Relaxed);
    }

    /// Notes how long a run was on the driver's thread.
    pub(crate) fn record_held(&self, time: Duration, now: Instant) {
        if time < HELD {
            return;
        }
        let mut penalty = self.penalty.lock().unwrap_or_else(PoisonError::into_inner);
        // A penalty is forgotten after ten times its length without another.
        let is_forgotten = penalty.until.is_none_or(|until| now.saturating_duration_since(until) > penalty.length * 10);
        penalty.length = if is_forgotten { FIRST_PENALTY } else { (penalty.length * 2).min(MAX_PENALTY) };
        penalty.until = Some(now + penalty.length);
        self.is_quick.store(false, Ordering::Relaxed);
    }

    fn is_kept_away(&self, now: Instant) -> bool {
        self.penalty.lock().unwrap_or_else(PoisonError::into_inner).until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn be_quick(pace: &Placement, now: Instant) {
        for _ in 0..40 {
            pace.record(Duration::from_micros(5), now);
        }
    }

    #[test]
    fn a_service_moves_to_the_pool_when_slow_and_back_when_quick_again() {
        let (pace, now) = (Placement::default(), Instant::now());
        pace.record(Duration::from_micros(20), now);
        assert!(pace.is_quick());
        pace.record_handover();
        assert!(!pace.is_quick());
        for _ in 0..10 {
            pace.record(Duration::from_micros(70), now);
        }
        assert!(!pace.is_quick(), "between the two limits nothing changes");
        be_quick(&pace, now);
        assert!(pace.is_quick());
    }

    #[test]
    fn a_service_that_held_the_driver_stays_in_the_pool_however_quick_it_is() {
        let (pace, start) = (Placement::default(), Instant::now());
        pace.record_held(Duration::from_millis(9), start);
        assert!(pace.is_quick());
        pace.record_held(Duration::from_millis(1_100), start);
        be_quick(&pace, start + FIRST_PENALTY - Duration::from_millis(1));
        assert!(!pace.is_quick());
        be_quick(&pace, start + FIRST_PENALTY);
        assert!(pace.is_quick());
    }

    #[test]
    fn each_time_it_holds_the_driver_it_stays_away_twice_as_long() {
        let (pace, mut now) = (Placement::default(), Instant::now());
        for times in 0..12 {
            pace.record_held(HELD, now);
            let length = (FIRST_PENALTY * 2_u32.pow(times)).min(MAX_PENALTY);
            be_quick(&pace, now + length - Duration::from_millis(1));
            assert!(!pace.is_quick(), "{times}");
            now += length;
            be_quick(&pace, now);
            assert!(pace.is_quick(), "{times}");
        }
        // Long after the last time, it begins anew.
        now += MAX_PENALTY * 11;
        pace.record_held(HELD, now);
        be_quick(&pace, now + FIRST_PENALTY);
        assert!(pace.is_quick());
    }
}
