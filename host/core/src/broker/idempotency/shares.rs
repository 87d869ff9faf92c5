//! Shares of the kept replies. Replies of the largest share are dropped first (max-min fairness).
//!
//! Shares are nested: by the node or zone that requests came from, then by user, then by service. So a node that
//! invents users evicts only replies of its own users, and a user with many requests only its own replies of that
//! service.

use std::collections::{BTreeMap, BTreeSet};

/// Number and bytes of replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) replies: usize,
    pub(super) bytes: usize,
}

/// Measure by which shares are compared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Replies,
    Bytes,
}

/// A share, with the shares that it consists of.
#[derive(Debug, Default)]
pub(super) struct Share {
    footprint: Footprint,
    parts: BTreeMap<String, Share>,
    by_replies: BTreeSet<(usize, String)>,
    by_bytes: BTreeSet<(usize, String)>,
    /// Replies of this share that belong to none of its parts, by ascending number.
    replies: BTreeSet<u64>,
}

impl Share {
    pub(super) fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// Adds a reply to the share at the end of `path`.
    pub(super) fn add(&mut self, path: &[String], number: u64, bytes: usize) {
        self.footprint = Footprint { replies: self.footprint.replies + 1, bytes: self.footprint.bytes + bytes };
        let Some((first, rest)) = path.split_first() else {
            self.replies.insert(number);
            return;
        };
        let part = self.parts.entry(first.clone()).or_default();
        let before = part.footprint;
        part.add(rest, number, bytes);
        let after = part.footprint;
        self.rank(first, before, after);
    }

    /// Removes a reply that was added.
    pub(super) fn remove(&mut self, path: &[String], number: u64, bytes: usize) {
        self.footprint = Footprint { replies: self.footprint.replies - 1, bytes: self.footprint.bytes - bytes };
        let Some((first, rest)) = path.split_first() else {
            self.replies.remove(&number);
            return;
        };
        let Some(part) = self.parts.get_mut(first) else { return };
        let before = part.footprint;
        part.remove(rest, number, bytes);
        let after = part.footprint;
        self.rank(first, before, after);
        if after.replies == 0 {
            self.parts.remove(first);
        }
    }

    /// Returns the oldest reply of the largest share of the largest share, and so on.
    pub(super) fn next_evicted(&self, measure: Measure) -> Option<u64> {
        let largest = match measure {
            Measure::Replies => self.by_replies.last(),
            Measure::Bytes => self.by_bytes.last(),
        };
        match largest.and_then(|(_, name)| self.parts.get(name)) {
            Some(part) => part.next_evicted(measure),
            None => self.replies.first().copied(),
        }
    }

    fn rank(&mut self, part: &str, before: Footprint, after: Footprint) {
        let name = || part.to_owned();
        self.by_replies.remove(&(before.replies, name()));
        self.by_bytes.remove(&(before.bytes, name()));
        if after.replies > 0 {
            self.by_replies.insert((after.replies, name()));
            self.by_bytes.insert((after.bytes, name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn share(replies: &[(&str, usize)]) -> Share {
        let mut share = Share::default();
        for (number, (text, bytes)) in (0..).zip(replies) {
            share.add(&path(text), number, *bytes);
        }
        share
    }

    #[test]
    fn the_oldest_reply_of_the_largest_share_goes_first_by_either_measure() {
        let share = share(&[("a/x", 9), ("b/x", 1), ("b/x", 1), ("b/y", 5)]);
        assert_eq!(share.footprint(), Footprint { replies: 4, bytes: 16 });
        assert_eq!(share.next_evicted(Measure::Replies), Some(1), "b has the most replies, and of those x");
        assert_eq!(share.next_evicted(Measure::Bytes), Some(0), "a has the most bytes");
    }

    #[test]
    fn a_node_that_invents_users_loses_only_its_own_replies() {
        let invented: Vec<String> = (0..50).map(|number| format!("liar/user{number}")).collect();
        let mut replies: Vec<(&str, usize)> = vec![("honest/one", 1), ("honest/one", 1), ("honest/two", 1)];
        replies.extend(invented.iter().map(|name| (name.as_str(), 1)));
        let mut share = share(&replies);
        for left in (3..50).rev() {
            let number = share.next_evicted(Measure::Replies).unwrap();
            let (name, bytes) = replies[usize::try_from(number).unwrap()];
            assert!(name.starts_with("liar"), "{left} of its replies are left, and {name} is evicted");
            share.remove(&path(name), number, bytes);
        }
    }

    #[test]
    fn a_removed_reply_leaves_no_entry() {
        let replies = [("a/x", 9), ("b/x", 1)];
        let mut share = share(&replies);
        for (number, (name, bytes)) in (0..).zip(replies) {
            share.remove(&path(name), number, bytes);
        }
        assert_eq!((share.footprint(), share.next_evicted(Measure::Bytes)), (Footprint::default(), None));
        assert!(share.parts.is_empty() && share.by_bytes.is_empty() && share.by_replies.is_empty());
    }
}
