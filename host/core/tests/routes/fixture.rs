//! One node: its directory, and the sum of the directory's effects.

use crate::notation::Notation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::peer::{Advert, Offer};
use wasmnode_core::{Address, Directory, DirectoryEffect, DirectorySettings, Label, Time};

/// Message of a node.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Advert(Advert),
    Pull,
}

impl Notation for Say {
    fn write(&self, line: &mut String) {
        match self {
            Self::Advert(advert) => advert.write(line),
            Self::Pull => "pull".write(line),
        }
    }
}

pub(crate) struct Fixture {
    pub(crate) name: Label,
    pub(crate) alive: bool,
    pub(crate) routes: Directory,
    /// Members that the node considers up.
    pub(crate) up: BTreeSet<Label>,
    settings: DirectorySettings,
    /// Every offer that was reported and not withdrawn.
    told: BTreeMap<(Label, Address), Offer>,
    /// Time of the last pull from each member, unless a whole advert or a restart of the member has ended it.
    pulls: BTreeMap<Label, Time>,
    /// The version of its last `Change`.
    version: u64,
}

impl Fixture {
    pub(crate) fn new(name: Label, settings: &DirectorySettings, boot: u64) -> Self {
        Self {
            name,
            alive: true,
            routes: Directory::new(settings, boot),
            up: BTreeSet::new(),
            settings: settings.clone(),
            told: BTreeMap::new(),
            pulls: BTreeMap::new(),
            version: boot,
        }
    }

    pub(crate) fn member_up(&mut self, member: &Label, now: Time) {
        self.up.insert(member.clone());
        self.pulls.remove(member);
        self.routes.member_up(member, now);
    }

    pub(crate) fn member_down(&mut self, member: &Label) {
        self.up.remove(member);
        self.pulls.remove(member);
        self.routes.member_down(member);
    }

    pub(crate) fn receive(&mut self, from: &Label, say: Say, now: Time) {
        match say {
            Say::Pull => self.routes.receive_pull(from, now),
            Say::Advert(advert) => {
                if let Advert::Whole { .. } = advert {
                    self.pulls.remove(from);
                }
                self.routes.receive(from, advert, now);
            }
        }
    }

    pub(crate) fn wake(&mut self, now: Time) {
        self.routes.wake(now);
        assert!(self.routes.next_wake().is_none_or(|next| next > now), "{} would wake endlessly", self.name);
    }

    /// Takes all effects, and checks each of them, and the directory after them.
    pub(crate) fn drain(&mut self, now: Time) -> Vec<DirectoryEffect> {
        let effects: Vec<DirectoryEffect> = std::iter::from_fn(|| self.routes.next_effect()).collect();
        for effect in &effects {
            self.check(effect, now);
        }
        self.compare();
        effects
    }

    /// Returns the number of reported offers of a member.
    fn count(&self, member: &Label) -> usize {
        self.told.keys().filter(|(by, _)| by == member).count()
    }

    fn check(&mut self, effect: &DirectoryEffect, now: Time) {
        match effect {
            DirectoryEffect::Offered { by, offer } => {
                assert!(self.up.contains(by), "{by} is down");
                assert!(!offer.service.service.is_reserved());
                let before = self.told.insert((by.clone(), offer.service.clone()), offer.clone());
                assert_eq!(before, None, "offered twice");
                assert!(self.count(by) <= self.settings.offers);
                assert!(self.told.len() <= self.settings.routes);
            }
            DirectoryEffect::Withdrawn { by, service } => {
                let before = self.told.remove(&(by.clone(), service.clone()));
                assert!(before.is_some(), "{service} of {by} was withdrawn without an offer");
            }
            DirectoryEffect::Pull { from } => {
                assert!(self.up.contains(from), "{from} is down");
                if let Some(last) = self.pulls.insert(from.clone(), now) {
                    assert!(now.since(last) >= Duration::from_secs(1), "asked {from} twice within a second");
                }
            }
            DirectoryEffect::Advertise { to, advert } => {
                assert!(self.up.contains(to), "{to} is down");
                self.check_advert(advert);
            }
            DirectoryEffect::Refused { .. } | DirectoryEffect::Unlisted { .. } => {}
        }
    }

    fn check_advert(&mut self, advert: &Advert) {
        match advert {
            Advert::Change { version, .. } => {
                assert!(*version == self.version || *version == self.version + 1, "a version is missing");
                self.version = *version;
            }
            Advert::Whole { version, offers } => {
                assert!(offers.len() <= self.settings.offers);
                self.version = *version;
            }
            Advert::Still { version } => self.version = *version,
        }
    }

    /// Checks that all queries of the directory agree, and that it has no offers of members that are down.
    fn compare(&self) {
        let told: Vec<&Offer> = self.told.values().collect();
        let members: BTreeSet<&Label> = self.told.keys().map(|(member, _)| member).collect();
        assert!(members.iter().all(|member| self.up.contains(*member)));
        let by_member: Vec<&Offer> = members.into_iter().flat_map(|member| self.routes.offers_of(member)).collect();
        assert_eq!(by_member, told);
        assert_eq!(self.routes.routes(), told.len());
        let services: BTreeSet<&Address> = self.told.keys().map(|(_, service)| service).collect();
        for service in services {
            let told = self.told.iter().filter(|((_, name), _)| name == service);
            let told: Vec<_> = told.map(|((member, _), offer)| (member, offer)).collect();
            assert_eq!(self.routes.providers(service).collect::<Vec<_>>(), told);
        }
    }

    /// Returns `true` if the node has all offers of a member, as far as the limits allow.
    pub(crate) fn knows(&self, member: &Self) -> bool {
        let known: Vec<&Offer> = self.routes.offers_of(&member.name).collect();
        let own: Vec<&Offer> = member.routes.own().collect();
        let full = known.len() == self.settings.offers || self.routes.routes() == self.settings.routes;
        known == own || full && known.iter().all(|offer| own.contains(offer))
    }
}
