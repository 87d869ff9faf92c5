//! Connections to a node with keys: how they end, reconnect, and what they may cost.

use super::*;
use crate::connections::assert_serves;
use crate::zmtp::{RawPeer, declaration, greeting, request};
use zmq::SocketEvent;

/// Returns a socket of a party, and one that becomes readable when its connection ends.
fn watched(party: &Party, node: &Node, key: &KeyPair, id: &[u8]) -> (zmq::Socket, zmq::Socket) {
    let context = zmq::Context::new();
    let (socket, ends) = (party.socket(&context, key), context.socket(zmq::PAIR).unwrap());
    socket.set_identity(id).unwrap();
    socket.set_reconnect_ivl(-1).unwrap();
    socket.monitor("inproc://ends", SocketEvent::DISCONNECTED.to_raw().into()).unwrap();
    ends.connect("inproc://ends").unwrap();
    socket.connect(&node.tcp).unwrap();
    (socket, ends)
}

fn is_served(socket: &zmq::Socket) {
    ask(socket, "echo", "x");
    assert_eq!(answer(socket).last().unwrap(), b"x");
}

#[test]
fn a_revoked_client_is_disconnected_within_a_second_whatever_it_sends() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    let key = party.pair;
    let mut node = party.start("");
    for id in [&b"fixed"[..], &[b'x'; 255]] {
        trust(&keys_of(&node), &shop, &[]);
        node.wait_for("the keys have changed: 1 is trusted");
        let (socket, ends) = watched(&shop, &node, &key, id);
        is_served(&socket);
        distrust(&keys_of(&node), "shop");
        node.wait_for("the keys have changed: 0 are trusted");
        let began = Instant::now();
        // The client keeps sending until its connection closes.
        while ends.poll(zmq::POLLIN, 1).unwrap() == 0 {
            let _it_may_have_ended = socket.send_multipart([&b"MDPC02"[..], b"\x01", b"echo", b"late"], zmq::DONTWAIT);
            assert!(began.elapsed() < Duration::from_secs(1));
        }
        assert_eq!(socket.poll(zmq::POLLIN, 0).unwrap(), 0);
        drop(socket);
        node.clear_log();
    }
    assert_serves(&node);
}

#[test]
fn of_two_with_one_identity_both_are_served_and_none_ends_the_node() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.trusts(&shop, &[]);
    let key = party.pair;
    let node = party.start("");
    let began = Instant::now();
    let [(first, _), (second, _)] = [(); 2].map(|()| watched(&shop, &node, &key, b"twin"));
    is_served(&first);
    is_served(&second);
    is_served(&first);
    drop(first);
    is_served(&second);
    // Also by ipc, where users of this machine need no key.
    let mut twins = [(); 2].map(|()| RawPeer::open(&node.ipc(), b"twin"));
    for twin in &mut twins {
        twin.send(&request("echo", b"x"));
        assert_eq!(twin.read_message().unwrap().last().unwrap(), b"x");
    }
    println!("all were served within {:?}", began.elapsed());
    let [first, _second] = twins;
    first.reset();
    assert_serves(&node);
}

#[test]
fn messages_for_an_ended_connection_do_not_reach_the_next_owner_of_its_routing_id() {
    let [party, ana, bob] =
        ["node1", "ana", "bob"].map(|name| Party::new(name, if name == "node1" { &["echo"] } else { &[] }));
    party.trusts(&ana, &["--work", "slow*"]);
    party.trusts(&bob, &[]);
    let key = party.pair;
    let node = party.start("");
    let worker = Worker::on(ana.dealer(&node, &key), "slow");
    node.wait_for_workers("slow", 1);
    let takes_it = |from: (zmq::Socket, zmq::Socket)| {
        drop(from);
        let (socket, _ends) = watched(&bob, &node, &key, b"same");
        is_served(&socket);
        socket
    };
    // An answer.
    let asks = watched(&ana, &node, &key, b"same");
    is_served(&asks.0);
    ask(&asks.0, "slow", "secret");
    let (asker, body) = worker.request();
    let taken = takes_it(asks);
    worker.reply(&asker, &body);
    is_served(&taken);
    drop(taken);
    // A request for a worker.
    let serves = watched(&ana, &node, &key, b"same");
    serves.0.send_multipart([&b"MDPW02"[..], b"\x01", b"slower"], 0).unwrap();
    node.wait_for_workers("slower", 1);
    let taken = takes_it(serves);
    let lost = node.client().call(Request::new("slower").body(["secret"]).deadline(Duration::from_secs(1)), |_| {});
    assert!(lost.is_err(), "{lost:?}");
    is_served(&taken);
    assert_eq!(taken.poll(zmq::POLLIN, 0).unwrap(), 0);
    assert_serves(&node);
}

#[test]
fn unfinished_handshakes_of_strangers_cost_little_and_long_ones_are_ended_and_counted() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.trusts(&shop, &[]);
    let key = party.pair;
    let mut node = party.start("");
    let mut served = shop.client(&node, &key);
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    let before = node.memory();
    let hello = |bytes: usize| [greeting(1, "CURVE"), declaration(4, bytes as u64), vec![5; bytes - 1]].concat();
    let (short, long) = (hello(4 << 10), hello(32 << 20));
    let mut strangers: Vec<_> = (0..80).map(|_| RawPeer::connect(&node.tcp)).collect();
    for stranger in &mut strangers {
        assert!(stranger.flood(&short, 1));
    }
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    assert!(node.memory() < before + 20 * 1024, "from {before} to {} KiB", node.memory());
    let mut others: Vec<_> = (0..80).map(|_| RawPeer::connect(&node.tcp)).collect();
    for other in &mut others {
        assert!(!other.flood(&long, 1), "it is ended while it sends");
    }
    assert!(node.memory() < before + 20 * 1024, "from {before} to {} KiB", node.memory());
    node.wait_for("its handshake was longer than 4 KiB");
    strangers.iter_mut().for_each(RawPeer::wait_for_end);
    wait_for_count(&node, "rejected", 160);
    assert_eq!(node.report()["counters"]["rejected"], 160, "each once");
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
}

#[test]
fn a_message_of_a_million_frames_by_a_client_with_a_key_costs_no_more_than_its_bound() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.trusts(&shop, &["--allow", "print"]);
    let key = party.pair;
    let mut node = party.start("");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    let before = node.memory();
    let (socket, ends) = watched(&shop, &node, &key, b"prints");
    for frame in [&b"MDPC02"[..], b"\x01", b"print"].into_iter().chain((0..1_000_000).map(|_| &b""[..])) {
        socket.send(frame, zmq::SNDMORE).unwrap();
    }
    socket.send("", 0).unwrap();
    assert_eq!(ends.poll(zmq::POLLIN, PATIENCE.as_millis().try_into().unwrap()).unwrap(), 1);
    node.wait_for("more than twice limits.frames");
    assert!(node.memory() < before + 8 * 1024, "from {before} to {} KiB", node.memory());
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}
