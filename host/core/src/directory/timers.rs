//! Timers of members: at most one of each kind per member.

use crate::name::Label;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Kind of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Renewal of this node's lease at the member.
    Still,
    /// End of the member's lease.
    Lease,
    /// Repetition of the request for a whole advert.
    Pull,
}

#[derive(Debug, Default)]
pub(super) struct LeaseTimers {
    times: BTreeMap<(Label, Due), Time>,
    order: BTreeSet<(Time, Label, Due)>,
}

impl LeaseTimers {
    pub(super) fn set(&mut self, member: &Label, due: Due, time: Time) {
        self.clear(member, due);
        self.times.insert((member.clone(), due), time);
        self.order.insert((time, member.clone(), due));
    }

    pub(super) fn clear(&mut self, member: &Label, due: Due) {
        let key = (member.clone(), due);
        if let Some(time) = self.times.remove(&key) {
            self.order.remove(&(time, key.0, due));
        }
    }

    pub(super) fn forget(&mut self, member: &Label) {
        for due in [Due::Still, Due::Lease, Due::Pull] {
            self.clear(member, due);
        }
    }

    pub(super) fn is_set(&self, member: &Label, due: Due) -> bool {
        self.times.contains_key(&(member.clone(), due))
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(time, ..)| *time)
    }

    /// Removes and returns the timer that has been due for longest.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Label, Due)> {
        if self.next()? > now {
            return None;
        }
        let (time, member, due) = self.order.pop_first()?;
        self.times.remove(&(member.clone(), due));
        Some((time, member, due))
    }

    /// Returns all times of one kind, in order.
    #[cfg(test)]
    pub(super) fn times_of(&self, due: Due) -> impl Iterator<Item = Time> {
        self.order.iter().filter(move |entry| entry.2 == due).map(|entry| entry.0)
    }
}
