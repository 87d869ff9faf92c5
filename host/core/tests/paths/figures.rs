//! What it costs to settle, by family of graphs.

use crate::graph::Family;
use crate::world::{Cost, Plan, World, service};
use std::time::Duration;

/// What the project promises for a withdrawal over links of 10 ms.
const SETTLED: Duration = Duration::from_secs(1);
const UPDATES_PER_ZONE: u64 = 40;

fn line(what: &str, world: &World, origin: usize, cost: &Cost) -> String {
    let zones = world.zones as u64;
    format!(
        "{:<12} {:>5} zones, {:>2} links away: {what:<9} settled in {:>4} ms, {:>2} rounds; {:>5.1} updates per zone, {:>4} at most, {:>6} bytes per zone",
        world.family().to_string(),
        world.zones,
        world.radius(origin),
        cost.settled.as_millis(),
        cost.settled.as_millis().div_ceil(12),
        cost.updates as f64 / zones as f64,
        cost.most,
        cost.bytes / zones,
    )
}

/// Announces, withdraws, and loses an origin.
fn settle(family: Family, zones: usize) {
    let mut world = Plan::new(family, zones, 1).build();
    world.start();
    world.network.run_for(Duration::from_secs(2));
    let (origin, print) = (zones / 2, service("print"));
    let announced = world.measure(|world| world.offer(origin, &print, true));
    world.check_distances(origin, &print);
    world.network.check_rest().unwrap();
    println!("{}", line("announced", &world, origin, &announced));
    let withdrawn = world.measure(|world| world.withdraw(origin, &print));
    world.network.check_rest().unwrap();
    println!("{}", line("withdrawn", &world, origin, &withdrawn));
    world.offer(origin, &print, true);
    world.network.run_for(Duration::from_secs(3));
    let crashed = world.measure(|world| world.network.crash(origin));
    world.network.check_rest().unwrap();
    println!("{}", line("crashed", &world, origin, &crashed));
    assert!(world.network.refused.is_empty(), "{:?}", world.network.refused);
    for cost in [announced, withdrawn, crashed] {
        assert!(cost.settled <= SETTLED && cost.updates <= UPDATES_PER_ZONE * zones as u64, "{family}: {cost:?}");
    }
}

#[test]
fn a_thousand_zones_settle_within_a_second() {
    for family in Family::ALL {
        settle(family, if family == Family::Mesh { 20 } else { 1_000 });
    }
}
