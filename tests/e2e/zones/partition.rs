//! Zones in network namespaces, joined only by the routers' interfaces, and that network can be cut.

use super::{OPEN, Site, neighbour, wait_until_reachable};
use crate::node::{Node, PATIENCE};
use crate::tools;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Error, Request};

/// Network namespace that ends with the test.
struct Network(Child);

impl Network {
    fn new() -> Self {
        let script = "ip link set lo up && echo ready && exec sleep 3600";
        let mut holder = Command::new("unshare");
        let mut holder = holder.args(["--net", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(holder)
    }

    /// Returns the beginning of a command that runs in the namespace.
    fn inside(&self) -> Vec<String> {
        ["nsenter", "--target", &self.0.id().to_string(), "--net"].map(String::from).to_vec()
    }

    fn ip(&self, arguments: &str) {
        let inside = self.inside();
        let done = Command::new(&inside[0]).args(&inside[1..]).arg("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }

    /// Connects the namespace to another one.
    fn join(&self, other: &Self) {
        self.ip(&format!("link add leg type veth peer name leg netns {}", other.0.id()));
        for (network, number) in [(self, 1), (other, 2)] {
            network.ip(&format!("address add 10.9.0.{number}/30 dev leg"));
            network.ip("link set leg up");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _nothing_to_reap = self.0.wait();
    }
}

/// Starts a zone of one node and one router, whose other interface is at 10.9.0.`number`.
fn zone(network: &Network, number: u8, node: Site, router: Site) -> (Node, Node) {
    let (name, other) = if number == 1 { ("b", 2) } else { ("a", 1) };
    let leg = format!("listen = ['ipc://node.ipc', 'tcp://10.9.0.{number}:5600']\n[security]\ninsecure = true\n");
    let settings = leg + &neighbour(name, &format!("tcp://10.9.0.{other}:5600"), OPEN);
    let (seed, inside) = (router.endpoint.clone(), network.inside());
    (node.start_inside(&inside, &seed, ""), router.start_inside(&inside, &seed, &settings))
}

#[test]
fn a_slow_link_between_zones_serves_slowly() {
    if !tools::has("unshare", &["unshare", "--net", "ip", "link", "set", "lo", "up"]) {
        return;
    }
    let [network_a, network_b] = [Network::new(), Network::new()];
    network_a.join(&network_b);
    let (node_a, _router_a) = zone(&network_a, 1, Site::new("node-a", "a", &[]), Site::new("router-a", "a", &[]));
    let (_node_b, _router_b) =
        zone(&network_b, 2, Site::new("node-b", "b", &["echo"]), Site::new("router-b", "b", &[]));
    wait_until_reachable(&node_a, "echo", true);
    let narrow = "tc qdisc add dev leg root tbf rate 2mbit burst 8kb latency 100ms";
    let narrow = [network_a.inside(), narrow.split(' ').map(String::from).collect()].concat();
    if !tools::has("tbf", &narrow.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    let (mut client, began, body) = (node_a.client(), Instant::now(), vec![0; 20_000]);
    for _ in 0..10 {
        let ask = Request::new("echo").body([body.clone()]).deadline(PATIENCE);
        assert!(client.call(ask, |_| {}).unwrap() == [&body[..]]);
    }
    println!("10 answers of 20 KB took {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_millis(500), "{:?} is too quick for 2 Mbit/s", began.elapsed());
}

#[test]
fn a_partition_between_zones_is_answered_in_time_and_heals() {
    if !tools::has("unshare", &["unshare", "--net", "ip", "link", "set", "lo", "up"]) {
        return;
    }
    let [network_a, network_b] = [Network::new(), Network::new()];
    network_a.join(&network_b);
    let (node_a, _router_a) =
        zone(&network_a, 1, Site::new("node-a", "a", &["echo=home"]), Site::new("router-a", "a", &[]));
    let (node_b, _router_b) = zone(&network_b, 2, Site::new("node-b", "b", &["echo"]), Site::new("router-b", "b", &[]));
    wait_until_reachable(&node_a, "echo", true);
    wait_until_reachable(&node_b, "home", true);
    assert_eq!(node_a.call("echo", &[b"x"]).unwrap(), ["x"]);

    network_a.ip("route add blackhole 10.9.0.2/32");
    let (mut client, cut, mut late) = (node_a.client(), Instant::now(), 0);
    let patience = Duration::from_millis(500);
    loop {
        let began = Instant::now();
        match client.call(Request::new("echo").body(["x"]).deadline(patience), |_| {}) {
            Err(Error::Failure(failure)) if failure.code == Code::UnknownService => break,
            Err(Error::Failure(failure)) => assert!([Code::Deadline, Code::Lost].contains(&failure.code), "{failure}"),
            other => panic!("{other:?}"),
        }
        late += 1;
        assert!(began.elapsed() < PATIENCE && cut.elapsed() < PATIENCE);
    }
    println!("{late} requests were late or lost until {:?} after the cut", cut.elapsed());
    assert_eq!(node_a.call("home", &[b"at home"]).unwrap(), ["at home"]);
    assert_eq!(node_b.call("echo", &[b"at home"]).unwrap(), ["at home"]);
    wait_until_reachable(&node_b, "home", false);

    network_a.ip("route del blackhole 10.9.0.2/32");
    let healed = Instant::now();
    wait_until_reachable(&node_a, "echo", true);
    wait_until_reachable(&node_b, "home", true);
    println!("healed after {:?}", healed.elapsed());
    assert_eq!(node_a.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(node_b.call("home", &[b"x"]).unwrap(), ["x"]);
}
