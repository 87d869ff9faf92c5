//! The hostile load of the node: more than a hundred hostile connections or requests per second, some of them kept
//! open.

use crate::Plant;
use crate::hostile_files::Files;
use crate::sites::{HOSTILE, NODE, Sites};
use crate::zmtp::{greeting, ready};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use wasmnode_client::{Client, Request};

/// Time between two hostile acts.
const PACE: Duration = Duration::from_millis(8);

/// Time between two planted leaks: 16 pages of 64 KiB per minute.
const LEAK: Duration = Duration::from_millis(3_750);

/// Number of connections of each kind that are kept open; a new one closes the oldest.
const KEPT: usize = 64;

/// Timeout of each step of a hostile client.
const STEP_TIMEOUT: Duration = Duration::from_millis(1);

/// Deadline of a request to a guest that misbehaves.
const DEADLINE: Duration = Duration::from_millis(200);

/// All hostile clients.
pub(crate) struct Hostile<'a> {
    tcp: SocketAddr,
    ipc: String,
    socket_file: PathBuf,
    files: Files,
    random: fastrand::Rng,
    plant: Option<Plant>,
    is_over: &'a AtomicBool,
}

/// Connections that stay open between hostile acts.
struct Held {
    context: zmq::Context,
    raw: VecDeque<Box<dyn Send>>,
    dealers: VecDeque<zmq::Socket>,
    client: Client,
    /// Connections that the planted leak leaves behind.
    leaked: Vec<zmq::Socket>,
}

impl<'a> Hostile<'a> {
    pub(crate) fn new(sites: &Sites, random: fastrand::Rng, plant: Option<Plant>, is_over: &'a AtomicBool) -> Self {
        let node = &sites.nodes[NODE];
        Self {
            tcp: node.tcp.trim_start_matches("tcp://").parse().unwrap(),
            ipc: node.ipc(),
            socket_file: node.folder.path("node.ipc"),
            files: Files::of(&node.folder),
            random,
            plant,
            is_over,
        }
    }

