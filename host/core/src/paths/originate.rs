//! What the own zone serves, as the other zones are told. A service that comes and goes too often is told less often.

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
    /// Of the last change, or sign of life.
    version: u64,
    services: BTreeMap<ServiceName, State>,
    /// When a service that changed too often is looked at again.
    held: BTreeSet<(Time, ServiceName)>,
}

/// A service, and what was told of it.
#[derive(Debug)]
struct State {
    /// How it is served, if it is.
    wanted: Option<Traits>,
    told: Option<Arc<Route>>,
    /// When all its changes are forgotten: each puts it off by an interval.
    calm: Time,
    held: Option<Time>,
}

/// What is to be told of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// It is served, or served differently.
    Offered,
    /// It is served no longer: this was the last version.
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

    /// Takes note of what is served; `None` if it is over the limit.
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
            self.services.insert(service.clone(), State { wanted, told: None, calm: Time::ZERO, held: None });
        }
        if let Some(state) = self.services.get_mut(service) {
            state.wanted = wanted;
        }
        Some(self.settle(service, now))
    }

    /// A service that was held back, and what is to be told of it now.
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

    /// Tells what is wanted, unless there were too many changes.
    fn settle(&mut self, service: &ServiceName, now: Time) -> Change {
        let Some(state) = self.services.get_mut(service) else { return Change::Nothing };
        if state.told.as_ref().map(|route| route.traits) == state.wanted {
            return Change::Nothing;
        }
        // A token bucket: as many changes as fit between now and the time at which all are forgotten.
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
        let ended = std::mem::replace(&mut state.told, state.wanted.map(|traits| Arc::new(route(traits))));
        match (&state.told, ended) {
            (None, Some(_)) => Change::Ended(version),
            _ => Change::Offered,
        }
    }

    /// Of the last change, or sign of life.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Makes a version that changes nothing.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Says all that is told as a process that started then.
    pub(super) fn start_anew(&mut self, boot: u64) {
        self.boot = boot;
        self.version += 1;
        let (path, version) = (self.path.clone(), self.version);
        for told in self.services.values_mut().filter_map(|state| state.told.as_mut()) {
            *told = Arc::new(Route { path: path.clone(), boot, version, traits: told.traits, cost: 0 });
        }
    }

    /// Serves nothing from now on.
    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.held.clear();
    }

    /// Forgets services that are not served and have not changed of late.
    pub(super) fn tidy(&mut self, now: Time) {
        self.services.retain(|_, state| state.wanted.is_some() || state.told.is_some() || state.calm > now);
    }

    pub(super) fn route(&self, service: &ServiceName) -> Option<&Arc<Route>> {
        self.services.get(service)?.told.as_ref()
    }

    pub(super) fn advertised(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, state)| state.told.is_some()).map(|(service, _)| service)
    }
}
