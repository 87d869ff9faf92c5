//! Peers of a node: their membership, their offers, and their requests.
//!
//! A node dials every member of its zone, and is dialled by every one. Requests leave on the link that the node made;
//! an answer returns on the connection that its request came on. So a request and its answer share one connection, and
//! the end of that connection shows both nodes which requests were lost.

use super::inbound::InboundPeer;
use super::join::JoinRefusal;
use super::name_claim::NameClaim;
use super::{Node, Output, ZoneEvent};
use crate::connection::{ConnectionId, LinkId};
use crate::directory::{Directory, DirectoryEffect};
use crate::links::{LinkEffect, Links};
use crate::members::{MemberEffect, Members};
use crate::message::peer::{self, Member, MemberKind, PeerMessage};
use crate::name::{Address, Label, Location};
use crate::settings::NodeSettings;
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node's view of its zone.
#[derive(Debug)]
pub(super) struct Peering {
    pub(super) zone: Label,
    pub(super) members: Members,
    pub(super) links: Links,
    pub(super) routes: Directory,
    /// The nodes that have dialled this one, by connection.
    inbound: BTreeMap<ConnectionId, InboundPeer>,
    /// The members that links and directory were notified of, by name.
    joined: BTreeMap<Label, Member>,
    /// Set while another process has this node's name, until a member accepts this node again.
    claim: Option<NameClaim>,
    /// Number of inbound connections from which those of dead nodes are removed.
    inbound_limit: usize,
    heartbeat: Duration,
    is_leaving: bool,
}

impl Peering {
    pub(super) fn new(settings: &NodeSettings) -> Self {
        let me = Member {
            name: settings.name.clone(),
            boot: settings.boot,
            renewal: 0,
            role: if settings.is_router() { MemberKind::Router } else { MemberKind::Node },
            endpoint: settings.endpoint.clone(),
        };
        Self {
            zone: settings.zone.clone(),
            members: Members::new(me, &settings.members, settings.seed),
            links: Links::new(settings.peers.clone(), &settings.seeds, 0),
            routes: Directory::new(&settings.routes, settings.boot),
            inbound: BTreeMap::new(),
            joined: BTreeMap::new(),
            claim: None,
            inbound_limit: settings.members.limit.saturating_mul(2),
            heartbeat: settings.peers.heartbeat,
            is_leaving: false,
        }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let claim = self.claim.as_ref().and_then(NameClaim::next_wake);
        let wakes = [self.members.next_wake(), self.links.next_wake(), self.routes.next_wake(), claim];
        wakes.into_iter().flatten().min()
    }

    /// Returns `true` if the process of this member is still a member, under this or another identity.
    fn is_alive(&self, member: &Member) -> bool {
        self.members.get(&member.name).is_some_and(|alive| alive.is_same_process(member))
    }

    /// Returns `true` if a member of `zone` is this process. The zone matters, because a process of another zone may
    /// have the same name and start time.
    fn is_myself(&self, zone: &Label, member: &Member) -> bool {
        *zone == self.zone && member.is_same_process(self.me())
    }

    /// Returns the epoch with which a router has opened a session, and the router's zone.
    pub(super) fn opened_by(&self, member: &Member, zone: Option<&Label>) -> Option<(u64, Label)> {
        let is_it = |guest: &&InboundPeer| guest.is_called(&member.name, zone) && guest.member.is_same_process(member);
        let guest = self.inbound.values().filter(is_it).find(|guest| guest.opened.is_some())?;
        Some((guest.opened?, guest.zone.clone().unwrap_or_else(|| self.zone.clone())))
    }

    /// Returns the zone of the node on this connection, if it is another.
    pub(super) fn zone_of_inbound(&self, connection: &ConnectionId) -> Option<&Label> {
        self.inbound.get(connection).and_then(|guest| guest.zone.as_ref())
    }

    /// Returns `true` if a node has dialled this one on a connection.
    pub(super) fn is_inbound(&self, connection: &ConnectionId) -> bool {
        self.inbound.contains_key(connection)
    }

    /// Iterates over the nodes that have dialled this one, each with its zone if that is another.
    pub(super) fn inbound_peers(&self) -> impl Iterator<Item = (&ConnectionId, Option<&Label>, &Member)> {
        self.inbound.iter().map(|(peer, guest)| (peer, guest.zone.as_ref(), &guest.member))
    }

    pub(super) fn me(&self) -> &Member {
        self.members.me()
    }

