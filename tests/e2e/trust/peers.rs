//! Nodes and routers with keys: which become peers, and which advertisements are rejected.

use super::{Party, distrust, keys_of, trust, wait_for_count};
use crate::node::{Node, PATIENCE};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;
use wasmnode_client::{Code, Request};

/// Waits until a service can be called at a node, or cannot.
fn wait_for_reply(node: &Node, service: &str, is_served: bool) {
    let began = Instant::now();
    while node.call(service, &[b"x"]).is_ok() != is_served {
        assert!(began.elapsed() < PATIENCE, "{service}: {}", node.report());
    }
}

/// Starts two nodes that trust each other, the second with `echo` and a seed at the first.
fn two(as_what: &[&str]) -> (Node, Node) {
    let (first, second) = (Party::new("node1", &[]), Party::new("node2", &["echo", "echo=secret"]));
    first.trusts(&second, as_what);
    second.trusts(&first, &["--role", "peer"]);
    let first = first.start("");
    let second = second.start(&format!("seeds = ['node1@{}']", first.tcp));
    (first, second)
}

#[test]
fn peers_with_keys_serve_each_other_over_tcp() {
    let (first, second) = two(&["--role", "peer"]);
    wait_for_reply(&first, "echo", true);
    second.fail("echo@node1", &[b"x"]);
    assert_eq!(first.call("echo@node2", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_key_with_the_role_client_is_not_a_peer() {
    let (mut first, mut second) = two(&[]);
    first.wait_for("is trusted as a client's, not as a node's");
    second.wait_for("is trusted as a client's, not as a node's");
    assert_eq!(first.fail("echo", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn a_peer_advertises_what_its_key_lists() {
    let (mut first, _second) = two(&["--role", "peer", "--offer", "echo"]);
    wait_for_reply(&first, "echo", true);
    first.wait_for("advertises secret, but `offer` of its key does not list it");
    wait_for_count(&first, "forbidden", 1);
    assert_eq!(first.fail("secret", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn a_peer_needs_the_name_of_its_key() {
    let (first, second) = (Party::new("node1", &[]), Party::new("node2", &["echo"]));
    let third = Party::new("node3", &["echo"]);
    first.trusts(&second, &["--role", "peer"]);
    first.trusts(&third, &["--role", "peer"]);
    let mut first = first.start("");
    // It claims to be node3, with the key of node2.
    let second = Party { name: "node3", ..second };
    let keys = second.keys();
    let settings = format!("seeds = ['node1@{}']", first.tcp);
    let node1 = Party {
        name: "node1",
        folder: crate::node::Folder::new(&[]),
        pair: wasmnode::keys::load_pair(first.folder.path("keys").as_path()).unwrap(),
    };
    trust(&keys, &node1, &["--role", "peer"]);
    let _second = second.start(&settings);
    first.wait_for("trusted as that of node2, so it cannot be used by node node3");
    assert_eq!(first.fail("echo", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn a_link_ends_with_the_trust_in_its_peer_and_returns_with_it() {
    let (mut first, second) = two(&["--role", "peer"]);
    wait_for_reply(&first, "echo", true);
    let key = wasmnode::keys::load_pair(&second.folder.path("keys")).unwrap();
    distrust(&keys_of(&first), "node2");
    first.wait_for("the keys have changed: 0 are trusted");
    wait_for_reply(&first, "echo", false);
    assert_eq!(second.call("echo", &[b"x"]).unwrap(), ["x"], "it serves its own all the same");
    let party = Party { name: "node2", folder: crate::node::Folder::new(&[]), pair: key };
    trust(&keys_of(&first), &party, &["--role", "peer"]);
    wait_for_reply(&first, "echo", true);
}

#[test]
fn a_revoked_peer_stops_serving_although_another_keeps_it_in_the_zone() {
    let parties = [Party::new("node1", &[]), Party::new("node2", &["echo"]), Party::new("node3", &[])];
    for (index, party) in parties.iter().enumerate() {
        let others = parties.iter().enumerate().filter(|(other, _)| *other != index);
        others.for_each(|(_, other)| party.trusts(other, &["--role", "peer"]));
    }
    let [first, second, third] = parties;
    let mut first = first.start("");
    let seeds = format!("seeds = ['node1@{}']", first.tcp);
    let (_second, third) = (second.start(&seeds), third.start(&seeds));
    wait_for_reply(&first, "echo", true);
    wait_for_reply(&third, "echo", true);
    distrust(&keys_of(&first), "node2");
    first.wait_for("the link to node node2 is gone");
    assert_eq!(first.fail("echo", &[b"x"]).0, Code::UnknownService);
    assert_eq!(third.call("echo", &[b"x"]).unwrap(), ["x"]);
}

/// Starts two zones whose routers trust each other's keys; `taken_for` is the zone of the second in the first router's
/// keys.
fn zones(taken_for: &str) -> [Node; 3] {
    let (node, near) = (Party::new("node-b", &["echo"]), Party::new("router-a", &[]));
    let far = Party::new("router-b", &[]);
    near.trusts(&far, &["--role", "router", "--zone", taken_for]);
    far.trusts(&near, &["--role", "router", "--zone", "a"]);
    far.trusts(&node, &["--role", "peer"]);
    node.trusts(&far, &["--role", "peer"]);
    let policy = "export = ['*']\nimport = ['*']";
    let places = [own_address(), own_address()];
    let settings = |own: usize, zone: &str| {
        let other = ["b", "a"][own];
        format!(
            "zone = '{zone}'\nlisten = ['ipc://node.ipc', 'tcp://{}:5600']\n[router.neighbour.{other}]\n\
             router = 'router-{other}'\nendpoint = 'tcp://{}:5600'\n{policy}",
            places[own],
            places[1 - own]
        )
    };
    let far = far.start(&settings(1, "b"));
    let seeds = format!("zone = 'b'\nseeds = ['router-b@{}']", far.tcp);
    [near.start(&settings(0, "a")), far, node.start(&seeds)]
}

/// Returns an address of this machine that no other test uses.
fn own_address() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), LAST.fetch_add(1, SeqCst) + 1);
    format!("127.{}.{}.{number}", 1 + (process >> 8) % 254, process % 256)
}

#[test]
fn routers_with_keys_join_zones() {
    let [router, _far, _node] = zones("b");
    wait_for_reply(&router, "echo", true);
    assert_eq!(router.call("echo@b", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_router_advertises_only_the_zone_of_its_key() {
    let [mut router, _far, _node] = zones("c");
    router.wait_for("is not trusted as a node's there");
    assert_eq!(router.fail("echo@b", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn a_service_that_calls_in_its_callers_name_reaches_what_the_callers_own_node_lets_it_call() {
    let (first, second) = (Party::new("node1", &["relay", "echo", "echo=secret"]), Party::new("node2", &[]));
    let (shop, boss) = (Party::new("shop", &[]), Party::new("boss", &[]));
    first.trusts(&second, &["--role", "peer"]);
    second.trusts(&first, &["--role", "peer"]);
    for node in [&first, &second] {
        node.trusts(&boss, &[]);
    }
    second.trusts(&shop, &["--allow", "relay,echo"]);
    let key = second.pair;
    let settings = "[service.relay]\ncalls = ['*']\ncalls-as = 'caller'\n";
    let first = first.start(settings);
    let second = second.start(&format!("seeds = ['node1@{}']", first.tcp));
    wait_for_reply(&second, "echo", true);
    let ask = |user: &Party, whom: &str| {
        let asked = Request::new("relay").body([whom.to_owned(), "x".to_owned()]).deadline(PATIENCE);
        user.client(&second, &key).call(asked, |_| {}).map(|reply| reply.concat()).map_err(|why| why.to_string())
    };
    assert_eq!(ask(&shop, "echo").as_deref(), Ok(&b"x"[..]));
    let refused = ask(&shop, "secret").unwrap_err();
    assert!(refused.contains("user:shop may not call secret"), "{refused}");
    assert_eq!(ask(&boss, "secret").as_deref(), Ok(&b"x"[..]));
}
