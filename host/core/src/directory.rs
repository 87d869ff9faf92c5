//! Where a service is: the directory of one zone, as one node knows it.
//!
//! Each node tells all others what it serves itself, and passes on nothing that it heard. Every change makes a new
//! version, and counts only upon the version before it; whoever misses one, or joins late, asks for the whole. What was
//! told counts for a lease, which the sender renews in time: so a lost message is found after a third of a lease at the
//! latest, and a member that fell silent is forgotten even if nobody says that it died.
//!
//! Who is a member is decided elsewhere, and told here. Adverts of two processes under one name are told apart by their
//! versions, which count from the start of the process.

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

/// How long changes are gathered before the members are told: a start that loads a thousand plugins tells it in a few
/// messages, and a client cannot tell 5 ms from none.
const GATHER: Duration = Duration::from_millis(5);

/// How long a whole advert may take to come before it is asked for again.
const PULL_AGAIN: Duration = Duration::from_secs(1);

/// The directory of one zone, on one node: what it serves itself, and what every other member serves.
#[derive(Debug)]
pub struct Directory {
    settings: DirectorySettings,
    own: LocalOffers,
    /// All that are up, with what is known of each; nothing until a whole advert came, and after its lease ran out.
    members: BTreeMap<Label, Option<AdvertState>>,
    table: OfferTable,
    timers: LeaseTimers,
    /// When the members are told what has been gathered.
    tell: Option<Time>,
    /// Who is told everything then.
    owed: BTreeSet<Label>,
    /// Who is told everything when the effects are drained: whole adverts are made one at a time.
    telling: BTreeSet<Label>,
    /// Members that came up so far.
    ups: u64,
    effects: VecDeque<DirectoryEffect>,
}

/// How much the table holds of what a member offers.
#[derive(Debug, Clone, Copy)]
struct AdvertState {
    version: u64,
    /// Whether it is all of the version; else a limit kept something out.
    complete: bool,
}

/// What the directory decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryEffect {
    /// Send an advert.
    Advertise {
        /// The member that it is for.
        to: Label,
        /// What to tell.
        advert: Advert,
    },
    /// Ask for a whole advert.
    Pull {
        /// The member to ask.
        from: Label,
    },
    /// A member serves a service from now on. For each member and service, this and `Withdrawn` alternate.
    Offered {
        /// The member.
        by: Label,
        /// What it serves.
        offer: Offer,
    },
    /// A member serves a service no longer. If its offer only changed, `Offered` follows at once.
    Withdrawn {
        /// The member.
        by: Label,
        /// What it served.
        service: Address,
    },
    /// What a peer said was refused, all of it or in part.
    Refused {
        /// The peer.
        from: Label,
        /// Why; reads on from "it ...".
        why: String,
    },
    /// So many services of this node are over [`DirectorySettings::offers`]: the members are not told of them until
    /// others are withdrawn.
    Unlisted {
        /// How many.
        services: usize,
    },
}

impl Directory {
    /// Makes a directory that knows nobody and offers nothing.
    ///
    /// `boot` is when this process started, in microseconds since 1970 (as in [`crate::message::peer::Member`]):
    /// versions count from it, so that what an earlier process under the same name said is older than all that this one
    /// says.
    #[must_use]
    pub fn new(settings: &DirectorySettings, boot: u64) -> Self {
        Self {
            own: LocalOffers::new(settings.offers, boot),
            members: BTreeMap::new(),
            table: OfferTable::new(settings),
            timers: LeaseTimers::default(),
            tell: None,
            owed: BTreeSet::new(),
            telling: BTreeSet::new(),
            ups: 0,
            effects: VecDeque::new(),
            settings: settings.clone(),
        }
    }

    /// This node serves a service from now on, or serves it differently. The members are told within 5 ms.
    pub fn offer(&mut self, offer: Offer, now: Time) {
        if self.own.offer(offer) {
            self.schedule_advert(now);
        }
    }

    /// This node no longer serves a service. The members are told within 5 ms.
    pub fn withdraw(&mut self, service: &Address, now: Time) {
        if self.own.withdraw(service) {
            self.schedule_advert(now);
        }
    }

    /// A member can be reached from now on: it is told everything within 5 ms.
    ///
    /// One that was up already is taken for a new one, under whose name another process was known: what that offered
    /// goes.
    pub fn member_up(&mut self, name: &Label, now: Time) {
        self.member_down(name);
        self.members.insert(name.clone(), None);
        let phase = self.next_phase();
        self.timers.set(name, Due::Still, now + phase);
        // It tells everything by itself; unless it took this node for down at that moment.
        self.timers.set(name, Due::Pull, now + PULL_AGAIN);
        self.schedule_whole(name, now);
    }

