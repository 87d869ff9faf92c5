//! Reports of failed runs in the node's log, and of a plugin that only crashes in every command.

use crate::http;
use crate::node::{Folder, Node, PATIENCE, run};
use std::net::TcpListener;
use wasmnode_client::{Code, Request};

#[test]
fn a_run_that_traps_has_one_line_with_its_request_and_the_functions_on_its_stack() {
    let mut node = Node::start(&["divide"], "");
    let ask = Request::new("divide").deadline(PATIENCE).traceparent("00-11-22-01");
    node.client().call(ask, |_| {}).unwrap_err();
    let line = node.wait_for("integer divide by zero");
    assert!(line.contains("WARN 502 crashed: an instance of divide crashed"), "{line}");
    assert!(line.contains("service=\"divide\" generation=1 request=") && line.contains("caller=\"client:"), "{line}");
    assert!(line.contains("trace=\"00-11-22-01\" backtrace=\"quotient (at 0x"), "{line}");
    assert!(line.contains(") < carry (at 0x"), "{line}");
}

#[test]
fn a_loop_is_stopped_at_its_deadline_and_its_line_has_the_stack() {
    let mut node = Node::start(&["divide"], "[service.divide]\ndeadline = '300ms'\n");
    assert_eq!(node.fail("divide", &[b"a", b"b"]).0, Code::Deadline);
    let line = node.wait_for("the run was stopped at its deadline");
    assert!(line.contains("WARN 504 deadline: divide: the run"), "{line}");
    assert!(line.contains("backtrace=\"spin (at 0x") && line.contains(" < carry (at "), "{line}");
    node.wait_until_quiet(PATIENCE);
    assert_eq!(node.call("divide", &[b"a"]).unwrap(), ["a"], "its instance is free again");
}

#[test]
fn a_run_that_is_stopped_while_it_waits_for_the_host_has_its_line_too() {
    // The listener accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = Folder::new(&[]);
    folder.plugin("web", &http::component("web"));
    let mut node = Node::start_in(folder, &format!("[service.web]\ndeadline = '1s'\nhttp = ['{address}']\n"), &[]);
    assert_eq!(node.fail("web", &[format!("GET /fetch/{address} HTTP/1.1").as_bytes()]).0, Code::Deadline);
    let line = node.wait_for("web: the run was stopped at its deadline, while it waited for the host");
    assert!(line.contains("service=\"web\" generation=1"), "{line}");
    assert_eq!(node.report()["services"][0]["plugin"]["requests"], 1);
}

#[test]
fn a_service_that_rejects_requests_is_no_failed_run_unless_the_log_is_for_debugging() {
    let mut node = Node::start(&["reject", "trap"], "");
    node.fail("reject", &[]);
    node.fail("trap", &[]);
    node.wait_for("WARN 502");
    node.signal("-TERM");
    let log = node.log_to_its_end();
    assert!(log.iter().all(|line| !line.contains("WARN 422") && !line.contains("DEBUG 422")), "{log:?}");
}

#[test]
fn a_flood_of_crashes_is_cut_and_counted_by_kind() {
    let mut node = Node::start(&["trap"], "[service.trap]\nquarantine-after = 0\n");
    let mut client = node.client();
    for _ in 0..300 {
        client.send(Request::new("trap").deadline(PATIENCE)).unwrap();
    }
    (0..300).for_each(|_| drop(client.receive(Some(PATIENCE)).unwrap()));
    node.signal("-TERM");
    let lines = node.log_to_its_end().iter().filter(|line| line.contains("WARN 502")).count();
    assert!((1..300).contains(&lines), "{lines} lines");
}

#[test]
fn a_quarantine_is_shown_by_every_command_about_the_service() {
    let node = Node::start(&["trap"], "[service.trap]\nquarantine-after = 1\n");
    let quarantine = || node.report()["services"][0]["plugin"]["quarantine_ms"].as_u64().unwrap();
    // Each crash of the request that is admitted occasionally makes the next quarantine longer.
    while quarantine() <= 4_100 {
        node.fail("trap", &[]);
    }
    let output_of = |command: &[&str]| {
        let done = run(&[command, &["--to", &node.ipc()]].concat());
        format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
    };
    assert_eq!(run(&["explain", "trap", "--to", &node.ipc()]).status.code(), Some(6), "as a call would end");
    let explained = output_of(&["explain", "trap"]);
    assert!(explained.contains("NOT READY  in quarantine for"), "{explained}");
    assert!(explained.contains("=> 502 crashed: trap is in quarantine for"), "{explained}");
    let traced = output_of(&["trace", "trap"]);
    assert!(traced.contains("is refused here; plugin: in quarantine for"), "{traced}");
    assert!(traced.contains("502 crashed: trap is in quarantine for"), "{traced}");
    for command in ["services", "plugins"] {
        let listed = output_of(&[command]);
        assert!(listed.contains("ms more: it crashed in its last requests"), "{command}: {listed}");
    }
}
