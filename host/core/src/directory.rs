//! Service directory of one zone, as one node keeps it.
//!
//! Each node advertises to all others what it serves itself, and forwards no adverts. Every change makes a new version,
//! and applies only to the version before it; a member that misses one, or joins late, requests a whole advert. Adverts
//! are valid for a lease, which the sender renews: a lost message is detected within a third of a lease, and the offers
//! of an unresponsive member expire even if no member reports its death.
//!
//! [`Members`](crate::members) decides on membership, and the directory is informed of it. Versions distinguish adverts
//! of two processes of one name, because they count from the start of the process.

mod local_offers;
mod table;
#[cfg(test)]
mod tests;
mod timers;

use crate::message::peer::{Advert, Offer};
use crate::name::{Address, Label};
use crate::settings::DirectorySettings;
use crate::time::Time;
use local_offers::LocalOffers;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use table::{OfferTable, Put};
use timers::{Due, LeaseTimers};

/// Time for which changes are gathered before they are advertised.
///
/// A node that loads a thousand plugins at its start then sends a few messages, and clients do not notice 5 ms.
const GATHER: Duration = Duration::from_millis(5);

/// Time for a whole advert to arrive, after which it is requested again.
const PULL_AGAIN: Duration = Duration::from_secs(1);

/// Directory of one zone, on one node: the offers of the node itself, and those of every other member.
#[derive(Debug)]
pub struct Directory {
    settings: DirectorySettings,
    own: LocalOffers,
    /// All members that are up; the state is `None` until a whole advert arrives, and after the lease expires.
    members: BTreeMap<Label, Option<AdvertState>>,
    table: OfferTable,
    timers: LeaseTimers,
    /// Time at which the gathered changes are advertised.
    advertise_at: Option<Time>,
    /// Members that get a whole advert at that time, not the changes.
    whole_scheduled: BTreeSet<Label>,
    /// Members that get a whole advert when the effects are drained: whole adverts are made one at a time.
    whole_due: BTreeSet<Label>,
    /// Number of times that a member has come up.
    ups: u64,
    effects: VecDeque<DirectoryEffect>,
}

/// State of the table for one member.
#[derive(Debug, Clone, Copy)]
struct AdvertState {
    version: u64,
    /// Whether the table holds all offers of the version; otherwise, a limit excluded some.
    complete: bool,
}

/// Decision of the directory, for the caller to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryEffect {
    /// Send an advert.
    Advertise {
        /// The receiver.
        to: Label,
        /// The advert.
        advert: Advert,
    },
    /// Request a whole advert.
    Pull {
        /// The member to request it from.
        from: Label,
    },
    /// A member has started to serve a service. For each member and service, `Offered` and `Withdrawn` alternate.
    Offered {
        /// The member.
        by: Label,
        /// The offer.
        offer: Offer,
    },
    /// A member has stopped serving a service. If its offer only changed, `Offered` is the next effect.
    Withdrawn {
        /// The member.
        by: Label,
        /// The service.
        service: Address,
    },
    /// A message of a peer was rejected, in whole or in part.
    Refused {
        /// The peer.
        from: Label,
        /// The reason. The text continues a sentence that begins with "it".
        why: String,
    },
    /// Services of this node exceed [`DirectorySettings::offers`]; they are advertised once others are withdrawn.
    Unlisted {
        /// Number of these services.
        services: usize,
    },
}

impl Directory {
    /// Creates a directory without members and offers.
    ///
    /// `boot` is the start of this process in microseconds since 1970 (as in [`crate::message::peer::Member`]).
    /// Versions count from it, so that adverts of an earlier process of the same name are older than all of this one.
    #[must_use]
    pub fn new(settings: &DirectorySettings, boot: u64) -> Self {
        Self {
            own: LocalOffers::new(settings.offers, boot),
            members: BTreeMap::new(),
            table: OfferTable::new(settings),
            timers: LeaseTimers::default(),
            advertise_at: None,
            whole_scheduled: BTreeSet::new(),
            whole_due: BTreeSet::new(),
            ups: 0,
            effects: VecDeque::new(),
            settings: settings.clone(),
        }
    }

    /// Adds or changes an offer of this node, which is advertised within 5 ms.
    pub fn offer(&mut self, offer: Offer, now: Time) {
        if self.own.offer(offer) {
            self.schedule_advert(now);
        }
    }

    /// Removes an offer of this node; the withdrawal is advertised within 5 ms.
    pub fn withdraw(&mut self, service: &Address, now: Time) {
        if self.own.withdraw(service) {
            self.schedule_advert(now);
        }
    }

