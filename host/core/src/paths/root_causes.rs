//! Root causes of lost routes: sessions that ended, and services that were withdrawn by their origins.
//!
//! Both are kept for a while, so that outdated routes that arrive over longer paths are not accepted.

use super::Route;
use crate::message::path::{DeadLink, Hop, RouteKey, RouterId, Tombstone};
use crate::name::{Label, ServiceName};
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Boot and version of an origin's statement; later statements are greater.
type StatementVersion = (u64, u64);

/// Withdrawn service of a zone, or all of them (`None`), as originated by one router: zone, service, router.
type Ended = (Label, Option<ServiceName>, Label);

#[derive(Debug)]
pub(super) struct RootCauses {
    memory: Duration,
    limit: usize,
    /// The latest dead epoch of each link, by its two routers, the lesser first.
    links: BTreeMap<(RouterId, RouterId), (u64, Time)>,
    /// The last invalid boot and version.
    ended: BTreeMap<Ended, (StatementVersion, Time)>,
}

impl RootCauses {
    pub(super) fn new(memory: Duration, limit: usize) -> Self {
        Self { memory, limit, links: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// Stores a dead link. Returns `true` if it is new.
    pub(super) fn add_link(&mut self, dead: DeadLink, now: Time) -> bool {
        remember(&mut self.links, (dead.a, dead.b), dead.epoch, now + self.memory, self.limit)
    }

    /// Stores a tombstone. Returns `true` if it is new.
    pub(super) fn add_tombstone(&mut self, end: Tombstone, now: Time) -> bool {
        let upto = (end.boot, end.version);
        let ended = (end.origin.zone, end.service, end.origin.router);
        remember(&mut self.ended, ended, upto, now + self.memory, self.limit)
    }

    /// Removes expired entries. Returns `true` if a link was among them, so that routes over it may be valid again.
    pub(super) fn forget(&mut self, now: Time) -> bool {
        let links = self.links.len();
        self.links.retain(|_, (_, until)| *until > now);
        self.ended.retain(|_, (_, until)| *until > now);
        self.links.len() < links
    }

    /// Returns the dead link that covers the session of this epoch between two routers, if any.
    pub(super) fn dead_link(&self, one: &RouterId, other: &RouterId, epoch: u64) -> Option<DeadLink> {
        if self.links.is_empty() {
            return None;
        }
        let dead = DeadLink::new(one.clone(), other.clone(), epoch);
        let key = (dead.a, dead.b);
        let newest = self.links.get(&key)?.0;
        (newest >= epoch).then_some(DeadLink { a: key.0, b: key.1, epoch: newest })
    }

    /// Returns the dead links on a path.
    pub(super) fn on_path(&self, path: &[Hop]) -> impl Iterator<Item = DeadLink> {
        let path = if self.links.is_empty() { &[] } else { path };
        path.windows(2).filter_map(|pair| self.dead_link(&pair[0].at, &pair[1].at, pair[0].epoch))
    }

    /// Returns the tombstone that ends a route, if any.
    pub(super) fn tombstone(&self, key: &RouteKey, route: &Route) -> Option<Tombstone> {
        let origin = &route.path.last()?.at;
        if self.ended.is_empty() {
            return None;
        }
        let find = |service: Option<ServiceName>| {
            let ended = (origin.zone.clone(), service, origin.router.clone());
            let (last, _) = *self.ended.get(&ended)?;
            (last >= (route.boot, route.version)).then(|| as_tombstone(&ended, last))
        };
        find(Some(key.service.clone())).or_else(|| find(None))
    }

    /// Returns the tombstones of a service by all routers of its zone, if one of them ends a route.
    ///
    /// Each router of a zone reports that the zone stopped serving a service, and all reports are one loss.
    pub(super) fn tombstones(&self, key: &RouteKey, route: &Route) -> Vec<Tombstone> {
        let Some(first) = self.tombstone(key, route) else { return Vec::new() };
        // The least label.
        let begin = (key.zone.clone(), Some(key.service.clone()), Label::from_static("-"));
        let is_of_it = |(zone, service, _): &Ended| (zone, service) == (&begin.0, &begin.1);
        let all = self.ended.range(&begin..).take_while(|(ended, _)| is_of_it(ended));
        let others = all.map(|(ended, (last, _))| as_tombstone(ended, *last)).filter(|other| *other != first);
        others.chain([first.clone()]).collect()
    }

    /// Returns `true` if a route is lost by a stored cause.
    pub(super) fn end(&self, key: &RouteKey, route: &Route) -> bool {
        self.on_path(&route.path).next().is_some() || self.tombstone(key, route).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.links.len() + self.ended.len()
    }
}

fn as_tombstone((zone, service, router): &Ended, (boot, version): StatementVersion) -> Tombstone {
    let origin = RouterId { zone: zone.clone(), router: router.clone() };
    Tombstone { origin, boot, version, service: service.clone() }
}

/// Stores the greatest value of each key, and evicts the oldest key over the limit. Returns `true` for a new value.
fn remember<K: Ord + Clone, V: Ord>(
    memory: &mut BTreeMap<K, (V, Time)>,
    key: K,
    value: V,
    until: Time,
    limit: usize,
) -> bool {
    match memory.get_mut(&key) {
        Some((known, _)) if *known >= value => false,
        Some(entry) => {
            *entry = (value, until);
            true
        }
        None => {
            if memory.len() >= limit
                && let Some(oldest) = memory.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone())
            {
                memory.remove(&oldest);
            }
            memory.insert(key, (value, until));
            true
        }
    }
}
