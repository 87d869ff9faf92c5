//! Events that the threads of this module send to the driver.

use super::Lookup;
use crate::event_queue::EventSender;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmnode_sandbox::Capacity;

/// Largest number of queued reports of refused connections: more than the driver logs in a second, and few enough to
/// cost nothing. Refusals beyond it are only counted.
const REFUSALS: u32 = 64;

/// Event of the transport.
#[derive(Debug)]
pub(crate) enum TransportEvent {
    /// Result of a DNS lookup for a link.
    Lookup(Lookup),
    /// A connection or message was refused.
    Rejected {
        /// Why.
        why: String,
        /// Number of refusals, including earlier ones that were only counted.
        times: u64,
    },
    /// A connection exceeded a limit and was ended.
    OverLimit {
        /// Which connection, and which limit.
        what: String,
        /// Number of ended connections, including earlier ones that were only counted.
        times: u64,
    },
}

/// Sender of these events.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    events: EventSender<TransportEvent>,
    refusals: Capacity,
    /// Refused connections and messages that have not been reported.
    rejected: Arc<AtomicU64>,
    /// Connections over a limit that have not been reported.
    over_limit: Arc<AtomicU64>,
}

impl Reports {
    pub(super) fn new(events: EventSender<TransportEvent>) -> Self {
        Self { events, refusals: Capacity::new(REFUSALS), rejected: Arc::default(), over_limit: Arc::default() }
    }

    /// Reports the result of a DNS lookup.
    pub(super) fn lookup(&self, lookup: Lookup) {
        self.events.send(TransportEvent::Lookup(lookup));
    }

    /// Reports a refused connection or message. While [`REFUSALS`] reports wait, it is only counted.
    pub(super) fn rejected(&self, why: impl Into<String>) {
        self.report(&self.rejected, |times| TransportEvent::Rejected { why: why.into(), times });
    }

    /// Reports a connection that exceeded a limit and was ended. While [`REFUSALS`] reports wait, it is only counted.
    pub(super) fn over_limit(&self, what: impl Into<String>) {
        self.report(&self.over_limit, |times| TransportEvent::OverLimit { what: what.into(), times });
    }

    fn report(&self, unreported: &AtomicU64, event: impl FnOnce(u64) -> TransportEvent) {
        let Some(permit) = self.refusals.try_take() else {
            unreported.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.events.send_in(Some(permit), event(unreported.swap(0, Ordering::Relaxed) + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_queue::{QueuedEvent, event_queue};

    #[test]
    fn refusals_beyond_the_capacity_are_counted() {
        let (sending, mut events) = event_queue().unwrap();
        let reports = Reports::new(sending);
        for _ in 0..1_000 {
            reports.rejected("a stranger");
        }
        let mut times = 0;
        let mut waiting = 0;
        while let Some(QueuedEvent { event: TransportEvent::Rejected { times: more, .. }, .. }) = events.next() {
            times += more;
            waiting += 1;
        }
        assert_eq!((waiting, times), (REFUSALS, u64::from(REFUSALS)));
        reports.rejected("the next");
        let Some(QueuedEvent { event: TransportEvent::Rejected { times: more, .. }, .. }) = events.next() else {
            panic!("it is not reported");
        };
        assert_eq!(times + more, 1_001);
    }
}
