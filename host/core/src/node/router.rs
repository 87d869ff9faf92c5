//! A node that joins zones: a member of its own zone, and a neighbour of routers of others.
//!
//! A router advertises to its neighbours what its zone serves, and to its zone what can be reached through them. With
//! each neighbour, and with each other router of its zone, it has a session, which begins when both have dialled and
//! sent an epoch, and ends when either connection ends.

use super::{Node, Output, ZoneEvent};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::{Code, Failure};
use crate::links::{LinkEffect, Links};
use crate::message::Frame;
use crate::message::path;
use crate::message::peer::{self, Member, MemberKind, Offer, PeerMessage, Traits};
use crate::name::{Address, Label, Location, ServiceName};
use crate::paths::{PathEffect, Paths, SessionKind, Speaker, link_epoch};
use crate::settings::{Neighbour, NodeSettings, Seed};
use crate::time::Time;
use std::collections::BTreeMap;

/// Bits of a link's number below the part that identifies the neighbour.
const SPAN: u32 = 40;

/// State that a router has in addition to that of a node.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) paths: Paths,
    neighbours: Vec<NeighbourLinks>,
    /// This side's part of each session's epoch, by link.
    opened: BTreeMap<LinkId, u64>,
    /// Established sessions by link, each with the other router and the epoch.
    sessions: BTreeMap<LinkId, (Member, u64)>,
    /// Epoch of the last session that has ended on an established link: it must not be used again.
    ended: BTreeMap<LinkId, u64>,
    /// Links to each service of another zone.
    next_hops: BTreeMap<Address, Vec<LinkId>>,
}

/// A neighbour, and the links to it.
#[derive(Debug)]
struct NeighbourLinks {
    neighbour: Neighbour,
    links: Links,
}

impl Router {
    pub(super) fn new(settings: &NodeSettings) -> Option<Self> {
        let router = settings.router.as_ref()?;
        let me = Speaker { zone: settings.zone.clone(), router: settings.name.clone(), boot: settings.boot };
        let joint = |(index, neighbour): (usize, &Neighbour)| {
            let seed = Seed { name: Some(neighbour.name.clone()), endpoint: neighbour.endpoint.clone() };
            let first = (index as u64 + 1) << SPAN;
            NeighbourLinks { neighbour: neighbour.clone(), links: Links::new(settings.peers.clone(), &[seed], first) }
        };
        Some(Self {
            paths: Paths::new(&me, &router.paths, settings.seed),
            neighbours: router.neighbours.iter().enumerate().map(joint).collect(),
            opened: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_hops: BTreeMap::new(),
        })
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let links = self.neighbours.iter().filter_map(|joint| joint.links.next_wake());
        links.chain([self.paths.next_wake()]).min()
    }

    pub(super) fn wake(&mut self, now: Time) {
        for joint in &mut self.neighbours {
            // No membership protocol watches a neighbour, so replies to pings are always due.
            joint.links.wake(|_| true, now);
        }
        self.paths.wake(now);
    }

    /// Returns `true` if routers of this zone are neighbours.
    pub(super) fn is_joined_with(&self, zone: &Label) -> bool {
        self.neighbours.iter().any(|joint| joint.neighbour.zone == *zone)
    }

    /// Returns the neighbour that a link leads to, if it leads to one.
    fn joint_of(&self, link: LinkId) -> Option<&NeighbourLinks> {
        let index = usize::try_from(link.0 >> SPAN).ok()?.checked_sub(1)?;
        self.neighbours.get(index)
    }

    /// Returns the set of links that contains this one, if it leads to a neighbour.
    pub(super) fn links_of(&mut self, link: LinkId) -> Option<&mut Links> {
        let index = usize::try_from(link.0 >> SPAN).ok()?.checked_sub(1)?;
        self.neighbours.get_mut(index).map(|joint| &mut joint.links)
    }

    /// Returns the zone that a link leads into, if it is another.
    pub(super) fn zone_behind(&self, link: LinkId) -> Option<&Label> {
        self.joint_of(link).map(|joint| &joint.neighbour.zone)
    }

    /// Iterates over the links to each neighbour, with its zone.
    pub(super) fn joints(&self) -> impl Iterator<Item = (&Label, &Links)> {
        self.neighbours.iter().map(|joint| (&joint.neighbour.zone, &joint.links))
    }

    /// Returns the session with this router; `zone` is the router's, if it is another.
    pub(super) fn session_with(&self, member: &Member, zone: Option<&Label>) -> Option<LinkId> {
        let mut sessions = self.sessions.iter().filter(|(link, _)| self.zone_behind(**link) == zone);
        sessions.find(|(_, (other, _))| other.is_same_process(member)).map(|(link, _)| *link)
    }

    fn next_link_effect(&mut self) -> Option<LinkEffect> {
        self.neighbours.iter_mut().find_map(|joint| joint.links.next_effect())
    }
}

impl Node {
    /// Carries out one effect of the router; returns `false` if there is none.
    pub(super) fn settle_router(&mut self, now: Time) -> bool {
        let Some(router) = &mut self.router else { return false };
        if let Some(effect) = router.next_link_effect() {
            self.link_effect(effect, now);
        } else if let Some(effect) = router.paths.next_effect() {
            self.path_effect(effect, now);
        } else {
            return false;
        }
        true
    }

