//! Plugins that misbehave: the request fails with a reason, and other services are not affected.

use crate::node::{Folder, Node, PATIENCE};
use std::io::ErrorKind;
use std::net::TcpListener;
use wasmnode_client::{Code, Reply, Request};

/// Hostile plugins, each with the code of its failures, and a part of the reason.
const HOSTILE: [(&str, Code, &str); 7] = [
    ("trap", Code::Crashed, "an instance of trap crashed: wasm trap: wasm `unreachable` instruction executed"),
    ("deep", Code::Crashed, "an instance of deep crashed: wasm trap: call stack exhausted"),
    ("loop", Code::Deadline, "the plugin ran; it was stopped"),
    ("loop-at-start", Code::Deadline, "the plugin ran; it was stopped"),
    ("memory-bomb", Code::Exhausted, "service.memory-bomb.memory = 4194304"),
    ("table-bomb", Code::Exhausted, "elements of tables: it may have 100000"),
    ("huge-reply", Code::TooLarge, "service.huge-reply.reply = 1048576"),
];

const SETTINGS: &str = concat!(
    "[service.loop]\ndeadline = '200ms'\n[service.loop-at-start]\ndeadline = '200ms'\n",
    "[service.log-flood]\ndeadline = '60s'\nlog-lines = 10\n",
    include_str!("../guests/hostile.toml")
);

#[test]
fn every_way_to_misbehave_is_a_typed_failure() {
    let node = Node::start(&HOSTILE.map(|(plugin, ..)| plugin), SETTINGS);
    for (plugin, code, reason) in HOSTILE {
        // Repeated, because the state of one instance must not affect the next.
        for _ in 0..3 {
            let (failed, why) = node.fail(plugin, &[b"x"]);
            assert_eq!(failed, code, "{why}");
            assert!(why.contains(reason), "{plugin}: {why}");
        }
    }
}

#[test]
fn well_behaved_services_do_not_notice_the_others() {
    let mut plugins: Vec<&str> = HOSTILE.iter().map(|(plugin, ..)| *plugin).collect();
    plugins.extend(["echo", "log-flood"]);
    let node = Node::start(&plugins, SETTINGS);
    let mut hostile = node.client();
    for (plugin, ..) in HOSTILE.iter().cycle().take(200) {
        hostile.send(Request::new(plugin).body(["x"]).deadline(PATIENCE)).unwrap();
    }
    hostile.send(Request::new("log-flood").body(["x"]).deadline(PATIENCE)).unwrap();
    for number in 0..200_u32 {
        let body = number.to_be_bytes();
        assert_eq!(node.call("echo", &[&body]).unwrap(), [&body[..]]);
    }
    let answers: Vec<Reply> = (0..201).map(|_| hostile.receive(Some(PATIENCE)).unwrap().1).collect();
    let failures = answers.iter().filter(|reply| matches!(reply, Reply::Failure(_))).count();
    assert_eq!(failures, 200, "{answers:?}");
}

#[test]
fn a_plugin_that_crashes_in_every_request_is_quarantined_with_a_report() {
    let mut node = Node::start(&["trap", "echo"], "[service.trap]\nquarantine-after = 3\n");
    for _ in 0..3 {
        assert!(node.fail("trap", &[]).1.contains("unreachable"));
    }
    node.wait_for("trap is in quarantine for 1s");
    // However long this takes, the next quarantine is longer.
    let refused = (0..20).map(|_| node.fail("trap", &[]).1).filter(|why| why.contains("is in quarantine for")).count();
    assert!(refused > 0);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert!(node.report()["services"][1]["plugin"]["quarantine_ms"].is_u64());
}

#[test]
fn a_flood_of_log_lines_is_cut_counted_and_reported() {
    let mut node = Node::start(&["log-flood"], SETTINGS);
    assert_eq!(node.call("log-flood", &[b"x"]).unwrap(), ["x"]);
    let report = node.report();
    let dropped = report["services"][0]["plugin"]["log_lines_dropped"].as_u64().unwrap();
    node.signal("-TERM");
    let kept = node.log_to_its_end().iter().filter(|line| line.contains("a line of the flood")).count() as u64;
    assert_eq!(kept + dropped, 100_000);
    assert!(kept < 1_000, "{kept} lines were kept");
}

