//! Recovery of a router that restarted with its clock set back.
//!
//! Statements of an origin are ordered by the start of its process. If a router advertises services of its own zone to
//! a neighbour that has a record of a later process of that router, the neighbour answers with the last keepalive of
//! that process. The router then takes a later start, and advertises everything again.

use super::Paths;
use crate::connection::LinkId;
use crate::message::path::RouteKey;
use crate::name::ServiceName;
use crate::time::Time;

/// Largest number of earlier processes that a router outranks: each start leaves at most one behind.
const REPLACED: u32 = 8;

impl Paths {
    /// Takes a start later than `boot`, that of an earlier process of this router whose clock was ahead.
    ///
    /// Neighbours ignore the statements of this process until it outranks that one.
    pub(super) fn outrank(&mut self, link: LinkId, boot: u64, now: Time) {
        if boot <= self.boot || self.replaced >= REPLACED {
            return;
        }
        if boot > self.latest(now) {
            return self
                .refuse(link, "has a start of this router in the future: correct the clock that is wrong".into());
        }
        self.replaced += 1;
        self.boot = boot + 1;
        self.own.restart(self.boot);
        let own: Vec<ServiceName> = self.own.advertised().cloned().collect();
        for service in own {
            self.mark(&RouteKey { zone: self.me.zone.clone(), service }, now);
        }
    }
}
