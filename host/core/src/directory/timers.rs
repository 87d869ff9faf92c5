//! When something is due for a member: at most one time for each of the three things.

use crate::name::Label;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// What is due for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// To tell it that this node's version still holds.
    Still,
    /// The end of its lease.
    Lease,
    /// To ask it once more for a whole advert.
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

    /// Takes out what has been due the longest.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Label, Due)> {
        if self.next()? > now {
            return None;
        }
        let (time, member, due) = self.order.pop_first()?;
        self.times.remove(&(member.clone(), due));
        Some((time, member, due))
    }

    /// All times for one thing, in order.
    #[cfg(test)]
    pub(super) fn times_of(&self, due: Due) -> impl Iterator<Item = Time> {
        self.order.iter().filter(move |entry| entry.2 == due).map(|entry| entry.0)
    }
}
