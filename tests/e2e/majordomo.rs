//! Majordomo peers over real sockets, exactly by RFC 7 and RFC 18. Dialogues in the core test the meaning of the
//! frames; these tests cover what sockets add.

use crate::node::{Node, PATIENCE, run};
use std::time::{Duration, Instant};
use wasmnode_client::{Body, Client, Code, Error, Frame, Request};
use wasmnode_core::message::native;

pub(crate) type Frames = Vec<Vec<u8>>;

/// Returns a DEALER connected to a node.
pub(crate) fn dealer(endpoint: &str, id: Option<&[u8]>) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
    if let Some(id) = id {
        socket.set_identity(id).unwrap();
    }
    socket.connect(endpoint).unwrap();
    socket
}

/// Worker of Majordomo 0.2, or of 0.1, which puts an empty frame before each message.
pub(crate) struct Worker {
    socket: zmq::Socket,
    is_v1: bool,
}

impl Worker {
    /// Connects and registers a worker of Majordomo 0.2.
    pub(crate) fn v2(endpoint: &str, service: &str) -> Self {
        Self::register(endpoint, service, false)
    }

    fn v1(endpoint: &str, service: &str) -> Self {
        Self::register(endpoint, service, true)
    }

    fn register(endpoint: &str, service: &str, is_v1: bool) -> Self {
        Self { socket: dealer(endpoint, None), is_v1 }.registered(service)
    }

    /// Registers a worker of Majordomo 0.2 on a socket that is connected.
    pub(crate) fn on(socket: zmq::Socket, service: &str) -> Self {
        Self { socket, is_v1: false }.registered(service)
    }

    fn registered(self, service: &str) -> Self {
        self.send(1, &[service.as_bytes()]);
        self
    }

    fn send(&self, command: u8, frames: &[&[u8]]) {
        let head: &[&[u8]] = if self.is_v1 { &[b"", b"MDPW01", &[command]] } else { &[b"MDPW02", &[command]] };
        self.socket.send_multipart([head, frames].concat(), 0).unwrap();
    }

    /// Returns the next message that is not a heartbeat: its command, and the frames after it.
    fn receive(&self) -> (u8, Frames) {
        loop {
            let mut frames = self.socket.recv_multipart(0).expect("a message of the node");
            let rest = frames.split_off(if self.is_v1 { 3 } else { 2 });
            let (command, heartbeat) = (frames[frames.len() - 1][0], if self.is_v1 { 4 } else { 5 });
            if command != heartbeat {
                return (command, rest);
            }
        }
    }

    /// Returns `true` if a message arrives within so many milliseconds.
    pub(crate) fn has_message(&self, ms: i64) -> bool {
        self.socket.poll(zmq::POLLIN, ms).unwrap() > 0
    }

    /// Returns the next message if it is a request; `Err(true)` for a DISCONNECT, `Err(false)` for any other.
    pub(crate) fn request_or_end(&self) -> Result<(Vec<u8>, Body), bool> {
        let mut frames = self.socket.recv_multipart(0).expect("a message of the node");
        match frames[1][0] {
            2 => {
                let body = frames.split_off(4);
                Ok((frames.swap_remove(2), body.into_iter().map(Into::into).collect()))
            }
            command => Err(command == 6),
        }
    }

    pub(crate) fn heartbeat(&self) {
        self.send(if self.is_v1 { 4 } else { 5 }, &[]);
    }

    /// Returns the next request: the address of the client, and the body.
    pub(crate) fn request(&self) -> (Vec<u8>, Body) {
        let (command, mut frames) = self.receive();
        assert_eq!(command, 2);
        let body = frames.split_off(2);
        assert_eq!(frames[1], b"", "an empty frame stands between address and body");
        (frames.swap_remove(0), body.into_iter().map(Into::into).collect())
    }

    /// Sends a final reply.
    pub(crate) fn reply(&self, client: &[u8], body: &[Frame]) {
        let body: Vec<&[u8]> = body.iter().map(AsRef::as_ref).collect();
        self.send(if self.is_v1 { 3 } else { 4 }, &[&[client, b""][..], &body].concat());
    }

    /// Returns `true` if a message arrives within this time.
    pub(crate) fn receives_within(&self, within: Duration) -> bool {
        self.socket.poll(zmq::POLLIN, i64::try_from(within.as_millis()).unwrap()).unwrap() > 0
    }

    pub(crate) fn expect_disconnect(&self) {
        assert_eq!(self.receive().0, if self.is_v1 { 5 } else { 6 });
    }
}

pub(crate) fn ask(socket: &zmq::Socket, service: &str, body: &str) {
    let frames: [&[u8]; 4] = [b"MDPC02", b"\x01", service.as_bytes(), body.as_bytes()];
    socket.send_multipart(frames, 0).unwrap();
}

pub(crate) fn answer(socket: &zmq::Socket) -> Frames {
    socket.recv_multipart(0).expect("an answer")
}