    /// Adds a member that can be reached, and sends it a whole advert within 5 ms.
    ///
    /// A member that is already up is replaced by a new process of that name: the offers of the old one are withdrawn.
    pub fn member_up(&mut self, name: &Label, now: Time) {
        self.member_down(name);
        self.members.insert(name.clone(), None);
        let phase = self.next_phase();
        self.timers.set(name, Due::Still, now + phase);
        // The member sends a whole advert without a request, unless it considers this node down at that moment.
        self.timers.set(name, Due::Pull, now + PULL_AGAIN);
        self.schedule_whole(name, now);
    }

    /// Removes a member, and withdraws all its offers immediately.
    pub fn member_down(&mut self, name: &Label) {
        if self.members.remove(name).is_some() {
            self.withdraw_all(name);
            self.timers.forget(name);
            self.whole_scheduled.remove(name);
            self.whole_due.remove(name);
        }
    }

    /// Handles an advert of a member, which is rejected unless the member is up.
    pub fn receive(&mut self, from: &Label, advert: Advert, now: Time) {
        match self.members.get(from) {
            None => self.refuse(from, "advertises although it is not up".into()),
            Some(&known) => match advert {
                Advert::Whole { version, offers } => self.receive_whole(from, known, version, offers, now),
                Advert::Change { version, offers, withdrawn } => match known {
                    Some(known) if version <= known.version => {}
                    Some(known) if version - 1 == known.version => {
                        self.receive_change(from, known, offers, withdrawn);
                        self.renew(from, now);
                    }
                    _ => self.pull(from, now),
                },
                Advert::Still { version } => self.receive_renewal(from, known, version, now),
            },
        }
    }

    /// Handles a request for a whole advert, which is sent within 5 ms if the member is up.
    pub fn receive_pull(&mut self, by: &Label, now: Time) {
        if self.members.contains_key(by) {
            self.schedule_whole(by, now);
        } else {
            self.refuse(by, "requests adverts although it is not up".into());
        }
    }

    /// Acts on the time: advertises gathered changes, renews leases, ends expired ones, repeats requests.
    pub fn wake(&mut self, now: Time) {
        if self.advertise_at.is_some_and(|time| time <= now) {
            self.advertise();
        }
        while let Some((time, member, due)) = self.timers.pop(now) {
            match due {
                Due::Still => self.send_renewal(&member, time, now),
                Due::Lease => self.expire(&member, now),
                Due::Pull => self.pull(&member, now),
            }
        }
    }