    /// Removes the inbound connections of nodes that are not members, once there are many. Such nodes rarely return.
    fn drop_dead_inbound(&mut self) {
        if self.inbound.len() >= self.inbound_limit {
            let members = &self.members;
            self.inbound.retain(|_, guest| guest.zone.is_some() || members.get(&guest.member.name).is_some());
        }
    }

    /// Checks whether a node that sent HELLO may become a peer.
    fn may_join(&self, zone: &Label, guest: &Member) -> Result<(), JoinRefusal> {
        let (me, name) = (self.me(), &guest.name);
        if *zone != self.zone {
            return Err(JoinRefusal::OtherZone {
                guest: name.clone(),
                zone: zone.clone(),
                me: me.name.clone(),
                own: self.zone.clone(),
            });
        }
        let taken = |holder: &Member| {
            let endpoint = holder.endpoint.clone();
            Err(JoinRefusal::NameTaken { name: name.clone(), zone: zone.clone(), endpoint })
        };
        if *name == me.name {
            return if guest.is_same_process(me) { Ok(()) } else { taken(me) };
        }
        if let Some(known) = self.members.get(name).filter(|known| !known.is_same_process(guest))
            && known.endpoint != guest.endpoint
            && self.links.to(name).is_some_and(|link| !self.links.is_unresponsive(link))
        {
            return taken(known);
        }
        if !self.members.has_room_for(name) {
            return Err(JoinRefusal::Full(me.name.clone()));
        }
        if self.is_leaving {
            return Err(JoinRefusal::Leaving(me.name.clone()));
        }
        Ok(())
    }
}

impl Node {
    /// Handles a message between nodes, from a node that has dialled this one.
    pub(super) fn receive_inbound(&mut self, from: &ConnectionId, message: PeerMessage, now: Time) {
        if let PeerMessage::Hello { zone, member } = message {
            return self.accept_hello(from, &zone, member, now);
        }
        let Some(guest) = self.zone.inbound.get_mut(from) else {
            // The node's HELLO was lost, or another connection has replaced this one: the node is to dial again.
            self.broker.count_malformed();
            let why = format!("node {} has received no HELLO on this connection", self.zone.me().name);
            return self.send(from.clone(), peer::encode(PeerMessage::Refused(why)));
        };
        let (name, member, zone) = (guest.member.name.clone(), guest.member.clone(), guest.zone.clone());
        let is_of_this_zone = zone.is_none();
        if !std::mem::replace(&mut guest.is_used, true) {
            self.supersede(from, now);
        }
        let Some(guest) = self.zone.inbound.get_mut(from) else { return };
        match message {
            PeerMessage::Gossip(data) if is_of_this_zone => {
                if let Err(malformed) = self.zone.members.receive(&data, now) {
                    self.refuse_inbound(from, &format!("sends gossip that cannot be read: {malformed}"));
                }
            }
            PeerMessage::Advert(advert) if is_of_this_zone => self.zone.routes.receive(&name, advert, now),
            PeerMessage::Pull if is_of_this_zone => self.zone.routes.receive_pull(&name, now),
            // A router opens a session before it sends these.
            PeerMessage::Ping { .. } | PeerMessage::Paths { .. }
                if guest.opened.is_none() && guest.member.role == MemberKind::Router && self.router.is_some() =>
            {
                self.lacks_open(from);
            }
            PeerMessage::Open { epoch } => {
                guest.opened = Some(epoch);
                self.session_opened(&member, zone.as_ref(), now);
            }
            PeerMessage::Paths { epoch, update } => self.receive_update(from, &member, epoch, &update, now),
            PeerMessage::Request(forward) if forward.id <= guest.last_request => self.broker.count_malformed(),
            PeerMessage::Request(forward) => {
                guest.last_request = forward.id;
                self.serve(from, &member, forward, now);
            }
            PeerMessage::Cancel { id } => self.broker.cancel(from, id, now),
            PeerMessage::Ping { outstanding } => {
                let unknown = outstanding.into_iter().filter(|id| !self.broker.has_request(from, *id)).collect();
                self.send(from.clone(), peer::encode(PeerMessage::Pong { unknown }));
            }
            _ => self.refuse_inbound(from, "sends a message that only a dialled node may send"),
        }
    }

