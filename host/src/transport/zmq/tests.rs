//! Links between real sockets of one process: each test has its own ports, chosen by the system, or a folder.

mod guarded;
mod hostile;
mod unread;
#[path = "../../../../tests/zmtp.rs"]
mod zmtp;

use super::event::Reports;
use super::*;
use crate::config::Permissions;
use crate::event_queue::{EventQueue, event_queue};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

/// Time limit of each wait.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node's sockets, with as much of a driver as they need.
struct Fixture {
    sockets: Sockets,
    events: EventQueue<TransportEvent>,
    rejected: usize,
    over_limit: usize,
}

/// Limits on what a connection of a fixture may send.
const INTAKE: Intake = Intake { message: 1 << 20, frames: 256, unfinished: 256 << 20 };

impl Fixture {
    fn new() -> Self {
        Self::with(DialTimeouts::default(), 1 << 20)
    }

    fn with(timeouts: DialTimeouts, max_unread: usize) -> Self {
        Self::open(timeouts, max_unread, None)
    }

    /// Creates a fixture of this name, with keys.
    fn guarded(name: &str, keys: &Keys) -> Self {
        Self::open(DialTimeouts::default(), 1 << 20, Some((keys.clone(), name.parse().unwrap())))
    }

    fn open(timeouts: DialTimeouts, max_unread: usize, keys: Option<(Keys, Label)>) -> Self {
        let (sending, events) = event_queue().unwrap();
        let sockets = Sockets::open(INTAKE, max_unread, timeouts, keys, Reports::new(sending)).unwrap();
        Self { sockets, events, rejected: 0, over_limit: 0 }
    }

    /// Listens on a free port, or at an endpoint; returns the endpoint.
    fn bind(&mut self, endpoint: &str) -> String {
        self.sockets.listener.bind(&endpoint.parse().unwrap(), &Permissions::default()).unwrap();
        self.sockets.endpoints().last().unwrap().clone()
    }

    fn post(&mut self, link: u64, text: &'static str) -> Result<(), Input> {
        self.sockets.post(LinkId(link), frames(text))
    }

    /// Returns what has arrived, except for the ends of inbound connections.
    fn receive(&mut self) -> Option<Input> {
        loop {
            match self.sockets.receive() {
                Some(Input::Gone(_)) => {}
                received => return received,
            }
        }
    }

    /// Returns the next input of any kind.
    fn next(&mut self) -> Input {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(input) = self.receive() {
                return input;
            }
            self.handle_events();
            assert!(self.sockets.retry().is_empty());
            self.sockets.wait(self.events.fd(), Some(Duration::from_millis(100)));
        }
        panic!("no input arrives")
    }

    /// Runs until the condition holds, and requires that nothing else arrives.
    fn wait_until(&mut self, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < DEADLINE && self.receive().is_none());
            self.sockets.wait(self.events.fd(), Some(Duration::from_millis(10)));
            self.handle_events();
        }
    }

    fn handle_events(&mut self) {
        self.events.acknowledge();
        while let Some(queued) = self.events.next() {
            match queued.event {
                TransportEvent::Lookup(lookup) => self.sockets.resolved(lookup),
                TransportEvent::Rejected { times, .. } => self.rejected += usize::try_from(times).unwrap(),
                TransportEvent::OverLimit { times, .. } => self.over_limit += usize::try_from(times).unwrap(),
            }
        }
    }

    /// Answers the next message.
    fn answer(&mut self, answer: &'static str) -> Vec<Frame> {
        let Input::Message { from, frames: asked } = self.next() else { panic!("not a message") };
        self.sockets.send(from, frames(answer)).unwrap();
        asked
    }

    /// Returns why the link is down, which has to be the next input.
    fn down(&mut self, link: u64) -> String {
        match self.next() {
            Input::LinkDown { link: down, why } if down == LinkId(link) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request to another fixture on a link. Nothing else may arrive before the answer.
    fn exchange(&mut self, link: u64, other: &mut Fixture) {
        self.post(link, "question").unwrap();
        assert_eq!(other.answer("answer"), frames("question"));
        assert_eq!(self.next(), message(link, "answer"));
    }
}

fn frames(text: &'static str) -> Vec<Frame> {
    vec![Frame::new(), Frame::from_static(text.as_bytes())]
}

fn message(link: u64, text: &'static str) -> Input {
    Input::LinkMessage { link: LinkId(link), frames: frames(text) }
}

fn unsent(link: u64, text: &'static str) -> Input {
    Input::Unsent { link: LinkId(link), frames: frames(text) }
}

/// Returns a plain TCP listener, and its endpoint.
fn plain_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

/// Returns an endpoint without a listener.
fn unused_endpoint() -> String {
    plain_listener().1
}

#[test]
fn a_posted_message_arrives_and_the_answer_returns_on_the_same_link() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}/a", folder.path().display())] {
        let (mut near, mut far) = (Fixture::new(), Fixture::new());
        let endpoint = far.bind(&endpoint);
        near.sockets.dial(LinkId(1), &endpoint, None);
        near.exchange(1, &mut far);
        near.exchange(1, &mut far);
    }
}

