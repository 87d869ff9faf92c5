//! Session with one neighbour: the routes sent to it, and those due to be sent.

use super::originate::Originated;
use super::rib::{Rib, digest};
use super::root_causes::RootCauses;
use super::{PathEffect, Route};
use crate::connection::LinkId;
use crate::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, MAX_HOPS, MAX_UPDATE, OfferedService, RouteKey, RouterId, Tombstone,
    Update, UpdateContent,
};
use crate::policy::Policy;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Time for which urgent changes are gathered, so that one event at several neighbours becomes one update.
const GATHER: Duration = Duration::from_millis(2);

/// Kind of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionKind {
    /// With a router of another zone.
    External {
        /// Cost of the link; at least 1.
        cost: u32,
        /// Routes that are accepted from the neighbour.
        import: Policy,
        /// Routes that are advertised to the neighbour, and services that it may call.
        export: Policy,
    },
    /// With another router of the own zone.
    Internal,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) with: RouterId,
    pub(super) kind: SessionKind,
    pub(super) epoch: u64,
    /// Routes that the neighbour holds, each with its digest.
    pub(super) sent: BTreeMap<RouteKey, (Arc<Route>, u64)>,
    sent_digest: u64,
    /// Services to evaluate immediately (`urgent`), and at the next advertisement (`calm`).
    urgent: BTreeSet<RouteKey>,
    calm: BTreeSet<RouteKey>,
    fresh: BTreeSet<Keepalive>,
    /// Withdrawn services of the own zone, for another router of it.
    ended: BTreeSet<Tombstone>,
    /// Whether the neighbour requested a refresh.
    pub(super) is_asked: bool,
    /// Earliest time of the next advertisement of routes.
    announce_after: Time,
    pub(super) due: Option<Time>,
    /// Numbers of the last updates sent and received.
    last_sent: u64,
    pub(super) received: u64,
    /// Number of refreshes that the neighbour has begun.
    pub(super) round: u32,
    /// Whether all routes of the neighbour were stored; otherwise, a limit excluded some.
    pub(super) is_complete: bool,
    /// Earliest time of the next request for a refresh.
    pub(super) ask_after: Time,
}

/// State that decides which routes a session sends.
pub(super) struct ExportView<'a> {
    pub(super) me: &'a RouterId,
    pub(super) table: &'a Rib,
    pub(super) own: &'a Originated,
    pub(super) causes: &'a RootCauses,
}

impl ExportView<'_> {
    /// Returns the route to a service that the neighbour should hold, if any.
    pub(super) fn exported(&self, session: &Session, key: &RouteKey) -> Option<&Arc<Route>> {
        let (route, is_external) = if key.zone == self.me.zone {
            (self.own.route(&key.service)?, false)
        } else {
            let choice = self.table.choice(key)?;
            (&choice.route, choice.external)
        };
        let may_know = match &session.kind {
            SessionKind::Internal => is_external,
            SessionKind::External { export, .. } => {
                export.lets_pass(key) && !route.path.iter().any(|hop| hop.at.zone == session.with.zone)
            }
        };
        (may_know && route.path.len() <= MAX_HOPS).then_some(route)
    }
}

impl Session {
    pub(super) fn new(with: RouterId, kind: SessionKind, epoch: u64) -> Self {
        Self {
            with,
            kind,
            epoch,
            sent: BTreeMap::new(),
            sent_digest: 0,
            urgent: BTreeSet::new(),
            calm: BTreeSet::new(),
            fresh: BTreeSet::new(),
            ended: BTreeSet::new(),
            is_asked: false,
            announce_after: Time::ZERO,
            due: None,
            last_sent: 0,
            received: 0,
            round: 0,
            is_complete: true,
            ask_after: Time::ZERO,
        }
    }

    /// Schedules an update of a changed service.
    pub(super) fn mark(&mut self, key: &RouteKey, view: &ExportView<'_>, now: Time) {
        let (old, wanted) = (self.sent.get(key).map(|(route, _)| route), view.exported(self, key));
        if old.is_none() && wanted.is_none() {
            return;
        }
        // Urgent, because a neighbour with a lost route would try others that are lost as well.
        if wanted.is_none() || old.is_some_and(|old| view.causes.end(key, old)) {
            self.calm.remove(key);
            self.urgent.insert(key.clone());
            self.wake_at(now + GATHER);
        } else if !self.urgent.contains(key) {
            self.calm.insert(key.clone());
            self.wake_at(self.announce_after.max(now + GATHER));
        }
    }