    /// Handles a message that arrived on a link.
    pub(super) fn receive_outbound(&mut self, link: LinkId, message: PeerMessage, now: Time) {
        let expected = self.zone_behind(link).unwrap_or(&self.zone.zone).clone();
        let is_myself = matches!(&message, PeerMessage::Welcome { zone, member } if self.zone.is_myself(zone, member));
        let Some(links) = self.links_of(link) else { return };
        links.received(link, now);
        match message {
            PeerMessage::Welcome { zone, member } if zone != expected => {
                let why = format!("node {} there is of zone {zone}, not {expected}", member.name);
                links.refused(link, &why, now);
            }
            PeerMessage::Welcome { .. } if is_myself => links.is_myself(link),
            PeerMessage::Welcome { member, .. } => match self.check_dialled_identity(link, &member) {
                Ok(()) => self.links_of(link).into_iter().for_each(|links| links.welcomed(link, member.clone(), now)),
                Err(why) => {
                    self.links_of(link).into_iter().for_each(|links| links.refused(link, &why.to_string(), now));
                }
            },
            PeerMessage::Refused(why) => links.refused(link, &format!("it says: {why}"), now),
            PeerMessage::Reply { id, reply } => self.broker.peer_replied(link, id, reply, now),
            PeerMessage::Pong { unknown } => self.broker.peer_lacks(link, &unknown, now),
            _ => {
                let node = links.member(link).map_or("without a name".into(), |member| member.name.to_string());
                let why = "sends a message that only a dialling node may send".to_owned();
                self.broker.count_malformed();
                self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node, why }));
            }
        }
    }

    fn accept_hello(&mut self, from: &ConnectionId, zone: &Label, member: Member, now: Time) {
        let is_neighbour = member.role == MemberKind::Router
            && *zone != self.zone.zone
            && self.router.as_ref().is_some_and(|router| router.is_joined_with(zone));
        let (foreign, is_myself) = (is_neighbour.then(|| zone.clone()), self.zone.is_myself(zone, &member));
        let is_welcome = if is_neighbour { Ok(()) } else { self.zone.may_join(zone, &member) };
        let claim = self.check_claimed_identity(from, zone, &member).map_err(JoinRefusal::from);
        if let Err(refusal) = claim.and(is_welcome) {
            let why = refusal.to_string();
            self.send(from.clone(), peer::encode(PeerMessage::Refused(why.clone())));
            let event = ZoneEvent::PeerRefused { node: member.name.to_string(), why };
            return self.outputs.push_back(Output::Zone(event));
        }
        let (zone, me) = (self.zone.zone.clone(), self.zone.me().clone());
        self.send(from.clone(), peer::encode(PeerMessage::Welcome { zone, member: me }));
        if is_myself {
            return;
        }
        if !is_neighbour {
            self.zone.members.introduce(&member, now);
        }
        self.zone.drop_dead_inbound();
        let last_request = self.zone.inbound.get(from).map_or(0, |guest| guest.last_request);
        let guest = InboundPeer { member, last_request, is_used: false, zone: foreign, opened: None };
        self.zone.inbound.insert(from.clone(), guest);
    }

    /// Replaces other connections of the same node, and drops their requests. Called only when a connection is first
    /// used, because a node that has dialled another by two names of its endpoint closes the later connection, and may
    /// have got another identity since the first.
    fn supersede(&mut self, by: &ConnectionId, now: Time) {
        let Some((member, zone)) = self.zone.inbound.get(by).map(|guest| (&guest.member, &guest.zone)) else { return };
        let is_same = |guest: &InboundPeer| guest.is_called(&member.name, zone.as_ref()) && !guest.outranks(member);
        let older = self.zone.inbound.iter().filter(|(peer, guest)| is_same(guest) && *peer != by);
        let older: Vec<ConnectionId> = older.map(|(peer, _)| peer.clone()).collect();
        older.iter().for_each(|peer| self.inbound_closed(peer, now));
    }

    /// Handles the end or the replacement of a connection on which a node has dialled this one.
    pub(super) fn inbound_closed(&mut self, connection: &ConnectionId, now: Time) {
        if let Some(guest) = self.zone.inbound.remove(connection) {
            self.broker.connection_closed(connection, now);
            self.router_left(&guest.member, guest.zone.as_ref(), now);
        }
    }

    pub(super) fn refuse_inbound(&mut self, from: &ConnectionId, why: &str) {
        self.broker.count_malformed();
        let node = self.zone.inbound.get(from).map_or("without a name".into(), |guest| guest.member.name.to_string());
        self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node, why: why.to_owned() }));
    }

    pub(super) fn post(&mut self, link: LinkId, message: PeerMessage) {
        self.outputs.push_back(Output::Post { link, frames: peer::encode(message) });
    }

    /// Handles the timers of links, members, routes and sessions.
    pub(super) fn wake_zone(&mut self, now: Time) {
        let (zone, broker) = (&mut self.zone, &self.broker);
        zone.links.wake(|link| broker.is_peer_busy(link), now);
        zone.members.wake(now);
        if zone.claim.as_mut().is_some_and(|claim| claim.is_due(now)) {
            zone.members.try_again(now);
        }
        zone.routes.wake(now);
        if let Some(router) = &mut self.router {
            router.wake(now);
        }
    }

    /// Withdraws all offers of a node that is leaving, so that peers send it no further requests.
    pub(super) fn withdraw_from_zone(&mut self, now: Time) {
        self.zone.is_leaving = true;
        let own: Vec<_> = self.zone.routes.own().map(|offer| offer.service.clone()).collect();
        own.iter().for_each(|service| self.zone.routes.withdraw(service, now));
    }

    /// Carries out one effect of links, members or routes; returns `false` if there is none.
    pub(super) fn settle_zone(&mut self, now: Time) -> bool {
        if let Some(effect) = self.zone.links.next_effect() {
            self.link_effect(effect, now);
        } else if let Some(effect) = self.zone.members.next_effect() {
            self.member_effect(effect, now);
        } else if let Some(effect) = self.zone.routes.next_effect() {
            self.route_effect(effect, now);
        } else {
            return false;
        }
        true
    }

    pub(super) fn link_effect(&mut self, effect: LinkEffect, now: Time) {
        match effect {
            LinkEffect::Dial { link, endpoint, name } => {
                self.outputs.push_back(Output::Dial { link, endpoint, name });
                let (zone, member) = (self.zone.zone.clone(), self.zone.me().clone());
                self.post(link, PeerMessage::Hello { zone, member });
            }
            LinkEffect::HangUp(link) => self.outputs.push_back(Output::HangUp(link)),
            LinkEffect::Up { link, member } => self.linked(link, &member, now),
            LinkEffect::Down { link, member, why } => {
                self.close_session(link, now);
                self.broker.peer_down(link, &why, now);
                self.outputs.push_back(Output::Zone(ZoneEvent::LinkLost { node: member.name, why }));
            }
            LinkEffect::Ping(link) => {
                let before = Time::from_micros(now.as_micros().saturating_sub(self.zone.heartbeat.as_micros() as u64));
                let outstanding = self.broker.outstanding_at(link, before).take(peer::MAX_NAMED).collect();
                self.post(link, PeerMessage::Ping { outstanding });
            }
            LinkEffect::Unresponsive { link, is_unresponsive } => {
                self.broker.peer_unresponsive(link, is_unresponsive, now);
                if let Some(member) = self.links_of(link).and_then(|links| links.member(link)) {
                    let node = member.name.clone();
                    self.outputs.push_back(Output::Zone(ZoneEvent::PeerUnresponsive { node, is_unresponsive }));
                }
            }
            LinkEffect::Failed { endpoint, why } => {
                self.outputs.push_back(Output::Zone(ZoneEvent::DialFailed { endpoint, why }));
            }
        }
    }

    fn linked(&mut self, link: LinkId, member: &Member, now: Time) {
        let zone = self.zone_behind(link).cloned();
        self.broker.peer_up(link, &member.name, zone.as_ref(), member.role == MemberKind::Router, now);
        if zone.is_some() {
            if let Some(links) = self.links_of(link) {
                links.expect_answer(link, now);
            }
            return self.open_session(link, member, now);
        }
        let is_first = self.zone.members.alive().next().is_none();
        self.zone.members.introduce(member, now);
        if is_first || self.zone.links.is_seed(link) {
            // The member forwards it to others.
            self.zone.members.announce(member, now);
        }
        self.settle_members(now);
        self.zone.routes.receive_pull(&member.name, now);
        let offers = self.zone.routes.offers_of(&member.name).filter(|offer| self.counts(member, &offer.service));
        let offers: Vec<_> = offers.cloned().collect();
        for offer in offers {
            self.broker.peer_offers(link, &offer.service, offer.traits, offer.cost, now);
        }
        self.open_session(link, member, now);
    }

    /// Returns `true` if a member's offer is valid: a node offers services of this zone, a router those of other zones.
    /// On a router, offers of other zones do not count, because they arrive in its sessions.
    fn counts(&self, member: &Member, address: &Address) -> bool {
        let is_abroad = address.location != Location::Nearest;
        let is_its_own = is_abroad == (member.role == MemberKind::Router) && !(is_abroad && self.router.is_some());
        is_its_own && self.may_offer(&member.name, &address.service)
    }

    /// Carries out the effects of members, before the directory is queried about one.
    fn settle_members(&mut self, now: Time) {
        while let Some(effect) = self.zone.members.next_effect() {
            self.member_effect(effect, now);
        }
    }

    fn member_effect(&mut self, effect: MemberEffect, now: Time) {
        match effect {
            MemberEffect::Gossip { to, data } => match self.zone.links.sending_link(&to) {
                Some(link) => {
                    if let Some(dial) = self.zone.links.next_dial(link) {
                        self.link_effect(dial, now);
                    }
                    self.post(link, PeerMessage::Gossip(data));
                }
                // The datagram is dropped, as datagrams may be; the next one can be sent on the link.
                None => self.zone.links.retain_briefly(&to, now),
            },
            MemberEffect::Up(member) => {
                self.zone.claim = None;
                self.zone.inbound.values_mut().for_each(|guest| guest.update_member(&member));
                self.zone.links.retain(&member, now);
                let before = self.zone.joined.insert(member.name.clone(), member.clone());
                let is_renewed = before.is_some_and(|before| before.is_same_process(&member));
                if !is_renewed {
                    self.zone.routes.member_up(&member.name, now);
                    self.outputs.push_back(Output::Zone(ZoneEvent::MemberJoined(member)));
                }
            }
            // The member was considered dead, and is back under its next identity: its links and requests continue.
            MemberEffect::Down(member) if self.zone.is_alive(&member) => {}
            MemberEffect::Down(member) => self.member_left(member, now),
            MemberEffect::Renewed(member) => self.outputs.push_back(Output::Zone(ZoneEvent::Renewed(member))),
            MemberEffect::NameTaken(member) => {
                self.zone.claim = Some(NameClaim::after(self.zone.claim.take(), now));
                self.outputs.push_back(Output::Zone(ZoneEvent::NameTaken(member)));
            }
            MemberEffect::Refused(member) => {
                let why = "would exceed limits.members".to_owned();
                self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node: member.name.to_string(), why }));
            }
        }
    }

    fn member_left(&mut self, member: Member, now: Time) {
        self.zone.joined.remove(&member.name);
        self.zone.routes.member_down(&member.name);
        self.settle_routes(now);
        let broker = &self.broker;
        self.zone.links.release(&member, |link| broker.is_peer_busy(link), now);
        let is_its = |guest: &InboundPeer| guest.zone.is_none() && guest.member.is_same_process(&member);
        let its = self.zone.inbound.iter().filter(|(_, guest)| is_its(guest));
        let its: Vec<ConnectionId> = its.map(|(peer, _)| peer.clone()).collect();
        // The connections stay open: if the member is alive after all, it continues to use them, because it does not
        // detect that it was considered dead.
        its.iter().for_each(|peer| self.broker.connection_closed(peer, now));
        self.outputs.push_back(Output::Zone(ZoneEvent::MemberLeft(member)));
    }

    fn settle_routes(&mut self, now: Time) {
        while let Some(effect) = self.zone.routes.next_effect() {
            self.route_effect(effect, now);
        }
    }

    fn route_effect(&mut self, effect: DirectoryEffect, now: Time) {
        match effect {
            // A member without a link gets all offers when it is linked.
            DirectoryEffect::Advertise { to, advert } => self.post_to(&to, PeerMessage::Advert(advert)),
            DirectoryEffect::Pull { from } => self.post_to(&from, PeerMessage::Pull),
            DirectoryEffect::Offered { by, offer } => {
                let Some(member) = self.zone.members.get(&by).cloned() else { return };
                if !self.counts(&member, &offer.service) {
                    if !self.may_offer(&member.name, &offer.service.service) {
                        self.refuse_offer(&member.name, &offer.service.service);
                    }
                    return;
                }
                if let Some(link) = self.zone.links.to(&by) {
                    self.broker.peer_offers(link, &offer.service, offer.traits, offer.cost, now);
                }
                self.advertise_to_zones(&offer.service, now);
            }
            DirectoryEffect::Withdrawn { by, service } => {
                if let Some(link) = self.zone.links.to(&by)
                    && !(service.location != Location::Nearest && self.router.is_some())
                {
                    self.broker.peer_withdraws(link, &service, now);
                }
                self.advertise_to_zones(&service, now);
            }
            DirectoryEffect::Refused { from, why } => {
                self.broker.count_malformed();
                self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node: from.to_string(), why }));
            }
            DirectoryEffect::Unlisted { services } => {
                self.outputs.push_back(Output::Zone(ZoneEvent::Unlisted { services }));
            }
        }
    }

    fn post_to(&mut self, member: &Label, message: PeerMessage) {
        if let Some(link) = self.zone.links.to(member) {
            self.post(link, message);
        }
    }
}
