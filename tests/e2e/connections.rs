//! Effects of one connection on a node and on other connections: peers that send ZMTP byte by byte, duplicate
//! identities, frozen and lost peers.

use crate::majordomo::{Worker, dealer};
use crate::node::{Node, PATIENCE, wasmnode};
use crate::zmtp::{MORE, RawPeer, declaration, frame, greeting, request};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};
use wasmnode_client::{Error, Reply, Request};

/// One second, within which the behaviour is guaranteed.
const SECOND: Duration = Duration::from_secs(1);

/// Longer than libzmq's timers, which would fire for a connection that is gone.
const AFTERMATH: Duration = Duration::from_secs(4);

/// Small limits, which are exceeded quickly.
const SMALL: &str = "[limits]\nmessage = '1MiB'\nunfinished-bytes = '8MiB'\n";

/// Sends a request, and receives the answer.
fn is_served(peer: &mut RawPeer) {
    peer.send(&request("echo", b"x"));
    assert_eq!(peer.read_message().unwrap().last().unwrap(), b"x");
}

/// Checks that the node serves for the whole time of [`AFTERMATH`].
pub(crate) fn assert_serves(node: &Node) {
    let began = Instant::now();
    while began.elapsed() < AFTERMATH {
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    }
}

#[test]
fn of_two_with_one_identity_the_second_is_served_and_the_first_ends() {
    let node = Node::start(&["echo"], "");
    for endpoint in [node.tcp.clone(), node.ipc()] {
        let mut first = RawPeer::open(&endpoint, b"twin");
        is_served(&mut first);
        let began = Instant::now();
        let mut second = RawPeer::open(&endpoint, b"twin");
        is_served(&mut second);
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        // The connection may have ended already.
        first.flood(&request("echo", b"late"), 1);
        first.wait_for_end();
        assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
        first.reset();
        is_served(&mut second);
    }
    assert_serves(&node);
}

#[test]
fn copies_of_a_worker_with_one_identity_do_not_end_the_node() {
    let node = Node::start(&["echo"], "");
    // One identity for each endpoint, because READY under an identity that is still registered ends the worker.
    for (endpoint, name) in [(node.tcp.clone(), "by-tcp"), (node.ipc(), "by-ipc")] {
        let worker = || Worker::on(dealer(&endpoint, Some(name.as_bytes())), name);
        let first = worker();
        node.wait_for_workers(name, 1);
        let second = worker();
        first.heartbeat();
        drop(first);
        second.heartbeat();
    }
    assert_serves(&node);
}

/// Returns a handshake command of so many bytes, without its last byte.
fn unfinished(mechanism: &str, bytes: usize) -> Vec<u8> {
    [greeting(1, mechanism), declaration(4, bytes as u64), vec![b'x'; bytes - 1]].concat()
}