#[test]
fn a_client_of_each_version_is_served_in_its_own() {
    let node = Node::start(&["echo"], "");
    let client = dealer(&node.ipc(), None);
    ask(&client, "echo", "new");
    assert_eq!(answer(&client), [&b"MDPC02"[..], b"\x03", b"echo", b"new"]);

    let client = zmq::Context::new().socket(zmq::REQ).unwrap();
    client.connect(&node.tcp).unwrap();
    client.send_multipart(["MDPC01", "echo", "old"], 0).unwrap();
    assert_eq!(answer(&client), ["MDPC01", "echo", "old"].map(|frame| frame.as_bytes()));
}

#[test]
fn workers_of_both_versions_and_a_plugin_serve_side_by_side() {
    let node = Node::start(&["echo"], "[service.echo]\nconcurrency = 1\n");
    let workers = [Worker::v1(&node.ipc(), "echo"), Worker::v2(&node.ipc(), "echo")];
    node.wait_for_workers("echo", 2);
    // With both workers busy, the plugin answers.
    let client = dealer(&node.ipc(), None);
    let mut held = Vec::new();
    while held.len() < 2 {
        ask(&client, "echo", "x");
        for worker in &workers {
            if worker.socket.poll(zmq::POLLIN, 0).unwrap() > 0 {
                held.push((worker, worker.request()));
            }
        }
    }
    assert_eq!(node.call("echo", &[b"by the plugin"]).unwrap(), ["by the plugin"]);
    for (worker, (asker, body)) in held {
        worker.reply(&asker, &body);
    }
}

#[test]
fn a_worker_whose_connection_ends_is_removed_and_its_request_goes_to_another() {
    let settings =
        "[majordomo]\nheartbeat = '50ms'\nexpiry = '60s'\n[service.job]\nidempotent = true\ndeadline = '60s'\n";
    let mut node = Node::start(&[], settings);
    let first = Worker::v2(&node.ipc(), "job");
    let mut client = node.client();
    let id = client.send(Request::new("job").body(["work"]).wait(true)).unwrap();
    first.request();
    let second = Worker::v1(&node.ipc(), "job");
    drop(first);
    let (asker, body) = second.request();
    assert_eq!(body, ["work"]);
    second.reply(&asker, &["done".into()]);
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), (id, wasmnode_client::Reply::Final(vec!["done".into()])));
    node.wait_for("its connection is gone");
}

#[test]
fn a_client_with_a_routing_id_of_its_own_may_come_back() {
    let node = Node::start(&["echo"], "");
    for attempt in ["first", "second"] {
        let client = dealer(&node.ipc(), Some(b"fixed"));
        ask(&client, "echo", attempt);
        assert_eq!(answer(&client)[3], attempt.as_bytes());
    }
}

#[test]
fn a_client_that_does_not_read_loses_only_its_own_answers_and_they_are_counted() {
    let node = Node::start(&["echo"], "[limits]\nunread-bytes = '1MiB'\n[service.echo]\ndeadline = '10m'\n");
    let lazy = dealer(&node.ipc(), None);
    let body = "x".repeat(10_000);
    for _ in 0..10_000 {
        ask(&lazy, "echo", &body);
    }
    let dropped = loop {
        assert_eq!(node.call("echo", &[b"diligent"]).unwrap(), ["diligent"]);
        let report = node.report();
        if report["services"][0]["replied"].as_u64() >= Some(10_000) {
            break report["counters"]["dropped"].as_u64().unwrap();
        }
    };
    assert!(dropped > 0, "100 MB of answers fit somewhere");
}

#[test]
fn a_body_over_the_limit_is_refused_and_a_frame_over_twice_the_limit_ends_its_connection() {
    let node = Node::start(&["echo"], "[limits]\nmessage = '1KiB'\n[majordomo]\non-failure = 'status'\n");
    let client = dealer(&node.ipc(), None);
    ask(&client, "echo", &"x".repeat(1025));
    let refused = answer(&client);
    assert_eq!(refused[3..5], [b"wasmnode-failure".to_vec(), b"413".to_vec()]);
    // The longer body is in one frame with its header.
    for length in [1025, native::MAX_COMPACT - 3] {
        match node.call("echo", &[&vec![0; length]]) {
            Err(Error::Failure(failure)) => assert_eq!(failure.code, Code::TooLarge),
            other => panic!("{other:?}"),
        }
    }
    ask(&client, "echo", &"x".repeat(10_000));
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
}

#[test]
fn mmi_reports_what_can_be_called() {
    let node = Node::start(&["echo"], "");
    let client = dealer(&node.ipc(), None);
    for (name, service, code) in [("mmi.service", "echo", "200"), ("mmi.service", "gone", "404"), ("mmi.x", "", "501")]
    {
        ask(&client, name, service);
        assert_eq!(answer(&client)[3], code.as_bytes());
    }
}

