//! Start of a node beside others, and its stop.

use crate::majordomo::Worker;
use crate::node::{Folder, Node, PATIENCE, wasmnode};
use std::os::unix::net::UnixListener;
use wasmnode_client::{Code, Reply, Request};

#[test]
fn a_stopping_node_finishes_requests_in_flight_and_rejects_new_ones() {
    let mut node = Node::start(&["echo"], "[service.slow]\ndeadline = '60s'\n");
    let worker = Worker::v2(&node.ipc(), "slow");
    let mut client = node.client();
    let running = client.send(Request::new("slow").body(["x"]).wait(true).deadline(PATIENCE)).unwrap();
    let (asker, body) = worker.request();
    node.signal("-TERM");
    node.wait_for("stopping: 1 request in flight");
    let refused = client.send(Request::new("echo").deadline(PATIENCE)).unwrap();
    match client.receive(Some(PATIENCE)).unwrap() {
        (id, Reply::Failure(failure)) => assert_eq!((id, failure.code), (refused, Code::Draining)),
        other => panic!("{other:?}"),
    }
    worker.reply(&asker, &body);
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), (running, Reply::Final(body)));
    worker.expect_disconnect();
    assert!(node.wait().success());
    assert!(!node.folder.path("node.ipc").exists(), "the ipc file is left");
}

#[test]
fn requests_that_exceed_the_drain_limit_fail() {
    let settings = "drain = '100ms'\n[service.loop]\ndeadline = '60s'\n";
    let mut node = Node::start(&["loop"], settings);
    let mut client = node.client();
    client.send(Request::new("loop").deadline(PATIENCE)).unwrap();
    node.wait_until_running("loop");
    node.signal("-TERM");
    match client.receive(Some(PATIENCE)).unwrap() {
        (_, Reply::Failure(failure)) => assert_eq!(failure.code, Code::Lost, "{failure}"),
        other => panic!("{other:?}"),
    }
    assert!(node.wait().success());
}

#[test]
fn a_second_signal_ends_the_wait() {
    let mut node = Node::start(&["loop"], "drain = '60s'\n[service.loop]\ndeadline = '60s'\n");
    let mut client = node.client();
    client.send(Request::new("loop").deadline(PATIENCE)).unwrap();
    node.wait_until_running("loop");
    node.signal("-INT");
    node.wait_for("stopping");
    node.signal("-INT");
    assert!(node.wait().success());
}

#[test]
fn a_second_node_on_the_same_endpoint_fails_and_the_first_keeps_serving() {
    let node = Node::start(&["echo"], "");
    let done = wasmnode().arg("--config").arg(node.folder.path("node.toml")).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr.contains("another node listens there; stop it, or choose another endpoint"), "{stderr}");
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
}

#[test]
fn a_port_in_use_is_reported_and_no_file_is_left() {
    let node = Node::start(&[], "");
    let folder = Folder::new(&[]);
    let file = folder.configure("");
    let taken = std::fs::read_to_string(&file).unwrap().replace("tcp://127.0.0.1:0", &node.tcp);
    std::fs::write(&file, taken).unwrap();
    let done = wasmnode().arg("--config").arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr.contains(&format!("cannot listen on {}: another process listens there", node.tcp)), "{stderr}");
    assert!(!folder.path("node.ipc").exists(), "the ipc file is left");
}

#[test]
fn a_node_that_cannot_read_its_plugins_leaves_no_ipc_file_behind() {
    let folder = Folder::new(&[]);
    let file = folder.configure("");
    std::fs::remove_dir_all(folder.path("plugins")).unwrap();
    let done = wasmnode().arg("--config").arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr.contains("plugins"), "{stderr}");
    assert!(!folder.path("node.ipc").exists(), "the ipc file is left");
}

#[test]
fn a_stale_ipc_file_is_replaced_and_a_file_that_is_not_a_socket_is_not() {
    let folder = Folder::new(&["echo"]);
    drop(UnixListener::bind(folder.path("node.ipc")).unwrap());
    let mut node = Node::start_in(folder, "", &[]);
    node.wait_for("left behind by a node that did not end properly");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);

    let folder = Folder::new(&[]);
    std::fs::write(folder.path("node.ipc"), "somebody's work").unwrap();
    let done = wasmnode().arg("--config").arg(folder.configure("")).output().unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).contains("a file that is not a socket exists there"));
    assert_eq!(std::fs::read_to_string(folder.path("node.ipc")).unwrap(), "somebody's work");
}

#[test]
fn logs_are_json_on_demand() {
    let mut node = Node::start_in(Folder::new(&["print"]), "", &["--log-format", "json"]);
    node.call("print", &[b"bonjour"]).unwrap();
    node.signal("-TERM");
    let lines: Vec<serde_json::Value> =
        node.log_to_its_end().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["message"] == "bonjour" && line["service"] == "print"), "{lines:?}");
}