    pub(super) fn mark_fresh(&mut self, fresh: Keepalive, now: Time) {
        self.fresh.insert(fresh);
        self.wake_at(self.announce_after.max(now + GATHER));
    }

    /// Schedules the tombstone of a service of the own zone, if the neighbour is another router of the zone.
    ///
    /// The tombstone is sent immediately, so that the updates of each router to other zones contain the tombstones of
    /// all: otherwise routers there would try one router of the zone after the other.
    pub(super) fn mark_ended(&mut self, tombstone: &Tombstone, now: Time) {
        if self.kind == SessionKind::Internal {
            self.ended.insert(tombstone.clone());
            self.wake_at(now);
        }
    }

    pub(super) fn mark_asked(&mut self, now: Time) {
        self.is_asked = true;
        self.wake_at(self.announce_after.max(now + GATHER));
    }

    fn wake_at(&mut self, time: Time) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    /// Sends the due updates. After an advertisement of routes, the next one follows `pause` later at the earliest.
    pub(super) fn flush(
        &mut self,
        link: LinkId,
        view: &ExportView<'_>,
        pause: Duration,
        now: Time,
        effects: &mut VecDeque<PathEffect>,
    ) {
        self.due = None;
        let may_announce = now >= self.announce_after;
        let mut writer = Writer { tombstones: std::mem::take(&mut self.ended), ..Writer::default() };
        let everything = self.is_asked && may_announce;
        if everything {
            self.start_over(view);
            self.send(link, UpdateContent::BeginRefresh, effects);
        }
        let mut keys = std::mem::take(&mut self.urgent);
        if may_announce {
            keys.append(&mut self.calm);
        }
        for key in keys {
            self.export(key, view, may_announce, &mut writer);
        }
        if may_announce {
            self.export_keepalives(&mut writer);
        }
        if writer.announces {
            self.announce_after = now + pause;
        }
        for changes in writer.finish() {
            self.send(link, UpdateContent::Changes(changes), effects);
        }
        if everything {
            self.send(link, UpdateContent::EndRefresh, effects);
        }
        if !self.calm.is_empty() || !self.fresh.is_empty() || self.is_asked {
            self.wake_at(self.announce_after);
        }
    }

    /// Adds the change of one service to an update, if the neighbour holds another state.
    fn export(&mut self, key: RouteKey, view: &ExportView<'_>, may_announce: bool, writer: &mut Writer) {
        let wanted = view.exported(self, &key).cloned();
        let old = self.sent.get(&key).map(|(route, _)| route);
        if old == wanted.as_ref() {
            return;
        }
        if let Some(old) = old {
            writer.causes.extend(view.causes.on_path(&old.path));
            writer.tombstones.extend(view.causes.tombstones(&key, old));
        }
        match wanted {
            None => {
                if let Some((_, digest)) = self.sent.remove(&key) {
                    self.sent_digest = self.sent_digest.wrapping_sub(digest);
                    writer.withdrawn.push(key);
                }
            }
            Some(route) if may_announce => {
                let digest = digest(&key, &route);
                writer.announce(&key, &route);
                let before = self.sent.insert(key, (route, digest)).map_or(0, |(_, digest)| digest);
                self.sent_digest = self.sent_digest.wrapping_sub(before).wrapping_add(digest);
            }
            Some(_) => {
                self.calm.insert(key);
            }
        }
    }

