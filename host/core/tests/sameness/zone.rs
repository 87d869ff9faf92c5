//! Inputs, outputs and reports of the machines of a zone.

use crate::{all_differ, frame, members, variations};
use wasmnode_core::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, OfferedService, RouteKey, RouterId, Tombstone, Update, UpdateContent,
};
use wasmnode_core::message::peer::{Advert, Offer, Traits};
use wasmnode_core::paths::{PathCounters, PathSizes, PathStatus, Policy, SessionKind, Speaker};
use wasmnode_core::{DirectoryEffect, Label, LinkId, MemberEffect, PathEffect, ServiceName};

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

#[test]
fn no_two_effects_of_members_are_written_alike() {
    let mut effects = Vec::new();
    for to in members() {
        effects.push(MemberEffect::Up(to.clone()));
        effects.push(MemberEffect::Down(to.clone()));
        effects.push(MemberEffect::Renewed(to.clone()));
        effects.push(MemberEffect::NameTaken(to.clone()));
        effects.push(MemberEffect::Refused(to.clone()));
        effects.extend(["a", "b"].map(|data| MemberEffect::Gossip { to: to.clone(), data: frame(data) }));
    }
    all_differ(&effects);
}

fn traits() -> [Traits; 3] {
    [(false, false), (true, false), (false, true)].map(|(idempotent, by_workers)| Traits { idempotent, by_workers })
}

fn offers() -> Vec<Offer> {
    let offer = Offer { service: "a".parse().unwrap(), cost: 0, traits: Traits::default() };
    variations(
        &offer,
        &[
            |offer| offer.service = "a@b".parse().unwrap(),
            |offer| offer.cost = 1,
            |offer| offer.traits = traits()[1],
            |offer| offer.traits = traits()[2],
        ],
    )
}

#[test]
fn no_two_effects_of_routes_are_written_alike() {
    let mut effects = vec![DirectoryEffect::Advertise { to: label("b"), advert: Advert::Still { version: 1 } }];
    let mut tell = |advert| effects.push(DirectoryEffect::Advertise { to: label("a"), advert });
    for version in [1, 2] {
        tell(Advert::Whole { version, offers: Vec::new() });
        tell(Advert::Change { version, offers: Vec::new(), withdrawn: Vec::new() });
        tell(Advert::Still { version });
    }
    tell(Advert::Change { version: 1, offers: Vec::new(), withdrawn: vec!["a".parse().unwrap()] });
    for offer in offers() {
        tell(Advert::Whole { version: 1, offers: vec![offer.clone()] });
        tell(Advert::Change { version: 1, offers: vec![offer], withdrawn: Vec::new() });
    }
    effects.extend(offers().into_iter().map(|offer| DirectoryEffect::Offered { by: label("a"), offer }));
    effects.push(DirectoryEffect::Offered { by: label("b"), offer: offers().remove(0) });
    for (one, other) in [("a", "a"), ("a", "b"), ("b", "a")] {
        effects.push(DirectoryEffect::Withdrawn { by: label(one), service: other.parse().unwrap() });
        effects.push(DirectoryEffect::Refused { from: label(one), why: other.into() });
    }
    effects.extend(["a", "b"].map(|from| DirectoryEffect::Pull { from: label(from) }));
    effects.extend([1, 2].map(|services| DirectoryEffect::Unlisted { services }));
    all_differ(&effects);
}

fn router(zone: &str, router: &str) -> RouterId {
    RouterId { zone: label(zone), router: label(router) }
}

fn hop(at: RouterId) -> Hop {
    Hop { at, epoch: 1 }
}

/// Returns changes with one entry of each kind.
fn news() -> Changes {
    let (service, traits) = (name("a"), Traits::default());
    let services = vec![OfferedService { service: service.clone(), version: 1, traits }];
    Changes {
        causes: vec![DeadLink { a: router("a", "a"), b: router("b", "b"), epoch: 1 }],
        tombstones: vec![Tombstone { origin: router("a", "a"), boot: 1, version: 1, service: None }],
        withdrawn: vec![RouteKey { zone: label("a"), service }],
        groups: vec![Group { path: vec![hop(router("a", "a"))], boot: 1, cost: 1, services }],
        fresh: vec![Keepalive { origin: router("a", "a"), boot: 1, version: 1 }],
    }
}

