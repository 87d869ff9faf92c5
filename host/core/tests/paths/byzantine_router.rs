//! A Byzantine router between honest ones: their routes to other zones stay correct, and once it is gone, all routes
//! do.

use crate::byzantine::{false_changes, router};
use crate::graph::Family;
use crate::log::Log;
use crate::world::{Plan, World, service};
use std::time::Duration;
use wasmnode_core::message::path::{RouteKey, UpdateContent};

fn key(zone: usize) -> RouteKey {
    RouteKey { zone: router(zone).zone, service: service("print") }
}

/// Returns a small network with a Byzantine router in the middle; if `is_confined`, others import only services of its
/// own zone from it.
pub(crate) fn with_byzantine(seed: u64, is_confined: bool, log: Log) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let zones = 12;
    let mut world = Plan::new(Family::SmallWorld, zones, seed).build();
    world.network.log = log;
    let byzantine = rng.usize(..zones);
    (0..zones).for_each(|zone| world.offer(zone, &service("print"), true));
    if is_confined {
        for link in world.network.routers[byzantine].links.clone() {
            let end = usize::from(world.network.links[link].ends[0] == byzantine);
            world.network.links[link].import[end].allow = vec![format!("*@z{byzantine}").parse().unwrap()];
        }
    }
    world.start();
    world.network.run_for(Duration::from_secs(2));
    world.network.check_rest().unwrap();
    world.network.tamper = Some(Box::new(move |router, _, mut update| {
        if router == byzantine && rng.u8(..4) > 0 {
            update.content = UpdateContent::Changes(false_changes(&mut rng, byzantine, zones, &service("print")));
        }
        vec![update]
    }));
    for round in 0..20 {
        world.network.run_for(Duration::from_millis(400));
        // The router sends false statements.
        let links = world.network.routers[byzantine].links.clone();
        world.network.lose_all(links[round % links.len()]);
    }
    if is_confined {
        check_honest(&world, byzantine);
    }
    assert!(!world.network.refused.is_empty());
    world.network.crash(byzantine);
    world.network.run_for(Duration::from_secs(5));
    world
}

/// Checks that a confined Byzantine router ends no route between other zones.
fn check_honest(world: &World, byzantine: usize) {
    for (number, router) in world.network.routers.iter().enumerate().filter(|(number, _)| *number != byzantine) {
        for zone in (0..world.zones).filter(|zone| ![number, byzantine].contains(zone)) {
            assert!(router.told.contains_key(&key(zone)), "{} lost {}", router.name, key(zone));
        }
    }
}

#[test]
fn a_byzantine_router_confined_to_its_zone_affects_no_other() {
    for seed in 0..20 {
        with_byzantine(seed, true, Log::None).network.check_rest().unwrap();
    }
}

#[test]
fn false_statements_of_an_accepted_router_expire() {
    for seed in 0..20 {
        let mut world = with_byzantine(seed, false, Log::None);
        // False dead links are kept for ten minutes; boots and versions from the future for a lease.
        world.network.run_for(Duration::from_secs(3 * 60 * 60));
        world.network.check_rest().unwrap();
    }
}