#[test]
fn more_instances_than_the_node_has_are_refused_and_the_limit_is_named() {
    let settings = "[limits]\ninstances = 2\n[service.loop]\ndeadline = '1s'\n";
    let node = Node::start(&["loop", "echo"], settings);
    let mut client = node.client();
    for _ in 0..3 {
        client.send(Request::new("loop").deadline(PATIENCE)).unwrap();
    }
    let mut failures: Vec<_> = (0..3)
        .map(|_| match client.receive(Some(PATIENCE)).unwrap() {
            (_, Reply::Failure(failure)) => (failure.code, failure.reason),
            other => panic!("{other:?}"),
        })
        .collect();
    failures.sort_by_key(|(code, _)| code.number());
    assert_eq!(
        failures.iter().map(|(code, _)| *code).collect::<Vec<_>>(),
        [Code::Overloaded, Code::Deadline, Code::Deadline]
    );
    assert!(failures[0].1.contains("limits.instances"), "{}", failures[0].1);
    // An instance is stopped after its deadline; the answer does not wait for it.
    node.wait_until_quiet(PATIENCE);
    assert_eq!(node.call("echo", &[b"again"]).unwrap(), ["again"]);
}

#[test]
fn files_that_are_not_plugins_are_refused_with_the_reason_and_the_node_keeps_serving() {
    let folder = Folder::new(&["echo"]);
    let module = wat::parse_str("(module)").unwrap();
    let other_world = wat::parse_str("(component)").unwrap();
    let whole = crate::guests::component(include_str!("../guests/echo.wat"));
    let many = |number: usize, module: &str| {
        let instances = "(core instance (instantiate $m))".repeat(number);
        wat::parse_str(format!("(component (core module $m {module}) {instances})")).unwrap()
    };
    folder.plugin("instances", &many(33, ""));
    folder.plugin("memories", &many(5, "(memory 1)"));
    folder.plugin("tables", &many(17, "(table 1 funcref)"));
    folder.plugin("elements", &many(1, "(table 100001 funcref)"));
    folder.plugin("module", &module);
    folder.plugin("other-world", &other_world);
    folder.plugin("text", b"hello");
    folder.plugin("empty", b"");
    folder.plugin("half", &whole[..whole.len() / 2]);
    folder.plugin("node.services", &whole);
    folder.plugin("no name", &whole);
    let mut node = Node::start_in(folder, "", &[]);
    for (file, reason) in [
        (
            "instances",
            "it exceeds the limits of a plugin: The component transitively contains 33 core module instances",
        ),
        ("memories", "it exceeds the limits of a plugin: The component transitively contains 5 Wasm linear memories"),
        ("tables", "it exceeds the limits of a plugin: The component transitively contains 17 tables"),
        ("elements", "it exceeds the limits of a plugin: "),
        ("module", "this exports nothing"),
        ("other-world", "wasmnode:service/handler@0.1.0"),
        ("text", "it is not a WebAssembly file"),
        ("empty", "it is not a WebAssembly file"),
        ("half", "perhaps it was copied in part"),
        ("node.services", "the node answers node.services itself; rename the file"),
        ("no name", "rename the file"),
    ] {
        let line = node.wait_for(&format!("{file}.wasm is not loaded"));
        assert!(line.contains(reason), "{line}");
    }
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
}

#[test]
fn a_plugin_sees_no_environment_no_arguments_no_folders_and_no_network() {
    let node = Node::start(&["probe"], "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    const ACCESS_DENIED: u8 = 2;
    assert_eq!(node.call("probe", &[&port.to_le_bytes()]).unwrap(), [&[0, 0, 0, ACCESS_DENIED][..]]);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a connection was made");
}

#[test]
fn a_plugin_finds_no_data_of_earlier_instances_in_its_memory() {
    // All use the same memory, one after the other.
    let settings = "[limits]\ninstances = 1\n[service.kept]\nreuse = 2\n";
    let node = Node::start(&["spy", "spy=other", "spy=kept", "echo"], settings);
    let secret = "SECRET".repeat(200_000).into_bytes();
    for _ in 0..3 {
        assert_eq!(node.call("echo", &[&secret]).unwrap(), [&secret[..]]);
        for service in ["spy", "other", "spy"] {
            assert_eq!(node.call(service, &[b"x"]).unwrap(), ["\0"], "{service} found what another had left");
        }
    }
    // The check is effective: an instance that keeps its memory finds the value.
    assert_eq!(["kept"; 2].map(|service| node.call(service, &[b"x"]).unwrap()[0][0]), [0, 1]);
}