    /// A member is gone: all that it offered goes at once.
    pub fn member_down(&mut self, name: &Label) {
        if self.members.remove(name).is_some() {
            self.withdraw_all(name);
            self.timers.forget(name);
            self.owed.remove(name);
            self.telling.remove(name);
        }
    }

    /// A member told what it offers. Counts only if it is up.
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

    /// A member asks for a whole advert: it is told within 5 ms. Counts only if it is up.
    pub fn receive_pull(&mut self, by: &Label, now: Time) {
        if self.members.contains_key(by) {
            self.schedule_whole(by, now);
        } else {
            self.refuse(by, "asks for adverts although it is not up".into());
        }
    }

    /// Lets time pass: tells what has been gathered, renews leases, ends those that ran out, asks again.
    pub fn wake(&mut self, now: Time) {
        if self.tell.is_some_and(|time| time <= now) {
            self.advertise();
        }
        while let Some((time, member, due)) = self.timers.pop(now) {
            match due {
                Due::Still => self.still(&member, time, now),
                Due::Lease => self.run_out(&member, now),
                Due::Pull => self.pull(&member, now),
            }
        }
    }

    /// When [`Self::wake`] is due, if ever.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.tell.into_iter().chain(self.timers.next()).min()
    }

    /// The next decision to act on.
    pub fn next_effect(&mut self) -> Option<DirectoryEffect> {
        self.effects.pop_front().or_else(|| {
            let to = self.telling.pop_first()?;
            Some(DirectoryEffect::Advertise { to, advert: self.own.whole() })
        })
    }

    /// The other members that serve a service, by name. All of them are up.
    pub fn providers(&self, service: &Address) -> impl Iterator<Item = (&Label, &Offer)> {
        self.table.providers(service)
    }

    /// All that another member serves, by name of the service.
    pub fn offers_of(&self, member: &Label) -> impl Iterator<Item = &Offer> {
        self.table.offers_of(member)
    }

    /// All that this node serves, as far as the members are told, by name.
    pub fn own(&self) -> impl Iterator<Item = &Offer> {
        self.own.offers()
    }

    /// How many services of other members are known, each counted once per member; at most
    /// [`DirectorySettings::routes`].
    #[must_use]
    pub fn routes(&self) -> usize {
        self.table.len()
    }

    fn schedule_whole(&mut self, member: &Label, now: Time) {
        self.owed.insert(member.clone());
        self.schedule_advert(now);
    }

    fn schedule_advert(&mut self, now: Time) {
        self.tell.get_or_insert(now + GATHER);
    }

    /// Tells every member what has changed, or everything if it is owed that.
    fn advertise(&mut self) {
        self.tell = None;
        if let Some(advert) = self.own.next_version() {
            for to in self.members.keys().filter(|member| !self.owed.contains(*member)) {
                self.effects.push_back(DirectoryEffect::Advertise { to: to.clone(), advert: advert.clone() });
            }
        }
        if let Some(services) = self.own.take_overflow() {
            self.effects.push_back(DirectoryEffect::Unlisted { services });
        }
        self.telling.append(&mut self.owed);
    }

    /// How often a lease is renewed: two renewals may get lost.
    fn interval(&self) -> Duration {
        (self.settings.lease / 3).max(Duration::from_millis(1))
    }

    /// Where in the interval the next member's renewals lie. Multiples of the golden ratio spread evenly, however many
    /// members there are.
    fn next_phase(&mut self) -> Duration {
        self.ups += 1;
        let fraction = self.ups.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let micros = self.interval().as_micros().saturating_mul(fraction.into()) >> 64;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Renews this node's lease at a member.
    fn still(&mut self, member: &Label, due: Time, now: Time) {
        let interval = self.interval();
        // After a pause in which nobody woke this node, its members keep their places in the interval.
        let missed = now.since(due).as_micros() / interval.as_micros();
        let next = due + interval.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
        self.timers.set(member, Due::Still, next.max(now + Duration::from_micros(1)));
        if !self.owed.contains(member) && !self.telling.contains(member) {
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

    /// Takes what a member offers as far as the limits allow. Whether they allowed all.
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

    /// Says in one breath which offers of an advert were refused.
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

    /// A member has been silent for a lease: whatever it says next, even of an old version, is news.
    fn run_out(&mut self, member: &Label, now: Time) {
        self.members.insert(member.clone(), None);
        self.withdraw_all(member);
        self.pull(member, now);
    }

    /// Asks for a whole advert, unless one is on its way.
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
