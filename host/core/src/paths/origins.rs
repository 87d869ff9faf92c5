//! Who serves, as far as it can be told from here: a process that started later stands for its name, and one that gives
//! no sign of life for a lease counts no more.

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
    /// The newest that it said.
    version: u64,
    until: Time,
}

impl Origins {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, known: BTreeMap::new() }
    }

    /// Takes note of a route. Whether it shows that the process of this name is another one than was known.
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

    /// The last sign of life of another process of this name that counts as later.
    pub(super) fn later(&self, origin: &RouterId, boot: u64) -> Option<Keepalive> {
        let known = self.known.get(origin).filter(|known| known.boot > boot)?;
        Some(Keepalive { origin: origin.clone(), boot: known.boot, version: known.version })
    }

    /// Takes note of a sign of life. `None` if it is none; else whether the origin had been given up: then whatever it
    /// says is news, so that a lie about its boot or version does not last.
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

    /// The newest sign of life of each origin.
    pub(super) fn signs(&self) -> impl Iterator<Item = Keepalive> {
        let sign = |(at, origin): (&RouterId, &Origin)| Keepalive {
            origin: at.clone(),
            boot: origin.boot,
            version: origin.version,
        };
        self.known.iter().map(sign)
    }

    /// Whether the route comes from the newest process of its origin's name, which has not been given up.
    pub(super) fn counts(&self, route: &Route) -> bool {
        let origin = route.path.last().and_then(|last| self.known.get(&last.at));
        origin.is_some_and(|origin| origin.boot == route.boot)
    }

    /// Gives up those that gave no sign of life for a lease. Whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let before = self.known.len();
        self.known.retain(|_, origin| origin.until > now);
        self.known.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
