//! Routing information base (RFC 4271, section 3.2): routes from neighbours by service, and the best ones.

use super::Route;
use crate::connection::LinkId;
use crate::message::path::RouteKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Rib {
    entries: BTreeMap<RouteKey, RibEntry>,
    by_session: BTreeMap<LinkId, Sums>,
    total: usize,
}

#[derive(Debug, Default)]
pub(super) struct RibEntry {
    pub(super) received: BTreeMap<LinkId, ReceivedRoute>,
    pub(super) choice: Option<BestRoute>,
}

/// Route of one neighbour to a service.
#[derive(Debug)]
pub(super) struct ReceivedRoute {
    /// `None` if the route breaks a rule.
    pub(super) route: Option<Arc<Route>>,
    /// Digest of the route as received.
    digest: u64,
    /// Number of the neighbour's refresh in which it was received.
    round: u32,
}

/// All routes of one neighbour.
#[derive(Debug, Default)]
struct Sums {
    keys: BTreeSet<RouteKey>,
    digest: u64,
}

/// Best route to a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BestRoute {
    pub(super) cost: u32,
    /// Whether the first hop is into another zone.
    pub(super) external: bool,
    /// The sessions of equally good routes, the best first.
    pub(super) hops: Vec<LinkId>,
    /// The route of the best neighbour.
    pub(super) received: Arc<Route>,
    /// The same route with this router prepended.
    pub(super) route: Arc<Route>,
}

impl Rib {
    pub(super) fn get(&self, key: &RouteKey) -> Option<&RibEntry> {
        self.entries.get(key)
    }

    pub(super) fn choice(&self, key: &RouteKey) -> Option<&BestRoute> {
        self.entries.get(key)?.choice.as_ref()
    }

    pub(super) fn choices(&self) -> impl Iterator<Item = (&RouteKey, &BestRoute)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.choice.as_ref()?)))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.entries.keys()
    }

    /// Replaces the best route, and returns the previous one.
    pub(super) fn choose(&mut self, key: &RouteKey, choice: Option<BestRoute>) -> Option<BestRoute> {
        let entry = self.entries.get_mut(key)?;
        let before = std::mem::replace(&mut entry.choice, choice);
        self.drop_if_empty(key);
        before
    }

    /// Stores a neighbour's route to a service in place of its earlier one. Returns `true` if there is room.
    pub(super) fn put(
        &mut self,
        link: LinkId,
        key: &RouteKey,
        (route, digest, round): (Option<Arc<Route>>, u64, u32),
        (per_session, total): (usize, usize),
    ) -> bool {
        let sums = self.by_session.entry(link).or_default();
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(received) = entry.received.get_mut(&link) {
            sums.digest = sums.digest.wrapping_sub(received.digest).wrapping_add(digest);
            *received = ReceivedRoute { route, digest, round };
            return true;
        }
        if sums.keys.len() >= per_session || self.total >= total {
            self.drop_if_empty(key);
            return false;
        }
        sums.digest = sums.digest.wrapping_add(digest);
        sums.keys.insert(key.clone());
        entry.received.insert(link, ReceivedRoute { route, digest, round });
        self.total += 1;
        true
    }

    /// Removes a neighbour's route to a service. Returns `true` if it was stored.
    pub(super) fn remove(&mut self, link: LinkId, key: &RouteKey) -> bool {
        let Some(received) = self.entries.get_mut(key).and_then(|entry| entry.received.remove(&link)) else {
            return false;
        };
        if let Some(sums) = self.by_session.get_mut(&link) {
            sums.digest = sums.digest.wrapping_sub(received.digest);
            sums.keys.remove(key);
        }
        self.total -= 1;
        self.drop_if_empty(key);
        true
    }

    /// Removes all routes of a neighbour, and returns their services.
    pub(super) fn remove_session(&mut self, link: LinkId) -> BTreeSet<RouteKey> {
        let keys = self.by_session.remove(&link).unwrap_or_default().keys;
        for key in &keys {
            self.remove(link, key);
        }
        keys
    }

    /// Returns the services whose routes a neighbour has not sent since a refresh began.
    pub(super) fn older_than(&self, link: LinkId, round: u32) -> Vec<RouteKey> {
        let keys = self.by_session.get(&link).into_iter().flat_map(|sums| &sums.keys);
        let is_older = |key: &&RouteKey| {
            self.entries.get(*key).and_then(|e| e.received.get(&link)).is_some_and(|h| h.round < round)
        };
        keys.filter(is_older).cloned().collect()
    }

    /// Returns the number of a neighbour's routes, and the sum of their digests.
    pub(super) fn sums(&self, link: LinkId) -> (usize, u64) {
        self.by_session.get(&link).map_or((0, 0), |sums| (sums.keys.len(), sums.digest))
    }

    pub(super) fn keys_of(&self, link: LinkId) -> BTreeSet<RouteKey> {
        self.by_session.get(&link).map(|sums| sums.keys.clone()).unwrap_or_default()
    }

    /// Returns the routes of a neighbour that break no rule.
    pub(super) fn received_from(&self, link: LinkId) -> impl Iterator<Item = (&RouteKey, &Route)> {
        let keys = self.by_session.get(&link).into_iter().flat_map(|sums| &sums.keys);
        keys.filter_map(move |key| Some((key, &**self.entries.get(key)?.received.get(&link)?.route.as_ref()?)))
    }

    /// Returns a neighbour's route to a service, if it breaks no rule.
    pub(super) fn received(&self, link: LinkId, key: &RouteKey) -> Option<Arc<Route>> {
        self.entries.get(key)?.received.get(&link)?.route.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Returns the services whose best route, or one equally good, satisfies `is_concerned`.
    pub(super) fn resting_on<'a>(
        &'a self,
        mut is_concerned: impl FnMut(&'a RouteKey, LinkId, &'a Route) -> bool,
    ) -> BTreeSet<RouteKey> {
        let mut rests = |key: &'a RouteKey, entry: &'a RibEntry| {
            let choice = entry.choice.as_ref()?;
            let mut routes =
                choice.hops.iter().filter_map(|link| Some((*link, entry.received.get(link)?.route.as_ref()?)));
            routes.any(|(link, route)| is_concerned(key, link, route)).then(|| key.clone())
        };
        self.entries.iter().filter_map(|(key, entry)| rests(key, entry)).collect()
    }

    fn drop_if_empty(&mut self, key: &RouteKey) {
        // An entry with a choice is kept, because the choice is decided again after its last route is removed.
        if self.entries.get(key).is_some_and(|entry| entry.received.is_empty() && entry.choice.is_none()) {
            self.entries.remove(key);
        }
    }
}

/// Returns the digest of a route, for sums that distinguish two tables.
pub(super) fn digest(key: &RouteKey, route: &Route) -> u64 {
    // FNV-1a; the ends of names are marked, and the last step spreads differences in the last bytes.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add =
        |bytes: &[u8]| bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    for name in [key.zone.as_str(), key.service.as_str()] {
        add(name.as_bytes());
        add(&[0]);
    }
    for hop in route.path.iter() {
        for name in [hop.at.zone.as_str(), hop.at.router.as_str()] {
            add(name.as_bytes());
            add(&[0]);
        }
        add(&hop.epoch.to_be_bytes());
    }
    add(&route.boot.to_be_bytes());
    add(&route.version.to_be_bytes());
    add(&route.cost.to_be_bytes());
    // Changes of other fields change the version too; routers of the first version include no further fields.
    add(&[u8::from(route.traits.idempotent)]);
    mix(hash)
}

/// Spreads a number over all bits (the last steps of `SplitMix64`).
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
