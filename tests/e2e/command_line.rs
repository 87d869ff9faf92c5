//! What a user types, and what the exit code says.

use crate::node::{Folder, Node, run, wasmnode};
use std::io::Write;
use std::process::{Output, Stdio};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn call(node: &Node, arguments: &[&str]) -> Output {
    let endpoint = node.ipc();
    run(&[&["call", "--to", &endpoint], arguments].concat())
}

#[test]
fn call_prints_the_reply_and_partial_replies_as_they_come() {
    let node = Node::start(&["echo", "partials"], "");
    let done = call(&node, &["echo", "bonjour"]);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), "bonjour".into()), "{}", text(&done.stderr));
    assert_eq!(text(&call(&node, &["partials", "\u{3}!"]).stdout), "\u{3}!".repeat(4));
}

#[test]
fn call_reads_the_body_from_stdin() {
    let node = Node::start(&["echo"], "");
    let mut command = wasmnode();
    command.args(["call", "echo", "-", "--to", &node.tcp]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(&[0, 255, 10]).unwrap();
    assert_eq!(process.wait_with_output().unwrap().stdout, [0, 255, 10]);
}

#[test]
fn the_exit_code_tells_the_class_of_the_failure() {
    let settings = "[service.loop]\ndeadline = '50ms'\n[limits]\nmessage = '1KiB'\n";
    let node = Node::start(&["trap", "loop", "reject"], settings);
    for (arguments, code, said) in [
        (&["missing", "x"][..], 3, "404 unknown service"),
        (&["loop", "x"], 4, "504 deadline"),
        (&["trap", "x"], 6, "502 crashed"),
        (&["reject", "x"], 7, "ask for something else"),
        (&["trap", &"x".repeat(2000)], 6, "limits.message = 1024"),
        (&["not a name", "x"], 9, "400 malformed"),
    ] {
        let done = call(&node, arguments);
        let stderr = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("wasmnode: ") && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn an_absent_node_and_a_wrong_endpoint_are_said_at_once() {
    let folder = Folder::new(&[]);
    let absent = run(&["call", "echo", "--to", &format!("ipc://{}", folder.path("absent.ipc").display())]);
    assert_eq!(absent.status.code(), Some(9));
    assert!(text(&absent.stderr).contains("is it running, and listening there?"), "{}", text(&absent.stderr));
    let wrong = run(&["call", "echo", "--to", "localhost"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("write \"ipc://node.ipc\""), "{}", text(&wrong.stderr));
}

#[test]
fn services_lists_what_can_be_called() {
    let node = Node::start(&["echo", "counter"], "");
    node.call("echo", &[]).unwrap();
    let config = node.folder.path("node.toml");
    let done = run(&["services", "--config", config.to_str().unwrap()]);
    let stdout = text(&done.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let columns: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(columns, ["SERVICE", "counter", "echo"], "{}", text(&done.stderr));
    assert_eq!(rows[2][5], "1", "{stdout}");
}

#[test]
fn check_names_every_mistake_with_its_line() {
    let folder = Folder::new(&[]);
    let file = folder.configure("plugin = 'x'\n[service.print]\nmemory = '64 potatoes'\n[service.echo]\nreuse = 0\n");
    let done = run(&["check", "--config", file.to_str().unwrap()]);
    let stderr = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    for mistake in ["node.toml:5: node.plugin", "node.toml:7: service.print.memory", "node.toml:9: service.echo.reuse"]
    {
        assert!(stderr.contains(mistake), "no {mistake} in\n{stderr}");
    }
}

#[test]
fn the_examples_are_without_mistakes() {
    for file in ["node1", "node2"] {
        let path = format!("{}/../examples/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let done = run(&["check", "--config", &path]);
        assert_eq!(text(&done.stdout), format!("{path}: no mistakes; node {file} of zone local\n"));
    }
}

#[test]
fn a_wrong_log_filter_is_refused() {
    let done = run(&["--log", "loud=very"]);
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("loud=very"), "{}", text(&done.stderr));
}

#[test]
fn inspect_says_what_a_file_is_and_what_it_wants() {
    let folder = Folder::new(&["echo", "print", "probe"]);
    let inspect = |file: &str| {
        let done = run(&["inspect", folder.path(file).to_str().unwrap()]);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, said) = inspect("plugins/print.wasm");
    assert!(
        code == Some(0) && said.starts_with("kind      component of the world wasmnode:service/service\n"),
        "{said}"
    );
    assert!(said.contains("\n            handle: func(request: request) -> result<body, failure>;\n"), "{said}");
    let (_, said) = inspect("plugins/probe.wasm");
    assert!(said.contains("variables if `env` grants them") && said.contains("folders if `fs` grants them"), "{said}");

    let wat = "(component (import \"wasi:http/types@0.3.0\" (instance)) (import \"a:b/c\" (instance)))";
    folder.plugin("greedy", &wat::parse_str(wat).unwrap());
    let (code, said) = inspect("plugins/greedy.wasm");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it imports what the host does not offer: wasi:http/types@0.3.0, a:b/c"), "{said}");
    folder.plugin("rubbish", b"rubbish");
    assert!(inspect("plugins/rubbish.wasm").1.contains("it is not a WebAssembly file"));
}
