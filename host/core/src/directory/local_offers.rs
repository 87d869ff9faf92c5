//! Offers of this node, in versions; changes between two versions are gathered.

use crate::message::peer::{Advert, Offer};
use crate::name::Address;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct LocalOffers {
    limit: usize,
    version: u64,
    offers: BTreeMap<Address, Offer>,
    /// Offers over the limit, which are not advertised until there is room.
    beyond: BTreeMap<Address, Offer>,
    /// For each service that may have changed since the version, its offer in that version, if any.
    before: BTreeMap<Address, Option<Offer>>,
    /// Whether a service has gone over the limit since the version was made.
    overflowed: bool,
}

impl LocalOffers {
    pub(super) fn new(limit: usize, version: u64) -> Self {
        Self {
            limit,
            version,
            offers: BTreeMap::new(),
            beyond: BTreeMap::new(),
            before: BTreeMap::new(),
            overflowed: false,
        }
    }

    /// Adds or changes an offer. Returns `true` if there may be changes to advertise.
    pub(super) fn offer(&mut self, offer: Offer) -> bool {
        if self.offers.get(&offer.service) == Some(&offer) {
            return false;
        }
        if self.offers.len() >= self.limit && !self.offers.contains_key(&offer.service) {
            let new = self.beyond.insert(offer.service.clone(), offer).is_none();
            self.overflowed |= new;
            return new;
        }
        self.set(offer);
        true
    }

    /// Removes an offer. Returns `true` if there may be changes to advertise.
    pub(super) fn withdraw(&mut self, service: &Address) -> bool {
        if let Some(offer) = self.offers.remove(service) {
            self.before.entry(service.clone()).or_insert(Some(offer));
            if let Some((_, next)) = self.beyond.pop_first() {
                self.set(next);
            }
            return true;
        }
        self.beyond.remove(service);
        false
    }

    fn set(&mut self, offer: Offer) {
        let service = offer.service.clone();
        let before = self.offers.insert(service.clone(), offer);
        self.before.entry(service).or_insert(before);
    }

    /// Makes the next version from the changes; `None` if they cancel out.
    pub(super) fn next_version(&mut self) -> Option<Advert> {
        let (mut offers, mut withdrawn) = (Vec::new(), Vec::new());
        for (service, before) in std::mem::take(&mut self.before) {
            match self.offers.get(&service) {
                Some(offer) if before.as_ref() != Some(offer) => offers.push(offer.clone()),
                None if before.is_some() => withdrawn.push(service),
                _ => {}
            }
        }
        if offers.is_empty() && withdrawn.is_empty() {
            return None;
        }
        self.version += 1;
        Some(Advert::Change { version: self.version, offers, withdrawn })
    }

    /// Returns a whole advert of the version.
    ///
    /// The advert may contain changes that no version has yet. They are repeated in the next version, without effect.
    pub(super) fn whole(&self) -> Advert {
        Advert::Whole { version: self.version, offers: self.offers.values().cloned().collect() }
    }

    pub(super) fn still(&self) -> Advert {
        Advert::Still { version: self.version }
    }

    /// Returns the number of services over the limit, if a service has exceeded it since the last call.
    pub(super) fn take_overflow(&mut self) -> Option<usize> {
        std::mem::take(&mut self.overflowed).then_some(self.beyond.len()).filter(|&services| services > 0)
    }

    pub(super) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values()
    }
}