#[test]
fn a_name_is_looked_up_while_messages_wait() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    let port = far.bind("tcp://127.0.0.1:*").rsplit_once(':').unwrap().1.to_owned();
    near.sockets.dial(LinkId(1), &format!("tcp://localhost:{port}"), None);
    near.post(1, "held").unwrap();
    while near.sockets.dialer.is_looking_up(LinkId(1)) {
        near.sockets.wait(near.events.fd(), None);
        near.handle_events();
    }
    assert!(near.sockets.retry().is_empty());
    assert_eq!(far.answer("answer"), frames("held"));
    assert_eq!(near.next(), message(1, "answer"));
}

#[test]
fn two_links_do_not_mix() {
    let (mut near, mut one, mut two) = (Fixture::new(), Fixture::new(), Fixture::new());
    near.sockets.dial(LinkId(1), &one.bind("tcp://127.0.0.1:*"), None);
    near.sockets.dial(LinkId(2), &two.bind("tcp://127.0.0.1:*"), None);
    near.post(1, "to one").unwrap();
    near.post(2, "to two").unwrap();
    assert_eq!(two.answer("from two"), frames("to two"));
    assert_eq!(near.next(), message(2, "from two"));
    assert_eq!(one.answer("from one"), frames("to one"));
    assert_eq!(near.next(), message(1, "from one"));
    near.sockets.hang_up(LinkId(1));
    near.exchange(2, &mut two);
}

#[test]
fn two_links_to_one_endpoint_do_not_mix() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    let endpoint = far.bind("tcp://127.0.0.1:*");
    near.sockets.dial(LinkId(1), &endpoint, None);
    near.sockets.dial(LinkId(2), &endpoint, None);
    near.exchange(1, &mut far);
    near.sockets.hang_up(LinkId(1));
    near.exchange(2, &mut far);
}

#[test]
fn peers_and_links_are_read_in_turn() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    far.sockets.dial(LinkId(1), &near.bind("tcp://127.0.0.1:*"), None);
    near.sockets.dial(LinkId(1), &far.bind("tcp://127.0.0.1:*"), None);
    for _ in 0..500 {
        far.post(1, "as a client").unwrap();
        near.post(1, "question").unwrap();
        far.answer("answer");
    }
    let heard: Vec<bool> = (0..1_000).map(|_| matches!(near.next(), Input::Message { .. })).collect();
    assert_eq!(heard.iter().filter(|is_message| **is_message).count(), 500);
    // Everything has arrived once the last answer was sent; except at the start, the two sources take turns.
    assert!(heard[300..700].chunks(100).all(|some| some.contains(&true) && some.contains(&false)), "{heard:?}");
}

#[test]
fn a_refused_connection_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    near.sockets.dial(LinkId(3), &far.bind("tcp://127.0.0.1:*"), None);
    for (link, endpoint) in [(1, unused_endpoint()), (2, format!("ipc://{}/a", folder.path().display()))] {
        near.sockets.dial(LinkId(link), &endpoint, None);
        near.post(link, "lost").unwrap();
        assert!(near.down(link).contains("no process listens there"));
        assert_eq!(near.post(link, "late"), Err(unsent(link, "late")));
        near.exchange(3, &mut far);
    }
}

#[test]
fn an_endpoint_that_cannot_be_dialled_is_reported_with_the_reason() {
    let mut near = Fixture::new();
    let cases = [
        ("nonsense", "is not an endpoint"),
        ("tcp://127.0.0.1:*", "listening only"),
        ("tcp://no-such-host.invalid:1", "cannot look up no-such-host.invalid:1"),
        ("tcp://*:1", "cannot look up *:1"),
    ];
    for (link, (endpoint, why)) in (1..).zip(cases) {
        near.sockets.dial(LinkId(link), endpoint, None);
        let reason = match near.next() {
            Input::LinkDown { link: down, why } if down == LinkId(link) => why,
            other => panic!("{other:?}"),
        };
        assert!(reason.contains(why), "{endpoint}: {reason}");
        assert_eq!(near.post(link, "late"), Err(unsent(link, "late")));
    }
    near.sockets.dial(LinkId(9), "tcp://no-such-host.invalid:1", None);
    near.post(9, "held").unwrap();
    assert_eq!(near.next(), unsent(9, "held"));
    near.down(9);
}

