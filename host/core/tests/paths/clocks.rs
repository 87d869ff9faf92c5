//! Routers that restart with their clocks set back.

use crate::graph::Family;
use crate::world::{Plan, service};
use std::time::Duration;

const AN_HOUR: u64 = 3_600_000_000;

/// Time within which all zones reach the services of a restarted router again. Two routers begin a session within a
/// second.
const BACK_WITHIN: Duration = Duration::from_secs(3);

#[test]
fn services_of_a_router_restarted_with_its_clock_set_back_are_reachable_from_all_zones_again() {
    for (family, zones) in [(Family::Ring, 8), (Family::Mesh, 12), (Family::SmallWorld, 30), (Family::Tree, 30)] {
        for (seed, behind) in [(1, 1), (2, AN_HOUR), (3, 20 * AN_HOUR)] {
            let mut world = Plan::new(family, zones, seed).build();
            world.offer(0, &service("print"), true);
            world.start();
            world.network.run_for(Duration::from_secs(3));
            world.network.check_rest().unwrap();
            world.network.crash(0);
            world.network.run_for(Duration::from_secs(1));
            world.network.routers[0].clock_is_behind = behind;
            world.network.start(0);
            world.network.run_for(BACK_WITHIN);
            world.network.check_rest().unwrap_or_else(|why| panic!("{family}, {behind} us behind: {why}"));
        }
    }
}