    /// Returns the time at which [`Self::wake`] is due, if any.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.advertise_at.into_iter().chain(self.timers.next()).min()
    }

    /// Returns the next decision to act on.
    pub fn next_effect(&mut self) -> Option<DirectoryEffect> {
        self.effects.pop_front().or_else(|| {
            let to = self.whole_due.pop_first()?;
            Some(DirectoryEffect::Advertise { to, advert: self.own.whole() })
        })
    }

    /// Returns the other members that serve a service, by name. All of them are up.
    pub fn providers(&self, service: &Address) -> impl Iterator<Item = (&Label, &Offer)> {
        self.table.providers(service)
    }

    /// Returns all offers of another member, by name of the service.
    pub fn offers_of(&self, member: &Label) -> impl Iterator<Item = &Offer> {
        self.table.offers_of(member)
    }

    /// Returns all offers of this node that are advertised, by name.
    pub fn own(&self) -> impl Iterator<Item = &Offer> {
        self.own.offers()
    }

    /// Returns the number of offers of other members; at most [`DirectorySettings::routes`].
    #[must_use]
    pub fn routes(&self) -> usize {
        self.table.len()
    }

    fn schedule_whole(&mut self, member: &Label, now: Time) {
        self.whole_scheduled.insert(member.clone());
        self.schedule_advert(now);
    }

    fn schedule_advert(&mut self, now: Time) {
        self.advertise_at.get_or_insert(now + GATHER);
    }

    /// Sends the changes to every member, or schedules a whole advert for members that need one.
    fn advertise(&mut self) {
        self.advertise_at = None;
        if let Some(advert) = self.own.next_version() {
            for to in self.members.keys().filter(|member| !self.whole_scheduled.contains(*member)) {
                self.effects.push_back(DirectoryEffect::Advertise { to: to.clone(), advert: advert.clone() });
            }
        }
        if let Some(services) = self.own.take_overflow() {
            self.effects.push_back(DirectoryEffect::Unlisted { services });
        }
        self.whole_due.append(&mut self.whole_scheduled);
    }

    /// Returns the interval of renewals, a third of a lease, so that two renewals may be lost.
    fn interval(&self) -> Duration {
        (self.settings.lease / 3).max(Duration::from_millis(1))
    }

    /// Returns the offset of the next member's renewals in the interval.
    ///
    /// Multiples of the golden ratio spread evenly for any number of members.
    fn next_phase(&mut self) -> Duration {
        self.ups += 1;
        let fraction = self.ups.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let micros = self.interval().as_micros().saturating_mul(fraction.into()) >> 64;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Renews this node's lease at a member.
    fn send_renewal(&mut self, member: &Label, due: Time, now: Time) {
        let interval = self.interval();
        // After a pause without wake-ups, the members keep their offsets in the interval.
        let missed = now.since(due).as_micros() / interval.as_micros();
        let next = due + interval.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
        self.timers.set(member, Due::Still, next.max(now + Duration::from_micros(1)));
        if !self.whole_scheduled.contains(member) && !self.whole_due.contains(member) {
            self.effects.push_back(DirectoryEffect::Advertise { to: member.clone(), advert: self.own.still() });
        }
    }

    fn receive_whole(&mut self, from: &Label, known: Option<AdvertState>, version: u64, offers: Vec<Offer>, now: Time) {
        match known {
            Some(known) if version < known.version => return,
            Some(known) if version == known.version && known.complete => {}
            _ => {
                let offers: BTreeMap<_, _> = offers.into_iter().map(|offer| (offer.service.clone(), offer)).collect();
                let gone = self.table.offers_of(from).map(|offer| &offer.service);
                let gone: Vec<_> = gone.filter(|service| !offers.contains_key(*service)).cloned().collect();
                self.drop_offers(from, gone);
                let complete = self.take_offers(from, offers.into_values());
                self.members.insert(from.clone(), Some(AdvertState { version, complete }));
            }
        }
        self.timers.clear(from, Due::Pull);
        self.renew(from, now);
    }

    fn receive_change(&mut self, from: &Label, known: AdvertState, offers: Vec<Offer>, withdrawn: Vec<Address>) {
        self.drop_offers(from, withdrawn);
        let complete = self.take_offers(from, offers) && known.complete;
        self.members.insert(from.clone(), Some(AdvertState { version: known.version + 1, complete }));
    }

    fn receive_renewal(&mut self, from: &Label, known: Option<AdvertState>, version: u64, now: Time) {
        match known {
            Some(known) if version == known.version => {
                self.renew(from, now);
                if !known.complete && self.table.has_room(from) {
                    self.pull(from, now);
                }
            }
            _ => self.pull(from, now),
        }
    }

    /// Stores offers of a member within the limits. Returns `true` if the limits allowed all.
    fn take_offers(&mut self, from: &Label, offers: impl IntoIterator<Item = Offer>) -> bool {
        let (mut reserved, mut over) = (0, 0);
        for offer in offers {
            if offer.service.service.is_reserved() {
                reserved += 1;
                continue;
            }
            let put = self.table.put(from, &offer);
            if put == Put::Over {
                over += 1;
            }
            if put == Put::Changed {
                self.effects.push_back(DirectoryEffect::Withdrawn { by: from.clone(), service: offer.service.clone() });
            }
            if matches!(put, Put::New | Put::Changed) {
                self.effects.push_back(DirectoryEffect::Offered { by: from.clone(), offer });
            }
        }
        self.refuse_offers(from, reserved, over);
        over == 0
    }

    /// Reports all rejected offers of an advert in one effect.
    fn refuse_offers(&mut self, from: &Label, reserved: usize, over: usize) {
        let DirectorySettings { offers, routes, .. } = self.settings;
        let reserved = (reserved > 0).then(|| format!("{reserved} under a name that is kept for nodes"));
        let over = (over > 0)
            .then(|| format!("{over} over a limit (`offers` of one member: {offers}, `routes` of all: {routes})"));
        let why: Vec<String> = reserved.into_iter().chain(over).collect();
        if !why.is_empty() {
            self.refuse(from, format!("offers services that are not taken: {}", why.join(", ")));
        }
    }

    fn drop_offers(&mut self, from: &Label, services: Vec<Address>) {
        for service in services {
            if self.table.remove(from, &service) {
                self.effects.push_back(DirectoryEffect::Withdrawn { by: from.clone(), service });
            }
        }
    }

    fn withdraw_all(&mut self, member: &Label) {
        for service in self.table.clear(member) {
            self.effects.push_back(DirectoryEffect::Withdrawn { by: member.clone(), service });
        }
    }

    fn renew(&mut self, member: &Label, now: Time) {
        self.timers.set(member, Due::Lease, now + self.settings.lease);
    }

    /// Withdraws the offers of a member whose lease expired. Its next advert is accepted whatever its version.
    fn expire(&mut self, member: &Label, now: Time) {
        self.members.insert(member.clone(), None);
        self.withdraw_all(member);
        self.pull(member, now);
    }

    /// Requests a whole advert, unless one is expected already.
    fn pull(&mut self, from: &Label, now: Time) {
        if !self.timers.is_set(from, Due::Pull) {
            self.timers.set(from, Due::Pull, now + PULL_AGAIN);
            self.effects.push_back(DirectoryEffect::Pull { from: from.clone() });
        }
    }

    fn refuse(&mut self, from: &Label, why: String) {
        self.effects.push_back(DirectoryEffect::Refused { from: from.clone(), why });
    }
}
