//! Placement of a plugin's runs: on the driver's own thread while they are short, else in the thread pool.
//!
//! A thread hop costs 4 to 20 µs, which is worthwhile only for much longer runs; but a long run on the driver's thread
//! delays everything else. A guest yields the thread after two ticks of the epoch (2 ms), but not within a single host
//! call or a single bulk operation on its memory. A plugin that has held the driver's thread for longer than [`HELD`]
//! therefore stays in the pool for a penalty time, which doubles each time, even if its other runs are quick.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Mean times, in nanoseconds, above which a plugin counts as slow and below which as quick; the gap prevents flapping.
const SLOW_NS: u64 = 100_000;
const QUICK_NS: u64 = 50_000;

/// Time on the driver's thread after which a plugin is kept off it: five times the time that the epoch allows, so that
/// preemption by the system is not mistaken for a long call.
const HELD: Duration = Duration::from_millis(10);

/// First and longest time that a plugin is kept off the driver's thread.
const FIRST_PENALTY: Duration = Duration::from_secs(1);
const MAX_PENALTY: Duration = Duration::from_secs(600);

/// Mean duration of a plugin's recent runs, and the thread on which the next run begins.
pub(crate) struct Placement {
    mean_ns: AtomicU64,
    is_quick: AtomicBool,
    penalty: Mutex<Penalty>,
}

/// Time for which a plugin is kept off the driver's thread.
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
        // If another thread records at the same time, one of the two times is lost, which is harmless.
        let mean = mean - mean / 8 + time / 8;
        self.mean_ns.store(mean, Ordering::Relaxed);
        if mean > SLOW_NS {
            self.is_quick.store(false, Ordering::Relaxed);
        } else if mean < QUICK_NS && !self.is_quick() && !self.is_penalised(now) {
            self.is_quick.store(true, Ordering::Relaxed);
        }
    }

    /// Records that a run did not end within its first time slice.
    pub(crate) fn record_handover(&self) {
        self.mean_ns.fetch_max(2 * SLOW_NS, Ordering::Relaxed);
        self.is_quick.store(false, Ordering::Relaxed);
    }

    /// Records the time that a run was on the driver's thread.
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

    fn is_penalised(&self, now: Instant) -> bool {
        self.penalty.lock().unwrap_or_else(PoisonError::into_inner).until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn be_quick(placement: &Placement, now: Instant) {
        for _ in 0..40 {
            placement.record(Duration::from_micros(5), now);
        }
    }

    #[test]
    fn a_service_moves_to_the_pool_when_slow_and_back_when_quick_again() {
        let (placement, now) = (Placement::default(), Instant::now());
        placement.record(Duration::from_micros(20), now);
        assert!(placement.is_quick());
        placement.record_handover();
        assert!(!placement.is_quick());
        for _ in 0..10 {
            placement.record(Duration::from_micros(70), now);
        }
        assert!(!placement.is_quick(), "between the two limits nothing changes");
        be_quick(&placement, now);
        assert!(placement.is_quick());
    }

    #[test]
    fn a_plugin_that_held_the_driver_stays_in_the_pool_even_if_it_is_quick() {
        let (placement, start) = (Placement::default(), Instant::now());
        placement.record_held(Duration::from_millis(9), start);
        assert!(placement.is_quick());
        placement.record_held(Duration::from_millis(1_100), start);
        be_quick(&placement, start + FIRST_PENALTY - Duration::from_millis(1));
        assert!(!placement.is_quick());
        be_quick(&placement, start + FIRST_PENALTY);
        assert!(placement.is_quick());
    }

    #[test]
    fn each_penalty_is_twice_as_long() {
        let (placement, mut now) = (Placement::default(), Instant::now());
        for times in 0..12 {
            placement.record_held(HELD, now);
            let length = (FIRST_PENALTY * 2_u32.pow(times)).min(MAX_PENALTY);
            be_quick(&placement, now + length - Duration::from_millis(1));
            assert!(!placement.is_quick(), "{times}");
            now += length;
            be_quick(&placement, now);
            assert!(placement.is_quick(), "{times}");
        }
        // Long after the last penalty, the first length applies again.
        now += MAX_PENALTY * 11;
        placement.record_held(HELD, now);
        be_quick(&placement, now + FIRST_PENALTY);
        assert!(placement.is_quick());
    }
}
