//! Cost of convergence, by family of graphs.

use crate::graph::Family;
use crate::world::{Cost, Plan, World, service};
use std::time::Duration;

/// Bound that the project states for a withdrawal over links of 10 ms.
const SETTLED: Duration = Duration::from_secs(1);
const UPDATES: u64 = 40;

fn line(what: &str, world: &World, origin: usize, cost: &Cost) -> String {
    let zones = world.zones as u64;
    let links = world.network.links.iter().filter(|link| !link.is_internal).map(|link| link.latency);
    // Mean latency of a link, plus the time for which changes are gathered.
    let round = links.clone().sum::<Duration>() / links.count() as u32 + Duration::from_millis(2);
    format!(
        "{:<12} {:>5} zones, {:>2} links away: {what:<9} settled in {:>4} ms, {:>2} rounds; {:>5.1} updates per zone, {:>4} at most, {:>6} bytes per zone",
        world.family().to_string(),
        world.zones,
        world.radius(origin),
        cost.settled.as_millis(),
        cost.settled.as_micros().div_ceil(round.as_micros()),
        cost.updates as f64 / zones as f64,
        cost.most,
        cost.bytes / zones,
    )
}

/// Measures an offer, a withdrawal, and the loss of an origin, which its neighbours detect immediately or within 300
/// ms.
fn settle(mut world: World) {
    world.start();
    world.network.run_for(Duration::from_secs(2));
    let (origin, print) = (world.zones / 2, service("print"));
    let announced = world.measure(|world| world.offer(origin, &print, true));
    world.network.check_rest().unwrap();
    println!("{}", line("announced", &world, origin, &announced));
    let withdrawn = world.measure(|world| world.withdraw(origin, &print));
    world.network.check_rest().unwrap();
    println!("{}", line("withdrawn", &world, origin, &withdrawn));
    world.offer(origin, &print, true);
    world.network.run_for(Duration::from_secs(3));
    let crash = |world: &mut World| {
        let router = world.routers_of(origin).start;
        world.network.crash(router);
    };
    let crashed = world.measure(crash);
    world.network.check_rest().unwrap();
    println!("{}", line("crashed", &world, origin, &crashed));
    world.measure(|world| world.network.start(world.routers_of(origin).start));
    world.network.check_rest().unwrap();
    world.network.skew = Duration::from_millis(300);
    let unnoticed = world.measure(crash);
    world.network.check_rest().unwrap();
    println!("{}", line("unnoticed", &world, origin, &unnoticed));

    assert!(world.network.refused.is_empty(), "{:?}", world.network.refused);
    let routers = world.network.routers.len() as u64;
    for cost in [announced, withdrawn] {
        assert!(cost.settled <= SETTLED && cost.updates <= UPDATES * routers, "{}: {cost:?}", world.family());
    }
    // Bound for a loss: after its detection, twice the time to cross the network in the longest steps, and five updates
    // for each session; eight if its ends detect it one after the other.
    let steps = 2 * u32::try_from(world.radius(origin).min(32)).unwrap();
    let slowest = world.network.links.iter().map(|link| link.latency).max().unwrap() + Duration::from_millis(100);
    for (cost, noticed, each) in [(crashed, Duration::ZERO, 5), (unnoticed, world.network.skew, 8)] {
        let updates = each * 2 * world.network.links.len() as u64;
        let is_quick = cost.settled <= noticed + slowest * steps;
        assert!(is_quick && cost.updates <= updates, "{}: {cost:?}", world.family());
    }
}

#[test]
fn a_thousand_zones_settle_within_a_second() {
    for family in Family::ALL {
        settle(Plan::new(family, if family == Family::Mesh { 20 } else { 1_000 }, 1).build());
    }
}

#[test]
fn a_hundred_zones_of_three_routers_settle_within_a_second() {
    for family in Family::ALL {
        let plan = Plan::new(family, if family == Family::Mesh { 20 } else { 100 }, 2);
        settle(Plan { routers: 3, ..plan }.build());
    }
}

/// Each pair of zones has two links, and each has advertised a lost route: 36 updates for the other zones of the
/// clique, and some more within each zone.
#[test]
fn a_withdrawal_by_a_zone_of_three_routers_is_one_loss() {
    let mut world = Plan { routers: 3, ..Plan::new(Family::Mesh, 20, 2) }.build();
    world.start();
    world.network.run_for(Duration::from_secs(2));
    world.measure(|world| world.offer(7, &service("print"), true));
    let withdrawn = world.measure(|world| world.withdraw(7, &service("print")));
    assert!(withdrawn.updates <= 41 * 20 && withdrawn.most <= 20, "{withdrawn:?}");
}

#[test]
fn a_thousand_zones_settle_within_a_second_over_links_of_1_to_50_ms() {
    for family in [Family::Random, Family::SmallWorld, Family::ScaleFree, Family::Mesh] {
        let mut world = Plan::new(family, if family == Family::Mesh { 20 } else { 1_000 }, 3).build();
        let mut rng = fastrand::Rng::with_seed(3);
        for link in &mut world.network.links {
            link.latency = Duration::from_micros(rng.u64(1_000..50_000));
        }
        settle(world);
    }
}

#[test]
fn without_policy_a_path_is_as_long_as_the_distance() {
    for family in Family::ALL {
        let mut world = Plan::new(family, if family == Family::Mesh { 20 } else { 300 }, 4).build();
        (0..3).for_each(|zone| world.offer(zone, &service("print"), true));
        world.start();
        world.network.run_for(Duration::from_secs(5));
        (0..3).for_each(|zone| world.check_distances(zone, &service("print")));
    }
}

/// Measures tables and bytes when every zone offers this number of services, from the start of all routers until rest.
fn grow(zones: usize, services: usize) -> (f64, f64) {
    let mut world = Plan::new(Family::Random, zones, 1).build();
    for zone in 0..zones {
        (0..services).for_each(|n| world.offer(zone, &service(&format!("service-{n}")), true));
    }
    let cost = world.measure(World::start);
    world.network.check_rest().unwrap();
    let sizes: Vec<_> = world.network.routers.iter().map(|router| router.paths.as_ref().unwrap().sizes()).collect();
    let heard = sizes.iter().map(|sizes| sizes.received).sum::<usize>();
    let most = sizes.iter().map(|sizes| sizes.received).max().unwrap();
    let pairs = zones * services;
    println!(
        "{zones:>4} zones x {services:>2} services = {pairs:>4} pairs: {:>6.1} routes heard per router, {most:>5} at most; \
         start-up: {:>5.1} updates, {:>6} bytes per router, {:>5.1} per pair",
        heard as f64 / zones as f64,
        cost.updates as f64 / zones as f64,
        cost.bytes / zones as u64,
        cost.bytes as f64 / (zones * pairs) as f64,
    );
    (heard as f64 / (zones * pairs) as f64, cost.bytes as f64 / (zones * pairs) as f64)
}

#[test]
fn tables_and_messages_grow_no_faster_than_the_services_of_all_zones() {
    for steps in [[(50, 1), (50, 2), (50, 4), (50, 8)], [(25, 1), (50, 1), (100, 1), (200, 1)]] {
        let figures = steps.map(|(zones, services)| grow(zones, services));
        let (heard, bytes) = figures[0];
        for (more_heard, more_bytes) in figures {
            // Longer paths take more bytes: with eight times the zones, the paths are some hops longer.
            assert!(more_heard <= 1.3 * heard && more_bytes <= 1.6 * bytes, "{figures:?}");
        }
    }
}