#[test]
fn a_lost_connection_is_reported_once_after_all_that_arrived_on_it() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}/a", folder.path().display())] {
        let (mut near, mut far, mut other) = (Fixture::new(), Fixture::new(), Fixture::new());
        near.sockets.dial(LinkId(1), &far.bind(&endpoint), None);
        near.sockets.dial(LinkId(2), &other.bind("tcp://127.0.0.1:*"), None);
        for _ in 0..100 {
            near.post(1, "question").unwrap();
        }
        (0..100).for_each(|_| drop(far.answer("answer")));
        far.sockets.close();
        for _ in 0..100 {
            assert_eq!(near.next(), message(1, "answer"));
        }
        assert_eq!(near.down(1), "the connection is lost");
        assert_eq!(near.post(1, "late"), Err(unsent(1, "late")));
        near.exchange(2, &mut other);
    }
}

#[test]
fn an_immediate_redial_is_not_disturbed_by_late_events() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}/a", folder.path().display())] {
        let (mut near, mut far) = (Fixture::new(), Fixture::new());
        let endpoint = far.bind(&endpoint);
        for link in 1..50 {
            near.sockets.dial(LinkId(link), &endpoint, None);
            if link % 2 == 0 {
                near.exchange(link, &mut far);
            }
            near.sockets.hang_up(LinkId(link));
        }
        near.sockets.dial(LinkId(50), &endpoint, None);
        near.exchange(50, &mut far);
        far.sockets.close();
        near.down(50);
        let mut far = Fixture::new();
        far.bind(&endpoint);
        near.sockets.dial(LinkId(51), &endpoint, None);
        near.exchange(51, &mut far);
    }
}

#[test]
fn messages_that_wait_on_a_closed_link_are_dropped_silently() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    let (listener, endpoint) = plain_listener();
    near.sockets.dial(LinkId(1), &endpoint, None);
    near.post(1, "waits").unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    near.sockets.hang_up(LinkId(1));
    near.sockets.dial(LinkId(2), "tcp://no-such-host.invalid:1", None);
    near.post(2, "waits").unwrap();
    near.sockets.hang_up(LinkId(2));
    connection.set_nonblocking(true).unwrap();
    let (mut read, start) = (Vec::new(), Instant::now());
    while connection.read_to_end(&mut read).is_err() {
        assert!(start.elapsed() < DEADLINE);
        near.sockets.wait(near.events.fd(), Some(Duration::from_millis(1)));
    }
    assert!(!read.windows(5).any(|bytes| bytes == b"waits"));
    near.sockets.dial(LinkId(3), &far.bind("tcp://127.0.0.1:*"), None);
    near.exchange(3, &mut far);
    assert_eq!(near.post(1, "late"), Err(unsent(1, "late")));
}

#[test]
fn a_listener_without_zeromq_ends_the_link() {
    let timeouts = DialTimeouts { handshake: Duration::from_millis(50), ..DialTimeouts::default() };
    let mut near = Fixture::with(timeouts, 1 << 20);
    let (listener, endpoint) = plain_listener();
    near.sockets.dial(LinkId(1), &endpoint, None);
    assert!(near.down(1).contains("does not speak ZeroMQ within 50ms"));
    near.sockets.dial(LinkId(2), &endpoint, None);
    let _silent = listener.accept().unwrap();
    let (mut different, _) = listener.accept().unwrap();
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..19].copy_from_slice(b"SECRECY");
    different.write_all(&greeting).unwrap();
    assert!(near.down(2).contains("another protocol"));
    assert_eq!(near.post(2, "late"), Err(unsent(2, "late")));
}

#[test]
fn a_message_that_is_too_long_ends_the_link() {
    let (mut near, mut far, mut other) = (Fixture::new(), Fixture::new(), Fixture::new());
    near.sockets.dial(LinkId(1), &far.bind("tcp://127.0.0.1:*"), None);
    near.post(1, "question").unwrap();
    let Input::Message { from, .. } = far.next() else { panic!("not a message") };
    far.sockets.send(from, vec![vec![0; (2 << 20) + 1].into()]).unwrap();
    assert_eq!(near.down(1), "a message was longer than twice limits.message = 1048576");
    near.sockets.dial(LinkId(2), &other.bind("tcp://127.0.0.1:*"), None);
    near.exchange(2, &mut other);
}

