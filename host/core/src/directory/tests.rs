use super::*;
use crate::message::peer::Traits;

const BOOT: u64 = 1_000;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn service(name: &str) -> Address {
    name.parse().unwrap()
}

fn offer(name: &str) -> Offer {
    Offer { service: service(name), cost: 0, traits: Traits::default() }
}

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1_000)
}

fn whole(version: u64, offers: &[&str]) -> Advert {
    Advert::Whole { version, offers: offers.iter().map(|name| offer(name)).collect() }
}

fn change(version: u64, offers: &[&str], withdrawn: &[&str]) -> Advert {
    let offers = offers.iter().map(|name| offer(name)).collect();
    Advert::Change { version, offers, withdrawn: withdrawn.iter().map(|name| service(name)).collect() }
}

fn still(version: u64) -> Advert {
    Advert::Still { version }
}

fn advertise(to: &str, advert: Advert) -> DirectoryEffect {
    DirectoryEffect::Advertise { to: label(to), advert }
}

fn pull(from: &str) -> DirectoryEffect {
    DirectoryEffect::Pull { from: label(from) }
}

fn offered(by: &str, name: &str) -> DirectoryEffect {
    DirectoryEffect::Offered { by: label(by), offer: offer(name) }
}

fn withdrawn(by: &str, name: &str) -> DirectoryEffect {
    DirectoryEffect::Withdrawn { by: label(by), service: service(name) }
}

fn refused(from: &str, why: &str) -> DirectoryEffect {
    DirectoryEffect::Refused { from: label(from), why: why.into() }
}

fn drain(routes: &mut Directory) -> Vec<DirectoryEffect> {
    std::iter::from_fn(|| routes.next_effect()).collect()
}

fn wake(routes: &mut Directory, millis: u64) -> Vec<DirectoryEffect> {
    routes.wake(at(millis));
    drain(routes)
}

fn receive(routes: &mut Directory, from: &str, advert: Advert, millis: u64) -> Vec<DirectoryEffect> {
    routes.receive(&label(from), advert, at(millis));
    drain(routes)
}

fn names<'a>(offers: impl Iterator<Item = &'a Offer>) -> Vec<&'a str> {
    offers.map(|offer| offer.service.service.as_str()).collect()
}

fn providers<'a>(routes: &'a Directory, name: &str) -> Vec<&'a str> {
    let name = service(name);
    let members: Vec<&Label> = routes.providers(&name).map(|(member, _)| member).collect();
    members.into_iter().map(Label::as_str).collect()
}

/// Returns a directory in which these members came up at zero, and have received their adverts.
fn routes_with(settings: &DirectorySettings, members: &[&str]) -> Directory {
    let mut routes = Directory::new(settings, BOOT);
    for member in members {
        routes.member_up(&label(member), Time::ZERO);
    }
    routes.wake(at(5));
    drain(&mut routes);
    routes
}

fn routes(members: &[&str]) -> Directory {
    routes_with(&DirectorySettings::default(), members)
}

#[test]
fn a_change_reaches_every_member_within_five_milliseconds() {
    let mut routes = routes(&["ann", "bob"]);
    routes.offer(offer("print"), at(100));
    assert_eq!(drain(&mut routes), []);
    assert_eq!(routes.next_wake(), Some(at(105)));
    let made = change(BOOT + 1, &["print"], &[]);
    assert_eq!(wake(&mut routes, 105), [advertise("ann", made.clone()), advertise("bob", made)]);
    routes.withdraw(&service("print"), at(200));
    let made = change(BOOT + 2, &[], &["print"]);
    assert_eq!(wake(&mut routes, 205), [advertise("ann", made.clone()), advertise("bob", made)]);
}

#[test]
fn changes_of_five_milliseconds_make_one_version() {
    let mut routes = routes(&["ann"]);
    routes.offer(offer("b"), at(100));
    routes.offer(offer("a"), at(101));
    routes.offer(offer("c"), at(102));
    routes.withdraw(&service("b"), at(104));
    assert_eq!(wake(&mut routes, 105), [advertise("ann", change(BOOT + 1, &["a", "c"], &[]))]);
}

