//! Tests of the checks: they detect protocols that lack a part.

use crate::faults::Trouble;
use crate::graph::Family;
use crate::log::Log;
use crate::world::{Cost, Plan, service};
use std::time::Duration;
use wasmnode_core::message::path::UpdateContent;

/// Loses an origin on a network; `with_causes` is whether causes and tombstones are sent.
fn lose_an_origin(family: Family, zones: usize, with_causes: bool) -> Cost {
    let mut world = Plan::new(family, zones, 1).build();
    world.offer(0, &service("print"), true);
    world.start();
    world.network.run_for(Duration::from_secs(3));
    if !with_causes {
        world.network.tamper = Some(Box::new(|_, _, mut update| {
            if let UpdateContent::Changes(news) = &mut update.content {
                (news.causes, news.tombstones) = (Vec::new(), Vec::new());
            }
            vec![update]
        }));
    }
    let cost = world.measure(|world| world.network.crash(0));
    println!("{family}, {zones} zones, causes {with_causes}: {cost:?}");
    cost
}

#[test]
fn without_causes_a_loss_costs_many_times_more() {
    for (family, zones) in [(Family::Mesh, 20), (Family::ScaleFree, 200)] {
        let with = lose_an_origin(family, zones, true);
        let without = lose_an_origin(family, zones, false);
        assert!(without.updates > 3 * with.updates && without.settled > 3 * with.settled, "{family}: {without:?}");
    }
}

#[test]
fn without_epochs_routes_are_missing_at_rest() {
    let mut wrong = 0;
    for seed in 0..20 {
        let mut trouble = Trouble::new(seed, Log::None);
        trouble.world.network.without_epochs = true;
        wrong += u32::from(trouble.run().is_err());
    }
    println!("wrong without epochs: {wrong} of 20");
    assert!(wrong >= 10, "only {wrong} of 20 were detected");
}

/// A part of the network is cut off with a service: no router counts to infinity.
#[test]
fn routers_that_are_cut_off_do_not_count_to_infinity() {
    for family in [Family::Ring, Family::Mesh, Family::SmallWorld, Family::Random] {
        let mut world = Plan::new(family, 18, 3).build();
        world.offer(0, &service("print"), true);
        world.start();
        world.network.run_for(Duration::from_secs(3));
        let links = world.network.routers[0].links.clone();
        let cost = world.measure(|world| links.iter().for_each(|link| world.network.cut(*link)));
        world.network.check_rest().unwrap();
        let most = world.network.routers.iter().map(|router| router.metrics.changes).max().unwrap();
        println!("{family}: {most} changes at most, {cost:?}");
        // Each router receives each lost link at most once; the whole takes some rounds.
        assert!(most <= links.len() as u64 + 6, "{family}: a router changed {most} times");
        assert!(cost.settled <= Duration::from_millis(500), "{family}: {cost:?}");
    }
}