fn all_news() -> Vec<Changes> {
    variations(
        &news(),
        &[
            |news| news.causes.clear(),
            |news| news.causes[0].a = router("a", "b"),
            |news| news.causes[0].b = router("a", "b"),
            |news| news.causes[0].epoch = 2,
            |news| news.tombstones.clear(),
            |news| news.tombstones[0].origin = router("b", "a"),
            |news| news.tombstones[0].boot = 2,
            |news| news.tombstones[0].version = 2,
            |news| news.tombstones[0].service = Some(name("a")),
            |news| news.withdrawn.clear(),
            |news| news.withdrawn[0].zone = label("b"),
            |news| news.withdrawn[0].service = name("b"),
            |news| news.groups.clear(),
            |news| news.groups[0].path.clear(),
            |news| news.groups[0].path[0].at = router("b", "a"),
            |news| news.groups[0].path[0].epoch = 2,
            |news| news.groups[0].boot = 2,
            |news| news.groups[0].cost = 2,
            |news| news.groups[0].services.clear(),
            |news| news.groups[0].services[0].service = name("b"),
            |news| news.groups[0].services[0].version = 2,
            |news| news.groups[0].services[0].traits = traits()[1],
            |news| news.fresh.clear(),
            |news| news.fresh[0].origin = router("a", "b"),
            |news| news.fresh[0].boot = 2,
            |news| news.fresh[0].version = 2,
        ],
    )
}

#[test]
fn no_two_effects_of_paths_are_written_alike() {
    let (session, other) = (LinkId(1), LinkId(2));
    let mut says: Vec<UpdateContent> = all_news().into_iter().map(UpdateContent::Changes).collect();
    says.extend([UpdateContent::BeginRefresh, UpdateContent::EndRefresh, UpdateContent::RequestRefresh]);
    says.extend([(1, 1), (1, 2), (2, 1)].map(|(routes, digest)| UpdateContent::Digest { routes, digest }));
    let send = |session, number, say| PathEffect::Send { session, update: Update { number, content: say } };
    let mut effects: Vec<PathEffect> = says.into_iter().map(|say| send(session, 1, say)).collect();
    effects.push(send(session, 2, UpdateContent::RequestRefresh));
    effects.push(send(other, 1, UpdateContent::RequestRefresh));
    for (zone, service) in [("a", "a"), ("a", "b"), ("b", "a")] {
        let (zone, service) = (label(zone), name(service));
        effects.push(PathEffect::Unreachable { zone: zone.clone(), service: service.clone() });
        for (traits, cost, hops) in [
            (traits()[0], 1, vec![]),
            (traits()[1], 1, vec![]),
            (traits()[2], 1, vec![]),
            (traits()[0], 2, vec![]),
            (traits()[0], 1, vec![session]),
            (traits()[0], 1, vec![other]),
        ] {
            effects.push(PathEffect::Reachable { zone: zone.clone(), service: service.clone(), traits, cost, hops });
        }
    }
    effects.extend([session, other].map(|session| PathEffect::Broken { session }));
    for (session, why) in [(session, "a"), (session, "b"), (other, "a")] {
        effects.push(PathEffect::Refused { session, why: why.into() });
    }
    effects.extend(["a", "b"].map(|service| PathEffect::Unlisted { service: name(service) }));
    all_differ(&effects);
}

#[test]
fn no_two_sessions_are_written_alike() {
    let speaker = Speaker { zone: label("a"), router: label("a"), boot: 1 };
    all_differ(&variations(
        &speaker,
        &[|speaker| speaker.zone = label("b"), |speaker| speaker.router = label("b"), |speaker| speaker.boot = 2],
    ));
    let policy = |allow: &[&str], deny: &[&str]| {
        let filters = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Policy { allow: filters(allow), deny: filters(deny) }
    };
    let policies =
        [policy(&[], &[]), policy(&["a"], &[]), policy(&["a@b"], &[]), policy(&["*@b*"], &[]), policy(&[], &["a"])];
    let mut kinds = vec![SessionKind::Internal];
    for policy in &policies[1..] {
        kinds.push(SessionKind::External { cost: 1, import: policy.clone(), export: policies[0].clone() });
        kinds.push(SessionKind::External { cost: 1, import: policies[0].clone(), export: policy.clone() });
    }
    kinds.extend([1, 2].map(|cost| SessionKind::External {
        cost,
        import: policies[0].clone(),
        export: policies[0].clone(),
    }));
    all_differ(&kinds);
}

#[test]
fn no_two_reports_of_paths_are_written_alike() {
    all_differ(&variations(
        &PathSizes::default(),
        &[
            |sizes| sizes.received = 1,
            |sizes| sizes.reachable = 1,
            |sizes| sizes.sent = 1,
            |sizes| sizes.causes = 1,
            |sizes| sizes.origins = 1,
        ],
    ));
    all_differ(&variations(
        &PathCounters::default(),
        &[|counters| counters.refused = 1, |counters| counters.over = 1, |counters| counters.refreshes = 1],
    ));
    let (key, other) =
        (RouteKey { zone: label("a"), service: name("a") }, RouteKey { zone: label("a"), service: name("b") });
    let (hops, path) = ([LinkId(1)], [hop(router("a", "a"))]);
    let status = PathStatus { key: &key, cost: 0, traits: traits()[0], version: 1, hops: &[], path: &[] };
    all_differ(&[
        status,
        PathStatus { key: &other, ..status },
        PathStatus { cost: 1, ..status },
        PathStatus { traits: traits()[1], ..status },
        PathStatus { version: 2, ..status },
        PathStatus { hops: &hops, ..status },
        PathStatus { path: &path, ..status },
    ]);
}
