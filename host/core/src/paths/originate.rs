//! Origination of routes to the own zone's services, with damping of those that come and go too often.

use super::Route;
use crate::message::path::{Hop, RouterId};
use crate::message::peer::Traits;
use crate::name::ServiceName;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Originated {
    boot: u64,
    path: Arc<[Hop]>,
    limit: usize,
    interval: Duration,
    burst: u32,
    /// Version of the last change or keepalive.
    version: u64,
    services: BTreeMap<ServiceName, State>,
    /// Services that changed too often, with the times at which they are evaluated again.
    held: BTreeSet<(Time, ServiceName)>,
}

/// Service of the own zone, with the route that is advertised.
#[derive(Debug)]
struct State {
    /// Traits of the service, if it is served.
    wanted: Option<Traits>,
    advertised: Option<Arc<Route>>,
    /// Time at which the token bucket is full again; each change delays it by an interval.
    calm: Time,
    held: Option<Time>,
}

/// Change of a service that is to be advertised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The service has started, or its traits have changed.
    Offered,
    /// The service has ended; the value is its last version.
    Ended(u64),
}

impl Originated {
    pub(super) fn new(me: &RouterId, boot: u64, limit: usize, interval: Duration, burst: u32) -> Self {
        Self {
            boot,
            path: [Hop { at: me.clone(), epoch: 0 }].into(),
            limit,
            interval,
            burst: burst.max(1),
            version: 0,
            services: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Records whether and how a service is served. Returns `None` if the service is over the limit.
    pub(super) fn set(&mut self, service: &ServiceName, wanted: Option<Traits>, now: Time) -> Option<Change> {
        if !self.services.contains_key(service) {
            if wanted.is_none() {
                return Some(Change::Nothing);
            }
            if self.services.len() >= self.limit {
                self.tidy(now);
            }
            if self.services.len() >= self.limit {
                return None;
            }
            self.services.insert(service.clone(), State { wanted, advertised: None, calm: Time::ZERO, held: None });
        }
        if let Some(state) = self.services.get_mut(service) {
            state.wanted = wanted;
        }
        Some(self.settle(service, now))
    }

    /// Takes a service that was held back and is due, with its change to advertise.
    pub(super) fn pop(&mut self, now: Time) -> Option<(ServiceName, Change)> {
        if self.next_wake()? > now {
            return None;
        }
        let (_, service) = self.held.pop_first()?;
        if let Some(state) = self.services.get_mut(&service) {
            state.held = None;
        }
        let change = self.settle(&service, now);
        Some((service, change))
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        self.held.first().map(|(time, _)| *time)
    }

    /// Applies the state of a service to the advertised route, unless there were too many changes.
    fn settle(&mut self, service: &ServiceName, now: Time) -> Change {
        let Some(state) = self.services.get_mut(service) else { return Change::Nothing };
        if state.advertised.as_ref().map(|route| route.traits) == state.wanted {
            return Change::Nothing;
        }
        // Token bucket: `burst` changes fit between `now` and `calm`.
        let calm = state.calm.max(now) + self.interval;
        let wait = calm.since(now + self.interval.saturating_mul(self.burst));
        if !wait.is_zero() {
            if state.held.is_none() {
                state.held = Some(now + wait);
                self.held.insert((now + wait, service.clone()));
            }
            return Change::Nothing;
        }
        state.calm = calm;
        self.version += 1;
        let (version, boot) = (self.version, self.boot);
        let route = |traits| Route { path: self.path.clone(), boot, version, traits, cost: 0 };
        let ended = std::mem::replace(&mut state.advertised, state.wanted.map(|traits| Arc::new(route(traits))));
        match (&state.advertised, ended) {
            (None, Some(_)) => Change::Ended(version),
            _ => Change::Offered,
        }
    }

    /// Returns the version of the last change or keepalive.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Creates a version without changes, for a keepalive.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Advertises all routes again, as a process with a later start.
    pub(super) fn restart(&mut self, boot: u64) {
        self.boot = boot;
        self.version += 1;
        let (path, version) = (self.path.clone(), self.version);
        for route in self.services.values_mut().filter_map(|state| state.advertised.as_mut()) {
            *route = Arc::new(Route { path: path.clone(), boot, version, traits: route.traits, cost: 0 });
        }
    }

    /// Removes all services.
    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.held.clear();
    }

    /// Removes services that are not served and have not changed recently.
    pub(super) fn tidy(&mut self, now: Time) {
        self.services.retain(|_, state| state.wanted.is_some() || state.advertised.is_some() || state.calm > now);
    }

    pub(super) fn route(&self, service: &ServiceName) -> Option<&Arc<Route>> {
        self.services.get(service)?.advertised.as_ref()
    }

    pub(super) fn advertised(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, state)| state.advertised.is_some()).map(|(service, _)| service)
    }
}
