//! One router process, the services of its zone, and the sum of its effects, which are compared after each step.

use crate::byzantine::BOOT;
use std::collections::BTreeMap;
use wasmnode_core::message::path::{MAX_HOPS, RouteKey};
use wasmnode_core::message::peer::Traits;
use wasmnode_core::paths::{EQUAL, Speaker};
use wasmnode_core::settings::PathSettings;
use wasmnode_core::{LinkId, PathEffect, Paths, ServiceName, Time};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RouterMetrics {
    pub(crate) messages: u64,
    pub(crate) updates: u64,
    pub(crate) bytes: u64,
    /// Time of the last change of a route.
    pub(crate) changed: Time,
    pub(crate) changes: u64,
}

pub(crate) struct Router {
    pub(crate) me: Speaker,
    pub(crate) name: String,
    settings: PathSettings,
    seed: u64,
    /// The process; `None` if none runs.
    pub(crate) paths: Option<Paths>,
    /// Services of the zone, with their traits.
    pub(crate) offers: BTreeMap<ServiceName, Traits>,
    /// Its links.
    pub(crate) links: Vec<usize>,
    /// The link and the end of each session.
    pub(crate) sessions: BTreeMap<LinkId, (usize, usize)>,
    pub(crate) wake: Option<Time>,
    last_session: u64,
    /// Microseconds by which its clock is behind when it starts.
    pub(crate) clock_is_behind: u64,
    /// Sum of the effects.
    pub(crate) told: BTreeMap<RouteKey, (u32, Vec<LinkId>, Traits)>,
    pub(crate) metrics: RouterMetrics,
}

impl Router {
    pub(crate) fn new(zone: &str, name: &str, settings: &PathSettings, seed: u64) -> Self {
        Self {
            me: Speaker { zone: zone.parse().unwrap(), router: name.parse().unwrap(), boot: BOOT },
            name: format!("{name}.{zone}"),
            settings: settings.clone(),
            seed,
            paths: None,
            offers: BTreeMap::new(),
            links: Vec::new(),
            sessions: BTreeMap::new(),
            wake: None,
            last_session: 0,
            clock_is_behind: 0,
            told: BTreeMap::new(),
            metrics: RouterMetrics::default(),
        }
    }

    pub(crate) fn start(&mut self, now: Time) {
        self.me.boot = BOOT + now.as_micros() - self.clock_is_behind;
        // The clock of a driver starts with its process. Here all processes share one clock, so the boot remains that
        // of the first.
        let mut paths = Paths::new(&self.me, &self.settings, self.seed ^ self.me.boot);
        for (service, traits) in &self.offers {
            paths.offer(service, *traits, now);
        }
        self.paths = Some(paths);
    }

    pub(crate) fn crash(&mut self) {
        self.paths = None;
        self.sessions.clear();
        self.told.clear();
    }

    pub(crate) fn next_session(&mut self) -> LinkId {
        self.last_session += 1;
        LinkId(self.last_session)
    }

    pub(crate) fn key(&self, service: &ServiceName) -> RouteKey {
        RouteKey { zone: self.me.zone.clone(), service: service.clone() }
    }

    pub(crate) fn count(&mut self, bytes: usize) {
        self.metrics.messages += 1;
        self.metrics.bytes += bytes as u64;
    }

    /// Checks the invariants of one effect.
    pub(crate) fn check(&mut self, effect: &PathEffect, now: Time) {
        match effect {
            PathEffect::Reachable { zone, service, traits, cost, hops } => {
                let key = RouteKey { zone: zone.clone(), service: service.clone() };
                assert!((1..=EQUAL).contains(&hops.len()), "{} has {hops:?}", self.name);
                let told = (*cost, hops.clone(), *traits);
                assert!(self.told.get(&key) != Some(&told), "{} reports {key} twice", self.name);
                self.told.insert(key, told);
                self.changed(now);
            }
            PathEffect::Unreachable { zone, service } => {
                let key = RouteKey { zone: zone.clone(), service: service.clone() };
                assert!(self.told.remove(&key).is_some(), "{} withdraws {key}, which it had not reported", self.name);
                self.changed(now);
            }
            PathEffect::Send { .. } => self.check_paths(effect),
            _ => {}
        }
    }

    fn changed(&mut self, now: Time) {
        self.metrics.changed = now;
        self.metrics.changes += 1;
    }

    /// Checks that no path of an update enters a zone twice or is too long.
    fn check_paths(&self, effect: &PathEffect) {
        use wasmnode_core::message::path::UpdateContent;
        let PathEffect::Send { update, .. } = effect else { return };
        let UpdateContent::Changes(news) = &update.content else { return };
        for group in &news.groups {
            let mut zones: Vec<_> = group.path.iter().map(|hop| &hop.at.zone).collect();
            zones.dedup();
            let crossed = zones.len();
            zones.sort();
            zones.dedup();
            assert!(zones.len() == crossed && group.path.len() <= MAX_HOPS, "{} tells {group:?}", self.name);
            assert_eq!(group.path[0].at, self.me.id());
        }
    }
}
