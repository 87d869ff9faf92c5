//! One name, one process.

use crate::network::{Network, State};
use std::time::Duration;
use wasmnode_core::MemberEffect::{Down, NameTaken, Renewed, Up};
use wasmnode_core::message::peer::Member;

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
        assert_eq!(network.me(restarted), present, "it keeps its identity");
    }
}

#[test]
fn a_departure_and_a_restart_are_reported_once_each() {
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
fn the_later_of_two_processes_with_one_name_keeps_it_and_the_other_stops_sending() {
    for seed in 0..20 {
        let size = 2 + seed as usize % 5;
        let mut network = Network::zone(size, seed);
        network.loss = 2.0 * (seed % 2) as f64;
        let rival = network.start("node1");
        let first = network.me(0);
        network.announce(rival, &first);
        let told = |network: &Network| network.told(1).contains(&NameTaken(network.me(rival)));
        let time = network.wait(60 * SECOND, told).unwrap();
        assert!(time < 5 * SECOND, "the earlier process is notified after {time:?}");
        assert_eq!(network.processes[1].members.alive().count(), 0);
        assert_eq!(network.processes[1].members.next_wake(), None);
        network.crash(1);
        network.wait(30 * SECOND, Network::all_know_all).unwrap();
        network.told_clear();
        network.pass(30 * SECOND);
        assert_eq!(network.downs(), 0, "the conflict is settled");
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
fn a_restarted_process_whose_clock_was_set_back_replaces_the_dead_one() {
    let mut network = Network::zone(5, 1);
    let (past, first) = (network.me(1), network.me(0));
    network.crash(1);
    network.wait(10 * SECOND, |network| network.holders(&past) == 0).unwrap();
    let restarted = network.start_at("node1", past.endpoint.clone(), 7);
    network.announce(restarted, &first);
    network.wait(10 * SECOND, Network::all_know_all).unwrap();
    let present = network.me(restarted);
    assert!(present > past && present.boot - past.boot <= Member::PROCESS + 1);
    assert!(network.told(restarted).contains(&Renewed(present)));
    assert!(all_hold(&network, restarted));
}

#[test]
fn a_node_may_be_its_own_seed() {
    let mut network = Network::new(1);
    let alone = network.start("node0");
    let me = network.me(alone);
    network.announce(alone, &me);
    network.pass(60 * SECOND);
    assert_eq!(network.told(alone), []);
    assert!(network.processes[alone].state == State::Running);
}

#[test]
fn a_process_restarted_with_its_clock_set_back_replaces_itself_before_the_zone_declares_it_dead() {
    for seed in 0..20 {
        let size = 2 + seed as usize % 5;
        let mut network = Network::zone(size, seed);
        let (past, first) = (network.me(1), network.me(0));
        network.crash(1);
        let restarted = network.start_at("node1", past.endpoint.clone(), past.boot - 3_600_000_000);
        let before = network.me(restarted);
        network.announce(restarted, &first);
        let time = network.wait(10 * SECOND, Network::all_know_all).unwrap();
        assert!(time < 2 * SECOND, "{time:?}");
        let told = network.told(restarted);
        assert!(told.contains(&Renewed(network.me(restarted))), "{told:?}");
        assert!(!told.iter().any(|effect| matches!(effect, NameTaken(_))), "{told:?}");
        assert!(network.me(restarted).is_same_process(&before), "it is the same process under another identity");
        network.pass(30 * SECOND);
        assert!(network.all_know_all());
    }
}

#[test]
fn a_first_process_without_seeds_replaces_itself_when_others_find_it_again() {
    let mut network = Network::zone(3, 1);
    let past = network.me(0);
    network.crash(0);
    let restarted = network.start_at("node0", past.endpoint.clone(), past.boot - 3_600_000_000);
    network.wait(10 * SECOND, Network::all_know_all).unwrap();
    assert!(network.told(restarted).contains(&Renewed(network.me(restarted))));
}

#[test]
fn two_live_processes_that_advertise_one_endpoint_do_not_replace_each_other_endlessly() {
    let mut network = Network::zone(3, 1);
    let (one, first) = (network.me(1), network.me(0));
    let other = network.start_at("node1", one.endpoint.clone(), one.boot + 1);
    network.announce(other, &first);
    network.pass(60 * SECOND);
    let renewals =
        |network: &Network, process| network.told(process).iter().filter(|effect| matches!(effect, Renewed(_))).count();
    assert!(renewals(&network, 1) + renewals(&network, other) <= 16);
    network.told_clear();
    network.pass(60 * SECOND);
    assert_eq!((renewals(&network, 1), renewals(&network, other)), (0, 0));
}

#[test]
fn a_process_restarted_elsewhere_regains_its_name_after_the_earlier_one_has_died() {
    let mut network = Network::zone(4, 1);
    let (past, first) = (network.me(1), network.me(0));
    network.crash(1);
    let restarted = network.start_at("node1", "tcp://10.9.9.9:5570".into(), past.boot - 3_600_000_000);
    network.announce(restarted, &first);
    network.wait(SECOND, |network| network.told(restarted) == [NameTaken(past.clone())]).unwrap();
    network.wait(20 * SECOND, |network| network.holders(&past) == 0).unwrap();
    network.try_again(restarted);
    network.wait(5 * SECOND, Network::all_know_all).unwrap();
    assert!(all_hold(&network, restarted));
}

#[test]
fn a_retry_for_a_name_whose_holder_lives_fails_again_without_other_effects() {
    let mut network = Network::zone(4, 1);
    let (holder, first) = (network.me(1), network.me(0));
    let late = network.start_at("node1", "tcp://10.9.9.9:5570".into(), holder.boot - 1);
    network.announce(late, &first);
    network.pass(10 * SECOND);
    network.told_clear();
    for _ in 0..5 {
        network.try_again(late);
        network.pass(10 * SECOND);
    }
    assert_eq!(network.told(late), vec![NameTaken(holder); 5]);
    assert_eq!(network.downs(), 0, "nobody else has noticed");
}

#[test]
fn the_last_of_three_processes_with_one_name_keeps_it() {
    const TEN_YEARS: u64 = 10 * 365 * 24 * 3_600_000_000;
    for seed in 0..20 {
        let mut network = Network::zone(4, seed);
        let (first, boot) = (network.me(0), network.me(1).boot);
        network.crash(1);
        network.wait(20 * SECOND, |network| network.processes[0].members.alive().count() == 2).unwrap();
        let early = network.start_at("node1", "tcp://10.9.9.1:5570".into(), boot + TEN_YEARS);
        network.announce(early, &first);
        network.wait(10 * SECOND, Network::all_know_all).unwrap();
        let past = network.me(early);
        network.crash(early);
        network.wait(20 * SECOND, |network| network.holders(&past) == 0).unwrap();
        let frozen = network.start_at("node1", "tcp://10.9.9.2:5570".into(), boot + 1_000_000);
        network.announce(frozen, &first);
        network.wait(10 * SECOND, Network::all_know_all).unwrap();
        network.freeze(frozen);
        let past = network.me(frozen);
        network.wait(20 * SECOND, |network| network.holders(&past) == 0).unwrap();
        let last = network.start_at("node1", "tcp://10.9.9.3:5570".into(), boot + 2_000_000);
        network.announce(last, &first);
        network.wait(10 * SECOND, |network| network.holders(network.processes[last].members.me()) == 3).unwrap();
        network.told_clear();
        network.thaw(frozen);
        network.pass(10 * SECOND);
        assert_eq!(network.told(frozen).last(), Some(&NameTaken(network.me(last))));
        assert_eq!(network.holders(&network.me(last)), 3);
        assert!(network.downs() <= 4 + 2, "only the frozen process loses members: {}", network.downs());
    }
}
