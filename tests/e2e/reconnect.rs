//! Requests whose client's connection ends.

use crate::majordomo::dealer;
use crate::node::{Node, PATIENCE};
use std::time::Instant;

/// Registers a worker for `work`.
fn worker(node: &Node) -> zmq::Socket {
    let worker = dealer(&node.ipc(), None);
    worker.send_multipart([&b"MDPW02"[..], b"\x01", b"work"], 0).unwrap();
    worker
}

/// Returns the address of the client in the next request of a worker.
fn next_request(worker: &zmq::Socket) -> Vec<u8> {
    loop {
        let frames = worker.recv_multipart(0).unwrap();
        if frames[1] == [2] {
            return frames[2].clone();
        }
    }
}

fn ask(client: &zmq::Socket, body: &str) {
    client.send_multipart([&b"MDPC02"[..], b"\x01", b"work", body.as_bytes()], 0).unwrap();
}

#[test]
fn requests_of_a_client_that_cannot_return_are_cancelled_with_its_connection() {
    let node = Node::start(&[], "[majordomo]\non-failure = 'status'\n");
    let worker = worker(&node);
    let client = dealer(&node.ipc(), None);
    ask(&client, "question");
    next_request(&worker);
    drop(client);
    let began = Instant::now();
    while node.report()["counters"]["failed"]["499 cancelled"] != 1 {
        assert!(began.elapsed() < PATIENCE, "{}", node.report());
    }
}

#[test]
fn a_client_that_returns_under_its_identity_gets_the_reply_to_its_earlier_request() {
    let node = Node::start(&[], "");
    let worker = worker(&node);
    let client = dealer(&node.ipc(), Some(b"me"));
    ask(&client, "first");
    let first = next_request(&worker);
    drop(client);
    let client = dealer(&node.ipc(), Some(b"me"));
    client.send_multipart([&b"MDPC02"[..], b"\x01", b"mmi.service", b"work"], 0).unwrap();
    assert_eq!(client.recv_multipart(0).unwrap()[3], b"200", "it is back");
    worker.send_multipart([&b"MDPW02"[..], b"\x04", &first, b"", b"answer"], 0).unwrap();
    assert_eq!(client.recv_multipart(0).unwrap().last().unwrap(), b"answer");
}
