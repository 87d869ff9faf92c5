//! Who serves, as far as it can be told from here: a process that started later stands for its name, and one that gives
//! no sign of life for a lease counts no more.

use super::Route;
use crate::message::path::{Fresh, RouterId};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Origins {
    lease: Duration,
    known: BTreeMap<RouterId, Origin>,
}

#[derive(Debug)]
struct Origin {
    boot: u64,
    /// The newest that it said.
    version: u64,
    until: Time,
}

impl Origins {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, known: BTreeMap::new() }
    }

    /// Takes note of a route. Whether it shows that the process of this name is another one than was known.
    pub(super) fn hear(&mut self, route: &Route, now: Time) -> bool {
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

    /// Takes note of a sign of life. `None` if it is none; else whether the origin had been given up.
    pub(super) fn renew(&mut self, fresh: &Fresh, now: Time) -> Option<bool> {
        let origin = self.known.get_mut(&fresh.origin)?;
        if origin.boot != fresh.boot || origin.version >= fresh.version {
            return None;
        }
        origin.version = fresh.version;
        let until = std::mem::replace(&mut origin.until, now + self.lease);
        Some(until <= now)
    }

    /// Whether the route comes from the newest process of its origin's name, and that has given a sign of life.
    pub(super) fn counts(&self, route: &Route, now: Time) -> bool {
        let origin = route.path.last().and_then(|last| self.known.get(&last.at));
        origin.is_some_and(|origin| origin.boot == route.boot && origin.until > now)
    }

    /// Those that gave no sign of life for a lease.
    pub(super) fn lapsed(&self, now: Time) -> BTreeSet<RouterId> {
        self.known.iter().filter(|(_, origin)| origin.until <= now).map(|(router, _)| router.clone()).collect()
    }

    pub(super) fn forget(&mut self, router: &RouterId) {
        self.known.remove(router);
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
