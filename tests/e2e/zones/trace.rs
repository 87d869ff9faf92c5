//! `wasmnode trace`: the path of a request through zones, hop by hop, with real processes.

use super::redundancy::pairs;
use super::{OPEN, two, wait_until_reachable};
use crate::majordomo::Worker;
use crate::node::{Node, PATIENCE, run};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Output of a trace, and its exit code.
struct Traced {
    way: Value,
    failure: String,
    exit: i32,
}

impl Traced {
    fn names(&self) -> Vec<&str> {
        self.hops().iter().map(|hop| hop["node"].as_str().unwrap()).collect()
    }

    fn decision(&self, hop: usize) -> &str {
        self.hops()[hop]["decision"].as_str().unwrap()
    }

    fn hops(&self) -> &[Value] {
        self.way["hops"].as_array().unwrap()
    }
}

fn trace(node: &Node, address: &str) -> Traced {
    let output = run(&["trace", address, "--to", &node.tcp, "--json", "--timeout", "60s"]);
    let failure = String::from_utf8(output.stderr).unwrap();
    let way = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no way was printed: {failure}"));
    Traced { way, failure, exit: output.status.code().unwrap() }
}

/// Returns the exit code and the message of `wasmnode call`.
fn call(node: &Node, address: &str) -> (i32, String) {
    let output = run(&["call", address, "--to", &node.tcp]);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const WAY: [&str; 4] = ["node-a", "router-a", "router-b", "node-b"];

#[test]
fn over_two_routers_the_hops_are_in_order_with_their_times_and_nothing_runs() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    for address in ["echo", "echo@b", "echo@node-b.b"] {
        let traced = trace(&zones.node_a, address);
        assert_eq!((traced.names().as_slice(), traced.exit), (&WAY[..], 0), "{address}: {}", traced.way);
        for (index, (hop, zone)) in traced.hops().iter().zip(["a", "a", "b", "b"]).enumerate() {
            let role = if index == 1 || index == 2 { "router" } else { "node" };
            assert_eq!((&hop["distance"], &hop["zone"], &hop["role"]), (&index.into(), &zone.into(), &role.into()));
        }
        let own: Vec<u64> = traced.hops().iter().map(|hop| hop["own_us"].as_u64().unwrap()).collect();
        let (client, total) = (traced.way["client_us"].as_u64().unwrap(), traced.way["total_us"].as_u64().unwrap());
        println!("{address}: {client} µs to the first hop and back, then {own:?}, {total} µs altogether");
        // There is a socket between each hop and the next, and each is counted once.
        assert!(client > 0 && own[..3].iter().all(|us| *us > 0), "{}", traced.way);
        assert!((client + own.iter().sum::<u64>()).abs_diff(total) <= 5, "{}", traced.way);
    }
    assert_eq!(
        trace(&zones.node_a, "echo").decision(0),
        "no node offers it in zone a; goes through router router-a: zone b, cost 1"
    );
    let traced = trace(&zones.node_b, "echo@b");
    assert_eq!(traced.names(), ["node-b"]);
    assert!(traced.decision(0).starts_with("runs here; plugin: 0 of 64 running"), "{}", traced.way);
    let services = zones.node_b.report();
    let echo = services["services"].as_array().unwrap().iter().find(|entry| entry["name"] == "echo").unwrap();
    assert_eq!((&echo["replied"], &echo["failed"]), (&0.into(), &0.into()), "{echo}");
}

#[test]
fn each_hop_is_a_line_and_another_zone_reports_only_the_path() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo@b", true);
    let output = run(&["trace", "echo@b", "--to", &zones.node_a.tcp]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let decisions = [
        "DECISION".into(),
        format!("sends to {}", zones.node_a.tcp),
        "goes through router router-a: zone b, cost 1".into(),
        "goes through router router-b: zone b, cost 1".into(),
        "goes to node node-b".into(),
        "runs here".into(),
    ];
    let at = lines[0].find("DECISION").unwrap();
    for (line, decision) in lines.iter().zip(decisions) {
        assert_eq!(line.chars().skip(at).collect::<String>(), decision, "{text}");
    }
    assert!(lines[6].starts_with("=> echo@b would be served at node node-b of zone b; there and back in "), "{text}");
}