    /// Opens a session on an established link to another router.
    pub(super) fn open_session(&mut self, link: LinkId, member: &Member, now: Time) {
        let Some(router) = self.router.as_mut().filter(|_| member.role == MemberKind::Router) else { return };
        let epoch = router.paths.epoch();
        router.opened.insert(link, epoch);
        self.post(link, PeerMessage::Open { epoch });
        self.begin_session(link, member, now);
    }

    /// Begins a session that the other router has opened too, or again.
    pub(super) fn session_opened(&mut self, member: &Member, zone: Option<&Label>, now: Time) {
        let Some(link) = self.link_to_router(member, zone) else { return };
        self.begin_session(link, member, now);
    }

    fn begin_session(&mut self, link: LinkId, member: &Member, now: Time) {
        let theirs = self.zone.opened_by(member, self.zone_behind(link));
        let (Some(router), Some((theirs, their_zone))) = (&mut self.router, theirs) else { return };
        let Some(&mine) = router.opened.get(&link) else { return };
        let mut epoch = link_epoch(mine, theirs);
        if router.sessions.get(&link).is_some_and(|(_, stands)| *stands == epoch) {
            // Both have opened again at the same time, with the same resulting epoch.
            return;
        }
        self.end_session(link, now);
        let Some(router) = &mut self.router else { return };
        if router.ended.get(&link).is_some_and(|ended| *ended >= epoch) {
            // With this epoch, all routes of the session would count as lost.
            let mine = router.paths.epoch();
            router.opened.insert(link, mine);
            epoch = link_epoch(mine, theirs);
            self.post(link, PeerMessage::Open { epoch: mine });
        }
        let Some(router) = &mut self.router else { return };
        let kind = match router.joint_of(link) {
            None => SessionKind::Internal,
            Some(NeighbourLinks { neighbour, .. }) => {
                let (import, export) = (neighbour.import.clone(), neighbour.export.clone());
                SessionKind::External { cost: neighbour.cost, import, export }
            }
        };
        let with = Speaker { zone: their_zone, router: member.name.clone(), boot: member.boot };
        router.sessions.insert(link, (member.clone(), epoch));
        router.paths.session_up(link, &with, kind, epoch, now);
        self.outputs.push_back(Output::Zone(ZoneEvent::SessionUp { zone: with.zone, router: with.router }));
    }

    /// Ends the session on this link, if there is one.
    pub(super) fn end_session(&mut self, link: LinkId, now: Time) {
        let Some(router) = &mut self.router else { return };
        if let Some((member, epoch)) = router.sessions.remove(&link) {
            router.ended.insert(link, epoch);
            router.paths.session_down(link, now);
            self.outputs.push_back(Output::Zone(ZoneEvent::SessionDown { router: member.name }));
        }
    }

    /// Ends the session on a link that is gone, and drops its epochs.
    pub(super) fn close_session(&mut self, link: LinkId, now: Time) {
        self.end_session(link, now);
        if let Some(router) = &mut self.router {
            router.opened.remove(&link);
            router.ended.remove(&link);
        }
    }

    /// Ends the session with a router whose connection is gone, because the router considers it ended too.
    pub(super) fn router_left(&mut self, member: &Member, zone: Option<&Label>, now: Time) {
        if let Some(link) = self.router.as_ref().and_then(|router| router.session_with(member, zone)) {
            self.end_session(link, now);
        }
    }

    fn link_to_router(&self, member: &Member, zone: Option<&Label>) -> Option<LinkId> {
        let router = self.router.as_ref()?;
        let joints =
            router.neighbours.iter().filter(|joint| zone == Some(&joint.neighbour.zone)).map(|joint| &joint.links);
        let own = zone.is_none().then_some(&self.zone.links);
        own.into_iter().chain(joints).find_map(|links| {
            let link = links.to(&member.name)?;
            links.member(link)?.is_same_process(member).then_some(link)
        })
    }

    /// Handles an update of paths from another router.
    pub(super) fn receive_update(
        &mut self,
        from: &ConnectionId,
        member: &Member,
        epoch: u64,
        update: &Frame,
        now: Time,
    ) {
        let link = self.link_to_router(member, self.zone.zone_of_inbound(from));
        let Some(router) = &mut self.router else {
            return self.refuse_inbound(from, "sends paths, but this node is not a router");
        };
        // Without a link, a new session is to begin anyway. With one, an update of an earlier session is late.
        let Some(link) = link else { return };
        let stands = router.sessions.get(&link).map(|(_, epoch)| *epoch);
        if stands != Some(epoch) {
            let last = stands.or_else(|| router.ended.get(&link).copied());
            if last.is_none_or(|last| last < epoch) {
                self.lacks_open(from);
            }
            return;
        }
        match path::decode(update.clone()) {
            Ok(update) => router.paths.import(link, update, now),
            Err(why) => {
                router.paths.garbled(link, now);
                self.refuse_inbound(from, &format!("sends an update of paths that {why}"));
            }
        }
    }