    /// Runs until the soak is over; returns the number of hostile acts.
    pub(crate) fn run(mut self, duration: Duration) -> u64 {
        let mut held = Held {
            context: zmq::Context::new(),
            raw: VecDeque::new(),
            dealers: VecDeque::new(),
            client: Client::connect(&self.ipc).unwrap(),
            leaked: Vec::new(),
        };
        let (began, mut acts) = (Instant::now(), 0);
        let files_change_every = (duration / 120).max(Duration::from_millis(200));
        let (mut files_change_at, mut leaks) = (began, 0);
        while !self.is_over.load(SeqCst) {
            self.act(&mut held);
            acts += 1;
            if Instant::now() >= files_change_at {
                self.files.change(&mut self.random);
                files_change_at += files_change_every;
            }
            if self.plant == Some(Plant::Leaks) && began.elapsed() >= LEAK * leaks {
                self.leak(&mut held);
                leaks += 1;
            }
            while held.client.receive(Some(STEP_TIMEOUT)).is_ok() {}
            let due = began + PACE * u32::try_from(acts).unwrap();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.files.clear();
        acts
    }

    /// Leaks a page of memory and two connections.
    fn leak(&self, held: &mut Held) {
        let _the_node_may_be_frozen = held.client.send(Request::new("leak").body(["x"]));
        held.leaked.extend([(); 2].map(|()| self.dealer(held, None)));
    }

    fn act(&mut self, held: &mut Held) {
        let opening = match self.random.u8(..16) {
            0 => greeting(1, "NULL")[..10].to_vec(),
            1 => self.bytes(2_000),
            2 => b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
            3 => [greeting(1, "CURVE"), b"\x04\xc8\x05HELLO".to_vec(), vec![1; 100]].concat(),
            // A HELLO that declares 32 MiB.
            4 => [greeting(1, "CURVE"), b"\x06\0\0\0\0\x02\0\0\0\x05HELLO".to_vec(), vec![1; 4096]].concat(),
            5 => return self.unfinished_message(held),
            6 => return self.twins(held),
            7 => return self.noise(held),
            8 => return self.too_large(held),
            9 => return self.worker(held),
            _ => return self.misuse_a_guest(held),
        };
        if let Ok(mut stream) = TcpStream::connect_timeout(&self.tcp, STEP_TIMEOUT) {
            let _the_node_may_be_frozen_or_faster = stream.set_write_timeout(Some(STEP_TIMEOUT));
            let _the_node_may_close_it = stream.write_all(&opening);
            keep(&mut held.raw, Box::new(stream));
        }
    }

    /// Sends frames with MORE, and never the last.
    fn unfinished_message(&mut self, held: &mut Held) {
        let Ok(mut stream) = UnixStream::connect(&self.socket_file) else { return };
        let (timeout, mut received) = (Some(Duration::from_millis(5)), [0; 128]);
        let _unix_sockets_have_timeouts = (stream.set_read_timeout(timeout), stream.set_write_timeout(timeout));
        let _the_node_may_be_frozen = (stream.write_all(&greeting(1, "NULL")), stream.read(&mut received));
        let frame = [&[1, 255][..], &[7; 255]].concat();
        let _the_node_may_close_it = stream.write_all(&[ready(b""), frame.repeat(100)].concat());
        keep(&mut held.raw, Box::new(stream));
    }

    /// Opens two connections with the same routing id; the first sends a second message.
    fn twins(&mut self, held: &mut Held) {
        let name = [b"twin".as_slice(), &[self.random.u8(..4)]].concat();
        let twins = [(); 2].map(|()| self.dealer(held, Some(&name)));
        for twin in twins.iter().chain(&twins[..1]) {
            send(twin, &[b"", b"MDPC01", b"mmi.service", b"local"]);
        }
        twins.into_iter().for_each(|twin| keep(&mut held.dealers, twin));
    }

    /// Sends messages with random frames.
    fn noise(&mut self, held: &mut Held) {
        let dealer = self.dealer(held, None);
        for _ in 0..5 {
            let frames: Vec<Vec<u8>> = (0..self.random.usize(1..6)).map(|_| self.bytes(40)).collect();
            send(&dealer, &frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        keep(&mut held.dealers, dealer);
    }

    /// Sends a body over twice the limit, which ends the connection; in one act of ten, because it is large.
    fn too_large(&mut self, held: &mut Held) {
        if self.random.u8(..10) == 0 {
            let dealer = self.dealer(held, None);
            send(&dealer, &[b"MDPC02", b"\x01", b"echo", &vec![0; 3 << 20]]);
            keep(&mut held.dealers, dealer);
        }
    }

    /// Registers a worker, which then breaks the protocol or does nothing.
    fn worker(&mut self, held: &mut Held) {
        let dealer = self.dealer(held, None);
        let service = format!("job{}", self.random.u8(..8));
        send(&dealer, &[b"MDPW02", b"\x01", service.as_bytes()]);
        match self.random.u8(..3) {
            0 => send(&dealer, &[b"MDPW02", b"\x04", b"somebody", b"", b"forged"]),
            1 => send(&dealer, &[b"MDPW02", b"\x01", b"mmi.service"]),
            _ => {}
        }
        keep(&mut held.dealers, dealer);
    }

    fn misuse_a_guest(&mut self, held: &mut Held) {
        let service = HOSTILE[self.random.usize(..HOSTILE.len())];
        let request = Request::new(service).body([vec![200_u8]]).deadline(DEADLINE);
        let _the_node_may_be_frozen = held.client.send(request);
    }

    /// Returns fewer than `limit` random bytes.
    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let length = self.random.usize(..limit);
        std::iter::repeat_with(|| self.random.u8(..)).take(length).collect()
    }

    fn dealer(&self, held: &Held, identity: Option<&[u8]>) -> zmq::Socket {
        let dealer = held.context.socket(zmq::DEALER).unwrap();
        dealer.set_linger(0).unwrap();
        dealer.set_reconnect_ivl(-1).unwrap();
        if let Some(identity) = identity {
            dealer.set_identity(identity).unwrap();
        }
        dealer.connect(&self.ipc).unwrap();
        dealer
    }
}

fn keep<T>(kept: &mut VecDeque<T>, one: T) {
    kept.push_back(one);
    if kept.len() > KEPT {
        kept.pop_front();
    }
}

fn send(dealer: &zmq::Socket, frames: &[&[u8]]) {
    let _the_node_may_be_frozen_or_have_closed_it = dealer.send_multipart(frames, zmq::DONTWAIT);
}