#[test]
fn what_is_not_exported_cannot_be_traced_either_and_fails_as_a_call_does() {
    let zones = two(&["echo", "echo=secret"], "", OPEN, "export = ['echo']\nimport = ['*']\n");
    wait_until_reachable(&zones.node_a, "echo", true);
    wait_until_reachable(&zones.node_b, "secret", true);
    for address in
        ["secret", "secret@b", "secret@node-b.b", "nothing", "nothing@b", "echo@mars", "node.services@node-b.b"]
    {
        let traced = trace(&zones.node_a, address);
        assert_eq!((traced.exit, traced.failure.clone()), call(&zones.node_a, address), "{address}");
        assert_eq!(traced.names(), ["node-a"], "{address}");
        assert_eq!((traced.exit, traced.decision(0)), (3, "refuses it: 404 unknown service"), "{address}");
    }
    // A failure in the other zone has the text that a call gets.
    let traced = trace(&zones.node_a, "echo@node-c.b");
    assert_eq!((traced.exit, traced.failure.clone()), call(&zones.node_a, "echo@node-c.b"));
    assert_eq!(traced.names(), WAY[..3], "{}", traced.way);
}

#[test]
fn a_frozen_router_is_named_by_its_predecessor_and_a_dead_one_is_no_path() {
    // Router a keeps the connection, however long the next request takes to arrive.
    let patient = format!("{OPEN}[peers]\nexpiry = '10m'\n");
    let mut zones = two(&["echo"], "", &patient, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    zones.router_b.signal("-STOP");
    let until = Instant::now() + PATIENCE;
    loop {
        let traced = trace(&zones.node_a, "echo");
        // The first traces wait until their deadline, at which node-a or router-a ends them, whichever is first; after
        // that, router-a treats the other as unresponsive.
        assert_eq!((traced.exit, traced.names()[0]), (4, "node-a"), "{}", traced.failure);
        if traced.names().len() == 2 && traced.decision(1).starts_with("waits here") {
            assert_eq!(traced.decision(1), "waits here; not router-b: it is unresponsive; fails: 504 deadline");
            assert!(
                traced.failure.contains("at node router-a: a request would wait at node router-a"),
                "{}",
                traced.failure
            );
            break;
        }
        let is_late = traced.failure.contains("the deadline passed while node router-");
        assert!(is_late, "{}", traced.failure);
        assert!(Instant::now() < until, "{}", traced.way);
    }
    zones.router_b.kill();
    loop {
        let traced = trace(&zones.node_a, "echo");
        assert!(traced.exit != 0 && traced.names()[0] == "node-a", "{}", traced.way);
        if traced.exit == 3 && traced.names() == ["node-a"] {
            assert!(traced.failure.contains("searched zone a, and no router leads to another"), "{}", traced.failure);
            break;
        }
        assert!(Instant::now() < until, "{}", traced.way);
    }
}

#[test]
fn of_several_paths_the_trace_reports_the_number_and_takes_a_remaining_one() {
    let mut pairs = pairs();
    let worker = Worker::v2(&pairs.node_b.ipc(), "job");
    pairs.node_b.wait_for_workers("job", 1);
    pairs.wait_for_ways("job", 2);
    let traced = trace(&pairs.node_a, "job");
    let names = traced.names();
    assert!(names == ["node-a", "a1", "b1", "node-b"] || names == ["node-a", "a2", "b2", "node-b"], "{}", traced.way);
    assert!(traced.decision(0).ends_with("; one of 2 that are equal but for their load"), "{}", traced.way);
    pairs.routers[0].kill();
    pairs.wait_for_ways("job", 1);
    let traced = trace(&pairs.node_a, "job");
    assert_eq!(traced.names(), ["node-a", "a2", "b2", "node-b"], "{}", traced.way);
    assert!(traced.decision(0).ends_with("router a2: zone b, cost 1"), "{}", traced.way);
    assert!(!worker.receives_within(Duration::ZERO), "a trace reached the worker");
}
