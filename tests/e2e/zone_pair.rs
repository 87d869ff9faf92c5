//! Two nodes that know only each other, so that each has exactly one link.

use crate::node::PATIENCE;
use crate::zone::{node, wait_for_members};
use std::time::{Duration, Instant};
use wasmnode::client::{Ask, Client, Code, Error};

const ROUNDS: usize = 20;

/// How soon a request is answered, or fails, whose node is gone.
const SOON: Duration = Duration::from_millis(50);

/// Half of the deadline that a service has by default: a request that outlives it has waited for nothing else.
const NOT_BY_ITS_DEADLINE: Duration = Duration::from_secs(1);

/// Kills the other node of a zone of two, and asks for what it served, on a connection that stands.
fn asked_after_a_kill() -> (Duration, Code) {
    let node1 = node("node1", &["print"], &[], "");
    let mut node2 = node("node2", &["afficher"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    let mut client = Client::connect(&node1.tcp).unwrap();
    client.call(Ask::new("afficher").body(["x"]).deadline(PATIENCE), |_| {}).unwrap();
    node2.kill();
    let began = Instant::now();
    match client.call(Ask::new("afficher").body(["x"]).deadline(PATIENCE), |_| {}) {
        Err(Error::Failure(failure)) => (began.elapsed(), failure.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn when_the_other_node_is_killed_the_next_request_for_its_service_fails_soon() {
    let mut tries: Vec<_> = (0..ROUNDS).map(|_| asked_after_a_kill()).collect();
    tries.sort_unstable_by_key(|(took, _)| *took);
    println!("killed until failed: {tries:?}");
    let (slowest, _) = tries[ROUNDS - 1];
    assert!(slowest < NOT_BY_ITS_DEADLINE, "{tries:?}");
    assert!(tries[ROUNDS / 2].0 < SOON, "{tries:?}");
    let codes = [Code::UnknownService, Code::Lost, Code::Unreachable];
    assert!(tries.iter().all(|(_, code)| codes.contains(code)), "{tries:?}");
}

#[test]
fn the_loss_of_the_only_link_is_logged_and_the_node_is_linked_with_again_when_it_comes_back() {
    let mut node1 = node("node1", &["print"], &[], "");
    let mut node2 = node("node2", &["echo"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    node2.kill();
    node1.wait_for("the link to node node2 is gone: the connection is lost");
    node2.start_again();
    wait_for_members(&node1, &[("node2", 1)]);
    let waiting = Ask::new("echo").body(["x"]).wait(true).deadline(PATIENCE);
    assert_eq!(node1.client().call(waiting, |_| {}).unwrap(), ["x"]);
}