#[test]
fn a_tcp_client_without_a_key_may_call_but_neither_roll_back_nor_serve_under_a_plugins_name() {
    let mut node = Node::start(&["echo"], "");
    node.wait_for("without security.keys, any user who reaches the tcp endpoint may call every service");
    let mut stranger = Client::connect(&node.tcp).unwrap();
    let ask = |service: &str, body: &[&str]| {
        Request::new(service).body(body.iter().map(|frame| (*frame).to_owned())).deadline(PATIENCE)
    };
    assert_eq!(stranger.call(ask("echo", &["x"]), |_| {}).unwrap(), ["x"]);
    assert!(stranger.call(ask("node.plugins", &[]), |_| {}).is_ok(), "it may look");
    match stranger.call(ask("node.plugins", &["rollback", "echo"]), |_| {}) {
        Err(Error::Failure(failure)) => assert_eq!(failure.code, Code::Forbidden, "{failure}"),
        other => panic!("{other:?}"),
    }
    // By ipc the rollback is allowed, and fails for another reason.
    assert_ne!(node.fail("node.plugins", &[b"rollback", b"echo"]).0, Code::Forbidden);
    let majordomo = dealer(&node.tcp, None);
    majordomo.send_multipart(["MDPC02", "\x01", "node.plugins", "rollback", "echo"], 0).unwrap();
    node.wait_for("for node.plugins ends without a reply: 403 forbidden");
    for rival in [Worker::v1(&node.tcp, "echo"), Worker::v2(&node.tcp, "echo")] {
        rival.expect_disconnect();
    }
    node.wait_for("registers a worker for echo, which a plugin serves, and may be any user of this machine");
    let other = Worker::v2(&node.tcp, "other");
    node.wait_for_workers("other", 1);
    assert_eq!(node.report()["services"][0]["workers_idle"], 0);
    drop(other);
}

#[test]
fn a_later_plugin_does_not_share_its_name_with_a_worker_of_any_user() {
    let node = Node::start(&[], "");
    let (stranger, own) = (Worker::v2(&node.tcp, "echo"), Worker::v2(&node.ipc(), "echo"));
    node.wait_for_workers("echo", 2);
    node.folder.plugin("echo", &crate::guests::component(include_str!("../guests/echo.wat")));
    stranger.expect_disconnect();
    node.wait_for_workers("echo", 1);
    drop(own);
}

#[test]
fn a_worker_under_a_plugins_name_is_logged_once_as_a_warning_and_shown() {
    let mut node = Node::start(&["echo"], "");
    let first = Worker::v2(&node.ipc(), "echo");
    let line = node.wait_for("workers share echo with its plugin, and take every second request");
    assert!(line.contains("WARN"), "{line}");
    let second = Worker::v1(&node.ipc(), "echo");
    node.wait_for_workers("echo", 2);
    assert_eq!(node.report()["services"][0]["is_shared"], true);
    let shown = run(&["services", "--to", &node.ipc()]);
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("  shared: workers take every second request"),
        "{shown:?}"
    );
    drop((first, second));
    node.signal("-TERM");
    let said = node.log_to_its_end().iter().filter(|line| line.contains("workers share echo")).count();
    assert_eq!(said, 1);
}

#[test]
fn two_workers_of_one_identity_are_logged_once_as_a_warning_with_the_identity() {
    let mut node = Node::start(&[], "");
    for _ in 0..2 {
        let worker = || Worker::on(dealer(&node.ipc(), Some(b"worker 1")), "job");
        let _first = worker();
        node.wait_for_workers("job", 1);
        let _second = worker();
        node.wait_until_quiet(PATIENCE);
    }
    let line = node.wait_for("it registered twice");
    assert!(line.contains("WARN worker \"worker 1\" of job left"), "{line}");
    assert!(line.contains("another worker has its identity: give each one of its own"), "{line}");
    node.signal("-TERM");
    assert_eq!(node.log_to_its_end().iter().filter(|line| line.contains("it registered twice")).count(), 1);
}

#[test]
fn a_refused_worker_that_reconnects_immediately_is_answered_with_growing_delays() {
    let mut node = Node::start(&[], "[limits]\nworkers = 0\n");
    let began = Instant::now();
    for _ in 0..6 {
        Worker::v2(&node.ipc(), "job").expect_disconnect();
    }
    let took = began.elapsed();
    // 0 + 100 + 200 + 400 + 800 + 1,600 ms.
    assert!(took >= Duration::from_millis(3_000), "{took:?}");
    let other = Instant::now();
    Worker::v2(&node.ipc(), "other").expect_disconnect();
    assert!(other.elapsed() < Duration::from_secs(3), "another name is answered immediately");
    node.signal("-TERM");
    let said = node.log_to_its_end().iter().filter(|line| line.contains("registers a worker for job")).count();
    assert_eq!(said, 6);
}
