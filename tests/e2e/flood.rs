//! A hundred thousand messages, good, malformed and random, from every kind of peer: the node keeps answering, and
//! neither its memory nor the number of its descriptors grows. `WASMNODE_FLOOD=N` sets the number of messages. Here
//! they are sent by ipc; for keys, see `trust::flood`.

use crate::node::{Node, PATIENCE};
use fastrand::Rng;
use std::collections::VecDeque;
use wasmnode_client::Frame;
use wasmnode_core::message::{Dialect, Request, native};

const MESSAGES: usize = 100_000;

/// Returns the number of messages from the environment, or the default.
pub(crate) fn messages(default: usize) -> usize {
    let given = std::env::var("WASMNODE_FLOOD").ok();
    given.map_or(default, |given| given.parse().expect("WASMNODE_FLOOD is a number"))
}

/// Generator of random messages, the same in each run.
struct Noise(Rng);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0.usize(..below)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.next(most + 1);
        std::iter::repeat_with(|| self.0.u8(..)).take(length).collect()
    }

    /// Returns a message of any kind: well-formed, almost well-formed, or random bytes.
    fn message(&mut self, number: u64) -> Vec<Vec<u8>> {
        let mut frames: Vec<Vec<u8>> = match self.next(8) {
            0 | 1 => request(number, ["echo", "trap", "missing", "mmi.service", "\u{7f}"][self.next(5)]),
            2 => vec![b"MDPC02".to_vec(), vec![1], b"echo".to_vec(), self.bytes(50)],
            3 => vec![vec![], b"MDPC01".to_vec(), b"echo".to_vec(), self.bytes(50)],
            4 => vec![b"MDPW02".to_vec(), vec![self.0.u8(..8)], b"job".to_vec(), vec![], self.bytes(50)],
            5 => vec![vec![], b"MDPW01".to_vec(), vec![self.0.u8(..8)], b"job".to_vec()],
            6 => native::encode_cancel(number).into_iter().map(Into::into).collect(),
            _ => (0..self.next(6) + 1).map(|_| self.bytes(40)).collect(),
        };
        if self.next(3) == 0 {
            let index = self.next(frames.len());
            match self.next(4) {
                0 => drop(frames.remove(index)),
                1 => frames[index] = self.bytes(30),
                2 => frames.insert(index, self.bytes(3)),
                _ => frames[index].truncate(3),
            }
        }
        if frames.is_empty() { vec![vec![]] } else { frames }
    }
}

fn request(id: u64, service: &str) -> Vec<Vec<u8>> {
    let request = Request {
        id,
        service: Frame::copy_from_slice(service.as_bytes()),
        deadline_ms: None,
        wait: false,
        trace: false,
        traceparent: None,
        idempotency_key: None,
        body: vec![Frame::from_static(b"x")],
    };
    native::encode_request(Dialect::Native, &request).unwrap().into_iter().map(Into::into).collect()
}

/// Sends messages over connections that open and close, and reads whatever arrives. Returns the number of frames.
fn send(node: &Node, noise: &mut Noise, messages: usize, connect: &dyn Fn() -> zmq::Socket) -> usize {
    let (mut peers, mut frames) = (VecDeque::new(), 0);
    for number in 0..messages {
        if number % 100 == 0 {
            let peer = connect();
            peer.set_linger(-1).unwrap();
            peers.push_back(peer);
            if peers.len() > 8 {
                peers.pop_front();
            }
            // The answer shows that the node has kept up, so the flood does not queue anywhere.
            assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
        }
        let peer = &peers[noise.next(peers.len())];
        let message = noise.message(number as u64);
        frames += message.len();
        peer.send_multipart(message, 0).unwrap();
        while peer.recv_multipart(zmq::DONTWAIT).is_ok() {}
    }
    drop(peers);
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
    frames
}

/// Floods a node that serves `echo` and `trap`, and checks that it does not grow with the second half of the messages.
pub(crate) fn flood(node: &Node, messages: usize, connect: &dyn Fn() -> zmq::Socket) {
    let mut noise = Noise(Rng::with_seed(0x5eed));
    let first = send(node, &mut noise, messages / 2, connect);
    node.wait_until_quiet(PATIENCE);
    let (before, descriptors) = (node.memory(), node.descriptors());
    let second = send(node, &mut noise, messages / 2, connect);
    node.wait_until_quiet(PATIENCE);
    let after = node.memory();
    println!(
        "{first} frames, then {second}, {} in all: {before} KiB after the first, {after} KiB after all; {descriptors} \
         descriptors, then {}",
        first + second,
        node.descriptors()
    );
    // Connections of the last peers may end a moment later.
    assert!(node.descriptors() <= descriptors + 16, "from {descriptors} to {} descriptors", node.descriptors());
    assert!(after < before + 8 * 1024, "resident memory grew from {before} to {after} KiB");
    let malformed = node.report()["counters"]["malformed"].as_u64().unwrap();
    assert!(malformed > messages as u64 / 10, "{}", node.report());
}

#[test]
fn a_hundred_thousand_good_and_bad_messages_later_the_node_answers_and_has_not_grown() {
    let node = Node::start(&["echo", "trap"], "[majordomo]\nheartbeat = '100ms'\nexpiry = '300ms'\n");
    flood(&node, messages(MESSAGES), &|| {
        let peer = zmq::Context::new().socket(zmq::DEALER).unwrap();
        peer.connect(&node.ipc()).unwrap();
        peer
    });
}

#[test]
fn an_idle_node_is_small() {
    let node = Node::start(&["print", "afficher", "echo"], "");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert!(node.memory() < 60 * 1024, "{} KiB", node.memory());
}
