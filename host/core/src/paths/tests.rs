use super::*;
use crate::message::path::{Changes, Group, OfferedService, UpdateContent};

const LATER: Duration = Duration::from_secs(1);

fn speaker(name: &str) -> Speaker {
    let (router, zone) = name.split_once('.').unwrap();
    Speaker { zone: zone.parse().unwrap(), router: router.parse().unwrap(), boot: 1_000 }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn open(cost: u32) -> SessionKind {
    SessionKind::External { cost, import: Policy::everything(), export: Policy::everything() }
}

/// Returns a router of zone paris with sessions 1, 2, ... to these routers.
fn paris(neighbours: &[&str]) -> Paths {
    let mut paths = Paths::new(&speaker("gate.paris"), &PathSettings::default(), 7);
    for (link, name) in (1..).zip(neighbours) {
        let kind = if name.ends_with(".paris") { SessionKind::Internal } else { open(1) };
        paths.session_up(LinkId(link), &speaker(name), kind, 1_000 + link, Time::ZERO);
    }
    paths
}

/// Returns services on a path, as a neighbour sends them; every epoch is 50.
fn group(path: &[&str], services: &[&str]) -> Group {
    let mut path: Vec<Hop> = path.iter().map(|name| Hop { at: speaker(name).id(), epoch: 50 }).collect();
    path.last_mut().unwrap().epoch = 0;
    let offered = |name: &&str| OfferedService { service: service(name), version: 1, traits: Traits::default() };
    Group { cost: path.len() as u32 - 1, path, boot: 1_000, services: services.iter().map(offered).collect() }
}

fn receive(paths: &mut Paths, link: u64, changes: Changes) -> Vec<PathEffect> {
    let number = paths.sessions[&LinkId(link)].received + 1;
    paths.import(LinkId(link), Update { number, content: UpdateContent::Changes(changes) }, Time::ZERO);
    drain(paths)
}

fn receive_path(paths: &mut Paths, link: u64, path: &[&str]) -> Vec<PathEffect> {
    receive(paths, link, Changes { groups: vec![group(path, &["print"])], ..Changes::default() })
}

fn drain(paths: &mut Paths) -> Vec<PathEffect> {
    std::iter::from_fn(|| paths.next_effect()).collect()
}

/// Returns the changes that a session sends within a second, without digests.
fn sent(paths: &mut Paths, link: u64) -> Vec<Changes> {
    paths.wake(Time::ZERO + LATER);
    let changes = |effect| match effect {
        PathEffect::Send { session, update: Update { content: UpdateContent::Changes(changes), .. } }
            if session.0 == link =>
        {
            Some(changes)
        }
        _ => None,
    };
    drain(paths).into_iter().filter_map(changes).collect()
}

fn reachable(effects: &[PathEffect]) -> Option<(u32, Vec<u64>)> {
    effects.iter().rev().find_map(|effect| match effect {
        PathEffect::Reachable { cost, hops, .. } => Some((*cost, hops.iter().map(|link| link.0).collect())),
        _ => None,
    })
}

fn refused(effects: &[PathEffect]) -> &str {
    let why = effects.iter().find_map(|effect| match effect {
        PathEffect::Refused { why, .. } => Some(why.as_str()),
        _ => None,
    });
    why.unwrap_or("")
}

#[test]
fn services_of_the_zone_are_advertised_with_this_router_as_the_path() {
    let mut paths = paris(&["gate.lyon", "back.paris"]);
    paths.offer(&service("print"), Traits::of_plugin(true), Time::ZERO);
    let changes = sent(&mut paths, 1);
    let [Changes { groups, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(groups[0].path, [Hop { at: speaker("gate.paris").id(), epoch: 0 }]);
    assert_eq!(
        groups[0].services,
        [OfferedService { service: service("print"), version: 1, traits: Traits::of_plugin(true) }]
    );
    assert!(paths.may_pass(Some(LinkId(1)), &label("paris"), &service("print")));
    assert!(!paths.may_pass(Some(LinkId(1)), &label("paris"), &service("other")));
}

#[test]
fn the_lowest_cost_wins_then_the_shortest_path_then_the_lowest_name_and_equals_share() {
    let mut paths = paris(&["gate.nice", "gate.lyon", "gate.metz"]);
    assert_eq!(reachable(&receive_path(&mut paths, 1, &["gate.nice", "a.rome"])), Some((2, vec![1])));
    assert_eq!(reachable(&receive_path(&mut paths, 2, &["gate.lyon", "a.rome"])), Some((2, vec![2, 1])));
    assert_eq!(reachable(&receive_path(&mut paths, 3, &["gate.metz", "a.bern", "a.rome"])), None);
    paths.session_down(LinkId(2), Time::ZERO);
    assert_eq!(reachable(&drain(&mut paths)), Some((2, vec![1])));
}

#[test]
fn a_router_of_the_own_zone_is_used_only_if_it_has_a_better_route() {
    let mut paths = paris(&["back.paris", "gate.lyon"]);
    assert_eq!(reachable(&receive_path(&mut paths, 1, &["back.paris", "a.rome"])), Some((1, vec![1])));
    assert_eq!(sent(&mut paths, 2).len(), 1, "another zone gets the route");
    let effects = receive_path(&mut paths, 2, &["gate.lyon", "a.rome"]);
    assert_eq!(reachable(&effects), None, "its own route is cheaper");
}

#[test]
fn paths_that_break_a_rule_are_refused_and_the_session_stays() {
    let mut long: Vec<String> = (0..32).map(|n| format!("a.z{n}")).collect();
    long.insert(0, "gate.lyon".into());
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let cases: [(&[&str], &str); 6] = [
        (&["gate.nice", "a.rome"], "does not begin with its sender"),
        (&["gate.lyon", "gate.paris", "a.rome"], "crosses the own zone"),
        (&["gate.lyon", "back.paris"], "crosses the own zone"),
        (&["gate.lyon", "a.rome", "a.bern", "b.rome"], "crosses a zone twice"),
        (&["gate.lyon", "a.rome", "b.rome", "c.rome"], "crosses a zone twice"),
        (&long, "is longer than 32 hops"),
    ];
    for (path, why) in cases {
        let mut paths = paris(&["gate.lyon"]);
        assert!(reachable(&receive_path(&mut paths, 1, &["gate.lyon", "a.rome"])).is_some());
        let effects = receive_path(&mut paths, 1, path);
        assert!(refused(&effects).ends_with(why), "{path:?}: {effects:?}");
        let at_rome = path.last().unwrap().ends_with("rome");
        assert_eq!(effects.iter().any(|e| matches!(e, PathEffect::Unreachable { .. })), at_rome, "{path:?}");
    }
    let mut paths = paris(&["gate.lyon"]);
    for epoch in [0, u64::MAX] {
        let mut nowhere = group(&["gate.lyon", "a.rome"], &["print"]);
        nowhere.path[0].epoch = epoch;
        let effects = receive(&mut paths, 1, Changes { groups: vec![nowhere], ..Changes::default() });
        assert!(refused(&effects).ends_with("has an epoch out of range"), "{effects:?}");
    }
}

#[test]
fn a_dead_link_ends_every_route_over_it_and_is_sent_with_the_changes() {
    let mut paths = paris(&["gate.lyon", "gate.metz", "gate.nice"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.bern", "a.rome"]);
    receive_path(&mut paths, 2, &["gate.metz", "a.bern", "a.rome"]);
    assert_eq!(sent(&mut paths, 3).len(), 1);
    let dead = DeadLink::new(speaker("a.rome").id(), speaker("a.bern").id(), 50);
    let effects = receive(&mut paths, 1, Changes { causes: vec![dead.clone()], ..Changes::default() });
    assert!(effects.iter().any(|effect| matches!(effect, PathEffect::Unreachable { .. })), "{effects:?}");
    let changes = sent(&mut paths, 3);
    assert_eq!((&changes[0].causes[..], changes[0].withdrawn.len()), (&[dead][..], 1));
    assert_eq!(reachable(&receive_path(&mut paths, 1, &["gate.lyon", "a.bern", "a.rome"])), None, "the old epoch");
    let mut newer = group(&["gate.lyon", "a.bern", "a.rome"], &["print"]);
    newer.path[1].epoch = 51;
    let effects = receive(&mut paths, 1, Changes { groups: vec![newer], ..Changes::default() });
    assert_eq!(reachable(&effects), Some((3, vec![1])));
}

#[test]
fn a_neighbour_ends_only_routes_that_it_advertised() {
    let mut paths = paris(&["gate.lyon", "gate.metz"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    let dead = DeadLink::new(speaker("gate.lyon").id(), speaker("a.rome").id(), 50);
    let origin = speaker("a.rome").id();
    let tombstone = Tombstone { origin, boot: 1_000, version: 9, service: Some(service("print")) };
    let changes = Changes { causes: vec![dead], tombstones: vec![tombstone.clone()], ..Changes::default() };
    let effects = receive(&mut paths, 2, changes);
    assert!(!effects.iter().any(|effect| matches!(effect, PathEffect::Unreachable { .. })), "{effects:?}");
    assert!(refused(&effects).contains("none of its routes"), "{effects:?}");
    let mine = DeadLink::new(speaker("gate.lyon").id(), speaker("gate.paris").id(), 2_000);
    let effects = receive(&mut paths, 2, Changes { causes: vec![mine], ..Changes::default() });
    assert!(refused(&effects).contains("out of range"), "{effects:?}");
    let effects = receive(&mut paths, 1, Changes { tombstones: vec![tombstone], ..Changes::default() });
    assert!(effects.iter().any(|effect| matches!(effect, PathEffect::Unreachable { .. })), "{effects:?}");
}

#[test]
fn exactly_the_exported_services_may_be_called() {
    let mut paths = paris(&["gate.lyon", "gate.metz"]);
    let deny = Policy { deny: vec!["print@rome".parse().unwrap()], ..Policy::everything() };
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    assert_eq!(sent(&mut paths, 2).len(), 1);
    let may = |paths: &Paths, link| paths.may_pass(link, &label("rome"), &service("print"));
    assert!(may(&paths, None) && may(&paths, Some(LinkId(2))));
    assert!(!may(&paths, Some(LinkId(1))), "the route is its own");
    assert!(!may(&paths, Some(LinkId(3))), "no session has this link");
    paths.set_policy(LinkId(2), Policy::everything(), deny, Time::ZERO);
    assert!(!may(&paths, Some(LinkId(2))), "at once");
    assert_eq!(sent(&mut paths, 2)[0].withdrawn.len(), 1);
    paths.set_policy(LinkId(1), Policy::default(), Policy::everything(), Time::ZERO);
    assert!(!may(&paths, None), "nothing is imported");
}

#[test]
fn over_a_limit_the_rest_is_refused_and_the_table_stays_usable() {
    let settings = PathSettings { routes_per_neighbour: 2, ..PathSettings::default() };
    let mut paths = Paths::new(&speaker("gate.paris"), &settings, 7);
    paths.session_up(LinkId(1), &speaker("gate.lyon"), open(1), 1_001, Time::ZERO);
    let all = group(&["gate.lyon", "a.rome"], &["a", "b", "c", "d"]);
    let effects = receive(&mut paths, 1, Changes { groups: vec![all], ..Changes::default() });
    assert!(refused(&effects).contains("2 route over a limit"), "{effects:?}");
    assert_eq!((paths.sizes().received, paths.sizes().reachable, paths.counters().over), (2, 2, 2));
}

#[test]
fn a_missing_update_or_another_digest_requests_a_refresh() {
    let mut paths = paris(&["gate.lyon"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    let import = |paths: &mut Paths, number, content, seconds| {
        paths.import(LinkId(1), Update { number, content }, Time::ZERO + Duration::from_secs(seconds));
        drain(paths).iter().any(|e| {
            matches!(e, PathEffect::Send { update: Update { content: UpdateContent::RequestRefresh, .. }, .. })
        })
    };
    assert!(import(&mut paths, 3, UpdateContent::Changes(Changes::default()), 0), "2 is missing");
    assert!(!import(&mut paths, 3, UpdateContent::Changes(Changes::default()), 0), "old");
    assert!(!import(&mut paths, 4, UpdateContent::Digest { routes: 7, digest: 0 }, 1), "asked already");
    assert!(import(&mut paths, 5, UpdateContent::Digest { routes: 7, digest: 0 }, 20));
    assert!(!import(&mut paths, 6, UpdateContent::BeginRefresh, 20));
    assert!(!import(&mut paths, 7, UpdateContent::EndRefresh, 20));
    assert_eq!(paths.sizes().received, 0, "the refresh did not contain it");
    assert!(!import(&mut paths, 8, UpdateContent::Digest { routes: 0, digest: 0 }, 40));
}

#[test]
fn a_requested_refresh_sends_all_routes_between_two_marks() {
    let mut paths = paris(&["gate.lyon"]);
    paths.offer(&service("print"), Traits::of_plugin(true), Time::ZERO);
    assert_eq!(sent(&mut paths, 1).len(), 1);
    let now = Time::ZERO + LATER;
    paths.import(LinkId(1), Update { number: 1, content: UpdateContent::RequestRefresh }, now);
    paths.wake(now + LATER);
    let contents: Vec<UpdateContent> = drain(&mut paths)
        .into_iter()
        .filter_map(|effect| match effect {
            PathEffect::Send { update, .. } => Some(update.content),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&contents[..], [UpdateContent::BeginRefresh, UpdateContent::Changes(changes), UpdateContent::EndRefresh] if changes.groups.len() == 1),
        "{contents:?}"
    );
}

#[test]
fn a_flapping_service_is_advertised_once_a_second_and_ends_in_its_last_state() {
    let mut paths = paris(&["gate.lyon"]);
    let (mut now, mut updates, mut last) = (Time::ZERO, 0, None);
    for round in 0..1_000 {
        if round < 500 {
            if round % 2 == 0 {
                paths.offer(&service("print"), Traits::of_plugin(false), now);
            } else {
                paths.withdraw(&service("print"), now);
            }
        }
        now = now + Duration::from_millis(10);
        paths.wake(now);
        for effect in drain(&mut paths) {
            if let PathEffect::Send { update: Update { content: UpdateContent::Changes(changes), .. }, .. } = effect {
                updates += 1;
                last = Some(changes.withdrawn.len());
            }
        }
    }
    assert!((8..=12).contains(&updates), "{updates}");
    assert_eq!(last, Some(1), "it ended withdrawn");
}

#[test]
fn an_origin_without_keepalives_expires_until_one_arrives() {
    let mut paths = paris(&["gate.lyon"]);
    let lease = PathSettings::default().lease;
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    let alive = |version| {
        let fresh = Keepalive { origin: speaker("a.rome").id(), boot: 1_000, version };
        UpdateContent::Changes(Changes { fresh: vec![fresh], ..Changes::default() })
    };
    let half = Time::ZERO + lease / 2;
    paths.import(LinkId(1), Update { number: 2, content: alive(2) }, half);
    paths.wake(Time::ZERO + lease);
    assert_eq!(paths.sizes().reachable, 1);
    paths.import(LinkId(1), Update { number: 3, content: alive(2) }, Time::ZERO + lease);
    paths.wake(half + lease);
    assert_eq!(paths.sizes().reachable, 0, "the keepalive was outdated");
    paths.import(LinkId(1), Update { number: 4, content: alive(3) }, half + lease);
    assert_eq!(paths.sizes().reachable, 1);
}

#[test]
fn a_service_withdrawn_by_its_zone_is_one_loss_of_all_its_routers() {
    let mut paths = paris(&["gate.lyon", "other.paris"]);
    paths.offer(&service("print"), Traits::of_plugin(true), Time::ZERO);
    sent(&mut paths, 1);
    let ended = |version| Tombstone {
        origin: RouterId { zone: label("paris"), router: label("other") },
        boot: 1_000,
        version,
        service: Some(service("print")),
    };
    let now = Time::ZERO + LATER;
    paths.withdraw(&service("print"), now);
    assert_eq!(paths.next_wake(), now, "the other router gets the tombstone immediately");
    let effects = receive(&mut paths, 2, Changes { tombstones: vec![ended(4)], ..Changes::default() });
    assert_eq!(effects, [], "each router of the zone reports it");
    paths.wake(now + Duration::from_millis(5));
    let changes = sent(&mut paths, 1);
    assert_eq!((changes.len(), changes[0].withdrawn.len(), changes[0].tombstones.len()), (1, 1, 2));

    // A neighbour with one route to the service accepts the tombstones of all.
    let mut rome = paris(&["gate.lyon", "gate.metz"]);
    receive_path(&mut rome, 1, &["gate.lyon", "a.rome"]);
    receive_path(&mut rome, 2, &["gate.metz", "b.rome"]);
    let of = |router: &str| Tombstone { origin: speaker(router).id(), ..ended(1) };
    let effects = receive(&mut rome, 1, Changes { tombstones: vec![of("a.rome"), of("b.rome")], ..Changes::default() });
    assert!(matches!(effects[..], [PathEffect::Unreachable { .. }]), "{effects:?}");
}

#[test]
fn a_new_session_begins_with_the_latest_keepalives() {
    let mut paths = paris(&["gate.lyon"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    let fresh = Keepalive { origin: speaker("a.rome").id(), boot: 1_000, version: 2 };
    receive(&mut paths, 1, Changes { fresh: vec![fresh.clone()], ..Changes::default() });
    paths.session_up(LinkId(2), &speaker("gate.metz"), open(1), 1_002, Time::ZERO);
    let changes = sent(&mut paths, 2);
    assert_eq!((changes[0].groups.len(), &changes[0].fresh), (1, &vec![fresh]));
    // A router without newer keepalives than the routes sends none.
    let mut paths = paris(&["gate.lyon"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    paths.session_up(LinkId(2), &speaker("gate.metz"), open(1), 1_002, Time::ZERO);
    assert_eq!(sent(&mut paths, 2)[0].fresh, []);
}

#[test]
fn a_router_that_leaves_invalidates_all_its_routes() {
    let mut paths = paris(&["gate.lyon", "gate.metz"]);
    paths.offer(&service("scan"), Traits::of_plugin(true), Time::ZERO);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    assert_eq!(sent(&mut paths, 2).len(), 1);
    paths.leave(Time::ZERO + LATER);
    let changes = sent(&mut paths, 2);
    assert_eq!((changes[0].causes.len(), changes[0].tombstones.len(), changes[0].withdrawn.len()), (2, 1, 2));
    assert_eq!(paths.sizes(), PathSizes { causes: paths.sizes().causes, origins: 1, ..PathSizes::default() });
}

#[test]
fn a_request_goes_around_the_zones_that_it_has_crossed() {
    let mut paths = paris(&["gate.lyon", "gate.metz", "gate.nice"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    receive_path(&mut paths, 2, &["gate.metz", "a.bern", "a.rome"]);
    receive_path(&mut paths, 3, &["gate.nice", "a.bern", "b.rome"]);
    let hops = |crossed: &[&str]| {
        let crossed: Vec<Label> = crossed.iter().map(|zone| label(zone)).collect();
        let hops = paths.hops_around(&label("rome"), &service("print"), &crossed);
        hops.into_iter().map(|link| link.0).collect::<Vec<_>>()
    };
    assert_eq!(hops(&["paris"]), [1, 2, 3]);
    assert_eq!(hops(&["lyon", "paris"]), [2, 3]);
    assert_eq!(hops(&["bern", "lyon", "paris"]), []);
}

#[test]
fn an_invalid_session_is_refused() {
    let internal = SessionKind::Internal;
    for (name, kind, epoch) in [
        ("gate.paris", internal.clone(), 1_009),
        ("back.paris", open(1), 1_009),
        ("gate.lyon", internal, 1_009),
        ("gate.lyon", open(1), u64::MAX),
    ] {
        let mut paths = paris(&[]);
        paths.session_up(LinkId(1), &speaker(name), kind, epoch, Time::ZERO);
        assert!(matches!(&drain(&mut paths)[..], [PathEffect::Refused { .. }]), "{name}");
        assert_eq!(paths.epoch(), 1_000);
    }
}

#[test]
fn a_session_that_the_other_end_closed_restarts_with_a_later_epoch() {
    let mut paths = paris(&["gate.lyon", "gate.metz"]);
    receive_path(&mut paths, 1, &["gate.lyon", "a.rome"]);
    receive_path(&mut paths, 2, &["gate.metz", "gate.lyon", "a.rome"]);
    let dead = DeadLink::new(speaker("gate.lyon").id(), speaker("gate.paris").id(), 1_001);
    assert_eq!(
        receive(&mut paths, 2, Changes { causes: vec![dead.clone()], ..Changes::default() }),
        [],
        "the dead link is of another session"
    );
    let effects = receive(&mut paths, 1, Changes { causes: vec![dead], ..Changes::default() });
    assert!(effects.contains(&PathEffect::Broken { session: LinkId(1) }), "{effects:?}");
    assert_eq!(reachable(&effects), Some((3, vec![2])));
    let epoch = link_epoch(paths.epoch(), 7);
    paths.session_up(LinkId(3), &speaker("gate.lyon"), open(1), epoch, Time::ZERO);
    assert_eq!(reachable(&receive_path(&mut paths, 3, &["gate.lyon", "a.rome"])), Some((2, vec![3])));
}

#[test]
fn a_router_restarted_with_its_clock_set_back_is_notified_and_outranks_its_earlier_process() {
    let started = |boot| Speaker { boot, ..speaker("gate.lyon") };
    let mut lyon = Paths::new(&started(700), &PathSettings::default(), 7);
    lyon.session_up(LinkId(1), &speaker("gate.paris"), open(1), 2_000, Time::ZERO);
    lyon.offer(&service("print"), Traits::of_plugin(true), Time::ZERO);
    let mut paris = paris(&["gate.lyon"]);
    // The routes from before the restart.
    assert!(reachable(&receive_path(&mut paris, 1, &["gate.lyon"])).is_some());
    paris.session_up(LinkId(2), &started(700), open(1), 2_000, Time::ZERO);
    assert!(matches!(drain(&mut paris)[..], [PathEffect::Unreachable { .. }]));
    let [past] = &sent(&mut lyon, 1)[..] else { panic!() };
    assert_eq!(past.groups[0].boot, 700);
    let effects = receive(&mut paris, 2, past.clone());
    let answer = effects.iter().find_map(|effect| match effect {
        PathEffect::Send { update: Update { content: UpdateContent::Changes(changes), .. }, .. } => {
            Some(changes.clone())
        }
        _ => None,
    });
    assert_eq!(reachable(&effects), None, "the earlier start was later by the clock");
    let answer = answer.unwrap();
    assert_eq!(answer.fresh, [Keepalive { origin: speaker("gate.lyon").id(), boot: 1_000, version: 1 }]);
    assert_eq!(receive(&mut lyon, 1, answer.clone()), []);
    lyon.wake(Time::ZERO + 2 * LATER);
    let again = drain(&mut lyon).into_iter().find_map(|effect| match effect {
        PathEffect::Send { update: Update { content: UpdateContent::Changes(changes), .. }, .. } => Some(changes),
        _ => None,
    });
    let again = again.unwrap();
    assert!(again.groups[0].boot > 1_000, "{again:?}");
    assert_eq!(reachable(&receive(&mut paris, 2, again)), Some((1, vec![2])));
    // A keepalive that is already known has no effect.
    assert_eq!(receive(&mut lyon, 1, answer), []);
    assert_eq!(sent(&mut lyon, 1), []);
}

#[test]
fn false_starts_of_this_router_are_accepted_a_few_times_and_never_beyond_a_day() {
    let mut paths = paris(&["gate.lyon"]);
    paths.offer(&service("print"), Traits::of_plugin(true), Time::ZERO);
    let claim = |boot| Changes {
        fresh: vec![Keepalive { origin: speaker("gate.paris").id(), boot, version: 1 }],
        ..Changes::default()
    };
    let effects = receive(&mut paths, 1, claim(u64::MAX));
    assert!(refused(&effects).contains("correct the clock that is wrong"), "{effects:?}");
    assert_eq!(paths.boot, 1_000);
    for _ in 0..100 {
        let boot = paths.boot + 1;
        receive(&mut paths, 1, claim(boot));
    }
    assert!((1_001..1_100).contains(&paths.boot), "{}", paths.boot);
}