    /// Adds keepalives of origins whose routes the neighbour holds, if later than all these routes.
    fn export_keepalives(&mut self, writer: &mut Writer) {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return;
        }
        let mut sent: BTreeMap<&RouterId, u64> = BTreeMap::new();
        for (route, _) in self.sent.values() {
            if let Some(origin) = route.path.last() {
                let version = sent.entry(&origin.at).or_default();
                *version = route.version.max(*version);
            }
        }
        let is_news = |fresh: &Keepalive| sent.get(&fresh.origin).is_some_and(|version| *version < fresh.version);
        writer.fresh.extend(fresh.into_iter().filter(is_news));
    }

    fn start_over(&mut self, view: &ExportView<'_>) {
        self.is_asked = false;
        self.sent.clear();
        self.sent_digest = 0;
        self.calm.extend(view.table.choices().map(|(key, _)| key.clone()));
        let own =
            |service: &crate::name::ServiceName| RouteKey { zone: view.me.zone.clone(), service: service.clone() };
        self.calm.extend(view.own.advertised().map(own));
    }

    /// Sends the digest of the routes that the neighbour should hold, unless a refresh is due anyway.
    pub(super) fn still(&mut self, link: LinkId, effects: &mut VecDeque<PathEffect>) {
        if !self.is_asked {
            let routes = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
            self.send(link, UpdateContent::Digest { routes, digest: self.sent_digest }, effects);
        }
    }

    /// Sends the withdrawal of all routes, because this router leaves: its links are dead, and its services have ended.
    pub(super) fn leave(
        &mut self,
        link: LinkId,
        causes: &[DeadLink],
        tombstone: &Tombstone,
        effects: &mut VecDeque<PathEffect>,
    ) {
        let mut writer = Writer::default();
        writer.causes.extend(causes.iter().cloned());
        writer.withdrawn.extend(std::mem::take(&mut self.sent).into_keys());
        if writer.withdrawn.iter().any(|key| key.zone == tombstone.origin.zone) {
            writer.tombstones.insert(tombstone.clone());
        }
        for changes in writer.finish() {
            self.send(link, UpdateContent::Changes(changes), effects);
        }
    }

    pub(super) fn send(&mut self, link: LinkId, content: UpdateContent, effects: &mut VecDeque<PathEffect>) {
        self.last_sent += 1;
        effects.push_back(PathEffect::Send { session: link, update: Update { number: self.last_sent, content } });
    }
}

/// Common fields of the services in a group: path, boot and cost.
type Head = (Arc<[Hop]>, u64, u32);

/// Collector of changes, which splits them into updates of about [`MAX_UPDATE`] bytes at most.
#[derive(Default)]
struct Writer {
    causes: BTreeSet<DeadLink>,
    tombstones: BTreeSet<Tombstone>,
    withdrawn: Vec<RouteKey>,
    groups: BTreeMap<Head, Vec<OfferedService>>,
    fresh: Vec<Keepalive>,
    announces: bool,
}

impl Writer {
    fn announce(&mut self, key: &RouteKey, route: &Route) {
        self.announces = true;
        let Route { version, traits, .. } = *route;
        let offered = OfferedService { service: key.service.clone(), version, traits };
        self.groups.entry((route.path.clone(), route.boot, route.cost)).or_default().push(offered);
    }

    /// Returns the updates. Causes come first, because the receiver must still hold the routes that they end.
    fn finish(self) -> Vec<Changes> {
        let (mut done, mut changes, mut size) = (Vec::new(), Changes::default(), 0);
        let mut room = |changes: &mut Changes, entry: usize| {
            size += entry;
            if size > MAX_UPDATE {
                size = entry;
                done.push(std::mem::take(changes));
            }
        };
        for cause in self.causes {
            room(&mut changes, 12 + router_len(&cause.a) + router_len(&cause.b));
            changes.causes.push(cause);
        }
        for tombstone in self.tombstones {
            room(&mut changes, 300 + router_len(&tombstone.origin));
            changes.tombstones.push(tombstone);
        }
        for key in self.withdrawn {
            room(&mut changes, 2 + key.zone.as_str().len() + key.service.as_str().len());
            changes.withdrawn.push(key);
        }
        for ((path, boot, cost), services) in self.groups {
            let head = 17 + path.iter().map(|hop| 8 + router_len(&hop.at)).sum::<usize>();
            let mut is_new = true;
            for offered in services {
                let before = changes.groups.len();
                room(&mut changes, 10 + offered.service.as_str().len() + if is_new { head } else { 0 });
                if is_new || changes.groups.len() < before {
                    changes.groups.push(Group { path: path.to_vec(), boot, cost, services: Vec::new() });
                    is_new = false;
                }
                if let Some(group) = changes.groups.last_mut() {
                    group.services.push(offered);
                }
            }
        }
        for fresh in self.fresh {
            room(&mut changes, 16 + router_len(&fresh.origin));
            changes.fresh.push(fresh);
        }
        if changes != Changes::default() {
            done.push(changes);
        }
        done
    }
}

fn router_len(router: &RouterId) -> usize {
    2 + router.zone.as_str().len() + router.router.as_str().len()
}
