//! A router that started anew with its clock set back.
//!
//! What an origin tells is ordered by the start of its process. A neighbour that a router tells of its own zone's
//! services, and that knows a later process of that router, answers with the last sign of life of that one; the router
//! takes a later start, and tells everything again.

use super::Paths;
use crate::connection::LinkId;
use crate::message::path::RouteKey;
use crate::name::ServiceName;
use crate::time::Time;

/// Earlier processes of a router that it outranks: each start leaves at most one behind.
const REPLACED: u32 = 8;

impl Paths {
    /// An earlier process of this router is held for a later one, because its clock was ahead of the present one's:
    /// what this process tells counts only once it outranks that one.
    pub(super) fn outrank(&mut self, link: LinkId, boot: u64, now: Time) {
        if boot <= self.boot || self.replaced >= REPLACED {
            return;
        }
        if boot > self.latest(now) {
            return self.refuse(link, "knows this router by a start in the future: set the clock that is wrong".into());
        }
        self.replaced += 1;
        self.boot = boot + 1;
        self.own.start_anew(self.boot);
        let own: Vec<ServiceName> = self.own.advertised().cloned().collect();
        for service in own {
            self.mark(&RouteKey { zone: self.me.zone.clone(), service }, now);
        }
    }
}
