//! Retries of a node whose name another process has taken.

use crate::time::Time;
use std::time::Duration;

/// First and longest pause before a node tries to regain its name; each is twice the one before. The first is long
/// enough for a zone with the default settings to detect a dead process.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(120);

/// A name that another process has.
#[derive(Debug)]
pub(super) struct NameClaim {
    /// Time of the next try, if it is still to come.
    due: Option<Time>,
    /// Length of the pause before it.
    pause: Duration,
}

impl NameClaim {
    /// Starts the first pause, or twice the pause `before`.
    pub(super) fn after(before: Option<Self>, now: Time) -> Self {
        let pause = before.map_or(FIRST, |before| (before.pause * 2).min(LONGEST));
        Self { due: Some(now + pause), pause }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        self.due
    }

    /// Returns `true` if the try is due, once for each [`Self::after`].
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}