#[test]
fn a_change_without_effect_is_not_advertised() {
    let mut routes = routes(&["ann"]);
    routes.offer(offer("print"), at(100));
    wake(&mut routes, 105);
    let quiet = routes.next_wake();
    routes.offer(offer("print"), at(106));
    routes.withdraw(&service("scan"), at(106));
    assert_eq!(routes.next_wake(), quiet);
    routes.withdraw(&service("print"), at(107));
    routes.offer(offer("print"), at(108));
    assert_eq!(wake(&mut routes, 112), []);
    routes.offer(Offer { traits: Traits::of_plugin(true), ..offer("print") }, at(120));
    let offers = vec![Offer { traits: Traits::of_plugin(true), ..offer("print") }];
    let advert = Advert::Change { version: BOOT + 2, offers, withdrawn: vec![] };
    assert_eq!(wake(&mut routes, 125), [advertise("ann", advert)]);
}

#[test]
fn a_new_member_and_one_that_pulls_get_a_whole_advert() {
    let mut routes = routes(&["ann"]);
    routes.offer(offer("print"), at(100));
    routes.member_up(&label("bob"), at(103));
    let effects = wake(&mut routes, 105);
    assert_eq!(
        effects,
        [advertise("ann", change(BOOT + 1, &["print"], &[])), advertise("bob", whole(BOOT + 1, &["print"]))]
    );
    routes.receive_pull(&label("ann"), at(200));
    routes.receive_pull(&label("ann"), at(201));
    assert_eq!(wake(&mut routes, 205), [advertise("ann", whole(BOOT + 1, &["print"]))]);
    routes.receive_pull(&label("eve"), at(300));
    assert_eq!(drain(&mut routes), [refused("eve", "requests adverts although it is not up")]);
}

#[test]
fn a_member_that_goes_down_before_the_advert_gets_none() {
    let mut routes = routes(&[]);
    routes.member_up(&label("ann"), at(0));
    routes.member_down(&label("ann"));
    assert_eq!(wake(&mut routes, 5), []);
    routes.member_up(&label("ann"), at(10));
    routes.wake(at(15));
    routes.member_down(&label("ann"));
    assert_eq!(drain(&mut routes), []);
    assert_eq!(routes.next_wake(), None);
}

#[test]
fn a_change_applies_only_to_the_previous_version() {
    let mut routes = routes(&["ann"]);
    assert_eq!(receive(&mut routes, "ann", change(1, &["x"], &[]), 10), [], "the whole advert is in transit");
    assert_eq!(receive(&mut routes, "ann", whole(1, &["print"]), 20), [offered("ann", "print")]);
    let effects = receive(&mut routes, "ann", change(2, &["scan"], &["print"]), 30);
    assert_eq!(effects, [withdrawn("ann", "print"), offered("ann", "scan")]);
    assert_eq!(receive(&mut routes, "ann", change(2, &["old"], &[]), 40), []);
    assert_eq!(receive(&mut routes, "ann", change(1, &["old"], &[]), 40), []);
    assert_eq!(receive(&mut routes, "ann", change(4, &["new"], &[]), 50), [pull("ann")]);
    assert_eq!(receive(&mut routes, "ann", change(5, &["new"], &[]), 60), [], "at most one pull at a time");
    assert_eq!(names(routes.offers_of(&label("ann"))), ["scan"], "the known offers stay valid meanwhile");
    let effects = receive(&mut routes, "ann", whole(5, &["new", "scan"]), 70);
    assert_eq!(effects, [offered("ann", "new")]);
    assert_eq!(
        receive(&mut routes, "ann", change(9, &[], &[]), 80),
        [pull("ann")],
        "the whole advert has ended the last pull"
    );
}

#[test]
fn a_pull_without_an_answer_is_repeated_each_second() {
    let mut routes = routes(&["ann"]);
    assert_eq!(wake(&mut routes, 999), []);
    assert_eq!(wake(&mut routes, 1_000), [pull("ann")]);
    assert_eq!(receive(&mut routes, "ann", still(7), 1_500), []);
    assert_eq!(wake(&mut routes, 2_000), [pull("ann")]);
    assert_eq!(receive(&mut routes, "ann", whole(7, &[]), 2_001), []);
    assert_eq!(wake(&mut routes, 3_500), []);
}

#[test]
fn a_whole_advert_replaces_all_offers_and_only_differences_are_reported() {
    let mut routes = routes(&["ann"]);
    receive(&mut routes, "ann", whole(3, &["a", "b", "c"]), 10);
    let offers = vec![offer("d"), Offer { traits: Traits::of_plugin(true), ..offer("b") }, offer("c")];
    let effects = receive(&mut routes, "ann", Advert::Whole { version: 5, offers: offers.clone() }, 20);
    let by = label("ann");
    let changed = DirectoryEffect::Offered { by: by.clone(), offer: offers[1].clone() };
    assert_eq!(effects, [withdrawn("ann", "a"), withdrawn("ann", "b"), changed, offered("ann", "d")]);
    assert_eq!(receive(&mut routes, "ann", whole(5, &["old"]), 30), []);
    assert_eq!(receive(&mut routes, "ann", whole(4, &["old"]), 30), []);
    assert_eq!(names(routes.offers_of(&by)), ["b", "c", "d"]);
}

