//! Limit on the file descriptors of all plugins together, so that descriptors for connections remain, regardless of the
//! number of files that plugins open.

use rustix::process::{Resource, getrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Process limit that is assumed if the system has none.
const UNLIMITED: u64 = 1 << 16;

/// Divisor of the system's limit that gives the plugins' default share.
const SHARE: u64 = 4;

/// Limit on the descriptors of all plugins.
#[derive(Debug)]
pub(crate) struct DescriptorLimit {
    limit: usize,
    taken: AtomicUsize,
}

/// Permit for one descriptor, released on drop.
#[derive(Debug)]
pub(crate) struct DescriptorPermit(Arc<DescriptorLimit>);

impl DescriptorLimit {
    /// Creates the limit: as configured, or a quarter of the process's limit.
    pub(crate) fn new(configured: Option<usize>) -> Self {
        // The maximum, because the node raises its limit to that when it begins to listen.
        let share = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED) / SHARE;
        let limit = configured.unwrap_or(usize::try_from(share).unwrap_or(usize::MAX));
        Self { limit, taken: AtomicUsize::new(0) }
    }

    /// Number of descriptors that plugins may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a permit, if one is left.
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
    fn there_are_as_many_permits_as_the_limit() {
        let limit = Arc::new(DescriptorLimit::new(Some(2)));
        let (first, second) = (limit.take(), limit.take());
        assert!(first.is_some() && second.is_some() && limit.take().is_none());
        drop(first);
        assert!(limit.take().is_some());
    }

    #[test]
    fn by_default_plugins_have_a_quarter_of_the_systems_limit() {
        let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
        assert_eq!(DescriptorLimit::new(None).limit() as u64, maximum / 4);
    }
}