#[test]
fn messages_over_the_limit_are_returned() {
    let mut near = Fixture::with(DialTimeouts::default(), 4 * 1_000);
    near.sockets.dial(LinkId(1), "tcp://no-such-host.invalid:1", None);
    let big = || vec![Frame::from(vec![0; 600])];
    near.sockets.post(LinkId(1), big()).unwrap();
    assert_eq!(near.sockets.post(LinkId(1), big()), Err(Input::Unsent { link: LinkId(1), frames: big() }));
    assert_eq!(near.next(), Input::Unsent { link: LinkId(1), frames: big() });
    near.down(1);
    assert_eq!(near.sockets.dropped(), 0);
}

#[test]
fn messages_to_a_node_that_stops_reading_wait_in_order() {
    let mut near = Fixture::with(DialTimeouts::default(), 64 << 20);
    let mut far = Fixture::new();
    near.sockets.dial(LinkId(1), &far.bind("tcp://127.0.0.1:*"), None);
    let (mut posted, payload) = (0_u32, Frame::from(vec![0; 1_000]));
    while near.sockets.send_queues.receivers().next().is_none() {
        near.sockets.post(LinkId(1), vec![posted.to_be_bytes().to_vec().into(), payload.clone()]).unwrap();
        posted += 1;
    }
    for expected in 0..posted {
        assert!(near.sockets.retry().is_empty());
        let Input::Message { frames, .. } = far.next() else { panic!("not a message") };
        assert_eq!(frames[0].as_ref(), expected.to_be_bytes());
    }
}

#[test]
fn sockets_without_links_wait_for_peers_only() {
    let mut near = Fixture::new();
    near.sockets.dial(LinkId(1), "nonsense", None);
    near.down(1);
    near.sockets.wait(near.events.fd(), Some(Duration::ZERO));
    let ready = near.sockets.ready;
    assert!(!ready.listener && !ready.links && !ready.events && near.receive().is_none());
}

#[test]
fn a_message_that_arrives_during_a_send_ends_the_sleep() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    far.sockets.dial(LinkId(1), &near.bind("tcp://127.0.0.1:*"), None);
    far.exchange(1, &mut near);
    far.post(1, "first").unwrap();
    let Input::Message { from, .. } = near.next() else { panic!("not a message") };
    assert!(near.receive().is_none());
    far.post(1, "second").unwrap();
    let start = Instant::now();
    while !near.sockets.listener.polled().has_input() {
        // The descriptor stays silent after this read, as it does when a send has consumed the signal.
        assert!(start.elapsed() < DEADLINE);
    }
    near.sockets.send(from, frames("answer")).unwrap();
    near.sockets.wait(near.events.fd(), Some(DEADLINE));
    assert!(near.receive().is_some());
}

#[test]
fn a_lost_connection_is_reported_if_it_was_the_only_link() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}/a", folder.path().display())] {
        let (mut near, mut far) = (Fixture::new(), Fixture::new());
        near.sockets.dial(LinkId(1), &far.bind(&endpoint), None);
        // The driver sleeps before it reads.
        near.sockets.wait(near.events.fd(), Some(Duration::ZERO));
        near.exchange(1, &mut far);
        far.sockets.close();
        assert_eq!(near.down(1), "the connection is lost");
    }
}

#[test]
fn endpoints_of_both_families_are_bound_and_dialled_in_any_order() {
    for order in [["tcp://127.0.0.1:*", "tcp://[::1]:*"], ["tcp://[::1]:*", "tcp://127.0.0.1:*"]] {
        let mut far = Fixture::new();
        let endpoints = order.map(|endpoint| far.bind(endpoint));
        for (asked, bound) in order.iter().zip(&endpoints) {
            let host = asked.strip_suffix('*').unwrap();
            assert!(bound.starts_with(host), "{bound} is not what {asked} asks for");
        }
        let mut near = Fixture::new();
        for (link, endpoint) in (1..).zip(&endpoints) {
            near.sockets.dial(LinkId(link), endpoint, None);
            near.exchange(link, &mut far);
        }
        near.exchange(1, &mut far);
    }
}

#[test]
fn the_end_of_a_connection_is_reported_after_all_that_arrived_on_it() {
    let mut near = Fixture::new();
    let endpoint = near.bind("tcp://127.0.0.1:*");
    let mut far = Fixture::new();
    far.sockets.dial(LinkId(1), &endpoint, None);
    far.post(1, "question").unwrap();
    let Input::Message { from, .. } = near.next() else { panic!("not a message") };
    assert!(!from.has_own_identity());
    far.sockets.hang_up(LinkId(1));
    let start = Instant::now();
    let gone = loop {
        match near.sockets.receive() {
            Some(input) => break input,
            None => near.sockets.wait(near.events.fd(), Some(Duration::from_millis(1))),
        }
        far.sockets.wait(far.events.fd(), Some(Duration::from_millis(1)));
        assert!(start.elapsed() < DEADLINE);
    };
    assert_eq!(gone, Input::Gone(from));
}