#[test]
fn a_member_that_goes_down_has_its_offers_withdrawn() {
    let mut routes = routes(&["ann", "bob"]);
    receive(&mut routes, "ann", whole(1, &["print", "scan"]), 10);
    receive(&mut routes, "bob", whole(1, &["print"]), 10);
    assert_eq!(providers(&routes, "print"), ["ann", "bob"]);
    routes.member_down(&label("ann"));
    assert_eq!(drain(&mut routes), [withdrawn("ann", "print"), withdrawn("ann", "scan")]);
    assert_eq!(providers(&routes, "print"), ["bob"]);
    assert_eq!(providers(&routes, "scan"), [""; 0]);
    assert_eq!(routes.routes(), 1);
    let effects = receive(&mut routes, "ann", change(2, &["fax"], &[]), 20);
    assert_eq!(effects, [refused("ann", "advertises although it is not up")]);
}

#[test]
fn a_member_that_comes_up_again_is_another_process() {
    let mut routes = routes(&["ann"]);
    receive(&mut routes, "ann", whole(9, &["print"]), 10);
    routes.member_up(&label("ann"), at(20));
    assert_eq!(drain(&mut routes), [withdrawn("ann", "print")]);
    assert_eq!(receive(&mut routes, "ann", whole(2, &["scan"]), 30), [offered("ann", "scan")]);
}

#[test]
fn an_expired_lease_withdraws_the_offers_until_a_whole_advert_arrives() {
    let mut routes = routes(&["ann"]);
    receive(&mut routes, "ann", whole(4, &["print"]), 10);
    assert_eq!(receive(&mut routes, "ann", still(4), 20_000), []);
    let silent = |effect: &DirectoryEffect| !matches!(effect, DirectoryEffect::Advertise { .. });
    routes.wake(at(49_999));
    assert!(!drain(&mut routes).iter().any(silent));
    routes.wake(at(50_000));
    let effects: Vec<_> = drain(&mut routes).into_iter().filter(silent).collect();
    assert_eq!(effects, [withdrawn("ann", "print"), pull("ann")]);
    assert_eq!(receive(&mut routes, "ann", change(5, &["scan"], &[]), 50_100), [], "no version precedes it");
    assert_eq!(receive(&mut routes, "ann", whole(4, &["print"]), 50_200), [offered("ann", "print")]);
}

#[test]
fn a_renewal_of_another_version_renews_nothing_and_pulls() {
    let mut routes = routes(&["ann"]);
    receive(&mut routes, "ann", whole(4, &["print"]), 0);
    assert_eq!(receive(&mut routes, "ann", still(5), 20_000), [pull("ann")]);
    routes.wake(at(30_000));
    assert!(drain(&mut routes).contains(&withdrawn("ann", "print")));
}

#[test]
fn versions_that_went_back_are_accepted_after_a_lease() {
    let mut routes = routes(&["ann"]);
    receive(&mut routes, "ann", whole(u64::MAX, &["print"]), 0);
    assert_eq!(receive(&mut routes, "ann", still(3), 10_000), [pull("ann")]);
    assert_eq!(receive(&mut routes, "ann", whole(3, &["scan"]), 10_100), []);
    routes.wake(at(30_000));
    drain(&mut routes);
    assert_eq!(receive(&mut routes, "ann", whole(3, &["scan"]), 30_100), [offered("ann", "scan")]);
}

#[test]
fn each_member_gets_three_renewals_per_lease_at_staggered_times() {
    let members: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut routes = routes(&members);
    for member in &members {
        receive(&mut routes, member, whole(1, &[]), 6);
    }
    let mut received: BTreeMap<Label, usize> = BTreeMap::new();
    let mut busiest = 0;
    while let Some(time) = routes.next_wake().filter(|time| *time < at(30_000)) {
        routes.wake(time);
        let effects = drain(&mut routes);
        busiest = busiest.max(effects.len());
        for effect in effects {
            let DirectoryEffect::Advertise { to, advert } = effect else { panic!("{effect:?}") };
            assert_eq!(advert, still(BOOT));
            *received.entry(to).or_default() += 1;
        }
    }
    assert_eq!(received.len(), 100);
    assert!(received.values().all(|&times| times == 3), "{received:?}");
    assert_eq!(busiest, 1);
    let phases: Vec<Time> = routes.timers.times_of(Due::Still).collect();
    let widest = phases.windows(2).map(|pair| pair[1].since(pair[0])).max();
    assert!(widest < Some(Duration::from_millis(300)), "100 in 10 s: {widest:?}");
}

