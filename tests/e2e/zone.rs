//! One zone of real nodes: they discover each other, and each serves the clients of all.

use crate::majordomo::Worker;
use crate::node::{Folder, Node, PATIENCE, run};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use wasmnode_client::{Client, Code, Error, Reply, Request};

/// Starts a node of this name with these seeds.
pub(crate) fn node(name: &str, plugins: &[&str], seeds: &[&Node], settings: &str) -> Node {
    let seeds: Vec<&str> = seeds.iter().map(|seed| seed.tcp.as_str()).collect();
    Node::start(plugins, &format!("name = '{name}'\nseeds = {seeds:?}\n{settings}"))
}

/// Waits until a node lists exactly these members, linked, with so many services each.
pub(crate) fn wait_for_members(node: &Node, expected: &[(&str, u64)]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let report: Value = serde_json::from_slice(&node.call("node.members", &[]).unwrap()[0]).unwrap();
        let members = report["members"].as_array().unwrap().iter().skip(1).filter(|member| member["is_linked"] == true);
        let found: Vec<_> =
            members.map(|member| (member["name"].as_str().unwrap(), member["offers"].as_u64().unwrap())).collect();
        if found == expected {
            return;
        }
        assert!(Instant::now() < until, "expected {expected:?}, but: {report}");
    }
}

fn ask(service: &str, body: &str) -> Request {
    Request::new(service).body([body.to_owned()]).deadline(PATIENCE)
}

/// Starts node 1 with only `print`, and node 2 with only `afficher`.
fn two() -> (Node, Node) {
    let node1 = node("node1", &["print"], &[], "");
    let node2 = node("node2", &["afficher"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    wait_for_members(&node2, &[("node1", 1)]);
    (node1, node2)
}

#[test]
fn each_node_serves_the_clients_of_both() {
    let (mut node1, mut node2) = two();
    let picture = Client::connect(&node1.tcp).unwrap().call(ask("afficher", "bonjour"), |_| {}).unwrap();
    assert!(String::from_utf8_lossy(&picture[0]).contains("bonjour"));
    node2.wait_for("bonjour");
    assert_eq!(node2.call("print", &[b"salut"]).unwrap(), ["printed 5 bytes"]);
    node1.wait_for("salut");
}

#[test]
fn only_the_named_node_serves() {
    let (node1, _node2) = two();
    assert_eq!(node1.call("print@node1", &[b"x"]).unwrap(), ["printed 1 byte"]);
    assert!(node1.call("afficher@node2", &[b"x"]).is_ok());
    assert!(node1.call("afficher@node2.local", &[b"x"]).is_ok());
    assert_eq!(node1.fail("print@node2", &[b"x"]).0, Code::UnknownService);
    assert_eq!(node1.fail("print@node3", &[b"x"]).0, Code::UnknownService);
    let (code, reason) = node1.fail("print@node1.mars", &[b"x"]);
    assert!(code == Code::UnknownService && reason.contains("zone mars"), "{reason}");
    let services = node1.call("node.services@node2", &[]).unwrap();
    assert!(String::from_utf8_lossy(&services[0]).contains("afficher"));
}

#[test]
fn services_of_the_zone_are_reachable_for_majordomo_too() {
    let (node1, node2) = two();
    assert_eq!(node1.call("mmi.service", &[b"afficher"]).unwrap(), ["200"]);
    assert_eq!(node1.call("mmi.service", &[b"afficher@node2"]).unwrap(), ["200"]);
    assert_eq!(node1.call("mmi.service", &[b"nothing"]).unwrap(), ["404"]);
    let worker = Worker::v2(&node2.tcp, "foreign");
    wait_for_members(&node1, &[("node2", 2)]);
    let mut client = Client::connect(&node1.tcp).unwrap();
    let id = client.send(ask("foreign", "to a worker of node 2")).unwrap();
    let (whom, body) = worker.request();
    assert_eq!(body, [b"to a worker of node 2".to_vec()]);
    worker.reply(&whom, &["from it".into()]);
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), (id, Reply::Final(vec!["from it".into()])));
    drop(worker);
}

#[test]
fn partial_replies_and_cancellation_travel() {
    let node1 = node("node1", &[], &[], "");
    let node2 = node("node2", &["partials", "loop"], &[&node1], "[defaults]\ndeadline = '3m'\n");
    wait_for_members(&node1, &[("node2", 2)]);
    let mut parts = 0;
    let asked = Request::new("partials").body([vec![3]]).deadline(PATIENCE);
    assert_eq!(node1.client().call(asked, |_| parts += 1).unwrap(), [&[3][..]]);
    assert_eq!(parts, 3);
    let mut client = node1.client();
    let id = client.send(ask("loop", "x")).unwrap();
    node2.wait_until_running("loop");
    client.cancel(id).unwrap();
    assert!(
        matches!(client.receive(Some(PATIENCE)).unwrap(), (_, Reply::Failure(failure)) if failure.code == Code::Cancelled)
    );
    node2.wait_until_quiet(PATIENCE);
}

