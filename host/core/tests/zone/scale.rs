//! Many zones of ten nodes each: whole nodes and routers, joined as graphs of each family.
//!
//! 100 zones by default; `WASMNODE_ZONES=1000 cargo test -p wasmnode-core --test zone many_zones -- --nocapture`
//! measures a thousand.

use crate::graph::{Family, distances};
use crate::log::Log;
use crate::scenario::{Extent, Scenario};
use crate::seeds::number_from;
use crate::world::World;
use std::time::Duration;

/// Bound that the project states for a withdrawal over links of 10 ms, including the time within a zone.
const SETTLED: Duration = Duration::from_secs(1);
const UPDATES: u64 = 40;

/// Latency of a link, plus the time for which changes are gathered.
const ROUND: Duration = Duration::from_millis(12);

const ZONES: u64 = 100;

fn measure(extent: Extent) {
    let Extent { family, zones, nodes, routers, origins } = extent;
    let mut world = World::new(zones as u64, Scenario::many_zones(extent), Log::None);
    let edges = world.edges();
    // The service that is offered and withdrawn is of the first zone.
    let far = distances(&edges, zones, 0).into_iter().flatten().max().unwrap_or(0);
    let diameter = (0..zones).flat_map(|zone| distances(&edges, zones, zone)).flatten().max().unwrap_or(0);
    world.run_for(Duration::from_millis(200));
    let agreed = world.agree(Duration::from_secs(30));
    let tables = world.tables();
    let heard = tables.iter().map(|sizes| sizes.received);
    let reachable = tables.iter().map(|sizes| sizes.reachable).max().unwrap_or(0);
    println!(
        "{family:<12} {zones:>4} zones x {nodes} nodes, {routers} routers each, diameter {diameter}, {far} links to the farthest: all agree {agreed:?} after the start; \
         {origins} pairs: {:.1} routes heard per router, {} at most, {reachable} reachable",
        heard.clone().sum::<usize>() as f64 / tables.len() as f64,
        heard.max().unwrap_or(0),
    );
    for (what, is_offered) in [("withdrawn", false), ("announced", true)] {
        let cost = world.measure_offer(0, "add", is_offered);
        println!(
            "    {what}: settled in {} ms, {} rounds; {:.1} updates and {} bytes per zone",
            cost.settled.as_millis(),
            cost.settled.as_micros().div_ceil(ROUND.as_micros()),
            cost.updates as f64 / zones as f64,
            cost.bytes / zones as u64,
        );
        let is_quick = cost.settled <= SETTLED && cost.updates <= UPDATES * (zones * routers) as u64;
        assert!(is_quick, "{family}: {what}: {cost:?}");
        world.agree(Duration::from_secs(1));
    }
    let asked = world.ask_from_everywhere((zones * nodes / 200).max(1));
    println!("    {asked} requests from everywhere; {} steps", world.steps());
}

#[test]
fn many_zones_of_ten_nodes_agree() {
    let zones = number_from("WASMNODE_ZONES").unwrap_or(ZONES) as usize;
    for family in Family::ALL {
        let zones = if family == Family::Mesh { 20 } else { zones };
        measure(Extent { family, zones, nodes: 10, routers: 1, origins: 10 });
    }
    measure(Extent { family: Family::Random, zones, nodes: 10, routers: 2, origins: 20 });
}