#[test]
fn renewals_missed_in_a_long_pause_are_not_sent_later() {
    let mut routes = routes(&["ann"]);
    let first = routes.timers.times_of(Due::Still).next().unwrap();
    let effects = wake(&mut routes, 95_000);
    assert_eq!(effects, [pull("ann"), advertise("ann", still(BOOT))]);
    let missed = (1..).map(|n| first + Duration::from_secs(10 * n)).find(|time| *time > at(95_000));
    assert_eq!(routes.timers.times_of(Due::Still).next(), missed);
}

#[test]
fn offers_over_the_limit_of_a_member_are_refused_once_per_advert() {
    let settings = DirectorySettings { offers: 2, ..DirectorySettings::default() };
    let mut routes = routes_with(&settings, &["ann"]);
    let effects = receive(&mut routes, "ann", whole(1, &["d", "c", "b", "a"]), 10);
    let why = "offers services that are not taken: 2 over a limit (`offers` of one member: 2, `routes` of all: 100000)";
    assert_eq!(effects, [offered("ann", "a"), offered("ann", "b"), refused("ann", why)]);
    assert_eq!(
        receive(&mut routes, "ann", change(2, &["e"], &["a"]), 20),
        [withdrawn("ann", "a"), offered("ann", "e")]
    );
    assert_eq!(receive(&mut routes, "ann", still(2), 30), [], "the limit excludes the others");
    assert_eq!(receive(&mut routes, "ann", change(3, &[], &["b"]), 40), [withdrawn("ann", "b")]);
    assert_eq!(receive(&mut routes, "ann", still(3), 50), [pull("ann")]);
    let effects = receive(&mut routes, "ann", whole(3, &["c", "d", "e"]), 60);
    assert_eq!(effects[..1], [offered("ann", "c")]);
    assert_eq!(effects.len(), 2);
    assert_eq!(receive(&mut routes, "ann", change(4, &[], &["d"]), 70), []);
}

#[test]
fn all_members_together_have_a_limit_too() {
    let settings = DirectorySettings { routes: 3, ..DirectorySettings::default() };
    let mut routes = routes_with(&settings, &["ann", "bob"]);
    receive(&mut routes, "ann", whole(1, &["a", "b"]), 10);
    let effects = receive(&mut routes, "bob", whole(1, &["a", "b"]), 10);
    assert_eq!(effects[0], offered("bob", "a"));
    assert!(matches!(effects[1..], [DirectoryEffect::Refused { .. }]));
    assert_eq!(routes.routes(), 3);
    routes.member_down(&label("ann"));
    drain(&mut routes);
    assert_eq!(receive(&mut routes, "bob", still(1), 20), [pull("bob")], "the limit allows the others");
    assert_eq!(receive(&mut routes, "bob", whole(1, &["a", "b"]), 30), [offered("bob", "b")]);
    assert_eq!(receive(&mut routes, "bob", still(1), 40), []);
}

#[test]
fn reserved_names_of_a_member_are_refused_and_the_rest_is_accepted() {
    let mut routes = routes(&["ann"]);
    let effects = receive(&mut routes, "ann", whole(1, &["mmi.service", "node.x", "print"]), 10);
    let why = "offers services that are not taken: 2 under a name that is kept for nodes";
    assert_eq!(effects, [offered("ann", "print"), refused("ann", why)]);
    assert_eq!(receive(&mut routes, "ann", still(1), 20), [], "they would be refused again");
}

#[test]
fn own_services_over_the_limit_are_not_advertised_until_there_is_room() {
    let settings = DirectorySettings { offers: 2, ..DirectorySettings::default() };
    let mut routes = routes_with(&settings, &["ann"]);
    for name in ["a", "b", "c", "d"] {
        routes.offer(offer(name), at(100));
    }
    let effects = wake(&mut routes, 105);
    assert_eq!(
        effects,
        [advertise("ann", change(BOOT + 1, &["a", "b"], &[])), DirectoryEffect::Unlisted { services: 2 }]
    );
    routes.withdraw(&service("c"), at(110));
    routes.withdraw(&service("a"), at(110));
    assert_eq!(wake(&mut routes, 115), [advertise("ann", change(BOOT + 2, &["d"], &["a"]))]);
    assert_eq!(names(routes.own()), ["b", "d"]);
}
