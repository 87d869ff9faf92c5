//! Clients and workers in Python, on another ZeroMQ library.

use crate::node::{Node, PATIENCE};
use crate::tools;
use std::process::{Child, Command};
use wasmnode_client::{Reply, Request};

/// Returns a program in Python, if pyzmq is installed.
pub(crate) fn script(name: &str) -> Option<Command> {
    if !tools::has("pyzmq", &["python3", "-c", "import zmq"]) {
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR")));
    Some(command)
}

/// Worker process that ends with the test.
pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn start(program: Command, endpoint: &str, service: &str) -> Self {
        Self::run(program, &["worker", endpoint, service])
    }

    pub(crate) fn run(mut program: Command, arguments: &[&str]) -> Self {
        Self(program.args(arguments).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _nothing_to_reap = self.0.wait();
    }
}

/// Returns the output of a program that must succeed.
pub(crate) fn finish(mut program: Command, arguments: &[&str]) -> String {
    let done = program.args(arguments).output().unwrap();
    assert!(done.status.success(), "{program:?}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_python_worker_and_a_plugin_serve_side_by_side() {
    let (Some(worker), Some(client)) = (script("tests/python/mdp01.py"), script("tests/python/mdp01.py")) else {
        return;
    };
    let node = Node::start(&["echo"], "");
    let _worker = Worker::start(worker, &node.ipc(), "echo");
    node.wait_for_workers("echo", 1);
    let replies: Vec<_> = (0..20).map(|_| node.call("echo", &[b"bonjour"]).unwrap()).collect();
    for author in ["bonjour", "BONJOUR"] {
        assert!(replies.iter().any(|reply| reply == &[author]), "{author} is missing: {replies:?}");
    }
    assert_eq!(finish(client, &["client", &node.tcp, "echo", "200"]), "200 answers\n");
}

#[test]
fn a_hundred_thousand_requests_of_a_client_that_reads_late_are_all_answered() {
    let Some(client) = script("tests/python/mdp01.py") else { return };
    let node = Node::start(&["echo"], "[service.echo]\nreuse = 1000\ndeadline = '10m'\n");
    assert_eq!(finish(client, &["burst", &node.ipc(), "echo", "100000"]), "100000 answers\n");
    assert_eq!(node.report()["counters"]["dropped"], 0);
}

#[test]
fn clients_and_workers_that_follow_majordomo_02_exactly_work() {
    let (Some(worker), Some(client)) = (script("tests/python/mdp02.py"), script("tests/python/mdp02.py")) else {
        return;
    };
    let node = Node::start(&[], "");
    let _worker = Worker::start(worker, &node.tcp, "parts");
    node.wait_for_workers("parts", 1);
    assert_eq!(finish(client, &["client", &node.ipc(), "parts", "200"]), "200 answers\n");
    let mut native = node.client();
    let id = native.send(Request::new("parts").body(["one"]).deadline(PATIENCE)).unwrap();
    assert_eq!(native.receive(Some(PATIENCE)).unwrap(), (id, Reply::Partial(vec!["one".into()])));
    assert_eq!(native.receive(Some(PATIENCE)).unwrap(), (id, Reply::Final(vec!["done".into()])));
}

#[test]
fn the_example_in_python_gets_its_answer() {
    let Some(client) = script("examples/client.py") else { return };
    let node = Node::start(&["afficher"], "");
    let picture = finish(client, &["afficher", "bonjour", &node.tcp]);
    assert!(picture.contains("│ bonjour │"), "{picture}");
}
