//! Links between nodes over a network that delays, holds back and resets.

use crate::load::{Crew, Runs, assert_all_succeeded, assert_no_further_answer, failures, load, result, unique_body};
use crate::node::{Node, PATIENCE};
use crate::proxy::{Direction, Proxy};
use crate::zone::node;
use crate::zone_failures::{replied, wait_for_peers, wait_until_used};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Error, Request};

/// Grace period in which a stopping node answers its peers in any case.
const GOODBYE: Duration = Duration::from_millis(100);

const IDEMPOTENT: &str = "[service.echo]\nidempotent = true\n";

/// Starts a node that the others reach through a proxy.
fn behind(proxy: &Proxy, name: &str, plugins: &[&str], seeds: &[&Node], settings: &str) -> Node {
    let node = node(name, plugins, seeds, &format!("advertise = '{}'\n{settings}", proxy.endpoint));
    proxy.lead_to(&node.tcp);
    node
}

/// Starts a node with clients, one that it reaches through a proxy, and one that it reaches directly.
fn zone(plugins: &[&str], settings: &str) -> (Node, Proxy, Node, Node) {
    let (front, proxy) = (node("front", &[], &[], settings), Proxy::new());
    let far = behind(&proxy, "far", plugins, &[&front], settings);
    let near = node("near", plugins, &[&front], settings);
    for plugin in plugins {
        wait_for_peers(&front, plugin, &["far", "near"]);
    }
    (front, proxy, far, near)
}

#[test]
fn a_link_that_is_cut_comes_back_and_only_what_was_outstanding_on_it_is_lost() {
    let runs = Runs::default();
    let (mut front, proxy, far, near) = zone(&[], "[service.job]\ndeadline = '3m'\n");
    let (at_far, at_near) = (Crew::new(&far, "job", 2, &runs), Crew::new(&near, "other", 1, &runs));
    wait_for_peers(&front, "job", &["far"]);
    wait_for_peers(&front, "other", &["near"]);
    at_far.hold();
    at_near.hold();
    let mut client = front.client();
    let lost = client.send(Request::new("job").body([unique_body()])).unwrap();
    let other = unique_body();
    let kept = client.send(Request::new("other").body([other.clone()]).deadline(PATIENCE)).unwrap();
    far.wait_for_busy_workers("job", 1);
    near.wait_for_busy_workers("other", 1);
    proxy.cut();
    let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
    let failure = result(reply).unwrap_err();
    assert!(id == lost && failure.code == Code::Lost && failure.reason.contains("node far"), "{failure}");
    front.wait_for("the link to node far is gone: the connection is lost");
    at_far.release();
    at_near.release();
    assert_eq!(client.receive(Some(PATIENCE)).map(|(id, reply)| (id, result(reply))).unwrap().0, kept);
    let again = unique_body();
    let waiting = Request::new("job").body([again.clone()]).wait(true).deadline(PATIENCE);
    assert_eq!(client.call(waiting, |_| {}).unwrap(), [&again[..]]);
    assert_no_further_answer(&mut client);
    assert_eq!((runs.repeated(), runs.of(&other)), (Vec::new(), 1));
}

#[test]
fn a_link_that_is_cut_again_and_again_under_load_fails_no_request_that_may_run_twice() {
    let (front, proxy, far, _near) = zone(&["echo"], IDEMPOTENT);
    let answers = load(&front, &["echo"], 3_000, |answered| {
        if answered % 500 == 250 {
            proxy.cut();
        }
    });
    assert_all_succeeded(&answers);
    wait_until_used(&front, &far, "echo");
}

fn check_that_a_blocked_direction_is_detected(way: Direction) {
    let (mut front, proxy, far, _near) = zone(&["echo"], IDEMPOTENT);
    let answers = load(&front, &["echo"], 2_000, |answered| {
        if answered == 500 {
            proxy.hold_back(way);
        }
    });
    assert_all_succeeded(&answers);
    front.wait_for("node far is unresponsive");
    proxy.heal();
    wait_until_used(&front, &far, "echo");
}

#[test]
fn a_network_that_passes_no_requests_is_noticed_and_they_go_elsewhere() {
    check_that_a_blocked_direction_is_detected(Direction::There);
}

#[test]
fn a_network_that_passes_no_answers_is_noticed_and_the_requests_go_elsewhere() {
    check_that_a_blocked_direction_is_detected(Direction::Back);
}

