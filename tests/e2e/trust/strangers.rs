//! Hundreds of concurrent strangers: their connections are closed, each is counted, and others are served meanwhile.

use super::*;
use crate::node::wasmnode;
use crate::zmtp::greeting;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use zmq::{Context, Socket};

/// Number of strangers of each kind.
const OF_EACH: usize = 50;

/// First bytes of strangers without ZeroMQ; the first three kinds then wait.
const OPENINGS: [fn() -> Vec<u8>; 7] = [
    Vec::new,
    || greeting(1, "NULL")[..10].to_vec(),
    || greeting(1, "CURVE"),
    || greeting(1, "NULL"),
    || [greeting(1, "CURVE"), b"\x04\xc8\x05HELLO".to_vec(), vec![1; 194]].concat(),
    || b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
    || (0..=255).cycle().take(2_000).collect(),
];

fn connect_stranger(node: &Node, opening: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.tcp.trim_start_matches("tcp://")).unwrap();
    stream.write_all(opening).unwrap();
    stream
}

/// Connects strangers with ZeroMQ: an untrusted key, a trusted key with the wrong key of the node, and no key.
fn connect_zeromq_strangers(
    context: &Context,
    node: &Node,
    key: &KeyPair,
    stranger: &Party,
    shop: &Party,
) -> [Socket; 3] {
    let plain = context.socket(zmq::DEALER).unwrap();
    plain.set_linger(0).unwrap();
    let sockets = [stranger.socket(context, key), shop.socket(context, &stranger.pair), plain];
    for socket in &sockets {
        socket.set_reconnect_ivl(-1).unwrap();
        socket.connect(&node.tcp).unwrap();
        ask(socket, "echo", "hello");
    }
    sockets
}

/// Starts a node with a low soft limit of descriptors and a higher hard limit.
fn start_with_few_descriptors(party: Party) -> Node {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 128; exec \"$0\" \"$@\""]).arg(wasmnode().get_program()).env_remove("RUST_LOG");
    Node::start_by(command, party.folder, "name = 'node1'\n[security]\nkeys = 'keys'\n", &[])
}

#[test]
fn hundreds_of_concurrent_strangers_are_counted_and_closed_while_others_are_served_and_accepted() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    let stranger = Party::new("stranger", &[]);
    party.trusts(&shop, &[]);
    let key = party.pair;
    let mut node = start_with_few_descriptors(party);
    let mut served = shop.client(&node, &key);
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    // Later there are too many lines for all to be logged.
    drop(connect_stranger(&node, b"GET / HTTP/1.1\r\n\r\n"));
    node.wait_for("connection that does not speak ZeroMQ");
    let (descriptors, memory) = (node.descriptors(), node.memory());
    let context = Context::new();
    let strangers = OPENINGS.map(|opening| [(); OF_EACH].map(|()| connect_stranger(&node, &opening())));
    let pretenders = [(); OF_EACH].map(|()| connect_zeromq_strangers(&context, &node, &key, &stranger, &shop));
    let everybody = 1 + strangers.as_flattened().len() + pretenders.as_flattened().len();
    assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x", "new trusted clients are accepted");
    let (began, mut calls, mut slowest, mut most) = (Instant::now(), 0, Duration::ZERO, 0);
    let rejected = |node: &Node| node.report()["counters"]["rejected"].as_u64().unwrap();
    while rejected(&node) < everybody as u64 || node.descriptors() > descriptors {
        let asked = Instant::now();
        assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
        (calls, slowest, most) = (calls + 1, slowest.max(asked.elapsed()), most.max(node.descriptors()));
        assert!(began.elapsed() < PATIENCE, "{} descriptors: {}", node.descriptors(), node.report());
    }
    println!(
        "{everybody} strangers: up to {most} descriptors, {descriptors} before; {} KiB, {memory} before; {calls} calls, \
         the slowest took {slowest:?}",
        node.memory()
    );
    assert_eq!(rejected(&node), everybody as u64, "each once");
    assert!(node.memory() < memory + 8 * 1024, "from {memory} to {} KiB", node.memory());
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
}

/// Forwards one connection to a node; returns all bytes of the client once it has disconnected.
fn record(listener: TcpListener, node: &Node) -> impl FnOnce() -> Vec<u8> + use<> {
    let target = node.tcp.trim_start_matches("tcp://").to_owned();
    let recording = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut there = TcpStream::connect(target).unwrap();
        let (mut back, mut heard) = (there.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut heard));
        let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = client.read(&mut bytes) {
            said.extend_from_slice(&bytes[..length]);
            there.write_all(&bytes[..length]).unwrap();
        }
        there.shutdown(Shutdown::Both).unwrap();
        said
    });
    || recording.join().unwrap()
}

#[test]
fn recorded_traffic_that_is_replayed_has_no_effect() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.trusts(&shop, &[]);
    let key = party.pair;
    let node = party.start("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = format!("tcp://{}", listener.local_addr().unwrap());
    let recorded = record(listener, &node);
    let mut client = Client::connect_with(&here, &Credentials { own: shop.pair, node: key.public }).unwrap();
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x");
    drop(client);
    let recorded = recorded();
    assert!(recorded.len() > 500, "a handshake and a request: {} bytes", recorded.len());
    let again = [(); 3].map(|()| connect_stranger(&node, &recorded));
    wait_for_count(&node, "rejected", again.len() as u64);
    assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x");
    assert_eq!(node.report()["services"][0]["replied"], 2, "no replayed request has run");
}

#[test]
fn a_command_that_looks_for_the_node_of_its_folder_is_not_counted_as_a_stranger() {
    let party = Party::new("node1", &["echo"]);
    let mut node = party.start("listen = ['ipc://wasmnode.ipc', 'ipc://node.ipc', 'tcp://127.0.0.1:0']");
    let asked = wasmnode().arg("services").current_dir(node.folder.path("")).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    // The outcomes of earlier connections are counted by then.
    drop(connect_stranger(&node, b"GET / HTTP/1.1\r\n\r\n"));
    node.wait_for("rejected: connection");
    assert_eq!(node.report()["counters"]["rejected"], 1);
}
