//! Several zones, joined by one to three routers each: their links, policies and faults.

use super::{Accident, Joined, Plan, SERVICES, Scenario, Weather, chance, common, name, pick};
use crate::graph::Family;
use fastrand::Rng;
use std::time::Duration;
use wasmnode_core::paths::{Filter, Policy};
use wasmnode_core::{Neighbour, NodeSettings, PathSettings, RouterSettings, Seed, ServiceSettings, Time};

/// Two routers that are neighbours.
type Joint = (usize, usize);

/// Size of a network of zones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) family: Family,
    pub(crate) zones: usize,
    /// Nodes of each zone.
    pub(crate) nodes: usize,
    /// Routers of each zone.
    pub(crate) routers: usize,
    /// Number of zones that serve others.
    pub(crate) origins: usize,
}

impl Scenario {
    /// Returns many zones without faults: some serve `add` for all, and all serve `back` for themselves.
    pub(crate) fn many_zones(extent: Extent) -> Self {
        let rng = &mut Rng::with_seed(extent.zones as u64);
        let Extent { zones, nodes: count, routers, origins, .. } = extent;
        let mut common = NodeSettings { router: Some(RouterSettings::default()), ..NodeSettings::default() };
        common.services = SERVICES.into_iter().map(|service| (name(service), ServiceSettings::default())).collect();
        let mut nodes = members(rng, zones, count, routers, &common);
        for (number, plan) in nodes.iter_mut().enumerate() {
            (plan.starts, plan.slow, plan.services) = (true, Duration::ZERO, Vec::new());
            if number < zones {
                plan.services = vec![name("back")];
                plan.services.extend((plan.zone % zones.div_ceil(origins) == 0).then(|| name("add")));
            }
        }
        for (a, b) in joints(rng, extent) {
            join(rng, &mut nodes, (a, b), false);
            join(rng, &mut nodes, (b, a), false);
        }
        let neighbours = nodes.iter_mut().filter_map(|plan| plan.settings.router.as_mut());
        for neighbour in neighbours.flat_map(|router| &mut router.neighbours) {
            neighbour.cost = 1;
            neighbour.export.allow = vec!["add".parse().unwrap()];
        }
        let weather = Weather {
            latency: Duration::from_micros(200),
            between: Duration::from_millis(10),
            run: Duration::from_millis(5),
            parts: 0,
            drift: 0,
            ..Weather::draw(rng, true)
        };
        let (joined, test) = (Some(Joined { zones, byzantine: None, is_stale: false }), "many_zones");
        let (clients, pause, burst) = (20, Duration::from_secs(1), 1);
        let (accidents, calm, is_gentle) = (Vec::new(), Time::from_micros(u64::MAX), true);
        let (clocks, ahead) = (Duration::ZERO, None);
        Self { nodes, weather, clients, pause, burst, accidents, calm, is_gentle, clocks, ahead, joined, test }
    }

    /// Returns two to six zones of one to ten nodes each.
    pub(crate) fn zones(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let is_gentle = chance(rng, 250);
        let calm = Time::from_micros(rng.u64(5_000_000..12_000_000));
        let mut common = common(rng, is_gentle);
        for service in common.services.values_mut() {
            // The path through all zones and back takes long.
            service.deadline = service.deadline.max(Some(Duration::from_secs(2)));
        }
        let family = pick(rng, &Family::ALL);
        let (zones, count, routers) =
            (rng.usize(2..=6), pick(rng, &[1, 2, 3, 3, 10]), if is_gentle { 2 } else { pick(rng, &[1, 1, 2, 3]) });
        // False statements must expire, and lost updates be detected, within the time of a test.
        let still = pick(rng, &[1_000, 2_000]);
        let paths = PathSettings {
            still: Duration::from_millis(still),
            refresh: Duration::from_secs(4),
            lease: Duration::from_secs(12),
            memory: Duration::from_secs(10),
            ..PathSettings::default()
        };
        common.router = Some(RouterSettings { paths, neighbours: Vec::new() });
        let mut nodes = members(rng, zones, count, routers, &common);
        let joints = joints(rng, Extent { family, zones, nodes: count, routers, origins: zones });
        let has_policies = !is_gentle && rng.bool();
        for &(a, b) in &joints {
            join(rng, &mut nodes, (a, b), has_policies);
            join(rng, &mut nodes, (b, a), has_policies);
        }
        let accidents = if is_gentle {
            super::gentle(rng, nodes.len(), calm)
        } else {
            trouble(rng, nodes.len(), &joints, has_policies, calm)
        };
        let (is_alone, is_stale) = (routers == 1, !is_gentle && chance(rng, 200));
        let byzantine = is_alone && zones > 2 && !is_gentle && chance(rng, 300);
        let byzantine = byzantine.then(|| zones * count + rng.usize(..zones));
        // Routers accept clocks that differ by up to a day.
        let clocks = super::wrong_clocks(rng, &[super::HOURS]);
        Self {
            nodes,
            clocks,
            ahead: None,
            weather: Weather { between: Duration::from_millis(pick(rng, &[0, 10])), ..Weather::draw(rng, is_gentle) },
            clients: rng.usize(1..6),
            pause: Duration::from_millis(pick(rng, &[50, 200, 1_000])),
            burst: if is_gentle { 1 } else { pick(rng, &[1, 1, 5, 40]) },
            accidents,
            calm,
            is_gentle,
            joined: Some(Joined { zones, byzantine, is_stale }),
            test: "joined_zones",
        }
    }
}

