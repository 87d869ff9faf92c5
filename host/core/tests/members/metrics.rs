//! Measurements of joins, deaths, departures and traffic.

use crate::network::Network;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn join(size: usize, loss: f64, seed: u64) -> Duration {
    let mut network = Network::new(seed);
    network.loss = loss;
    network.join(size, Duration::from_secs(1));
    let joined = network.wait(5 * MINUTE, Network::all_know_all).unwrap();
    let kilobytes = network.bytes / 1000 / size as u64;
    println!(
        "join of {size} within 1 s, {loss} % lost: all know all {joined:?} after the last; {kilobytes} KB per node"
    );
    joined
}

#[test]
fn hundreds_of_nodes_that_join_through_one_seed_converge_within_seconds() {
    for (size, bound) in [(3, 1), (50, 2), (300, 3), (500, 3)] {
        assert!(join(size, 0.0, size as u64) < Duration::from_secs(bound));
    }
    assert!(join(50, 2.0, 1) < Duration::from_secs(20));
}

#[test]
fn a_crash_is_detected_by_all_within_seconds() {
    for (size, runs, bound) in [(2, 10, 6), (5, 40, 6), (50, 10, 6), (300, 2, 7)] {
        let mut times = Vec::new();
        for seed in 0..runs {
            let mut network = Network::zone(size, seed);
            network.pass(Duration::from_millis(137 * seed));
            let crashed = network.me(size - 1);
            network.crash(size - 1);
            times.push(network.wait(MINUTE, |network| network.holders(&crashed) == 0).unwrap());
            assert_eq!(network.downs(), size - 1, "only the crashed process is declared dead");
        }
        times.sort();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("crash of one of {size}: known to all after {median:?}, at most {longest:?}, in {runs} runs");
        assert!(longest < Duration::from_secs(bound));
    }
}

#[test]
fn a_departure_is_detected_by_all_within_a_second() {
    for size in [2, 5, 50, 300] {
        let mut network = Network::zone(size, 7);
        let leaver = network.me(1);
        network.leave(1);
        let time = network.wait(MINUTE, |network| network.holders(&leaver) == 0).unwrap();
        println!("goodbye of one of {size}: known to all after {time:?}");
        assert!(time < Duration::from_secs(1));
    }
}

#[test]
fn no_live_process_is_declared_dead() {
    for (size, loss, seconds) in [(5, 0.0, 300), (50, 0.0, 300), (5, 2.0, 300), (50, 2.0, 300), (300, 2.0, 60)] {
        let mut network = Network::zone(size, 3);
        network.loss = loss;
        network.pass(Duration::from_secs(seconds));
        let rate = network.bytes / seconds / size as u64;
        let downs = network.downs();
        println!(
            "{size} at rest for {seconds} s, {loss} % lost: {rate} bytes per second and node, {downs} false deaths"
        );
        assert_eq!(downs, 0);
        assert!(network.all_know_all());
        assert!(rate < 3_000);
    }
}
