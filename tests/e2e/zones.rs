//! Zones joined by routers, as real processes: what passes, what does not, and the reports about it.

mod chain;
mod links;
mod partition;
mod patience;
mod policy;
mod redundancy;
mod storm;
mod trace;

use crate::majordomo::{answer, ask, dealer};
use crate::node::{Folder, Node, PATIENCE};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Error, Reply, Request};

/// Policy that lets everything pass.
const OPEN: &str = "export = ['*']\nimport = ['*']\n";

/// Process that will start; its endpoint is known before.
struct Site {
    name: &'static str,
    zone: &'static str,
    folder: Folder,
    endpoint: String,
}

impl Site {
    fn new(name: &'static str, zone: &'static str, plugins: &[&str]) -> Self {
        let folder = Folder::new(plugins);
        let endpoint = format!("ipc://{}", folder.path("node.ipc").display());
        Self { name, zone, folder, endpoint }
    }

    /// Starts the process with one seed in its zone.
    fn start(self, seed: &str, settings: &str) -> Node {
        self.start_inside(&[], seed, settings)
    }

    /// Starts the process by a command that runs another one; `before` is its beginning.
    fn start_inside(self, before: &[String], seed: &str, settings: &str) -> Node {
        let Self { name, zone, folder, endpoint } = self;
        let settings =
            format!("name = '{name}'\nzone = '{zone}'\nseeds = ['{seed}']\nadvertise = '{endpoint}'\n{settings}");
        Node::start_inside(before, folder, &settings)
    }
}

/// Returns the settings of a router for one neighbour.
fn neighbour(name: &str, endpoint: &str, rest: &str) -> String {
    format!("[router.neighbour.{name}]\nendpoint = '{endpoint}'\n{rest}\n")
}

/// Two zones, a and b, with a node and a router each.
struct Two {
    node_a: Node,
    _router_a: Node,
    router_b: Node,
    node_b: Node,
}

/// Starts two zones, with the plugins and settings of b's node, and the policy of each router.
fn two(plugins: &[&str], settings: &str, policy_a: &str, policy_b: &str) -> Two {
    let [node_a, node_b] = [Site::new("node-a", "a", &[]), Site::new("node-b", "b", plugins)];
    let [router_a, router_b] = [Site::new("router-a", "a", &[]), Site::new("router-b", "b", &[])];
    let [at_a, at_b] = [router_a.endpoint.clone(), router_b.endpoint.clone()];
    Two {
        node_a: node_a.start(&at_a, ""),
        _router_a: router_a.start(&at_a, &neighbour("b", &at_b, policy_a)),
        router_b: router_b.start(&at_b, &neighbour("a", &at_a, policy_b)),
        node_b: node_b.start(&at_b, settings),
    }
}

/// Waits until a node reports that an address can be reached, or cannot; returns the time taken.
fn wait_until_reachable(node: &Node, address: &str, is_reachable: bool) -> Duration {
    let (began, code) = (Instant::now(), if is_reachable { "200" } else { "404" });
    while node.call("mmi.service", &[address.as_bytes()]).unwrap() != [code] {
        assert!(began.elapsed() < PATIENCE, "{address} never was {code}");
    }
    began.elapsed()
}

#[test]
fn a_service_of_another_zone_is_called_by_every_form_of_its_name() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    for address in ["echo", "echo@b", "echo@node-b.b"] {
        assert_eq!(zones.node_a.call(address, &[b"x", b"y"]).unwrap(), ["x", "y"], "{address}");
        assert_eq!(zones.node_a.call("mmi.service", &[address.as_bytes()]).unwrap(), ["200"], "{address}");
        let client = dealer(&zones.node_a.tcp, None);
        ask(&client, address, "salut");
        assert_eq!(answer(&client), [&b"MDPC02"[..], b"\x03", address.as_bytes(), b"salut"]);
    }
    assert_eq!(zones.node_a.call("mmi.service", &[b"echo@a"]).unwrap(), ["404"]);
    let (code, reason) = zones.node_a.fail("echo@node-c.b", &[]);
    assert!(code == Code::UnknownService && reason.contains("node-c") && reason.contains("router-b"), "{reason}");
    assert_eq!(zones.node_b.call("echo@b", &[b"at home"]).unwrap(), ["at home"]);
}

#[test]
fn partial_replies_and_cancellation_cross() {
    let zones = two(&["partials", "loop"], "[defaults]\ndeadline = '3m'\n", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "partials", true);
    wait_until_reachable(&zones.node_a, "loop", true);
    let mut parts = 0;
    let asked = Request::new("partials").body([vec![3]]).deadline(PATIENCE);
    assert_eq!(zones.node_a.client().call(asked, |_| parts += 1).unwrap(), [&[3][..]]);
    assert_eq!(parts, 3);
    let mut client = zones.node_a.client();
    let id = client.send(Request::new("loop").body(["x"]).deadline(PATIENCE)).unwrap();
    zones.node_b.wait_until_running("loop");
    client.cancel(id).unwrap();
    match client.receive(Some(PATIENCE)).unwrap() {
        (_, Reply::Failure(failure)) => assert_eq!(failure.code, Code::Cancelled),
        other => panic!("{other:?}"),
    }
    zones.node_b.wait_until_quiet(PATIENCE);
    zones.router_b.wait_until_quiet(PATIENCE);
}

#[test]
fn a_failure_names_its_node_and_the_deadline_holds_across_zones() {
    let zones = two(&["trap", "loop"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "trap", true);
    wait_until_reachable(&zones.node_a, "loop", true);
    let (code, reason) = zones.node_a.fail("trap", &[b"x"]);
    let way = "at node router-a: at node router-b: at node node-b: an instance of trap crashed";
    assert!(code == Code::Crashed && reason.starts_with(way), "{reason}");
    let asked = Request::new("loop").body(["x"]).deadline(Duration::from_millis(300));
    match zones.node_a.client().call(asked, |_| {}) {
        Err(Error::Failure(failure)) => assert_eq!(failure.code, Code::Deadline, "{failure}"),
        other => panic!("{other:?}"),
    }
    zones.node_b.wait_until_quiet(PATIENCE);
}

#[test]
fn an_unknown_service_is_answered_immediately_with_the_zones_that_were_asked() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    let began = Instant::now();
    for (address, asked) in
        [("nothing", "searched zone a and zone b"), ("nothing@b", "zone b"), ("echo@mars", "zone mars")]
    {
        let (code, reason) = zones.node_a.fail(address, &[b"x"]);
        assert!(code == Code::UnknownService && reason.contains(asked), "{address}: {reason}");
    }
    println!("three refusals took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5));
}
