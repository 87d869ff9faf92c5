//! Messages of commands and the log that call for an action of the user.

use crate::node::{Folder, Node, PATIENCE, run};
use crate::zone::{node, wait_for_members};
use std::process::Output;
use std::time::Instant;
use wasmnode_client::Request;

fn said(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// Command that computes until it is stopped.
const ENDLESS: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $on (br $on))))";

#[test]
fn only_nodes_that_offer_the_service_are_suggested() {
    let node1 = node("node1", &["print"], &[], "");
    let node2 = node("node2", &["echo"], &[&node1], "");
    wait_for_members(&node1, &[("node2", 1)]);
    for (asked, hint) in [
        ("echo@node3", "no node or zone node3 is known there; did you mean echo@node2?"),
        ("print@node3", "no node or zone node3 is known there; did you mean print@node1?"),
        ("nothing@node3", "no node or zone node3 is known there"),
        ("echo@node3.local", "no node node3 is known there; did you mean echo@node2?"),
        ("echo@lcal", "no node or zone lcal is known there; did you mean echo@local?"),
        ("node.services@node3", "no node or zone node3 is known there; did you mean node.services@node1?"),
    ] {
        let done = run(&["call", asked, "x", "--to", &node1.ipc()]);
        assert!(done.status.code() == Some(3) && said(&done).ends_with(&format!("; {hint}\n")), "{}", said(&done));
    }
    drop(node2);
}

#[test]
fn every_command_that_reports_the_path_of_a_request_reports_a_full_queue() {
    let folder = Folder::new(&[]);
    folder.plugin("echo", &wat::parse_str(ENDLESS).unwrap());
    let node = Node::start_in(folder, "[service.echo]\nqueue = 0\nconcurrency = 1\ndeadline = '1h'\n", &[]);
    let mut client = node.client();
    client.send(Request::new("echo")).unwrap();
    let began = Instant::now();
    while node.report()["services"][0]["running"] != 1 {
        assert!(began.elapsed() < PATIENCE, "what need not wait runs");
    }
    for command in [&["call", "echo", "x"][..], &["explain", "echo"], &["trace", "echo"]] {
        let done = run(&[command, &["--to", &node.ipc()]].concat());
        let why = "429 overloaded: the queue of echo is full: service.echo.queue = 0\n";
        assert!(done.status.code() == Some(5) && said(&done).ends_with(why), "{command:?}: {}", said(&done));
    }
    let explained = run(&["explain", "echo", "--to", &node.ipc()]).stdout;
    assert!(String::from_utf8(explained).unwrap().contains("=> 429 overloaded: the queue of echo is full"));
}

#[test]
fn settings_of_a_misspelt_service_are_reported_by_check_and_at_the_start() {
    let folder = Folder::new(&["print"]);
    let settings = "services = ['print']\n[service.prnt]\nreuse = 2\n";
    let doubt = "service.prnt: node.services does not list it; did you mean service.print?";
    let file = folder.configure(settings);
    let done = run(&["check", file.to_str().unwrap()]);
    let listed = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && listed.contains(doubt) && listed.contains("no mistakes"), "{listed}");
    folder.configure("[service.prnt]\nreuse = 2\n");
    let listed = String::from_utf8(run(&["check", file.to_str().unwrap()]).stdout).unwrap();
    assert!(listed.contains("plugins has no file of that name; did you mean service.print?"), "{listed}");
    Node::start_in(folder, settings, &[]).wait_for(doubt);
}

#[test]
fn the_failure_of_a_stopped_command_without_output_quotes_nothing() {
    let folder = Folder::new(&[]);
    folder.plugin("endless", &wat::parse_str(ENDLESS).unwrap());
    let mut node = Node::start_in(folder, "[service.endless]\ndeadline = '50ms'\n", &[]);
    node.fail("endless", &[]);
    let line = node.wait_for("504 deadline: endless: ");
    assert!(!line.contains("stderr: "), "{line}");
}

#[test]
fn a_node_that_listens_only_on_tcp_logs_that_no_user_is_its_owner() {
    let mut node = Node::start(&["echo"], "name = 'n'\nlisten = ['tcp://127.0.0.1:0']\n");
    node.wait_for("no user can, because that needs an ipc endpoint: add \"ipc://wasmnode.ipc\" to node.listen");
    let mut both = Node::start(&["echo"], "");
    both.wait_for("share their names as a worker; that needs the ipc endpoint");
}

#[test]
fn keygen_prints_only_the_key_to_a_script_and_existing_keys_are_named() {
    let folder = Folder::new(&[]);
    let keys = folder.path("keys").to_str().unwrap().to_owned();
    let made = run(&["keygen", "--keys", &keys]);
    let key = String::from_utf8(made.stdout.clone()).unwrap();
    assert!(made.status.success() && key.len() == 41 && key.ends_with('\n'), "{key}");
    assert!(said(&made).contains(&format!("wasmnode trust NAME '{}'", key.trim_end())), "{}", said(&made));
    let again = run(&["keygen", "--keys", &keys]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0));
    assert!(said(&again).contains(&format!("the public one is {}; to make new ones", key.trim_end())), "{again:?}");
}

#[test]
fn an_unknown_service_whose_file_was_refused_has_a_hint() {
    let folder = Folder::new(&["echo"]);
    folder.plugin("broken", b"rubbish");
    let node = Node::start_in(folder, "", &[]);
    for command in [&["call", "broken", "x"][..], &["explain", "broken"], &["trace", "broken"]] {
        let done = run(&[command, &["--to", &node.ipc()]].concat());
        let hint = "; its file was refused: see wasmnode plugins\n";
        assert!(done.status.code() == Some(3) && said(&done).ends_with(hint), "{command:?}: {}", said(&done));
    }
}

#[test]
fn a_file_that_is_needed_cannot_be_left_out() {
    let folder = Folder::new(&[]);
    let missing = folder.path("missing.toml").to_str().unwrap().to_owned();
    for (command, may_be_left_out) in
        [(&["traffic", "--config"][..], false), (&["check"], false), (&["services", "--config"], true)]
    {
        let done = run(&[command, &[&missing]].concat());
        let said = said(&done);
        assert!(done.status.code() == Some(1) && said.contains("name a file that exists"), "{said}");
        assert_eq!(said.contains("or name none to run with the defaults"), may_be_left_out, "{said}");
    }
}

#[test]
fn a_traffic_plan_is_distinguished_from_a_nodes_configuration() {
    let plan = format!("{}/../examples/zones/traffic.toml", env!("CARGO_MANIFEST_DIR"));
    let done = run(&["check", &plan]);
    let hint = format!("not a node's configuration, but a traffic plan: wasmnode traffic --config {plan}");
    assert!(done.status.code() == Some(1) && said(&done).contains(&hint), "{}", said(&done));
}
