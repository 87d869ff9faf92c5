//! Two zones that two pairs of routers join: one router is killed, and restarted.

use super::{OPEN, Site, neighbour, wait_until_reachable};
use crate::majordomo::Worker;
use crate::node::{Node, PATIENCE};
use crate::proxy::Proxy;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Reply, Request};

/// Number of outstanding requests of a client.
const WINDOW: u64 = 32;

/// Less than `peers.expiry`, after which an unresponsive router's connection is closed.
const BEFORE_EXPIRY: Duration = Duration::from_secs(4);

pub(super) struct Pairs {
    pub(super) node_a: Node,
    pub(super) node_b: Node,
    /// Two routers of zone a, then two of zone b; each of a is joined with one of b.
    pub(super) routers: Vec<Node>,
}

pub(super) fn pairs() -> Pairs {
    pairs_behind(&[])
}

/// Starts the same zones, where each router's neighbour dials it through a proxy, if there are any.
pub(super) fn pairs_behind(proxies: &[Proxy]) -> Pairs {
    let sites = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")].map(|(name, zone)| Site::new(name, zone, &[]));
    let at: Vec<String> = sites.iter().map(|site| site.endpoint.clone()).collect();
    let (seed_a, seed_b) = (at[0].clone(), at[2].clone());
    let start = |(number, site): (usize, Site)| {
        // The two routers of one zone are each other's seeds, so that either may restart alone.
        let zone = format!("zone = '{}'\n{OPEN}", if number < 2 { "b" } else { "a" });
        let pair = proxies.get(number ^ 2).map_or(&at[number ^ 2], |proxy| &proxy.endpoint);
        site.start(&at[number ^ 1], &neighbour("pair", pair, &zone))
    };
    let routers: Vec<Node> = sites.into_iter().enumerate().map(start).collect();
    for (proxy, router) in proxies.iter().zip(&routers) {
        proxy.lead_to(&router.tcp);
    }
    let settings = "[majordomo]\nheartbeat = '5m'\nexpiry = '20m'\n[defaults]\ndeadline = '3m'\n[service.job]\nidempotent = true\n";
    let node_a = Site::new("node-a", "a", &[]).start(&seed_a, "[defaults]\ndeadline = '3m'\n");
    let node_b = Site::new("node-b", "b", &[]).start(&seed_b, settings);
    Pairs { node_a, node_b, routers }
}

/// Waits until a node has this number of paths to a service.
pub(super) fn wait_for_ways(node: &Node, service: &str, ways: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let report = node.report();
        let entry = report["services"].as_array().unwrap().iter().find(|entry| entry["name"] == service);
        if entry.is_some_and(|entry| entry["peers"].as_array().unwrap().len() == ways) {
            return;
        }
        assert!(Instant::now() < until, "{ways} ways to {service}: {report}");
    }
}

impl Pairs {
    pub(super) fn wait_for_ways(&self, service: &str, ways: usize) {
        wait_for_ways(&self.node_a, service, ways);
    }

    fn passed_on_by(&self, router: usize) -> u64 {
        self.routers[router].report()["counters"]["forwarded"].as_u64().unwrap()
    }
}

