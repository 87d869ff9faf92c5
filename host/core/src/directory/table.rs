//! Table of offers, by member and by service. Never exceeds its limits.

use crate::message::peer::Offer;
use crate::name::{Address, Label};
use crate::settings::DirectorySettings;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct OfferTable {
    per_member: usize,
    total: usize,
    offers: BTreeMap<Label, BTreeMap<Address, Offer>>,
    /// The same by service. `None` is never stored: it is the lower bound of a service's range.
    providers: BTreeSet<(Address, Option<Label>)>,
}

/// Outcome of storing an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    New,
    Changed,
    Same,
    /// Over a limit: not stored.
    Over,
}

impl OfferTable {
    pub(super) fn new(settings: &DirectorySettings) -> Self {
        Self {
            per_member: settings.offers,
            total: settings.routes,
            offers: BTreeMap::new(),
            providers: BTreeSet::new(),
        }
    }

    pub(super) fn put(&mut self, member: &Label, offer: &Offer) -> Put {
        let known = self.offers.get_mut(member).and_then(|offers| offers.get_mut(&offer.service));
        if let Some(known) = known {
            let put = if known == offer { Put::Same } else { Put::Changed };
            *known = offer.clone();
            return put;
        }
        if !self.has_room(member) {
            return Put::Over;
        }
        self.providers.insert((offer.service.clone(), Some(member.clone())));
        self.offers.entry(member.clone()).or_default().insert(offer.service.clone(), offer.clone());
        Put::New
    }

    /// Removes an offer. Returns `true` if it was stored.
    pub(super) fn remove(&mut self, member: &Label, service: &Address) -> bool {
        let Some(offers) = self.offers.get_mut(member) else { return false };
        let removed = offers.remove(service).is_some();
        if offers.is_empty() {
            self.offers.remove(member);
        }
        removed && self.providers.remove(&(service.clone(), Some(member.clone())))
    }

    /// Removes all offers of a member, and returns their services by name.
    pub(super) fn clear(&mut self, member: &Label) -> impl Iterator<Item = Address> + use<> {
        let offers = self.offers.remove(member).unwrap_or_default();
        for service in offers.keys() {
            self.providers.remove(&(service.clone(), Some(member.clone())));
        }
        offers.into_keys()
    }

    /// Returns `true` if there is room for one more offer of a member.
    pub(super) fn has_room(&self, member: &Label) -> bool {
        self.offers.get(member).map_or(0, BTreeMap::len) < self.per_member && self.providers.len() < self.total
    }

    pub(super) fn providers(&self, service: &Address) -> impl Iterator<Item = (&Label, &Offer)> {
        let members = self.providers.range((service.clone(), None)..).take_while(move |(name, _)| name == service);
        members.filter_map(|(name, member)| {
            let (member, offers) = self.offers.get_key_value(member.as_ref()?)?;
            Some((member, offers.get(name)?))
        })
    }

    pub(super) fn offers_of(&self, member: &Label) -> impl Iterator<Item = &Offer> {
        self.offers.get(member).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn len(&self) -> usize {
        self.providers.len()
    }
}