#[test]
fn a_failure_names_the_service_and_the_node_and_the_deadline_holds_across_nodes() {
    let node1 = node("node1", &[], &[], "");
    let _node2 = node("node2", &["trap", "loop"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 2)]);
    let (code, reason) = node1.fail("trap", &[b"x"]);
    assert!(code == Code::Crashed && reason.starts_with("at node node2: an instance of trap crashed"), "{reason}");
    let asked = Request::new("loop").body(["x"]).deadline(Duration::from_millis(300));
    match node1.client().call(asked, |_| {}) {
        Err(Error::Failure(failure)) => {
            assert!(failure.code == Code::Deadline && failure.reason.contains("node2"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_calls_another_wherever_it_is_and_loops_are_found_across_nodes() {
    let calls = "[service.relay]\ncalls = ['echo', 'back']\n[service.back]\ncalls = ['relay']\n";
    let node1 = node("node1", &["relay"], &[], calls);
    let node2 = node("node2", &["echo", "relay=back"], &[&node1], calls);
    wait_for_members(&node1, &[("node2", 2)]);
    wait_for_members(&node2, &[("node1", 1)]);
    assert_eq!(node1.call("relay", &[b"echo", b"a", b"b"]).unwrap(), ["a", "b"]);
    let (_, reason) = node1.fail("relay", &[b"back", b"relay", b"echo", b"x"]);
    assert!(reason.contains("relay is already part of this chain of calls"), "{reason}");
}

#[test]
fn a_plugin_dropped_into_one_node_is_callable_through_another_and_gone_when_it_is_removed() {
    let (node1, node2) = two();
    let mut client = node1.client();
    let id = client.send(Request::new("echo").body(["x"]).wait(true).deadline(PATIENCE)).unwrap();
    let unfinished = node2.folder.path("unfinished");
    fs::write(&unfinished, crate::guests::component(include_str!("../guests/echo.wat"))).unwrap();
    fs::rename(&unfinished, node2.folder.path("plugins/echo.wasm")).unwrap();
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), (id, Reply::Final(vec!["x".into()])));
    fs::remove_file(node2.folder.path("plugins/echo.wasm")).unwrap();
    wait_for_members(&node1, &[("node2", 1)]);
    assert_eq!(node1.fail("echo", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn three_nodes_discover_each_other_in_any_order_of_start() {
    // Their ports are chosen before they start, so that each can be a seed of the others.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let folders = [Folder::new(&["print"]), Folder::new(&["afficher"]), Folder::new(&["echo"])];
        let seeds: Vec<String> =
            folders.iter().map(|folder| format!("ipc://{}", folder.path("node.ipc").display())).collect();
        let mut folders = folders.map(Some);
        let mut nodes: Vec<Node> = order
            .iter()
            .map(|&number| {
                let settings = format!("name = 'node{number}'\nseeds = {seeds:?}\nadvertise = '{}'\n", seeds[number]);
                Node::start_in(folders[number].take().unwrap(), &settings, &[])
            })
            .collect();
        for node in &mut nodes {
            for service in ["print", "afficher", "echo"] {
                let waiting = Request::new(service).body(["x"]).wait(true).deadline(PATIENCE);
                node.client().call(waiting, |_| {}).unwrap_or_else(|error| panic!("{order:?}: {service}: {error}"));
            }
        }
    }
}

#[test]
fn a_wrong_zone_and_a_taken_name_are_logged_on_both_sides() {
    let mut node1 = node("node1", &[], &[], "");
    let mut stranger = node("stranger", &[], &[&node1], "zone = 'mars'\n");
    node1.wait_for("node stranger is of zone mars, and node node1 is of zone local: correct node.zone");
    stranger.wait_for("node stranger is of zone mars, and node node1 is of zone local: correct node.zone");
    let node2 = node("node2", &[], &[&node1], "");
    wait_for_members(&node1, &[("node2", 0)]);
    let mut double = node("node2", &[], &[&node1], "");
    let taken = "the name node2 is taken in zone local by the node at";
    node1.wait_for(taken);
    double.wait_for(taken);
    wait_for_members(&node1, &[("node2", 0)]);
    assert_eq!(node1.call("node.members@node2", &[]).unwrap(), node2.call("node.members", &[]).unwrap());
}

#[test]
fn members_services_and_explain_report_what_is_where_and_why() {
    let (node1, _node2) = two();
    node1.call("afficher", &[b"x"]).unwrap();
    let say = |arguments: &[&str]| {
        let done = run(&[arguments, &["--to", &node1.tcp]].concat());
        let said = String::from_utf8(done.stdout).unwrap();
        // The exit code of `explain` shows whether a node would serve it.
        let exit = if said.ends_with("=> 404: no node offers it\n") { 3 } else { 0 };
        assert_eq!(done.status.code(), Some(exit), "{said}");
        said
    };
    let members = say(&["members"]);
    assert!(members.contains("node1") && members.contains("this node") && members.contains("linked"), "{members}");
    let services = say(&["services"]);
    assert!(services.contains("at node node2: 0 outstanding"), "{services}");
    assert!(say(&["explain", "afficher"]).ends_with("=> goes to node node2\n"));
    assert!(say(&["explain", "print"]).ends_with("=> runs here: plugin\n"));
    assert!(say(&["explain", "nothing"]).ends_with("=> 404: no node offers it\n"));
    assert!(say(&["explain", "print@node2"]).contains("on node node2 of this zone"));
}
