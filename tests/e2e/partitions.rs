//! Nodes in network namespaces, on a network that the test creates, cuts, throttles and removes.

use crate::connections::{connections, wait_for_connections};
use crate::load::{Crew, Runs, assert_all_succeeded, failures, load, unique_body};
use crate::node::{Folder, Node, PATIENCE};
use crate::tools::has;
use crate::zmtp::{RawPeer, message};
use crate::zone::wait_for_members;
use crate::zone_failures::{wait_for_peers, wait_until_used};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Request};

const IDEMPOTENT: &str = "[service.echo]\nidempotent = true\n";

/// Time limit for a zone to notice that it is connected again: dead members are contacted every 10 s.
const REUNION: Duration = Duration::from_secs(60);

/// Hosts around a router, each in a network namespace.
struct Network {
    router: String,
    hosts: Vec<String>,
}

impl Network {
    /// Creates a network with so many hosts; `None` if the machine does not permit it.
    fn new(hosts: usize) -> Option<Self> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("wasmnode-{}-{}", std::process::id(), LAST.fetch_add(1, SeqCst));
        let router = format!("{prefix}-router");
        let probe = "ip netns add $0 && ip netns exec $0 true; code=$?; ip netns del $0; exit $code";
        if !has("netns", &["sh", "-c", probe, &router]) {
            return None;
        }
        let mut network = Self { router: router.clone(), hosts: Vec::new() };
        ip(&["netns", "add", &router]);
        network.in_router(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        for number in 0..hosts {
            let (host, port) = (format!("{prefix}-{number}"), format!("port{number}"));
            ip(&["netns", "add", &host]);
            network.hosts.push(host.clone());
            ip(&["link", "add", "uplink", "netns", &host, "type", "veth", "peer", "name", &port, "netns", &router]);
            ip(&["-n", &host, "addr", "add", &format!("{}/24", address(number)), "dev", "uplink"]);
            ip(&["-n", &host, "link", "set", "lo", "up"]);
            ip(&["-n", &host, "link", "set", "uplink", "up"]);
            ip(&["-n", &router, "addr", "add", &format!("10.0.{number}.1/24"), "dev", &port]);
            ip(&["-n", &router, "link", "set", &port, "up"]);
            ip(&["-n", &host, "route", "add", "default", "via", &format!("10.0.{number}.1")]);
        }
        Some(network)
    }