    /// Refuses the connection of a router whose OPEN was lost, so that it dials again and begins a new session.
    pub(super) fn lacks_open(&mut self, from: &ConnectionId) {
        self.broker.count_malformed();
        let why = format!("router {} has no such session", self.zone.me().name);
        self.send(from.clone(), peer::encode(PeerMessage::Refused(why)));
    }

    fn path_effect(&mut self, effect: PathEffect, now: Time) {
        match effect {
            PathEffect::Send { session, update } => {
                let router = self.router.as_ref().and_then(|router| router.sessions.get(&session));
                // Updates of a session that has ended are not sent.
                if let Some((_, epoch)) = router {
                    let (epoch, update) = (*epoch, path::encode(&update));
                    self.post(session, PeerMessage::Paths { epoch, update });
                }
            }
            PathEffect::Reachable { zone, service, traits, cost, hops } => {
                let address = Address::in_zone(service, zone);
                self.set_next_hops(&address, &hops, traits, cost, now);
            }
            PathEffect::Unreachable { zone, service } => {
                self.set_next_hops(&Address::in_zone(service, zone), &[], Traits::default(), 0, now);
            }
            PathEffect::Broken { session } => {
                self.end_session(session, now);
                if let Some(links) = self.links_of(session) {
                    links.refused(session, "the session restarts", now);
                }
            }
            PathEffect::Refused { session, why } => {
                self.broker.count_malformed();
                let router = self.router.as_ref().and_then(|router| router.sessions.get(&session));
                let node = router.map_or("a router".into(), |(member, _)| member.name.to_string());
                self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node, why }));
            }
            PathEffect::Unlisted { .. } => {
                self.outputs.push_back(Output::Zone(ZoneEvent::Unlisted { services: 1 }));
            }
        }
    }

    /// Sets the links to a service of another zone. The own zone gets adverts only of routes that leave it at this
    /// router; other routes are advertised by the routers where they leave.
    fn set_next_hops(&mut self, address: &Address, hops: &[LinkId], traits: Traits, cost: u32, now: Time) {
        let Some(router) = &mut self.router else { return };
        let before = router.next_hops.insert(address.clone(), hops.to_vec()).unwrap_or_default();
        if hops.is_empty() {
            router.next_hops.remove(address);
        }
        let leaves_here = hops.iter().any(|link| router.joint_of(*link).is_some());
        for link in hops {
            self.broker.peer_offers(*link, address, traits, cost, now);
        }
        for link in before.iter().filter(|link| !hops.contains(link)) {
            self.broker.peer_withdraws(*link, address, now);
        }
        if leaves_here {
            self.zone.routes.offer(Offer { service: address.clone(), traits, cost }, now);
        } else {
            self.zone.routes.withdraw(address, now);
        }
    }

    /// Advertises to other zones how the own zone serves a service, after a change.
    pub(super) fn advertise_to_zones(&mut self, address: &Address, now: Time) {
        if self.router.is_none() || address.location != Location::Nearest {
            return;
        }
        let may_offer = |(member, _): &(&Label, &Offer)| self.may_offer(member, &address.service);
        let offers = self.zone.routes.providers(address).filter(may_offer).map(|(_, offer)| offer.traits);
        let traits = offers.reduce(Traits::and);
        let Some(router) = &mut self.router else { return };
        match traits {
            Some(traits) => router.paths.offer(&address.service, traits, now),
            None => router.paths.withdraw(&address.service, now),
        }
    }

    /// Checks whether a request from another zone may be served here or forwarded. A request that policy forbids is
    /// refused for good. A request for a service that is exported to the neighbour, but not advertised now, was in
    /// transit when that changed: it was not started, and may take another route.
    pub(super) fn may_pass(
        &self,
        member: &Member,
        from: &Label,
        zone: &Label,
        service: &ServiceName,
    ) -> Result<(), Failure> {
        let (me, own, their) = (&self.zone.me().name, &self.zone.zone, &member.name);
        let refuse = |code, reason: String| Err(Failure::new(code, format!("router {me} of zone {own} {reason}")));
        let session = self.router.as_ref().and_then(|router| Some((router, router.session_with(member, Some(from))?)));
        let Some((router, session)) = session else {
            return refuse(Code::UnknownService, format!("has no session with router {their}"));
        };
        if router.paths.may_pass(Some(session), zone, service) {
            Ok(())
        } else if router.paths.is_exported(session, zone, service) {
            refuse(Code::UnknownService, format!("has no route for router {their} to {service} of zone {zone}"))
        } else {
            refuse(Code::Forbidden, format!("does not export {service} of zone {zone} there"))
        }
    }

    /// Returns the zone that a link leads into, if it is another.
    pub(super) fn zone_behind(&self, link: LinkId) -> Option<&Label> {
        self.router.as_ref()?.zone_behind(link)
    }

    /// Returns the set of links that contains this one.
    pub(super) fn links_of(&mut self, link: LinkId) -> Option<&mut Links> {
        if link.0 >> SPAN == 0 {
            return Some(&mut self.zone.links);
        }
        self.router.as_mut()?.links_of(link)
    }
}
