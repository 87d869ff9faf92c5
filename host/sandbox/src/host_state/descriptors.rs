//! The share of the node's file descriptors that all plugins have together, so that however many files they open, there
//! are others for connections.

use rustix::process::{Resource, getrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the limit is taken to be where the system has none.
const UNLIMITED: u64 = 1 << 16;

/// Part of the system's limit that plugins have by default.
const SHARE: u64 = 4;

/// Descriptors of all plugins.
#[derive(Debug)]
pub(crate) struct DescriptorLimit {
    limit: usize,
    taken: AtomicUsize,
}

/// One descriptor, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct DescriptorPermit(Arc<DescriptorLimit>);

impl DescriptorLimit {
    /// As many as are configured, or a quarter of what the system allows the node.
    pub(crate) fn new(configured: Option<usize>) -> Self {
        // The node raises its limit to the maximum when it begins to listen.
        let share = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED) / SHARE;
        let limit = configured.unwrap_or(usize::try_from(share).unwrap_or(usize::MAX));
        Self { limit, taken: AtomicUsize::new(0) }
    }

    /// How many there are.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes one, if one is left.
    pub(crate) fn take(self: &Arc<Self>) -> Option<DescriptorPermit> {
        let take = |taken: usize| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(DescriptorPermit(Arc::clone(self)))
    }
}

impl Drop for DescriptorPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_limit_says() {
        let places = Arc::new(DescriptorLimit::new(Some(2)));
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }

    #[test]
    fn by_default_three_quarters_of_the_systems_limit_are_left() {
        let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
        assert_eq!(DescriptorLimit::new(None).limit() as u64, maximum / 4);
    }
}
