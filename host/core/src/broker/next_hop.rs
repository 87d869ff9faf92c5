//! Next hops that a request may take: peers of this node, and routers that lead to other zones.

use super::balancer::{Balancer, Selection};
use super::request::Destination;
use super::service::{RemoteZone, Service};
use super::{Broker, Pending, RequestId};
use crate::connection::LinkId;
use crate::message::peer::Traits;
use crate::name::{Address, Label, ServiceName};
use crate::time::Time;

/// A link, and the zone that the request is to be served in, if it is another.
pub(super) type NextHop = (LinkId, Option<Label>);

impl Broker {
    /// Adds or updates an offer of the peer on a link. The service is the peer's own, or one of another zone that the
    /// peer leads to at this cost.
    pub fn peer_offers(&mut self, link: LinkId, address: &Address, traits: Traits, cost: u32, now: Time) {
        self.balancer.offer(link, address, traits);
        let service = self.services.add_link(link, address, traits, cost, &self.settings);
        let waiting: Vec<RequestId> = service.waiting().collect();
        for id in waiting {
            if let Some(pending) = self.requests.get_mut(&id) {
                // The peer may have rejected the request before; now it offers the service.
                pending.tried.retain(|tried| *tried != link);
            }
            self.reset_timer(id, now);
        }
        self.dispatch(&address.service, now);
    }

    /// Withdraws an offer of the peer on a link. The requests that the peer has continue.
    pub fn peer_withdraws(&mut self, link: LinkId, address: &Address, now: Time) {
        self.balancer.withdraw(link, address);
        self.services.drop_link(link, address);
        self.provider_left(&address.service, now);
    }

    /// Chooses the next hop of a request, if one is open.
    pub(super) fn choose_next_hop(&mut self, id: RequestId, now: Time) -> (Selection, Option<Label>) {
        const NO_PEER: (Selection, Option<Label>) = (Selection::NoPeer, None);
        let Some(pending) = self.requests.get(&id) else { return NO_PEER };
        let Some(service) = self.services.get(&pending.context.service) else { return NO_PEER };
        let closed = closed(pending, &self.balancer);
        let hops = &mut self.balancer;
        match &pending.context.destination {
            Destination::Here => NO_PEER,
            Destination::Home => (choose_home(pending, service, &closed, hops, now), None),
            Destination::Anywhere => match choose_home(pending, service, &closed, hops, now) {
                Selection::NoPeer if !service.is_local() => choose_nearest(pending, service, &closed, hops, now),
                choice => (choice, None),
            },
            Destination::Node(node) => match hops.find(node, &pending.context.service) {
                Some(link) if !closed.contains(&link) && hops.is_open(link) => (Selection::Peer(link), None),
                Some(link) if !closed.contains(&link) && hops.is_unresponsive(link) => (Selection::Unresponsive, None),
                Some(link) if !closed.contains(&link) => (Selection::Full, None),
                _ => NO_PEER,
            },
            Destination::Zone(zone) | Destination::NodeIn { zone, .. } => match service.remote_zones.get(zone) {
                Some(abroad) => (choose_in_zone(pending, zone, abroad, &closed, hops, now), Some(zone.clone())),
                None => NO_PEER,
            },
        }
    }

    /// Returns the next hop of a request that this node's plugin would refuse, because it is in quarantine. `None` if
    /// the plugin would not refuse it, or if no peer has room.
    pub(super) fn hop_around_quarantine(&mut self, id: RequestId, now: Time) -> Option<NextHop> {
        let pending = self.requests.get(&id)?;
        let may_go = matches!(pending.context.destination, Destination::Anywhere | Destination::Home);
        self.services.get(&pending.context.service).filter(|service| may_go && service.is_quarantined(now))?;
        match self.choose_next_hop(id, now) {
            (Selection::Peer(link), zone) => Some((link, zone)),
            _ => None,
        }
    }

