//! Which ways a request may take: to this node's peers, and through routers to other zones.

use super::hops::{Choice, Hops};
use super::service::{Abroad, Service};
use super::types::Where;
use super::{Broker, Pending, RequestId};
use crate::message::LinkId;
use crate::message::peer::Traits;
use crate::name::{Address, Label, Place, ServiceName};
use crate::time::Time;

/// A link, and the zone that the request is to be served in if it is another.
pub(super) type Step = (LinkId, Option<Label>);

impl Broker {
    /// The peer on this link offers a service, or offers it anew: its own, or one of another zone that it leads to at this
    /// cost.
    pub fn hop_offers(&mut self, link: LinkId, address: &Address, traits: Traits, cost: u32, now: Time) {
        self.hops.offer(link, address, traits);
        let entry = self.service(&address.service);
        let mut new_zone = None;
        match &address.place {
            Place::Named(zone) => {
                new_zone = (!entry.abroad.contains_key(zone)).then_some(zone);
                entry.abroad.entry(zone.clone()).or_default().put(link, cost, traits.by_workers);
            }
            _ => {
                if let Err(place) = entry.hops.binary_search(&link) {
                    entry.hops.insert(place, link);
                }
                if traits.by_workers {
                    entry.by_workers.insert(link);
                } else {
                    entry.by_workers.remove(&link);
                }
            }
        }
        let waiting: Vec<RequestId> = entry.waiting().collect();
        if let Some(zone) = new_zone {
            *self.zones.entry(zone.clone()).or_default() += 1;
        }
        for id in waiting {
            if let Some(pending) = self.requests.get_mut(&id) {
                // It may have said that it does not serve this; now it does.
                pending.tried.retain(|tried| *tried != link);
            }
            self.retime_one(id, now);
        }
        self.dispatch(&address.service, now);
    }

    /// The peer on this link no longer offers a service; what it has of it goes on.
    pub fn hop_withdraws(&mut self, link: LinkId, address: &Address, now: Time) {
        self.hops.withdraw(link, address);
        self.drop_way(link, address);
        self.provider_left(&address.service, now);
    }

    /// This link leads to a service there no longer.
    pub(super) fn drop_way(&mut self, link: LinkId, address: &Address) {
        let Some(entry) = self.services.get_mut(&address.service) else { return };
        if let (true, Place::Named(zone)) = (entry.drop_way(link, address), &address.place)
            && let Some(services) = self.zones.get_mut(zone)
        {
            *services -= 1;
            if *services == 0 {
                self.zones.remove(zone);
            }
        }
    }

    /// The next way for a request, if there is one that is open.
    pub(super) fn choose_way(&mut self, id: RequestId, now: Time) -> (Choice, Option<Label>) {
        const NOBODY: (Choice, Option<Label>) = (Choice::Nobody, None);
        let Some(pending) = self.requests.get(&id) else { return NOBODY };
        let Some(service) = self.services.get(&pending.service) else { return NOBODY };
        let closed = closed(pending, &self.hops);
        let hops = &mut self.hops;
        match &pending.place {
            Where::Here => NOBODY,
            Where::Home => (choose_home(pending, service, &closed, hops, now), None),
            Where::Anywhere => match choose_home(pending, service, &closed, hops, now) {
                Choice::Nobody if !service.is_local() => choose_nearest(pending, service, &closed, hops, now),
                choice => (choice, None),
            },
            Where::Node(node) => match hops.find(node, &pending.service) {
                Some(link) if !closed.contains(&link) && hops.is_open(link) => (Choice::Hop(link), None),
                Some(link) if !closed.contains(&link) && hops.is_silent(link) => (Choice::Silent, None),
                Some(link) if !closed.contains(&link) => (Choice::Full, None),
                _ => NOBODY,
            },
            Where::Zone(zone) | Where::NodeIn { zone, .. } => match service.abroad.get(zone) {
                Some(abroad) => (choose_abroad(pending, zone, abroad, &closed, hops, now), Some(zone.clone())),
                None => NOBODY,
            },
        }
    }

    /// Whether somebody could serve the request who has not tried already.
    pub(super) fn can_be_served(&self, id: RequestId) -> bool {
        let Some(pending) = self.requests.get(&id) else { return false };
        self.is_offered(&pending.service, &pending.place, &closed(pending, &self.hops))
    }

    /// Whether anybody but the peer on this link could serve it.
    pub(super) fn has_another(&self, pending: &Pending, link: LinkId) -> bool {
        let mut closed = closed(pending, &self.hops);
        closed.push(link);
        !matches!(pending.place, Where::Node(_)) && self.is_offered(&pending.service, &pending.place, &closed)
    }

    /// Whether a service is offered at a place, by others than those on the links of `closed`.
    pub(super) fn is_offered(&self, service: &ServiceName, place: &Where, closed: &[LinkId]) -> bool {
        let is_open = |link: &LinkId| !closed.contains(link);
        if let Where::Node(node) = place {
            return self.hops.find(node, service).is_some_and(|link| is_open(&link));
        }
        let Some(entry) = self.services.get(service) else { return false };
        let is_home = || entry.is_local() || entry.hops.iter().any(is_open);
        match place {
            Where::Here => entry.is_local(),
            Where::Home => is_home(),
            Where::Anywhere => {
                is_home() || entry.abroad.values().any(|abroad| abroad.links().any(|link| is_open(&link)))
            }
            Where::Zone(zone) | Where::NodeIn { zone, .. } => {
                entry.abroad.get(zone).is_some_and(|abroad| abroad.links().any(|link| is_open(&link)))
            }
            Where::Node(_) => false,
        }
    }
}

/// The links that a request may not take: those that it has tried, those that lead into a zone that it has entered, and for
/// one that a router of this zone passed on, those that stay in it.
fn closed(pending: &Pending, hops: &Hops) -> Vec<LinkId> {
    let mut closed = pending.tried.clone();
    if !pending.crossed.is_empty() {
        closed.extend(hops.leading_into(&pending.crossed));
    }
    if pending.is_outward {
        closed.extend(hops.routers_of_this_zone());
    }
    closed
}

fn choose_home(pending: &Pending, service: &Service, closed: &[LinkId], hops: &mut Hops, now: Time) -> Choice {
    hops.choose(&pending.service.clone().into(), &service.hops, closed, now)
}

/// The zone that is the least to pay for, of those to which a way is open.
fn choose_nearest(
    pending: &Pending,
    service: &Service,
    closed: &[LinkId],
    hops: &mut Hops,
    now: Time,
) -> (Choice, Option<Label>) {
    let mut zones: Vec<(&Label, &Abroad)> = service.abroad.iter().collect();
    zones.sort_by_key(|(zone, abroad)| (abroad.cost(), *zone));
    let mut last = (Choice::Nobody, None);
    for (zone, abroad) in zones {
        match choose_abroad(pending, zone, abroad, closed, hops, now) {
            Choice::Nobody => {}
            Choice::Silent => last = (Choice::Silent, Some(zone.clone())),
            choice => return (choice, Some(zone.clone())),
        }
    }
    last
}

/// The cheapest links share the load; the others are for when those are closed.
fn choose_abroad(
    pending: &Pending,
    zone: &Label,
    abroad: &Abroad,
    closed: &[LinkId],
    hops: &mut Hops,
    now: Time,
) -> Choice {
    let address = Address::in_zone(pending.service.clone(), zone.clone());
    match hops.choose(&address, &abroad.cheapest(), closed, now) {
        Choice::Nobody | Choice::Silent => hops.choose(&address, &abroad.links().collect::<Vec<_>>(), closed, now),
        choice => choice,
    }
}