    /// Starts a node on a host; all nodes have the one on host 0 as their seed.
    fn node(&self, number: usize, name: &str, plugins: &[&str], settings: &str) -> Node {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[number], env!("CARGO_BIN_EXE_wasmnode")]).env_remove("RUST_LOG");
        let (own, seed) = (address(number), address(0));
        let listen = format!("listen = ['ipc://node.ipc', 'tcp://{own}:5555']\nseeds = ['tcp://{seed}:5555']\n");
        let settings = format!("name = '{name}'\n{listen}[security]\ninsecure = true\n{settings}");
        Node::start_by(command, Folder::new(plugins), &settings, &[])
    }

    /// Drops everything to a host and, with `both_ways`, everything from it.
    fn cut_off(&self, number: usize, both_ways: bool) {
        ip(&["-n", &self.router, "route", "add", "blackhole", &address(number)]);
        if both_ways {
            ip(&["-n", &self.hosts[number], "route", "add", "blackhole", "10.0.0.0/16"]);
        }
    }

    fn heal(&self, number: usize, both_ways: bool) {
        ip(&["-n", &self.router, "route", "del", "blackhole", &address(number)]);
        if both_ways {
            ip(&["-n", &self.hosts[number], "route", "del", "blackhole", "10.0.0.0/16"]);
        }
    }

    /// Runs a closure in a thread in the namespace of a host.
    fn on_host<T: Send>(&self, number: usize, act: impl FnOnce() -> T + Send) -> T {
        let host = File::open(format!("/run/netns/{}", self.hosts[number])).unwrap();
        let act = || {
            move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    fn in_router(&self, command: &[&str]) {
        ip(&[&["netns", "exec", &self.router], command].concat());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.router]) {
            let _the_next_one_is_removed_all_the_same = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn address(number: usize) -> String {
    format!("10.0.{number}.2")
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

fn a_partition_is_noticed_and_heals(both_ways: bool) {
    let Some(network) = Network::new(3) else { return };
    let front = network.node(0, "front", &[], IDEMPOTENT);
    let near = network.node(1, "near", &["echo"], IDEMPOTENT);
    let far = network.node(2, "far", &["echo"], IDEMPOTENT);
    let runs = Runs::default();
    let _at_far = Crew::new(&far, "job", 2, &runs);
    wait_for_peers(&front, "echo", &["far", "near"]);
    wait_for_peers(&front, "job", &["far"]);
    let mut began = Instant::now();
    let answers = load(&front, &["echo"], 2_000, |answered| {
        if answered == 500 {
            network.cut_off(2, both_ways);
            began = Instant::now();
        }
    });
    assert_all_succeeded(&answers);
    let answers = load(&front, &["job"], 10, |_| {});
    let failed = failures(&answers, Duration::from_secs(2));
    assert_eq!(failed.len(), 10);
    for failure in failed {
        assert!(matches!(failure.code, Code::Deadline | Code::Lost | Code::UnknownService), "{failure}");
    }
    wait_for_peers(&front, "echo", &["near"]);
    wait_for_peers(&front, "job", &[]);
    wait_for_members(&near, &[("front", 0)]);
    wait_for_members(&far, &[]);
    println!("cut off, both ways: {both_ways}: gone after {:?}", began.elapsed());
    assert_eq!(front.fail("job", &[b"x"]).0, Code::UnknownService);

    network.heal(2, both_ways);
    let began = Instant::now();
    wait_for_peers(&front, "echo", &["far", "near"]);
    wait_for_members(&near, &[("far", 2), ("front", 0)]);
    wait_for_members(&far, &[("front", 0), ("near", 1)]);
    println!("cut off, both ways: {both_ways}: well {:?} after it was healed", began.elapsed());
    assert!(began.elapsed() < REUNION, "{:?}", began.elapsed());
    wait_until_used(&front, &far, "echo");
    assert_all_succeeded(&load(&front, &["job"], 100, |_| {}));
    assert_eq!(runs.repeated(), [""; 0]);
}

#[test]
fn a_node_that_is_cut_off_is_not_chosen_and_returns_when_the_network_heals() {
    a_partition_is_noticed_and_heals(true);
}

#[test]
fn a_node_that_can_send_but_not_receive_is_not_chosen_and_comes_back_too() {
    a_partition_is_noticed_and_heals(false);
}

#[test]
fn a_slow_link_serves_slowly() {
    let Some(network) = Network::new(2) else { return };
    let narrow = ["tc", "-n", &network.hosts[1], "qdisc", "add", "dev", "uplink", "root", "tbf", "rate", "2mbit"];
    if !has("tbf", &[&narrow[..], &["burst", "8kb", "latency", "100ms"]].concat()) {
        return;
    }
    let front = network.node(0, "front", &[], "[defaults]\ndeadline = '3m'\n");
    let _far = network.node(1, "far", &["echo"], "[defaults]\ndeadline = '3m'\n");
    wait_for_peers(&front, "echo", &["far"]);
    let mut client = front.client();
    let began = Instant::now();
    for _ in 0..10 {
        let body = [unique_body(), vec![0; 20_000]].concat();
        let ask = Request::new("echo").body([body.clone()]).deadline(PATIENCE);
        assert_eq!(client.call(ask, |_| {}).unwrap(), [&body[..]]);
    }
    let took = began.elapsed();
    println!("10 answers of 20 KB took {took:?}");
    assert!(took > Duration::from_millis(500), "{took:?} is too quick for 2 Mbit/s");
}

#[test]
fn a_lost_cable_ends_the_connections_of_clients_within_half_a_minute() {
    let Some(network) = Network::new(2) else { return };
    let node = network.node(0, "front", &["echo"], "");
    let endpoint = node.tcp.clone();
    // One is idle; to the other the node sends heartbeats. Neither client sends heartbeats.
    let _clients = network.on_host(1, || {
        let (idle, mut worker) = (RawPeer::open(&endpoint, b""), RawPeer::open(&endpoint, b""));
        worker.send(&message(&[b"MDPW02", b"\x01", b"job"]));
        (idle, worker)
    });
    node.wait_for_workers("job", 1);
    assert_eq!(connections(&node), 2);
    network.cut_off(1, true);
    let noticed = wait_for_connections(&node, 0);
    println!("noticed after {noticed:?}");
    assert!(noticed < Duration::from_secs(30), "{noticed:?}");
}