#[test]
fn requests_held_back_by_the_network_fail_in_time_if_no_other_node_serves_them() {
    let runs = Runs::default();
    let (front, proxy, far, _near) = zone(&[], "");
    let _at_far = Crew::new(&far, "job", 4, &runs);
    wait_for_peers(&front, "job", &["far"]);
    let answers = load(&front, &["job"], 600, |answered| {
        if answered == 500 {
            proxy.hold_back(Direction::Back);
        }
    });
    let failed = failures(&answers, Duration::from_secs(2));
    assert!(
        failed.iter().all(|failure| matches!(failure.code, Code::Deadline | Code::Lost | Code::UnknownService)),
        "{failed:?}"
    );
    assert!(failed.len() > 50, "{} requests failed", failed.len());
    proxy.heal();
    let waiting = Request::new("job").body([unique_body()]).wait(true);
    assert!(front.client().call(waiting, |_| {}).is_ok());
    assert_eq!(runs.repeated(), [""; 0]);
}

#[test]
fn the_last_answer_of_a_stopping_node_arrives_although_its_withdrawal_overtakes_it() {
    let (runs, front, proxy) = (Runs::default(), node("front", &[], &[], ""), Proxy::new());
    let mut far = behind(&proxy, "far", &[], &[&front], "[defaults]\ndeadline = '3m'\n");
    // Answers pass the proxy; the node's own advertisements are sent on its own link, without delay.
    proxy.delay(Duration::from_millis(100));
    let (crew, mut client) = (Crew::new(&far, "job", 1, &runs), front.client());
    for round in 0..3 {
        wait_for_peers(&front, "job", &["far"]);
        crew.hold();
        let body = [unique_body(), vec![0; 4 << 20]].concat();
        let sent = client.send(Request::new("job").body([body.clone()]).deadline(PATIENCE)).unwrap();
        far.wait_for_busy_workers("job", 1);
        far.signal("-TERM");
        far.wait_for("stopping");
        let stopped_at = Instant::now();
        wait_for_peers(&front, "job", &[]);
        // After this, only the request delays the end of the node.
        while stopped_at.elapsed() <= GOODBYE {
            assert_eq!(far.call("mmi.service", &[b"x"]).unwrap(), ["404"]);
        }
        crew.release();
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        let answer = result(reply).unwrap_or_else(|failure| panic!("round {round}: {failure}"));
        assert!(id == sent && answer == [body]);
        far.start_again();
        far.wait_for_workers("job", 1);
    }
    assert_eq!(runs.repeated(), [""; 0]);
}

#[test]
fn of_two_peers_the_nearer_one_is_chosen() {
    const REQUESTS: u64 = 300;
    let (front, proxy, far, near) = zone(&["echo"], "");
    proxy.delay(Duration::from_millis(20));
    let mut client = front.client();
    for _ in 0..REQUESTS {
        let body = unique_body();
        assert_eq!(client.call(Request::new("echo").body([body.clone()]), |_| {}).unwrap(), [&body[..]]);
    }
    let (far, near) = (replied(&far, "echo"), replied(&near, "echo"));
    println!("{near} of {REQUESTS} went to the near peer");
    assert!(near + far == REQUESTS && near >= REQUESTS * 8 / 10, "{near} near, {far} far");
}

/// Sends a body through a throttled proxy to a node, which sends it back.
fn through_a_narrow_link(bytes: usize, rate: u64, expiry: &str) -> Result<usize, Error> {
    let settings = format!("[peers]\nexpiry = '{expiry}'\n[defaults]\ndeadline = '3m'\n");
    let (front, proxy, _far, _near) = zone(&["echo"], &settings);
    proxy.throttle(rate);
    let ask = Request::new("echo@far").body([vec![7; bytes]]).deadline(PATIENCE);
    front.client().call(ask, |_| {}).map(|body| body[0].len())
}

#[test]
fn a_message_that_takes_longer_than_five_seconds_passes_with_a_longer_expiry() {
    assert_eq!(through_a_narrow_link(3 << 20, 1 << 19, "30s").unwrap(), 3 << 20);
}

#[test]
fn a_message_that_takes_longer_than_the_expiry_of_peers_fails_with_the_reason() {
    match through_a_narrow_link(3 << 20, 1 << 20, "1s") {
        Err(Error::Failure(failure)) => {
            let rule = "it sent nothing within 1s; the transfer of a message must take less than peers.expiry";
            assert!(failure.code == Code::Lost && failure.reason.contains(rule), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}
