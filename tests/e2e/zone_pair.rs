//! Two nodes that are each other's only peers, so that each has exactly one link.

use crate::node::{Node, PATIENCE, run};
use crate::zone::{node, wait_for_members};
use std::time::{Duration, Instant};
use wasmnode_client::{Client, Code, Error, Request};

const ROUNDS: usize = 20;

/// Time limit for the answer or failure of a request whose node is gone.
const SOON: Duration = Duration::from_millis(50);

/// Half of the default deadline of a service: a failure within this time is not caused by the deadline.
const NOT_BY_ITS_DEADLINE: Duration = Duration::from_secs(1);

/// Kills the other node of a zone of two, and calls its service on an existing connection; returns the time and the
/// code of the failure.
fn call_after_a_kill() -> (Duration, Code) {
    let node1 = node("node1", &["print"], &[], "");
    let mut node2 = node("node2", &["afficher"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    let mut client = Client::connect(&node1.tcp).unwrap();
    client.call(Request::new("afficher").body(["x"]).deadline(PATIENCE), |_| {}).unwrap();
    node2.kill();
    let began = Instant::now();
    match client.call(Request::new("afficher").body(["x"]).deadline(PATIENCE), |_| {}) {
        Err(Error::Failure(failure)) => (began.elapsed(), failure.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn when_the_other_node_is_killed_the_next_request_for_its_service_fails_soon() {
    let mut tries: Vec<_> = (0..ROUNDS).map(|_| call_after_a_kill()).collect();
    tries.sort_unstable_by_key(|(took, _)| *took);
    println!("killed until failed: {tries:?}");
    let (slowest, _) = tries[ROUNDS - 1];
    assert!(slowest < NOT_BY_ITS_DEADLINE, "{tries:?}");
    assert!(tries[ROUNDS / 2].0 < SOON, "{tries:?}");
    let codes = [Code::UnknownService, Code::Lost, Code::Unreachable];
    assert!(tries.iter().all(|(_, code)| codes.contains(code)), "{tries:?}");
}

#[test]
fn the_loss_of_the_only_link_is_logged_and_the_link_is_restored_when_the_node_returns() {
    let mut node1 = node("node1", &["print"], &[], "");
    let mut node2 = node("node2", &["echo"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    node2.kill();
    node1.wait_for("the link to node node2 is gone: the connection is lost");
    node2.start_again();
    wait_for_members(&node1, &[("node2", 1)]);
    let waiting = Request::new("echo").body(["x"]).wait(true).deadline(PATIENCE);
    assert_eq!(node1.client().call(waiting, |_| {}).unwrap(), ["x"]);
}

fn listening_at(endpoints: [&str; 2], name: &str, plugins: &[&str], seeds: &[String]) -> Node {
    Node::start(plugins, &format!("name = '{name}'\nlisten = {endpoints:?}\nseeds = {seeds:?}\n"))
}

/// Returns an endpoint of a node from its log.
fn endpoint_of(node: &mut Node, begins: &str) -> String {
    let line = node.wait_for(&format!("listening on {begins}"));
    line.split_once("listening on ").unwrap().1.to_owned()
}

#[test]
fn nodes_clients_and_commands_use_ipv6_wherever_a_node_listens_in_whatever_order() {
    for order in [["tcp://[::1]:*", "ipc://node.ipc"], ["ipc://node.ipc", "tcp://[::1]:*"]] {
        let mut node1 = listening_at(order, "node1", &["print"], &[]);
        let six = endpoint_of(&mut node1, "tcp://[::1]:");
        let node2 = listening_at(order, "node2", &["echo"], std::slice::from_ref(&six));
        wait_for_members(&node1, &[("node2", 1)]);
        wait_for_members(&node2, &[("node1", 1)]);
        assert_eq!(Client::connect(&six).unwrap().call(Request::new("echo").body(["x"]), |_| {}).unwrap(), ["x"]);
        let called = run(&["call", "echo", "from far", "--to", &six]);
        assert!(called.status.success() && called.stdout.starts_with(b"from far"), "{called:?}");
    }
}

#[test]
fn both_address_families_are_bound_in_any_order() {
    for order in [["tcp://127.0.0.1:0", "tcp://[::1]:0"], ["tcp://[::1]:0", "tcp://127.0.0.1:0"]] {
        let settings = format!("name = 'node1'\nlisten = ['ipc://node.ipc', '{}', '{}']\n", order[0], order[1]);
        let mut node = Node::start(&["echo"], &settings);
        for begins in ["tcp://127.0.0.1:", "tcp://[::1]:"] {
            let endpoint = endpoint_of(&mut node, begins);
            assert_eq!(
                Client::connect(&endpoint).unwrap().call(Request::new("echo").body(["x"]), |_| {}).unwrap(),
                ["x"]
            );
        }
    }
}

#[test]
fn deploy_gets_the_verdict_of_a_node_that_listens_only_at_an_ipv6_address() {
    let mut node = Node::start(&[], "name = 'node1'\nlisten = ['tcp://[::1]:0', 'ipc://node.ipc']\n");
    let six = endpoint_of(&mut node, "tcp://[::1]:");
    let component = node.folder.path("echo.wasm");
    std::fs::write(&component, crate::guests::component(include_str!("../guests/echo.wat"))).unwrap();
    let config = node.folder.path("node.toml");
    let (config, component) = (config.to_str().unwrap(), component.to_str().unwrap());
    let deployed = run(&["--config", config, "deploy", component, "--to", &six]);
    let said = String::from_utf8_lossy(&deployed.stdout);
    assert!(deployed.status.success() && said.contains("generation 1 of echo serves"), "{deployed:?}");
}
