//! Workers and clients on other ZeroMQ libraries: in each language a program like those of the ZeroMQ guide, and
//! packages that implement Majordomo. The test of a library that is not installed is skipped, with a message.

use crate::node::{Node, PATIENCE};
use crate::python::{Worker, finish, script};
use crate::tools;
use std::env;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use wasmnode_client::{Reply, Request};

/// Path of JeroMQ on Debian.
const JEROMQ: &str = "/usr/share/java/jeromq.jar";

/// Returns the path of a program of `tests/foreign`.
fn path(name: &str) -> String {
    format!("{}/../tests/foreign/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns a command with the arguments that never change.
fn program(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Returns a program of `tests/python` or `tests/foreign` that needs a package, if the package is installed.
fn script_with(package: &str, name: &str) -> Option<Command> {
    let import = format!("import {package}");
    let script = script(name)?;
    tools::has(package, &["python3", "-c", &import]).then_some(script)
}

/// Compiles a program if the header of its library is here.
fn compiled(compiler: &str, library: &str, source: &str, options: &[&str]) -> Option<TempDir> {
    let header = format!("{library}.h");
    let language = if source.ends_with("cpp") { "c++" } else { "c" };
    if !tools::has(library, &[compiler, "-fsyntax-only", "-include", &header, "-x", language, "/dev/null"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, to) = (path(source), folder.path().join("mdp"));
    let command = program(&[compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", to.to_str().unwrap(), &source]);
    finish(command, options);
    Some(folder)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Checks what the guide's broker does for the guide's programs: it serves a client that sends one request after
/// another, and one that sends many before it reads (`WASMNODE_BURST`; the guide's, 100,000), and it accepts a worker
/// that was restarted. Clients use ipc if their library supports it.
fn assert_works(words: &[&str], has_ipc: bool) {
    let count = env::var("WASMNODE_BURST").unwrap_or_else(|_| "10000".into());
    let mut node = Node::start(&[], "");
    let endpoint = if has_ipc { node.ipc() } else { node.tcp.clone() };
    let _worker = Worker::start(program(words), &node.tcp, "upper");
    node.wait_for("serves upper");
    assert_eq!(finish(program(words), &["client", &endpoint, "upper", "50"]), "50 answers\n");
    assert_eq!(finish(program(words), &["burst", &endpoint, "upper", &count]), format!("{count} answers\n"));
    assert_eq!(node.report()["counters"]["dropped"], 0);
    node.kill();
    node.start_again();
    node.wait_for("serves upper");
    assert_eq!(node.call("upper", &[b"after", b"all"]).unwrap(), ["AFTER", "ALL"]);
}

#[test]
fn python_with_pyzmq_works_as_the_guide_has_it() {
    let script = path("../python/mdp01.py");
    if tools::has("pyzmq", &["python3", "-c", "import zmq"]) {
        assert_works(&["python3", &script], true);
    }
}

#[test]
fn c_with_czmq_works_as_the_guide_has_it() {
    if let Some(folder) = compiled("cc", "czmq", "mdp.c", &["-lczmq", "-lzmq"]) {
        assert_works(&[text(&folder.path().join("mdp"))], true);
    }
}

#[test]
fn cpp_with_libzmq_works_as_the_guide_has_it() {
    if let Some(folder) = compiled("c++", "zmq", "mdp.cpp", &["-lzmq"]) {
        assert_works(&[text(&folder.path().join("mdp"))], true);
    }
}

#[test]
fn php_works_as_the_guide_has_it() {
    if tools::has("php-zmq", &["php", "-r", "exit(extension_loaded('zmq') ? 0 : 1);"]) {
        assert_works(&["php", &path("mdp.php")], true);
    }
}

#[test]
fn javascript_with_zeromq_works_as_the_guide_has_it() {
    if tools::has("zeromq", &["node", "-e", "require('zeromq')"]) {
        assert_works(&["node", &path("mdp.js")], true);
    }
}

#[test]
fn java_with_jeromq_works_as_the_guide_has_it() {
    if !tools::has("jeromq", &["javap", "-cp", JEROMQ, "org.zeromq.ZMsg"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let classes = text(folder.path());
    finish(program(&["javac", "-cp", JEROMQ, "-d", classes]), &[&path("Mdp.java")]);
    assert_works(&["java", "-cp", &format!("{JEROMQ}:{classes}"), "Mdp"], false);
}

#[test]
fn a_worker_that_needs_ten_seconds_and_sends_nothing_in_between_replies_each_time() {
    let (Some(worker), Some(client)) = (script("tests/python/mdp01.py"), script("tests/python/mdp01.py")) else {
        return;
    };
    let mut node = Node::start(&[], "");
    let _worker = Worker::run(worker, &["worker", &node.tcp, "slow", "10"]);
    node.wait_for("serves slow");
    assert_eq!(finish(client, &["burst", &node.ipc(), "slow", "2"]), "2 answers\n");
}

#[test]
fn a_hundred_thousand_requests_sent_before_the_first_answer_is_read_are_answered_by_one_worker() {
    let (Some(worker), Some(client)) = (script("tests/python/mdp01.py"), script("tests/python/mdp01.py")) else {
        return;
    };
    let mut node = Node::start(&[], "");
    let _worker = Worker::start(worker, &node.ipc(), "upper");
    node.wait_for("serves upper");
    assert_eq!(finish(client, &["burst", &node.tcp, "upper", "100000"]), "100000 answers\n");
    assert_eq!(node.report()["counters"]["dropped"], 0);
}

#[test]
fn titanic_as_three_workers_keeps_requests_until_they_are_fetched_and_closed() {
    let script = || script("tests/foreign/titanic.py");
    let (Some(titanic), Some(client)) = (script(), script()) else { return };
    let Some(worker) = crate::python::script("tests/python/mdp01.py") else { return };
    let mut node = Node::start(&[], "");
    let _worker = Worker::start(worker, &node.tcp, "upper");
    let _titanic = Worker::run(titanic, &["serve", &node.tcp]);
    for service in ["upper", "titanic.request", "titanic.reply", "titanic.close"] {
        node.wait_for(&format!("serves {service}"));
    }
    assert_eq!(finish(client, &["client", &node.ipc(), "upper", "20"]), "20 answers\n");
}

#[test]
fn a_worker_of_majortomo_serves_clients_with_and_without_partial_replies() {
    let Some(worker) = script_with("majortomo", "tests/foreign/majortomo_peer.py") else { return };
    let Some(client) = script("tests/python/mdp02.py") else { return };
    let mut node = Node::start(&[], "");
    let _worker = Worker::start(worker, &node.tcp, "parts");
    node.wait_for("serves parts");
    assert_eq!(finish(client, &["client", &node.ipc(), "parts", "50"]), "50 answers\n");
    let mut native = node.client();
    let id = native.send(Request::new("parts").body(["one"]).deadline(PATIENCE)).unwrap();
    for reply in [Reply::Partial(vec!["one".into()]), Reply::Final(vec!["done".into()])] {
        assert_eq!(native.receive(Some(PATIENCE)).unwrap(), (id, reply));
    }
}

/// Its requests have the command 2 where RFC 18 has 1, and it reads the final reply as a partial one.
#[test]
fn a_client_of_majortomo_violates_majordomo_and_the_log_reports_it() {
    let Some(client) = script_with("majortomo", "tests/foreign/majortomo_peer.py") else { return };
    let mut node = Node::start(&["echo"], "");
    assert_eq!(finish(client, &["client", &node.tcp, "echo"]), "no answer\n");
    node.wait_for("it has a command that no client sends");
    assert_eq!(node.call("echo", &[b"others"]).unwrap(), ["others"]);
}

#[test]
fn methods_of_a_worker_of_gaterpc_are_called_by_its_simple_client() {
    let script = || script_with("gaterpc", "tests/foreign/gaterpc_peer.py");
    let (Some(worker), Some(client)) = (script(), script()) else { return };
    let mut node = Node::start(&[], "");
    let folder = node.folder.path("gaterpc").display().to_string();
    let _worker = Worker::run(worker, &["worker", &node.tcp, "gate", &folder]);
    node.wait_for("serves gate:shouts:5000");
    assert_eq!(finish(client, &["client", &node.ipc(), "gate", &folder, "50"]), "50 answers\n");
}