/// Returns the nodes of all zones, and then the routers; adjacent ones are of different zones.
fn members(rng: &mut Rng, zones: usize, count: usize, routers: usize, common: &NodeSettings) -> Vec<Plan> {
    let mut plans = Vec::new();
    for member in 0..count + routers {
        for zone in 0..zones {
            let is_router = member >= count;
            let label = if is_router { format!("r{}", member - count) } else { format!("n{member}") };
            let mut settings = common.clone();
            settings.endpoint = endpoint(&label, zone);
            settings.name = label.parse().unwrap();
            settings.zone = format!("z{zone}").parse().unwrap();
            settings.seeds = vec![Seed::at(endpoint(if member == 0 { "n1" } else { "n0" }, zone))];
            let most = if count > 3 { 200 } else { 400 };
            let mut services: Vec<_> = SERVICES.into_iter().filter(|_| chance(rng, most)).map(name).collect();
            if is_router {
                services.clear();
            } else {
                settings.router = None;
                if chance(rng, 30) {
                    // The node disagrees with the others on which services are idempotent.
                    settings.services.values_mut().for_each(|service| service.idempotent = rng.bool());
                }
            }
            let slow = Duration::from_millis(if chance(rng, 50) { rng.u64(1..60) } else { 0 });
            let starts = member == 0 || chance(rng, 900);
            plans.push(Plan { settings, slow, services, starts, is_seed: member == 0, zone });
        }
    }
    plans
}

/// Returns the links between zones: two zones are joined by as many links as each has routers, at most two.
fn joints(rng: &mut Rng, Extent { family, zones, nodes, routers, .. }: Extent) -> Vec<Joint> {
    let number = |zone: usize, router: usize| (nodes + router) * zones + zone;
    let mut joints = Vec::new();
    for (a, b) in family.edges(zones, rng) {
        let turn = rng.usize(..routers);
        let nth = |nth: usize| (number(a, (turn + nth) % routers), number(b, (turn + nth) % routers));
        joints.extend((0..routers.min(2)).map(nth));
    }
    joints
}

fn endpoint(member: &str, zone: usize) -> String {
    format!("tcp://{member}.z{zone}")
}

/// Adds one router to the neighbours of another.
fn join(rng: &mut Rng, nodes: &mut [Plan], (a, b): Joint, has_policies: bool) {
    let NodeSettings { name, zone, endpoint, .. } = nodes[b].settings.clone();
    let (import, export) = policies(rng, has_policies);
    let neighbour = Neighbour { name, zone, endpoint, cost: rng.u32(1..=3), import, export };
    nodes[a].settings.router.as_mut().unwrap().neighbours.push(neighbour);
}

/// Returns the import and export policies of a router.
pub(crate) fn policies(rng: &mut Rng, has_policies: bool) -> (Policy, Policy) {
    let mut draw = |often: u32| {
        if !has_policies || chance(rng, often) {
            return Policy::everything();
        }
        let texts = ["*", "*", "add", "b*", "*@z1", "calc@z2", "*@z*", "draw@z0"];
        let mut some = |most: usize| -> Vec<Filter> {
            (0..rng.usize(..most)).map(|_| pick(rng, &texts).parse().unwrap()).collect()
        };
        let (mut allow, deny) = (some(3), some(3));
        allow.push("*".parse().unwrap());
        Policy { allow: if deny.is_empty() { allow[..1].to_vec() } else { allow }, deny }
    };
    (draw(600), draw(400))
}

/// Returns the accidents. Routers have as many as all nodes together.
fn trouble(rng: &mut Rng, count: usize, joints: &[Joint], has_policies: bool, calm: Time) -> Vec<(Time, Accident)> {
    let mut accidents = Vec::new();
    let kinds: Vec<u8> = (0..9).filter(|_| chance(rng, 400)).collect();
    for _ in 0..rng.usize(..14) {
        let (from, to) = pick(rng, joints);
        let machine = if rng.bool() { from } else { rng.usize(..count) };
        let accident = match kinds.get(rng.usize(..kinds.len().max(1))) {
            Some(0) => Accident::Crash(machine),
            Some(1) => Accident::Freeze(machine),
            Some(2) => Accident::Drain(machine),
            Some(3) => Accident::Cut { from, to, both_ways: true },
            Some(4) => Accident::Cut { from, to, both_ways: false },
            Some(5) => Accident::Partition,
            Some(6) => Accident::Break,
            Some(7) if has_policies => Accident::Policy(from),
            _ => Accident::Reload(rng.usize(..count)),
        };
        accidents.push((Time::from_micros(rng.u64(..calm.as_micros())), accident));
    }
    accidents
}
