//! A node whose name another process has taken: when it asks for it again.

use crate::time::Time;
use std::time::Duration;

/// The pauses before a node tries to get its name back, each twice the one before: the first, in which a zone with the
/// default settings finds that a process is dead, and the longest.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(120);

/// A name that another process has.
#[derive(Debug)]
pub(super) struct NameClaim {
    /// When to try, if that is still to come.
    due: Option<Time>,
    /// How long the node waits for that, or has waited.
    pause: Duration,
}

impl NameClaim {
    /// The name is taken, once more if there was a try `before`.
    pub(super) fn after(before: Option<Self>, now: Time) -> Self {
        let pause = before.map_or(FIRST, |before| (before.pause * 2).min(LONGEST));
        Self { due: Some(now + pause), pause }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        self.due
    }

    /// Whether to try now. It is so once for each [`Self::after`].
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}