#[test]
fn unfinished_handshakes_cost_little_and_long_ones_are_ended() {
    // The last two are of ZMTP 1.0 and 2.0, whose handshake is a frame with the identity.
    let old = [&[0xff, 0, 0, 0, 0, 2, 0, 0, 0, 0][..], &vec![b'x'; 32 << 20]].concat();
    let older = [&b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05"[..], &declaration(0, 32 << 20), &vec![b'x'; 32 << 20]].concat();
    let mut node = Node::start(&["echo"], "");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    let (before, descriptors) = (node.memory(), node.descriptors());
    let mut most = 0;
    for hello in [unfinished("NULL", 32 << 20), unfinished("NULL", 4 << 10), old, older] {
        let is_long = hello.len() > 1 << 20;
        let mut strangers: Vec<_> = (0..80).map(|_| RawPeer::connect(&node.tcp)).collect();
        for stranger in &mut strangers {
            assert_eq!(stranger.flood(&hello, 1), !is_long, "a long one is ended while it is sent");
        }
        most = most.max(node.memory());
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
        strangers.iter_mut().for_each(RawPeer::wait_for_end);
    }
    assert!(most < before + 20 * 1024, "from {before} to {most} KiB");
    assert!(node.descriptors() <= descriptors + 2);
    node.wait_for("its handshake was longer than 4 KiB");
}

#[test]
fn an_unfinished_message_never_costs_more_than_its_bound() {
    let mut node = Node::start(&["echo"], SMALL);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    let before = node.memory();
    for endpoint in [node.tcp.clone(), node.ipc()] {
        for (part, why) in [
            (frame(MORE, b""), "more than twice limits.frames"),
            (frame(MORE, &[b'x'; 34]), "more than twice limits.frames"),
            (frame(MORE, &vec![b'x'; 100 << 10]), "longer than twice limits.message"),
            (declaration(0, 1 << 40), "longer than twice limits.message"),
        ] {
            let mut peer = RawPeer::open(&endpoint, b"");
            is_served(&mut peer);
            assert!(!peer.flood(&part, 256 << 20), "it is ended while it sends");
            node.wait_for(why);
            node.clear_log();
        }
    }
    let after = node.memory();
    assert!(after < before + 8 * 1024, "from {before} to {after} KiB");
    assert_eq!(node.report()["counters"]["over_limit"], 8);

    // Each connection stays within its own bound, and all together within theirs.
    let part = frame(MORE, &vec![b'x'; 1 << 20]);
    let mut peers: Vec<_> = (0..64).map(|_| RawPeer::open(&node.tcp, b"")).collect();
    for peer in &mut peers {
        peer.flood(&part, 1);
    }
    node.wait_for("limits.unfinished-bytes");
    assert!(node.memory() < after + 24 * 1024, "from {after} to {} KiB", node.memory());
    drop(peers);
    assert_eq!(node.call("echo", &[&[b'x'; 1 << 20]]).unwrap().concat().len(), 1 << 20);
}

#[test]
fn answers_that_a_client_does_not_read_cost_a_bounded_sum() {
    let settings =
        "[limits]\nunread-bytes = '1MiB'\nmessage = '32MiB'\n[defaults]\nreply = '32MiB'\ndeadline = '10m'\n";
    let mut node = Node::start(&["huge-reply"], settings);
    let before = node.memory();
    let mut frozen = RawPeer::open(&node.tcp, b"");
    for _ in 0..40 {
        frozen.send(&request("huge-reply", b""));
    }
    node.wait_for("does not read its messages, and limits.unread-bytes is reached");
    node.wait_until_quiet(PATIENCE);
    // The answers are 1.25 GiB. Two wait in libzmq, one is being written, and one may be being made.
    assert!(node.memory() < before + 256 * 1024, "from {before} to {} KiB", node.memory());
}

#[test]
fn answers_that_many_clients_do_not_read_cost_a_bounded_sum_and_do_not_affect_others() {
    let settings =
        "[limits]\nunread-bytes = '1MiB'\nmessage = '32MiB'\n[defaults]\nreply = '32MiB'\ndeadline = '10m'\n";
    let mut node = Node::start(&["huge-reply", "echo"], settings);
    let before = node.memory();
    let mut frozen: Vec<_> = (0..16).map(|_| RawPeer::open(&node.tcp, b"")).collect();
    for peer in &mut frozen {
        peer.send(&request("huge-reply", b"").repeat(2));
    }
    node.wait_for("limits.unread-bytes is reached: its connection is ended");
    node.wait_until_quiet(PATIENCE);
    // The answers are 1 GiB. Two wait, one may be being made, and one being freed.
    assert!(node.memory() < before + 192 * 1024, "from {before} to {} KiB", node.memory());
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(node.call("huge-reply", &[b""]).unwrap()[0].len(), 32 << 20);
    drop(frozen);
    let began = Instant::now();
    while node.memory() > before + 64 * 1024 {
        assert!(began.elapsed() < PATIENCE, "{} KiB are kept, {before} before", node.memory());
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    }
}

#[test]
fn the_memory_of_large_messages_is_released() {
    let node = Node::start(&["echo"], "[limits]\nmessage = '16MiB'\n[defaults]\nreply = '16MiB'\ndeadline = '10m'\n");
    let before = node.memory();
    let large = request("echo", &vec![b'x'; 15 << 20]);
    let mut clients: Vec<_> = (0..8).map(|_| RawPeer::open(&node.tcp, b"")).collect();
    for _ in 0..4 {
        clients.iter_mut().for_each(|client| client.send(&large));
        clients
            .iter_mut()
            .for_each(|client| assert_eq!(client.read_message().unwrap().last().unwrap().len(), 15 << 20));
    }
    node.wait_until_quiet(PATIENCE);
    assert!(node.memory() < before + 64 * 1024, "{} KiB are kept, {before} before", node.memory());
}

#[test]
fn a_client_may_wait_for_replies_before_its_first_request() {
    let node = Node::start(&["echo"], "");
    let mut client = node.client();
    assert!(matches!(client.receive(Some(SECOND / 2)), Err(Error::Timeout { .. })));
    assert_eq!(client.call(Request::new("echo").body(["x"]), |_| {}).unwrap(), ["x"]);
}

#[test]
fn a_body_far_over_the_limit_ends_the_connection_and_both_sides_report_it() {
    let mut node = Node::start(&["echo"], &format!("{SMALL}[majordomo]\nheartbeat = '100ms'\nexpiry = '300ms'\n"));
    let long = vec![b'x'; 3 << 20];
    let mut client = node.client();
    let call = Request::new("echo").body([long.clone()]).deadline(PATIENCE);
    let began = Instant::now();
    match client.call(call, |_| {}) {
        Err(error @ Error::Lost { .. }) => assert!(error.to_string().contains("limits.message"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < PATIENCE / 2);
    node.wait_for("with a client by ipc is ended: a message was longer than twice limits.message = 1048576");
    node.clear_log();
    // The next request of the same client uses a new connection.
    let call = Request::new("echo").body(["x"]).deadline(PATIENCE);
    assert_eq!(client.call(call, |_| {}).unwrap(), ["x"]);

    let worker = Worker::v2(&node.ipc(), "big");
    node.wait_for_workers("big", 1);
    let call = Request::new("big").body(["x"]).deadline(PATIENCE);
    let id = client.send(call).unwrap();
    let (asker, _) = worker.request();
    worker.reply(&asker, &[long.into()]);
    node.wait_for("is ended: a message was longer than twice limits.message");
    let (answered, reply) = client.receive(Some(PATIENCE)).unwrap();
    assert!(answered == id && matches!(reply, Reply::Failure(_)), "{reply:?}");
}

#[test]
fn a_hostile_listener_that_is_dialled_costs_no_more_than_the_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let seed = format!("tcp://{}", listener.local_addr().unwrap());
    let mut node = Node::start(
        &["echo"],
        &format!("name = 'n'\nlisten = ['ipc://node.ipc', 'tcp://127.0.0.1:0']\nseeds = ['{seed}']\n{SMALL}"),
    );
    let before = node.memory();
    for (opening, why) in [
        (frame(MORE, b""), "more than twice limits.frames"),
        (frame(MORE, &vec![b'x'; 100 << 10]), "longer than twice limits.message"),
    ] {
        let mut hostile = RawPeer::on(listener.accept().unwrap().0).shaken(1, b"");
        assert!(!hostile.flood(&opening, 256 << 20));
        node.wait_for(why);
    }
    let mut hostile = RawPeer::on(listener.accept().unwrap().0);
    assert!(!hostile.flood(&unfinished("NULL", 32 << 20), 1));
    node.wait_for("its handshake was longer than 4 KiB");
    assert!(node.memory() < before + 8 * 1024, "from {before} to {} KiB", node.memory());
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_peer_with_zmtp_3_0_may_be_idle() {
    let node = Node::start(&["echo"], "");
    for endpoint in [node.tcp.clone(), node.ipc()] {
        let mut peer = RawPeer::connect(&endpoint).shaken(0, b"");
        is_served(&mut peer);
        assert!(peer.is_silent_for(Duration::from_secs(3)));
        is_served(&mut peer);
    }
}

/// Returns the number of established connections to the tcp endpoint of a node.
pub(crate) fn connections(node: &Node) -> usize {
    let port = format!(":{:04X}", node.tcp.rsplit(':').next().unwrap().parse::<u16>().unwrap());
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", node.id())).unwrap();
    // Line number, both addresses, and the state; 01 is ESTABLISHED.
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[1].ends_with(&port) && fields[3] == "01").count()
}

/// Waits until a node has so many connections, while it serves; returns the time taken.
pub(crate) fn wait_for_connections(node: &Node, count: usize) -> Duration {
    let began = Instant::now();
    while connections(node) != count {
        assert!(began.elapsed() < PATIENCE, "{} connections, {count} were expected", connections(node));
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    }
    began.elapsed()
}

#[test]
fn a_frozen_client_of_this_crate_is_detected_by_the_time_to_live_of_its_heartbeats() {
    let node = Node::start(&["echo"], "[service.slow]\ndeadline = '5m'\n");
    let worker = Worker::v2(&node.tcp, "slow");
    let mut frozen = wasmnode()
        .args(["call", "slow", "x", "--wait", "--to", &node.tcp])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    worker.request();
    // The client sends heartbeats until then.
    assert_serves(&node);
    let id = frozen.id().to_string();
    assert!(std::process::Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    assert_eq!(connections(&node), 2);
    let noticed = wait_for_connections(&node, 1);
    frozen.kill().unwrap();
    frozen.wait().unwrap();
    println!("noticed after {noticed:?}");
    assert!(noticed < Duration::from_secs(30), "{noticed:?}");
}
