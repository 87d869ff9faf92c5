//! `wasmnode traffic`: its report, and its detection of a node that answers twice or not at all.

use crate::node::{Folder, Node, run, wasmnode};
use std::path::Path;
use std::process::Output;
use wasmnode_client::Frame;
use wasmnode_core::message::{self, Dialect, Message, Reply, native};

/// Writes the configuration into the folder and sends its traffic.
fn send(folder: &Folder, text: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = folder.path("traffic.toml");
    std::fs::write(&file, text).unwrap();
    let Output { status, stdout, stderr } =
        wasmnode().args(["traffic", "--config"]).arg(file).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Returns the columns of the line of a flow.
fn line<'a>(report: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let mut lines = report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|columns| columns.starts_with(&[from, to])).unwrap_or_else(|| panic!("{from} to {to} in\n{report}"))
}

/// Returns senders with the three patterns, to these addresses.
fn senders(endpoint: &str, to: &str) -> String {
    let sender = |name: &str, rhythm: &str| {
        format!("[sender.{name}]\nendpoint = '{endpoint}'\nto = {to}\nbytes = [0, 16, '64KiB']\n{rhythm}\n")
    };
    let deadline = "deadline = '3m'\n".to_owned();
    deadline
        + "requests = 400\nat-most = '1h'\n"
        + &sender("a", "pattern = 'poisson'\nrate = 400")
        + &sender("b", "pattern = 'bursts'\nburst = 40\nevery = '100ms'")
        + &sender("c", "pattern = 'on-off'\non = '50ms'\noff = '50ms'\nrate = 800")
}

#[test]
fn every_request_has_its_answer_and_a_failure_counts_as_one_without_strict() {
    let node = Node::start(&["echo", "trap"], "zone = 'paris'\n[service.trap]\nquarantine-after = 0\n");
    let mixed = senders(&node.ipc(), "['echo', 'echo@paris', 'trap', 'missing@lyon']");
    let (code, report, progress) = send(&node.folder, &mixed, &[]);
    assert_eq!(code, Some(0), "{report}{progress}");
    let mut sent = 0;
    for (to, column) in [("echo", 3), ("echo@paris", 3), ("trap", 4), ("missing@lyon", 4)] {
        let columns = line(&report, "paris", to);
        assert_eq!(columns[2], columns[column], "{report}");
        assert_eq!(columns[5..7], ["0", "0"], "{report}");
        sent += columns[2].parse::<u32>().unwrap();
    }
    assert_eq!(sent, 400, "{report}");
    assert!(report.contains("with 502 crashed, the first: \"an instance of trap crashed"), "{report}");
    assert!(report.contains("failed from paris to missing@lyon") && report.contains("404 unknown service"), "{report}");
    assert!(report.contains("0 without an answer, 0 surplus answers\n"), "{report}");

    let (code, _, stderr) = send(&node.folder, &mixed, &["--strict"]);
    assert!(code == Some(1) && stderr.contains("requests failed, which --strict does not allow"), "{stderr}");
    let (code, report, stderr) = send(&node.folder, &senders(&node.ipc(), "['echo']"), &["--strict"]);
    assert_eq!(code, Some(0), "{report}{stderr}");
}

/// Returns the socket of a fake node.
fn unreliable(endpoint: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::ROUTER).unwrap();
    socket.bind(endpoint).unwrap();
    socket.set_linger(0).unwrap();
    socket
}

/// Answers immediately, but one request twice and the next not at all.
fn answer(socket: &zmq::Socket, requests: usize) {
    for number in 0..requests {
        let mut frames: Vec<Frame> = socket.recv_multipart(0).unwrap().into_iter().map(Into::into).collect();
        let peer = frames.remove(0);
        let Ok(Message::Request { request, .. }) = message::decode(frames) else { panic!("it only asks") };
        let body: Vec<Frame> = if &request.service[..] == b"node.members" {
            vec!["{\"zone\":\"mars\",\"members\":[]}".into()]
        } else {
            request.body
        };
        // The first request is the query for the zone.
        let times = [1, 2, 0].get(number).copied().unwrap_or(1);
        for _ in 0..times {
            let reply = native::encode_reply(Dialect::Native, request.id, Reply::Final(body.clone()));
            let frames = std::iter::once(&peer).chain(&reply).map(|frame| &frame[..]);
            socket.send_multipart(frames, 0).unwrap();
        }
    }
}

#[test]
fn a_missing_or_duplicate_answer_is_detected() {
    let folder = Folder::new(&[]);
    let endpoint = format!("ipc://{}", folder.path("node.ipc").display());
    let socket = unreliable(&endpoint);
    let node = std::thread::spawn(move || answer(&socket, 11));
    let text = format!(
        "requests = 10\ndeadline = '2s'\n[sender.a]\nendpoint = '{endpoint}'\nto = ['x']\npattern = 'poisson'\nrate = 1000"
    );
    let (code, report, stderr) = send(&folder, &text, &[]);
    node.join().unwrap();
    assert_eq!(code, Some(1), "{report}{stderr}");
    assert_eq!(line(&report, "mars", "x")[2..7], ["10", "9", "0", "1", "1"], "{report}");
    assert!(stderr.ends_with("wasmnode: requests without an answer: 1; surplus answers: 1\n"), "{stderr}");
}

#[test]
fn an_absent_node_is_reported_before_anything_is_sent() {
    let folder = Folder::new(&[]);
    let absent = format!("ipc://{}", folder.path("absent.ipc").display());
    let (code, report, stderr) = send(&folder, &senders(&absent, "['echo']"), &[]);
    assert_eq!((code, report.as_str()), (Some(9), ""), "{stderr}");
    assert!(stderr.starts_with("wasmnode: sender a: no node answers at ipc://"), "{stderr}");
}

#[test]
fn every_mistake_of_the_file_is_named_with_its_line() {
    let folder = Folder::new(&[]);
    let text = "request = 5\nseed = -1\n[sender.a]\nendpoint = 'nowhere'\nto = []\npattern = 'often'\n\
                [sender.\"b c\"]\nto = ['x y']\nbytes = ['much']\npattern = 'bursts'\nburst = 0\nrate = 5\n";
    let (code, _, stderr) = send(&folder, text, &[]);
    assert_eq!(code, Some(1));
    for mistake in [
        "traffic.toml:1: request: unknown key; did you mean requests?",
        "traffic.toml:2: seed: ",
        "traffic.toml:4: sender.a.endpoint: ",
        "traffic.toml:5: sender.a.to: is empty",
        "traffic.toml:6: sender.a.pattern: ",
        "traffic.toml:7: sender.\"b c\": ",
        "traffic.toml:7: sender.\"b c\".endpoint: is missing",
        "traffic.toml:7: sender.\"b c\".every: is missing",
        "traffic.toml:8: sender.\"b c\".to[0]: ",
        "traffic.toml:9: sender.\"b c\".bytes[0]: ",
        "traffic.toml:11: sender.\"b c\".burst: ",
        "traffic.toml:12: sender.\"b c\".rate: unknown key",
    ] {
        assert!(stderr.contains(mistake), "no {mistake} in\n{stderr}");
    }
    let none = run(&["traffic"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn the_example_of_the_zones_is_without_mistakes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/zones/traffic.toml");
    let traffic = wasmnode::config::LoadConfig::load(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(traffic.senders.len(), 4);
}