/// Workers of one service in threads of their own, with the number of runs of each body.
pub(super) struct Team {
    runs: Arc<Mutex<BTreeMap<String, u64>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Team {
    pub(super) fn new(node: &Node, service: &str, members: usize) -> Self {
        let (runs, is_over) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let member = |_| {
            let worker = Worker::v2(&node.ipc(), service);
            let (runs, is_over) = (Arc::clone(&runs), Arc::clone(&is_over));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if worker.receives_within(Duration::from_millis(20)) {
                        let (asker, body) = worker.request();
                        let text = String::from_utf8(body[0].to_vec()).unwrap();
                        *runs.lock().unwrap().entry(text).or_default() += 1;
                        worker.reply(&asker, &body);
                    }
                }
            })
        };
        let threads = (0..members).map(member).collect();
        Self { runs, is_over, threads }
    }

    pub(super) fn runs(&self) -> BTreeMap<String, u64> {
        self.runs.lock().unwrap().clone()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Calls a service so often, with [`WINDOW`] requests outstanding, and calls `happens` after a third of the answers.
/// Returns the replies by request.
fn load(node: &Node, service: &str, requests: u64, happens: impl FnMut()) -> BTreeMap<u64, Reply> {
    load_within(PATIENCE, node, service, requests, happens)
}

/// Does the same with a deadline for each request.
fn load_within(
    deadline: Duration,
    node: &Node,
    service: &str,
    requests: u64,
    mut happens: impl FnMut(),
) -> BTreeMap<u64, Reply> {
    let (mut client, mut sent, mut replies) = (node.client(), 0, BTreeMap::new());
    while (replies.len() as u64) < requests {
        while sent < requests && sent - (replies.len() as u64) < WINDOW {
            sent += 1;
            let ask = Request::new(service).body([sent.to_string()]).deadline(deadline);
            assert_eq!(client.send(ask).unwrap(), sent);
        }
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        assert!(replies.insert(id, reply).is_none(), "request {id} has two answers");
        if replies.len() as u64 == requests / 3 {
            happens();
        }
    }
    replies
}

fn is_answered(id: u64, reply: &Reply) -> bool {
    matches!(reply, Reply::Final(body) if body[0] == id.to_string())
}

/// Kills a router under load of requests that may run twice.
fn idempotent_requests_survive_the_loss_of(victim: usize) {
    let mut pairs = pairs();
    let team = Team::new(&pairs.node_b, "job", 8);
    pairs.node_b.wait_for_workers("job", 8);
    pairs.wait_for_ways("job", 2);
    let process = &mut pairs.routers[victim];
    let replies = load(&pairs.node_a, "job", 3000, || process.kill());
    for (id, reply) in &replies {
        assert!(is_answered(*id, reply), "{id}: {reply:?}");
    }
    let runs = team.runs();
    let twice = runs.values().filter(|runs| **runs > 1).count() as u64;
    println!("{} requests, {twice} of them ran twice after {victim} was killed", replies.len());
    assert!(runs.len() == 3000 && twice <= WINDOW, "{twice} ran twice");

    // The remaining pair carries all requests.
    pairs.wait_for_ways("job", 1);
    let (pair, before) = (victim & 1 ^ 1, team.runs().values().sum::<u64>());
    let carried = pairs.passed_on_by(pair);
    assert!(load(&pairs.node_a, "job", 300, || {}).iter().all(|(id, reply)| is_answered(*id, reply)));
    assert_eq!(pairs.passed_on_by(pair) - carried, 300);
    assert_eq!(team.runs().values().sum::<u64>() - before, 300);

    // The killed router restarts, and takes its share.
    pairs.routers[victim].start_again();
    pairs.wait_for_ways("job", 2);
    assert!(load(&pairs.node_a, "job", 300, || {}).iter().all(|(id, reply)| is_answered(*id, reply)));
    assert!(pairs.passed_on_by(victim) > 0);
}

#[test]
fn idempotent_requests_survive_the_loss_of_a_router_of_their_own_zone() {
    idempotent_requests_survive_the_loss_of(0);
}

#[test]
fn idempotent_requests_survive_the_loss_of_a_router_of_the_other_zone() {
    idempotent_requests_survive_the_loss_of(3);
}

/// Kills a router with requests that must not run twice.
fn other_requests_fail_with_the_loss_of(victim: usize) {
    const REQUESTS: u64 = 16;
    let mut pairs = pairs();
    let workers: Vec<Worker> = (0..REQUESTS).map(|_| Worker::v2(&pairs.node_b.ipc(), "once")).collect();
    pairs.node_b.wait_for_workers("once", REQUESTS);
    pairs.wait_for_ways("once", 2);
    wait_until_reachable(&pairs.node_a, "once@b", true);
    let mut client = pairs.node_a.client();
    for request in 1..=REQUESTS {
        client.send(Request::new("once").body([request.to_string()]).deadline(PATIENCE)).unwrap();
    }
    let held: Vec<_> = workers.iter().map(|worker| (worker, worker.request())).collect();
    let had = pairs.passed_on_by(victim);
    assert!(0 < had && had < REQUESTS, "both pairs have some, but: {had}");
    pairs.routers[victim].kill();
    for _ in 0..had {
        match client.receive(Some(PATIENCE)).unwrap() {
            (_, Reply::Failure(failure)) => assert_eq!(failure.code, Code::Lost, "{failure}"),
            other => panic!("{other:?}"),
        }
    }
    held.iter().for_each(|(worker, (asker, body))| worker.reply(asker, body));
    for _ in had..REQUESTS {
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        assert!(is_answered(id, &reply), "{reply:?}");
    }
    // Nothing ran again: every worker had one request, and is idle.
    pairs.node_b.wait_for_workers("once", REQUESTS);
    assert!(!workers.iter().any(|worker| worker.receives_within(Duration::ZERO)));
}

#[test]
fn requests_that_a_killed_router_of_their_own_zone_had_fail_and_do_not_run_again() {
    other_requests_fail_with_the_loss_of(1);
}

#[test]
fn requests_that_a_killed_router_of_the_other_zone_had_fail_and_do_not_run_again() {
    other_requests_fail_with_the_loss_of(2);
}

#[test]
fn under_load_what_must_not_run_twice_does_not() {
    let mut pairs = pairs();
    let team = Team::new(&pairs.node_b, "once", 8);
    pairs.node_b.wait_for_workers("once", 8);
    pairs.wait_for_ways("once", 2);
    let process = &mut pairs.routers[0];
    let replies = load(&pairs.node_a, "once", 3000, || process.kill());
    let lost = replies.values().filter(|reply| match reply {
        Reply::Failure(failure) => {
            assert_eq!(failure.code, Code::Lost, "{failure}");
            true
        }
        _ => false,
    });
    let lost = lost.count() as u64;
    let runs = team.runs();
    println!("of {} requests {lost} were lost, {} ran", replies.len(), runs.len());
    assert!(lost <= WINDOW && runs.values().all(|runs| *runs == 1), "{runs:?}");
    for (id, reply) in &replies {
        assert!(!is_answered(*id, reply) || runs.contains_key(&id.to_string()));
    }
}

/// Freezes a router under load: its connections stay open, but it sends nothing.
fn idempotent_requests_survive_the_silence_of(victim: usize) {
    let pairs = pairs();
    let team = Team::new(&pairs.node_b, "job", 8);
    pairs.node_b.wait_for_workers("job", 8);
    pairs.wait_for_ways("job", 2);
    let began = Instant::now();
    let freeze = || pairs.routers[victim].signal("-STOP");
    let replies = load_within(BEFORE_EXPIRY, &pairs.node_a, "job", 900, freeze);
    println!("{} requests took {:?} with router {victim} frozen", replies.len(), began.elapsed());
    for (id, reply) in &replies {
        assert!(is_answered(*id, reply), "{id}: {reply:?}");
    }
    assert!(team.runs().len() == 900);
    pairs.routers[victim].signal("-CONT");
    pairs.wait_for_ways("job", 2);
    assert!(load(&pairs.node_a, "job", 300, || {}).iter().all(|(id, reply)| is_answered(*id, reply)));
}

#[test]
fn idempotent_requests_survive_the_silence_of_a_router_of_their_own_zone() {
    idempotent_requests_survive_the_silence_of(1);
}

#[test]
fn idempotent_requests_survive_the_silence_of_a_router_of_the_other_zone() {
    idempotent_requests_survive_the_silence_of(2);
}

#[test]
fn requests_that_must_not_run_twice_take_another_path_once_a_router_of_the_other_zone_is_unresponsive() {
    let mut pairs = pairs();
    let team = Team::new(&pairs.node_b, "once", 8);
    pairs.node_b.wait_for_workers("once", 8);
    pairs.wait_for_ways("once", 2);
    pairs.routers[2].signal("-STOP");
    pairs.routers[0].wait_for("is unresponsive");
    let replies = load_within(BEFORE_EXPIRY, &pairs.node_a, "once", 300, || {});
    pairs.routers[2].signal("-CONT");
    for (id, reply) in &replies {
        assert!(is_answered(*id, reply), "{id}: {reply:?}");
    }
    assert!(team.runs().len() == 300 && team.runs().values().all(|runs| *runs == 1));
}
