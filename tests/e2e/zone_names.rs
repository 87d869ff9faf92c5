//! One name, several processes, and wrong clocks: the order of two starts by the clock differs from the real one.
//!
//! A connection that sends a hello in the name of a process, and then closes, stands for a process that started with
//! its clock ahead.

use crate::load::{assert_all_succeeded, load};
use crate::node::{Node, PATIENCE};
use crate::zone::node;
use crate::zone_failures::{wait_for_peers, wait_until_used};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant, SystemTime};
use wasmnode_core::message::peer::{self, Member, MemberKind, PeerMessage};

const AN_HOUR: Duration = Duration::from_secs(3_600);

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

const IDEMPOTENT: &str = "[service.echo]\nidempotent = true\n";

/// Time limit for a zone to settle the owner of a name: a frozen process continues, gets the rejection, and stops
/// claiming the name. It dials every two seconds; mostly the first or second attempt suffices, on a busy machine a
/// later one.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// Sends a node a hello of a process called `a` at that endpoint, with its clock ahead, and closes the connection once
/// the node has it as a peer.
fn announce_and_close(front: &mut Node, endpoint: &str, ahead: Duration) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let boot = u64::try_from((now + ahead).as_micros()).unwrap();
    let (name, endpoint) = ("a".parse().unwrap(), endpoint.to_owned());
    let member = Member { name, boot, renewal: 0, role: MemberKind::Node, endpoint: endpoint.clone() };
    let hello = peer::encode(PeerMessage::Hello { zone: "local".parse().unwrap(), member });
    let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
    socket.connect(&front.tcp).unwrap();
    front.clear_log();
    socket.send_multipart(hello.iter().map(AsRef::<[u8]>::as_ref), 0).unwrap();
    let answer = socket.recv_multipart(0).unwrap().into_iter().map(Into::into).collect();
    assert!(matches!(peer::decode(answer), Ok(PeerMessage::Welcome { .. })));
    front.wait_for(&format!("node a at {endpoint} joined the zone"));
}

/// Returns an endpoint of this machine without a listener.
fn nowhere() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

/// Returns how often a node has logged a text so far.
fn count(node: &mut Node, text: &str) -> usize {
    node.log_so_far().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_node_that_restarts_with_its_clock_an_hour_back_takes_its_own_place() {
    let mut front = node("front", &[], &[], "");
    let b = node("b", &[], &[&front], "");
    let mut a = node("a", &["echo"], &[&front, &b], "");
    wait_for_peers(&front, "echo", &["a"]);
    a.kill();
    announce_and_close(&mut front, &a.tcp.clone(), AN_HOUR);
    a.start_again();
    for other in [&front, &b] {
        println!("it is back after {:?}", wait_for_peers(other, "echo", &["a"]));
        assert_eq!(other.call("echo@a", &[b"x"]).unwrap(), ["x"]);
    }
    assert_eq!(count(&mut a, "has this node's name"), 0, "the process at its own endpoint is the one that it was");
}

#[test]
fn a_node_that_restarts_elsewhere_with_its_clock_an_hour_back_joins_when_its_predecessor_is_declared_dead() {
    let mut front = node("front", &[], &[], "");
    announce_and_close(&mut front, &nowhere(), AN_HOUR);
    let mut a = node("a", &["echo"], &[&front], "");
    a.wait_for("has this node's name");
    println!("it is in after {:?}", wait_for_peers(&front, "echo", &["a"]));
    assert_eq!(front.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_name_of_three_processes_is_settled_soon_and_the_last_one_serves() {
    let mut front = node("front", &[], &[], IDEMPOTENT);
    let b = node("b", &[], &[&front], IDEMPOTENT);
    let early = nowhere();
    announce_and_close(&mut front, &early, TEN_YEARS);
    front.wait_for(&format!("node a at {early} left the zone"));
    let mut frozen = node("a", &["echo"], &[&front], IDEMPOTENT);
    wait_for_peers(&front, "echo", &["a"]);
    frozen.signal("-STOP");
    front.wait_for(&format!("node a at {} left the zone", frozen.tcp));
    let last = node("a", &["echo"], &[&front], IDEMPOTENT);
    for other in [&front, &b] {
        wait_for_peers(other, "echo", &["a"]);
    }
    front.clear_log();
    frozen.signal("-CONT");
    let began = Instant::now();
    // Reported by the zone or by a peer, whichever reaches the process first.
    frozen.wait_for_any(&["has this node's name", "the name a is taken in zone local"]);
    println!("it has given its name up after {:?}", began.elapsed());
    assert!(began.elapsed() < SETTLED_WITHIN);
    assert_all_succeeded(&load(&front, &["echo"], 300, |_| {}));
    wait_until_used(&front, &last, "echo");
    assert!(count(&mut front, "the link to node a is gone") <= 2, "{:?}", front.log_so_far());
}

#[test]
fn an_endpoint_whose_node_keeps_refusing_this_one_is_logged_once() {
    let mut first = node("front", &[], &[], "");
    let mut second = node("front", &[], &[&first], "");
    for _ in 0..3 {
        first.clear_log();
        first.wait_for("the name front is taken");
    }
    second.signal("-TERM");
    let lines = second.log_to_its_end();
    let said = lines.iter().filter(|line| line.contains("no peer at") && line.contains("the name front is taken"));
    assert_eq!(said.count(), 1, "{lines:?}");
}
