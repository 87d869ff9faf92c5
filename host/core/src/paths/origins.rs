//! Live origins of routes: the latest process of each name, unless its lease has expired without a keepalive.

use super::Route;
use crate::message::path::{Keepalive, RouterId};
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Origins {
    lease: Duration,
    known: BTreeMap<RouterId, Origin>,
}

#[derive(Debug)]
struct Origin {
    boot: u64,
    /// Latest version of its statements.
    version: u64,
    until: Time,
}

impl Origins {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, known: BTreeMap::new() }
    }

    /// Records the origin of a route. Returns `true` if the route reveals a later process of a known origin.
    pub(super) fn refresh(&mut self, route: &Route, now: Time) -> bool {
        let Some(last) = route.path.last() else { return false };
        let until = now + self.lease;
        let Some(origin) = self.known.get_mut(&last.at) else {
            self.known.insert(last.at.clone(), Origin { boot: route.boot, version: route.version, until });
            return false;
        };
        let is_another = route.boot > origin.boot;
        if (route.boot, route.version) > (origin.boot, origin.version) {
            *origin = Origin { boot: route.boot, version: route.version, until };
        }
        is_another
    }

    /// Returns the last keepalive of a known process of this name that started later.
    pub(super) fn later(&self, origin: &RouterId, boot: u64) -> Option<Keepalive> {
        let known = self.known.get(origin).filter(|known| known.boot > boot)?;
        Some(Keepalive { origin: origin.clone(), boot: known.boot, version: known.version })
    }

    /// Records a keepalive. Returns `None` if it is outdated, otherwise whether the origin had expired.
    ///
    /// An expired origin is accepted with any boot and version, so that a false boot or version does not persist.
    pub(super) fn renew(&mut self, fresh: &Keepalive, now: Time) -> Option<bool> {
        let Keepalive { boot, version, .. } = *fresh;
        let until = now + self.lease;
        match self.known.get_mut(&fresh.origin) {
            Some(origin) if origin.boot != boot || origin.version >= version => None,
            Some(origin) => {
                (origin.version, origin.until) = (version, until);
                Some(false)
            }
            None => {
                self.known.insert(fresh.origin.clone(), Origin { boot, version, until });
                Some(true)
            }
        }
    }

    /// Returns the latest keepalive of each origin.
    pub(super) fn signs(&self) -> impl Iterator<Item = Keepalive> {
        let sign = |(at, origin): (&RouterId, &Origin)| Keepalive {
            origin: at.clone(),
            boot: origin.boot,
            version: origin.version,
        };
        self.known.iter().map(sign)
    }

    /// Returns `true` if a route comes from the latest process of its origin, and the origin has not expired.
    pub(super) fn counts(&self, route: &Route) -> bool {
        let origin = route.path.last().and_then(|last| self.known.get(&last.at));
        origin.is_some_and(|origin| origin.boot == route.boot)
    }

    /// Removes origins without a keepalive for a lease. Returns `true` if there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let before = self.known.len();
        self.known.retain(|_, origin| origin.until > now);
        self.known.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
