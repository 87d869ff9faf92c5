//! Partitioned zones, frozen processes, and a full zone.

use crate::network::{Network, label};
use std::time::Duration;
use wasmnode_core::MemberEffect;

const SECOND: Duration = Duration::from_secs(1);

/// Partitions a zone of `size` after the first `part` processes until both parts detect it. Returns the time until the
/// views converge after the partition heals.
fn cut_and_heal(size: usize, part: usize, seed: u64) -> Duration {
    let mut network = Network::zone(size, seed);
    network.cut = Some(part);
    let others = |number: usize| if number < part { part - 1 } else { size - part - 1 };
    let is_apart = |network: &Network| {
        let mut processes = network.processes.iter().enumerate();
        processes.all(|(number, process)| process.members.alive().count() == others(number))
    };
    let apart = network.wait(120 * SECOND, is_apart).unwrap();
    network.pass(20 * SECOND);
    assert!(is_apart(&network), "both parts keep running");
    network.cut = None;
    let healed = network.wait(600 * SECOND, Network::all_know_all).unwrap();
    let renewals = network.processes.iter().map(|process| process.members.me().renewal);
    let (renewed, most) = (renewals.clone().filter(|renewal| *renewal > 0).count(), renewals.max().unwrap());
    let rest = size - part;
    println!(
        "cut {part} to {rest}: known to all after {apart:?}; healed after {healed:?}; renewed {renewed}, at most {most} times"
    );
    healed
}

#[test]
fn the_parts_of_a_zone_find_each_other_again() {
    for (size, part, bound) in [(2, 1, 2), (5, 1, 15), (5, 2, 15), (50, 25, 30), (150, 75, 30)] {
        let healed = cut_and_heal(size, part, 5);
        assert!(healed < bound * SECOND);
    }
}

#[test]
fn a_short_pause_is_tolerated() {
    let mut deaths = 0;
    for seed in 0..100 {
        let mut network = Network::zone([3, 5, 20][seed as usize % 3], seed);
        network.loss = 2.0 * (seed % 2) as f64;
        network.pass(Duration::from_millis(29 * seed));
        network.freeze(1);
        network.pass(SECOND * 3 / 2);
        network.thaw(1);
        network.pass(10 * SECOND);
        deaths += usize::from(network.downs() > 0);
    }
    println!("frozen for 1.5 s: taken for dead in {deaths} of 100 runs");
    assert_eq!(deaths, 0);
}

#[test]
fn a_long_pause_ends_in_a_new_identity_without_other_false_deaths() {
    for seed in 0..20 {
        let mut network = Network::zone(5, seed);
        let past = network.me(1);
        network.freeze(1);
        network.wait(10 * SECOND, |network| network.holders(&past) == 0).unwrap();
        network.pass(10 * SECOND);
        network.thaw(1);
        let back = network.wait(60 * SECOND, Network::all_know_all).unwrap();
        if seed == 0 {
            println!("a false death: all know all {back:?} after it woke");
        }
        assert!(back < 15 * SECOND);
        assert_eq!(network.me(1).renewal, 1);
        assert_eq!(network.downs(), 4, "only the frozen process was declared dead");
        let present = network.me(1);
        assert_eq!(network.told(1), [MemberEffect::Renewed(present.clone())]);
        assert_eq!(network.told(0), [MemberEffect::Down(past), MemberEffect::Up(present)]);
    }
}

#[test]
fn a_suspicion_that_a_pause_outlasted_can_be_refuted_first() {
    for seed in 0..60 {
        let mut network = Network::zone(3, seed);
        network.pass(Duration::from_millis(37 * seed));
        network.freeze(2);
        network.pass(SECOND * 3 / 2);
        network.freeze(1);
        network.thaw(2);
        network.pass(5 * SECOND);
        network.thaw(1);
        network.pass(10 * SECOND);
        assert_eq!(network.me(2).renewal, 0, "seed {seed}: the frozen process declared the other dead");
        assert!(network.all_know_all());
    }
}

#[test]
fn a_process_resumed_under_a_new_identity_detects_that_the_others_have_died() {
    for seed in 0..20 {
        let mut network = Network::zone(3, seed);
        let past = network.me(1);
        network.freeze(1);
        network.wait(10 * SECOND, |network| network.holders(&past) == 0).unwrap();
        network.pass(Duration::from_millis(500 * seed));
        network.crash(0);
        network.crash(2);
        network.pass(SECOND);
        network.thaw(1);
        assert_eq!(network.me(1).renewal, 1);
        assert!(
            network.wait(30 * SECOND, Network::all_know_all).is_some(),
            "seed {seed}: it considers dead members alive"
        );
    }
}

#[test]
fn an_isolated_node_keeps_announcing_itself_to_its_seed() {
    let mut network = Network::new(1);
    let (early, late) = (network.start("early"), network.start("late"));
    let seed = network.me(late);
    network.cut = Some(1);
    network.announce(early, &seed);
    network.pass(10 * SECOND);
    network.cut = None;
    let found = network.wait(10 * SECOND, Network::all_know_all).unwrap();
    println!("a seed that comes late is found after {found:?}");
    assert!(found < 2 * SECOND);
}

#[test]
fn a_full_zone_refuses_new_members_until_one_dies() {
    let mut network = Network::new(1);
    network.settings.limit = 4;
    network.join(5, SECOND);
    network.wait(10 * SECOND, Network::all_know_all).unwrap();
    network.told_clear();
    assert!(network.processes[0].members.has_room_for(&label("node1")));
    assert!(!network.processes[0].members.has_room_for(&label("late")));
    let (late, seed) = (network.start("late"), network.me(0));
    network.announce(late, &seed);
    network.pass(SECOND / 2);
    assert_eq!(network.told(0), [MemberEffect::Refused(network.me(late))]);
    assert_eq!(network.processes[1].members.alive().count(), 4);

    network.crash(1);
    let found = network.wait(60 * SECOND, Network::all_know_all).unwrap();
    println!("a newcomer in a full zone has the place of a dead one after {found:?}");
    assert!(network.processes[0].members.get(&label("late")).is_some());
}
