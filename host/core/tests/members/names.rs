//! One name, one process.

use crate::network::{Network, State};
use std::time::Duration;
use wasmnode_core::MemberEffect::{Down, NameTaken, Renewed, Up};

const SECOND: Duration = Duration::from_secs(1);

fn all_hold(network: &Network, process: usize) -> bool {
    network.holders(network.processes[process].members.me()) == network.running().count() - 1
}

#[test]
fn a_restarted_process_replaces_the_one_before() {
    for (size, seed) in [(2, 1), (5, 2), (5, 3), (50, 4)] {
        let mut network = Network::zone(size, seed);
        let (past, seed) = (network.me(1), network.me(0));
        network.crash(1);
        network.pass(SECOND);
        let restarted = network.start_at("node1", past.endpoint.clone(), past.boot + 60_000_000);
        network.announce(restarted, &seed);
        let present = network.me(restarted);
        let time = network.wait(10 * SECOND, Network::all_know_all).unwrap();
        println!("restart of one of {size}: all know all after {time:?}");
        assert!(time < 2 * SECOND);
        network.pass(10 * SECOND);
        for process in (0..size).filter(|process| *process != 1) {
            assert_eq!(network.told(process), [Down(past.clone()), Up(present.clone())]);
        }
        assert_eq!(network.me(restarted), present, "it need not fight for its name");
    }
}

#[test]
fn a_goodbye_and_a_new_start_are_told_once_each() {
    let mut network = Network::zone(5, 1);
    let (past, seed) = (network.me(1), network.me(0));
    network.leave(1);
    network.pass(SECOND);
    let restarted = network.start_at("node1", past.endpoint.clone(), past.boot + 60_000_000);
    network.announce(restarted, &seed);
    network.pass(10 * SECOND);
    assert!(network.all_know_all());
    for process in [0, 2, 3, 4] {
        assert_eq!(network.told(process), [Down(past.clone()), Up(network.me(restarted))]);
    }
}

#[test]
fn of_two_processes_with_one_name_the_later_keeps_it_and_the_other_falls_silent() {
    for seed in 0..20 {
        let size = 2 + seed as usize % 5;
        let mut network = Network::zone(size, seed);
        network.loss = 2.0 * (seed % 2) as f64;
        let rival = network.start("node1");
        let first = network.me(0);
        network.announce(rival, &first);
        let told = |network: &Network| network.told(1).contains(&NameTaken(network.me(rival)));
        let time = network.wait(60 * SECOND, told).unwrap();
        assert!(time < 5 * SECOND, "the loser has learnt after {time:?}");
        assert_eq!(network.processes[1].members.alive().count(), 0);
        assert_eq!(network.processes[1].members.next_wake(), None);
        network.crash(1);
        network.wait(30 * SECOND, Network::all_know_all).unwrap();
        network.told_clear();
        network.pass(30 * SECOND);
        assert_eq!(network.downs(), 0, "the fight is over");
    }
}

#[test]
fn a_name_is_refused_to_a_process_whose_clock_is_behind_while_its_holder_lives() {
    let mut network = Network::zone(5, 1);
    let (holder, first) = (network.me(1), network.me(0));
    let late = network.start_at("node1", "tcp://10.9.9.9:5570".into(), holder.boot - 1);
    network.announce(late, &first);
    network.pass(10 * SECOND);
    assert_eq!(network.told(late), [NameTaken(holder)]);
    assert_eq!(network.downs(), 0, "nobody else has noticed");
}

#[test]
fn a_restarted_process_whose_clock_was_set_back_succeeds_the_dead() {
    let mut network = Network::zone(5, 1);
    let (past, first) = (network.me(1), network.me(0));
    network.crash(1);
    network.wait(10 * SECOND, |network| network.holders(&past) == 0).unwrap();
    let restarted = network.start_at("node1", past.endpoint.clone(), 7);
    network.announce(restarted, &first);
    network.wait(10 * SECOND, Network::all_know_all).unwrap();
    let present = network.me(restarted);
    assert_eq!(present.boot, past.boot + 1);
    assert!(network.told(restarted).contains(&Renewed(present)));
    assert!(all_hold(&network, restarted));
}

#[test]
fn a_node_that_has_itself_for_a_seed_is_not_confused() {
    let mut network = Network::new(1);
    let alone = network.start("node0");
    let me = network.me(alone);
    network.announce(alone, &me);
    network.pass(60 * SECOND);
    assert_eq!(network.told(alone), []);
    assert!(network.processes[alone].state == State::Running);
}
