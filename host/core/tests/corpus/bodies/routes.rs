//! The directory of a zone whose members may advertise anything: it keeps its limits, and offers and withdrawals of
//! each member alternate.

use super::reader::Reader;
use super::words::{any_advert, any_name, any_service, any_traits, label};
use super::{Seen, Watch};
use std::collections::BTreeSet;
use std::time::Duration;
use wasmnode_core::message::peer::{self, Offer, PeerMessage};
use wasmnode_core::{Address, Directory, DirectoryEffect, DirectorySettings, Label, Time};

pub fn run(input: &[u8]) {
    watch(input, &mut |_, _| {});
}

/// Runs the body, and reports its events.
pub fn watch<'a>(input: &[u8], watch: &'a mut Watch<'a>) {
    let mut input = Reader::new(input);
    let settings = DirectorySettings { offers: 3, routes: 5, ..DirectorySettings::default() };
    let mut routes = Directory::new(&settings, 1);
    let mut now = Time::ZERO;
    let mut offered = BTreeSet::new();
    routes.member_up(&label("node2"), now);
    while !input.is_empty() {
        step(&mut routes, &mut input, &mut now);
        let mut rounds = 0;
        loop {
            while let Some(effect) = routes.next_effect() {
                watch(now, Seen::Route(&effect));
                take(effect, &mut offered);
            }
            if routes.next_wake().is_none_or(|wake| wake > now) {
                break;
            }
            routes.wake(now);
            rounds += 1;
            assert!(rounds < 100, "wakes endlessly at {now:?}");
        }
        assert!(routes.routes() <= settings.routes && routes.own().count() <= settings.offers);
        assert_eq!(routes.routes(), offered.len(), "the table holds the offers that were reported");
        for (member, service) in &offered {
            assert!(routes.offers_of(member).count() <= settings.offers);
            assert!(routes.providers(service).any(|(by, _)| by == member), "{service} of {member}");
        }
    }
}

fn step(routes: &mut Directory, input: &mut Reader<'_>, now: &mut Time) {
    match input.below(8) {
        0 => routes.member_up(&any_name(input), *now),
        1 => routes.member_down(&any_name(input)),
        2 => {
            let service = any_service(input).into();
            routes.offer(Offer { service, cost: input.u8().into(), traits: any_traits(input) }, *now);
        }
        3 => routes.withdraw(&any_service(input).into(), *now),
        4 => routes.receive_pull(&any_name(input), *now),
        5 => {
            const STEPS: [u64; 5] = [1, 5, 1_000, 10_000, 100_000];
            *now = *now + Duration::from_millis(*input.pick(&STEPS).unwrap());
        }
        _ => {
            let (from, advert) = (any_name(input), PeerMessage::Advert(any_advert(input)));
            let Ok(PeerMessage::Advert(advert)) = peer::decode(peer::encode(advert)) else { unreachable!() };
            routes.receive(&from, advert, *now);
        }
    }
}

fn take(effect: DirectoryEffect, offered: &mut BTreeSet<(Label, Address)>) {
    match effect {
        DirectoryEffect::Offered { by, offer } => assert!(offered.insert((by, offer.service)), "is offered twice"),
        DirectoryEffect::Withdrawn { by, service } => assert!(offered.remove(&(by, service)), "was not offered"),
        DirectoryEffect::Advertise { advert, .. } => {
            let message = PeerMessage::Advert(advert);
            assert_eq!(peer::decode(peer::encode(message.clone())), Ok(message));
        }
        DirectoryEffect::Pull { .. } | DirectoryEffect::Refused { .. } | DirectoryEffect::Unlisted { .. } => {}
    }
}
