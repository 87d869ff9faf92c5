//! A zone whose nodes are killed, frozen, stopped and restarted while requests are in flight: idempotent requests are
//! answered; others run at most once, and the client gets the failure.

use crate::load::{Crew, Runs, assert_all_succeeded, assert_no_further_answer, failures, load, result, unique_body};
use crate::node::{Folder, Node, PATIENCE};
use crate::zone::node;
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Request};

/// Default deadline of services.
const DEADLINE: Duration = Duration::from_secs(2);

/// Starts a node with clients, and two that offer the same services.
fn zone(plugins: &[&str], settings: &str) -> (Node, Node, Node) {
    let front = node("front", &[], &[], settings);
    let a = node("a", plugins, &[&front], settings);
    let b = node("b", plugins, &[&front, &a], settings);
    for plugin in plugins {
        wait_for_peers(&front, plugin.split_once('=').map_or(plugin, |(_, service)| service), &["a", "b"]);
    }
    (front, a, b)
}

/// Starts a node with clients, and two nodes with workers of `job`, which may not run twice.
fn zone_of_crews(runs: &Runs) -> (Node, [(Node, Crew); 2]) {
    let (front, a, b) = zone(&[], "");
    let crews = [a, b].map(|node| {
        let crew = Crew::new(&node, "job", 4, runs);
        (node, crew)
    });
    wait_for_peers(&front, "job", &["a", "b"]);
    (front, crews)
}

