//! `wasmnode trace`: the way of a request through zones, told hop by hop, by real processes.

use super::redundancy::pairs;
use super::{OPEN, two, wait_until_reachable};
use crate::majordomo::Worker;
use crate::node::{Node, PATIENCE, run};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a trace printed, and how it ended.
struct Told {
    way: Value,
    failure: String,
    exit: i32,
}

impl Told {
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

fn trace(node: &Node, address: &str) -> Told {
    let output = run(&["trace", address, "--to", &node.tcp, "--json", "--timeout", "60s"]);
    let failure = String::from_utf8(output.stderr).unwrap();
    let way = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no way was printed: {failure}"));
    Told { way, failure, exit: output.status.code().unwrap() }
}

/// How `wasmnode call` of the address fails.
fn call(node: &Node, address: &str) -> (i32, String) {
    let output = run(&["call", address, "--to", &node.tcp]);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const WAY: [&str; 4] = ["node-a", "router-a", "router-b", "node-b"];

#[test]
fn over_two_routers_the_hops_stand_in_order_with_their_times_and_nothing_runs() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    for address in ["echo", "echo@b", "echo@node-b.b"] {
        let told = trace(&zones.node_a, address);
        assert_eq!((told.names().as_slice(), told.exit), (&WAY[..], 0), "{address}: {}", told.way);
        for (index, (hop, zone)) in told.hops().iter().zip(["a", "a", "b", "b"]).enumerate() {
            let role = if index == 1 || index == 2 { "router" } else { "node" };
            assert_eq!((&hop["distance"], &hop["zone"], &hop["role"]), (&index.into(), &zone.into(), &role.into()));
        }
        let own: Vec<u64> = told.hops().iter().map(|hop| hop["own_us"].as_u64().unwrap()).collect();
        let (client, total) = (told.way["client_us"].as_u64().unwrap(), told.way["total_us"].as_u64().unwrap());
        println!("{address}: {client} µs to the first hop and back, then {own:?}, {total} µs altogether");
        // Each hop has a socket between it and the next, and each is counted once.
        assert!(client > 0 && own[..3].iter().all(|us| *us > 0), "{}", told.way);
        assert!((client + own.iter().sum::<u64>()).abs_diff(total) <= 5, "{}", told.way);
    }
    assert_eq!(
        trace(&zones.node_a, "echo").decision(0),
        "nobody offers it in zone a; goes through router router-a: zone b, cost 1"
    );
    let told = trace(&zones.node_b, "echo@b");
    assert_eq!(told.names(), ["node-b"]);
    assert!(told.decision(0).starts_with("runs here; plugin: 0 of 64 running"), "{}", told.way);
    let services = zones.node_b.report();
    let echo = services["services"].as_array().unwrap().iter().find(|entry| entry["name"] == "echo").unwrap();
    assert_eq!((&echo["replied"], &echo["failed"]), (&0.into(), &0.into()), "{echo}");
}

#[test]
fn for_a_person_each_hop_is_a_line_and_another_zone_tells_only_the_way() {
    let zones = two(&["echo"], "", OPEN, OPEN);
    wait_until_reachable(&zones.node_a, "echo@b", true);
    let output = run(&["trace", "echo@b", "--to", &zones.node_a.tcp]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let decisions = [
        "DECISION".into(),
        format!("asks {}", zones.node_a.tcp),
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
        let told = trace(&zones.node_a, address);
        assert_eq!((told.exit, told.failure.clone()), call(&zones.node_a, address), "{address}");
        assert_eq!(told.names(), ["node-a"], "{address}");
        assert_eq!((told.exit, told.decision(0)), (3, "refuses it: 404 unknown service"), "{address}");
    }
    // What fails only in the other zone fails there with the words that a call gets.
    let told = trace(&zones.node_a, "echo@node-c.b");
    assert_eq!((told.exit, told.failure.clone()), call(&zones.node_a, "echo@node-c.b"));
    assert_eq!(told.names(), WAY[..3], "{}", told.way);
}

#[test]
fn a_frozen_router_is_named_by_the_one_before_it_and_a_dead_one_is_no_way() {
    // Router a keeps the connection, however long it takes until it is asked again.
    let patient = format!("{OPEN}[peers]\nexpiry = '10m'\n");
    let mut zones = two(&["echo"], "", &patient, OPEN);
    wait_until_reachable(&zones.node_a, "echo", true);
    zones.router_b.signal("-STOP");
    let until = Instant::now() + PATIENCE;
    loop {
        let told = trace(&zones.node_a, "echo");
        // The first ones wait until their deadline, at which node-a and router-a give up, whichever is first; then
        // router-a knows that no answer comes.
        assert_eq!((told.exit, told.names()[0]), (4, "node-a"), "{}", told.failure);
        if told.names().len() == 2 && told.decision(1).starts_with("waits here") {
            assert_eq!(told.decision(1), "waits here; not router-b: it is unresponsive; fails: 504 deadline");
            assert!(
                told.failure.contains("at node router-a: a request would wait at node router-a"),
                "{}",
                told.failure
            );
            break;
        }
        let is_late = told.failure.contains("the deadline passed while node router-");
        assert!(is_late, "{}", told.failure);
        assert!(Instant::now() < until, "{}", told.way);
    }
    zones.router_b.kill();
    loop {
        let told = trace(&zones.node_a, "echo");
        assert!(told.exit != 0 && told.names()[0] == "node-a", "{}", told.way);
        if told.exit == 3 && told.names() == ["node-a"] {
            assert!(told.failure.contains("asked zone a, and no router leads to another"), "{}", told.failure);
            break;
        }
        assert!(Instant::now() < until, "{}", told.way);
    }
}

#[test]
fn of_several_ways_the_trace_tells_how_many_there_are_and_takes_one_that_is_left() {
    let mut pairs = pairs();
    let worker = Worker::v2(&pairs.node_b.ipc(), "job");
    pairs.node_b.wait_for_workers("job", 1);
    pairs.wait_for_ways("job", 2);
    let told = trace(&pairs.node_a, "job");
    let names = told.names();
    assert!(names == ["node-a", "a1", "b1", "node-b"] || names == ["node-a", "a2", "b2", "node-b"], "{}", told.way);
    assert!(told.decision(0).ends_with("; one of 2 that are equal but for their load"), "{}", told.way);
    pairs.routers[0].kill();
    pairs.wait_for_ways("job", 1);
    let told = trace(&pairs.node_a, "job");
    assert_eq!(told.names(), ["node-a", "a2", "b2", "node-b"], "{}", told.way);
    assert!(told.decision(0).ends_with("router a2: zone b, cost 1"), "{}", told.way);
    assert!(!worker.hears_something(Duration::ZERO), "a trace reached the worker");
}