    /// Returns `true` if a provider that was not tried already could serve the request.
    pub(super) fn can_be_served(&self, id: RequestId) -> bool {
        let Some(pending) = self.requests.get(&id) else { return false };
        self.is_offered(&pending.context.service, &pending.context.destination, &closed(pending, &self.balancer))
    }

    /// Returns `true` if a provider other than the peer on this link could serve the request.
    pub(super) fn has_another(&self, pending: &Pending, link: LinkId) -> bool {
        let mut closed = closed(pending, &self.balancer);
        closed.push(link);
        !matches!(pending.context.destination, Destination::Node(_))
            && self.is_offered(&pending.context.service, &pending.context.destination, &closed)
    }

    /// Returns `true` if a service is offered at a destination, not counting the links of `closed`.
    pub(super) fn is_offered(&self, service: &ServiceName, place: &Destination, closed: &[LinkId]) -> bool {
        let is_open = |link: &LinkId| !closed.contains(link);
        if let Destination::Node(node) = place {
            return self.balancer.find(node, service).is_some_and(|link| is_open(&link));
        }
        let Some(entry) = self.services.get(service) else { return false };
        let is_home = || entry.is_local() || entry.peers.iter().any(is_open);
        match place {
            Destination::Here => entry.is_local(),
            Destination::Home => is_home(),
            Destination::Anywhere => {
                is_home() || entry.remote_zones.values().any(|abroad| abroad.links().any(|link| is_open(&link)))
            }
            Destination::Zone(zone) | Destination::NodeIn { zone, .. } => {
                entry.remote_zones.get(zone).is_some_and(|abroad| abroad.links().any(|link| is_open(&link)))
            }
            Destination::Node(_) => false,
        }
    }
}

/// Returns the links that a request may not take. These are the links that it has tried, those into a zone that it has
/// entered, and, if a router of this zone forwarded it, those to routers of this zone.
fn closed(pending: &Pending, hops: &Balancer) -> Vec<LinkId> {
    let mut closed = pending.tried.clone();
    if !pending.context.crossed.is_empty() {
        closed.extend(hops.leading_into(&pending.context.crossed));
    }
    if pending.context.is_outward {
        closed.extend(hops.routers_of_this_zone());
    }
    closed
}

fn choose_home(pending: &Pending, service: &Service, closed: &[LinkId], hops: &mut Balancer, now: Time) -> Selection {
    hops.choose(&pending.context.service.clone().into(), &service.peers, closed, now)
}

/// Chooses the zone of the lowest cost among those with an open link.
fn choose_nearest(
    pending: &Pending,
    service: &Service,
    closed: &[LinkId],
    hops: &mut Balancer,
    now: Time,
) -> (Selection, Option<Label>) {
    let mut zones: Vec<(&Label, &RemoteZone)> = service.remote_zones.iter().collect();
    zones.sort_by_key(|(zone, abroad)| (abroad.cost(), *zone));
    let mut last = (Selection::NoPeer, None);
    for (zone, abroad) in zones {
        match choose_in_zone(pending, zone, abroad, closed, hops, now) {
            Selection::NoPeer => {}
            Selection::Unresponsive => last = (Selection::Unresponsive, Some(zone.clone())),
            choice => return (choice, Some(zone.clone())),
        }
    }
    last
}

/// Chooses a link into a zone. The cheapest links share the load; the others are used when those are closed.
fn choose_in_zone(
    pending: &Pending,
    zone: &Label,
    abroad: &RemoteZone,
    closed: &[LinkId],
    hops: &mut Balancer,
    now: Time,
) -> Selection {
    let address = Address::in_zone(pending.context.service.clone(), zone.clone());
    match hops.choose(&address, &abroad.cheapest(), closed, now) {
        Selection::NoPeer | Selection::Unresponsive => {
            hops.choose(&address, &abroad.links().collect::<Vec<_>>(), closed, now)
        }
        choice => choice,
    }
}