/// Waits until a node lists exactly these peers for a service; returns the time taken.
pub(crate) fn wait_for_peers(node: &Node, service: &str, expected: &[&str]) -> Duration {
    let began = Instant::now();
    loop {
        let report = node.report();
        let entry = report["services"].as_array().unwrap().iter().find(|entry| entry["name"] == service);
        let peers = entry.map(|entry| entry["peers"].as_array().unwrap().as_slice()).unwrap_or_default();
        let mut found: Vec<&str> = peers.iter().map(|peer| peer["node"].as_str().unwrap()).collect();
        found.sort_unstable();
        if found == expected {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{service} is not with {expected:?}: {report}");
    }
}

/// Returns the number of requests of a service that a node has answered.
pub(crate) fn replied(node: &Node, service: &str) -> u64 {
    let report = node.report();
    let entry = report["services"].as_array().unwrap().iter().find(|entry| entry["name"] == service);
    entry.map_or(0, |entry| entry["replied"].as_u64().unwrap())
}

/// Calls a service of `front` until `node` answers some of the requests.
pub(crate) fn wait_until_used(front: &Node, node: &Node, service: &str) {
    let (before, until) = (replied(node, service), Instant::now() + PATIENCE);
    while replied(node, service) <= before {
        assert_all_succeeded(&load(front, &[service], 200, |_| {}));
        assert!(Instant::now() < until, "no request goes there");
    }
}

#[test]
fn when_a_node_is_killed_no_request_that_may_run_twice_fails() {
    let (mut front, mut a, b) = zone(&["echo"], "[service.echo]\nidempotent = true\n");
    let answers = load(&front, &["echo"], 3_000, |answered| {
        if answered == 1_000 {
            a.kill();
        }
    });
    assert_all_succeeded(&answers);
    front.wait_for("the link to node a is gone");
    wait_for_peers(&front, "echo", &["b"]);
    let before = replied(&b, "echo");
    assert_all_succeeded(&load(&front, &["echo"], 500, |_| {}));
    assert_eq!(replied(&b, "echo"), before + 500);
    front.wait_for("left the zone");
    println!("retried: {}", front.report()["counters"]["retried"]);
}

#[test]
fn when_a_node_freezes_no_request_that_may_run_twice_fails_and_it_is_used_again_when_it_continues() {
    let (mut front, a, _b) = zone(&["echo"], "[service.echo]\nidempotent = true\n");
    let answers = load(&front, &["echo"], 3_000, |answered| {
        if answered == 1_000 {
            a.signal("-STOP");
        }
    });
    a.signal("-CONT");
    assert_all_succeeded(&answers);
    front.wait_for("node a is unresponsive");
    let slowest = answers.iter().map(|answer| answer.took).max().unwrap();
    println!("the slowest of {} answers took {slowest:?}", answers.len());
    wait_until_used(&front, &a, "echo");
}

#[test]
fn a_node_that_was_frozen_until_it_was_declared_dead_comes_back() {
    let (mut front, mut a, _b) = zone(&["echo"], "[service.echo]\nidempotent = true\n");
    a.signal("-STOP");
    assert_all_succeeded(&load(&front, &["echo"], 500, |_| {}));
    let frozen = front.wait_for("left the zone");
    assert!(frozen.contains("node a at"), "{frozen}");
    front.clear_log();
    wait_for_peers(&front, "echo", &["b"]);
    a.signal("-CONT");
    let began = Instant::now();
    front.wait_for("joined the zone");
    wait_for_peers(&front, "echo", &["a", "b"]);
    println!("it is back after {:?}", began.elapsed());
    a.wait_for("the zone declared this node dead; it has rejoined");
    wait_until_used(&front, &a, "echo");
}

#[test]
fn requests_of_a_killed_node_that_may_not_run_twice_fail_with_the_reason() {
    let runs = Runs::default();
    let (front, [(mut a, at_a), (_b, _at_b)]) = zone_of_crews(&runs);
    let mut is_dead = false;
    let answers = load(&front, &["job"], 2_000, |answered| {
        if answered == 500 {
            at_a.hold();
        }
        if at_a.held() > 0 && !is_dead {
            a.kill();
            is_dead = true;
        }
    });
    let failed = failures(&answers, DEADLINE);
    assert!(is_dead && !failed.is_empty());
    for failure in &failed {
        assert_eq!(failure.code, Code::Lost, "{failure}");
        assert!(failure.reason.contains("node a") && failure.reason.contains("may have run"), "{failure}");
    }
    println!("{} of {} failed", failed.len(), answers.len());
    assert!(answers.iter().all(|answer| answer.result.is_err() || runs.of(&answer.body) == 1));
    assert_eq!(runs.repeated(), [""; 0]);
}

#[test]
fn requests_of_a_frozen_node_that_may_not_run_twice_fail_by_their_deadline() {
    let runs = Runs::default();
    let (front, [(a, at_a), (_b, _at_b)]) = zone_of_crews(&runs);
    let mut is_frozen = false;
    let answers = load(&front, &["job"], 2_000, |answered| {
        if answered == 500 {
            at_a.hold();
        }
        if at_a.held() > 0 && !is_frozen {
            a.signal("-STOP");
            is_frozen = true;
        }
    });
    at_a.release();
    a.signal("-CONT");
    let failed = failures(&answers, DEADLINE);
    assert!(is_frozen && !failed.is_empty());
    for failure in &failed {
        // On a machine so busy that the node is declared dead before that, the requests are lost.
        assert!(matches!(failure.code, Code::Deadline | Code::Lost), "{failure}");
        assert!(failure.reason.contains("node a") && failure.reason.contains("may have run"), "{failure}");
    }
    println!("{} of {} failed", failed.len(), answers.len());
    wait_until_used(&front, &a, "job");
    a.wait_for_busy_workers("job", 0);
    assert_eq!(runs.repeated(), [""; 0]);
}

#[test]
fn a_node_that_starts_again_at_its_endpoint_serves_again_by_itself() {
    let front = node("front", &[], &[], "");
    let mut a = node("a", &["echo"], &[&front], "");
    for signal in ["-KILL", "-TERM", "-KILL"] {
        wait_for_peers(&front, "echo", &["a"]);
        a.signal(signal);
        println!("{signal}: not chosen after {:?}", wait_for_peers(&front, "echo", &[]));
        assert_eq!(front.fail("echo", &[b"x"]).0, Code::UnknownService);
        a.start_again();
        let began = Instant::now();
        let waiting = Request::new("echo").body(["x"]).wait(true).deadline(PATIENCE);
        assert_eq!(front.client().call(waiting, |_| {}).unwrap(), ["x"]);
        println!("{signal}: serves {:?} after it was ready", began.elapsed());
    }
}

#[test]
fn a_node_that_returns_after_a_while_gets_the_offers_of_the_others_again() {
    // Each has the other as a seed, and keeps dialling it, with pauses of up to 2 s.
    let folders = [Folder::new(&["print"]), Folder::new(&["echo"])];
    let seeds = folders.each_ref().map(|folder| format!("ipc://{}", folder.path("node.ipc").display()));
    let mut numbers = 0..;
    let [mut front, mut a] = folders.map(|folder| {
        let number = numbers.next().unwrap();
        let (name, place) = (["front", "a"][number], &seeds[number]);
        Node::start_in(folder, &format!("name = '{name}'\nseeds = {seeds:?}\nadvertise = '{place}'\n"), &[])
    });
    wait_for_peers(&front, "echo", &["a"]);
    a.kill();
    // The second such line follows a minute after the first, when the pauses have reached their maximum.
    for _line in 0..2 {
        front.clear_log();
        front.wait_for("no peer at");
    }
    a.start_again();
    println!("it knows the others' services {:?} after it was ready", wait_for_peers(&a, "print", &["front"]));
    println!("the others know its services {:?} later", wait_for_peers(&front, "echo", &["a"]));
}

#[test]
fn when_all_nodes_are_restarted_in_turn_no_request_fails_whether_it_may_run_twice_or_not() {
    let (front, a, b) = zone(&["echo=once", "echo=often"], "[service.often]\nidempotent = true\n");
    let mut nodes = [a, b];
    let answers = load(&front, &["once", "often"], 10_000, |answered| {
        let node = &mut nodes[answered / 1_000 % 2];
        match answered % 1_000 {
            100 => node.signal("-TERM"),
            700 => {
                node.start_again();
                wait_for_peers(&front, "once", &["a", "b"]);
                wait_for_peers(&front, "often", &["a", "b"]);
            }
            _ => {}
        }
    });
    assert_all_succeeded(&answers);
    for node in &nodes {
        wait_until_used(&front, node, "once");
    }
}

#[test]
fn a_request_with_a_key_outlives_its_node_and_is_not_run_again_when_it_is_sent_again() {
    let runs = Runs::default();
    let (front, mut a, b) = zone(&[], "[service.job]\ndeadline = '3m'\n");
    let at_a = Crew::new(&a, "job", 1, &runs);
    wait_for_peers(&front, "job", &["a"]);
    at_a.hold();
    let (first, second) = (unique_body(), unique_body());
    let ask = |body: &[u8]| Request::new("job").body([body.to_vec()]).idempotency_key(b"key").wait(true);
    let mut client = front.client();
    let sent = client.send(ask(&first)).unwrap();
    a.wait_for_busy_workers("job", 1);
    a.kill();
    let _at_b = Crew::new(&b, "job", 1, &runs);
    let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
    assert_eq!((id, result(reply)), (sent, Ok(vec![first.clone().into()])));
    assert_eq!(runs.of(&first), 2, "at a, where it died, and at b");
    // At the node that was called before, and at the one that ran it.
    for node in [&front, &b] {
        assert_eq!(node.client().call(ask(&second), |_| {}).unwrap(), [&first[..]]);
    }
    assert_eq!(runs.of(&second), 0);
    assert_no_further_answer(&mut client);
}
