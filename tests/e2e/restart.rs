//! State that a restart keeps: the serving version of a plugin, and the versions that it can be rolled back to.

use crate::guests::component;
use crate::node::{Folder, Node, PATIENCE, run};
use std::fs;
use std::path::Path;
use std::time::Instant;
use wasmnode_client::Code;
use wasmnode_sandbox::digest;

const ECHO: &str = include_str!("../guests/echo.wat");
const COUNTER: &str = include_str!("../guests/counter.wat");
const TRAP: &str = include_str!("../guests/trap.wat");

/// Puts a new version of `echo` into the folder, and waits until it serves.
fn drop_in(node: &mut Node, guest: &str, generation: u64) {
    let unfinished = node.folder.path("unfinished");
    fs::write(&unfinished, component(guest)).unwrap();
    fs::rename(&unfinished, node.folder.path("plugins/echo.wasm")).unwrap();
    node.wait_for(&format!("generation {generation} of echo serves"));
}

fn plugins(node: &Node, arguments: &[&str]) -> String {
    let done = run(&[&["plugins", "--to", &node.ipc()], arguments].concat());
    String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
}

/// Returns number and state of each version, newest first.
fn versions(node: &Node) -> Vec<String> {
    let list = plugins(node, &[]);
    let rows = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.map(|row| format!("{} {}", row[1], row[2])).collect()
}

/// Waits until a version is recorded on disk, because after an earlier crash the version counts as never served.
fn wait_until_kept(node: &Node, guest: &str) {
    let (file, digest) = (node.folder.path("state/wasmnode/under-test/versions.json"), digest(&component(guest)));
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(&file).is_ok_and(|records| records.contains(&digest)) {
        assert!(Instant::now() < until, "{digest} is not kept");
    }
}

/// Kills the node, and starts it again.
fn restart(node: &mut Node) {
    node.kill();
    node.start_again();
}

#[test]
fn a_version_that_was_rolled_back_to_serves_after_a_restart_under_its_number() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&mut node, COUNTER, 2);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again"));
    for _ in 0..2 {
        restart(&mut node);
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
        assert_eq!(versions(&node), ["2 rolled", "1 serving"]);
    }
    // The file in the folder is recognized, whatever its times.
    let file = node.folder.path("plugins/echo.wasm");
    fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    drop_in(&mut node, TRAP, 3);
    assert_eq!(node.fail("echo", &[b"x"]).0, Code::Crashed);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again, instead of 3"));
}

#[test]
fn a_version_that_crashed_too_often_does_not_come_back_with_a_restart() {
    let mut node = Node::start(&["echo"], "[service.echo]\ntrial-requests = 10\ntrial-crashes = 20\n");
    drop_in(&mut node, TRAP, 2);
    for _ in 0..3 {
        assert_eq!(node.fail("echo", &[b"x"]).0, Code::Crashed);
    }
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.signal("-TERM");
    node.start_again();
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(versions(&node), ["2 rolled", "1 serving"]);
}

#[test]
fn a_step_back_after_a_restart_reaches_the_versions_before_it() {
    let mut node = Node::start(&["echo"], "");
    wait_until_kept(&node, ECHO);
    drop_in(&mut node, COUNTER, 2);
    restart(&mut node);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again, instead of 2"));
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    let said = plugins(&node, &["rollback", "echo"]);
    let forward = "before the serving one that was not rolled back; to serve a newer one: wasmnode deploy FILE";
    assert!(said.contains(forward), "{said}");
}

#[test]
fn a_file_that_is_refused_does_not_take_the_place_of_what_serves_with_a_restart() {
    let mut node = Node::start(&["echo"], "");
    fs::write(node.folder.path("plugins/echo.wasm"), "rubbish").unwrap();
    node.wait_for_refusal("echo", "not a WebAssembly file");
    wait_until_kept(&node, ECHO);
    restart(&mut node);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for_refusal("echo", "not a WebAssembly file");
    // A file that appeared while the node was down is new.
    node.kill();
    fs::write(node.folder.path("plugins/echo.wasm"), component(COUNTER)).unwrap();
    node.start_again();
    node.wait_for("generation 2 of echo serves");
    assert_eq!(versions(&node), ["2 serving", "1 previous"]);
}

#[test]
fn a_file_that_was_removed_while_the_node_was_down_does_not_serve() {
    let mut node = Node::start(&["echo", "print"], "");
    node.kill();
    fs::remove_file(node.folder.path("plugins/echo.wasm")).unwrap();
    node.start_again();
    assert_eq!(node.fail("echo", &[b"x"]).0, Code::UnknownService);
}

#[test]
fn a_version_whose_bytes_are_lost_gives_way_to_the_file() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&mut node, COUNTER, 2);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1"));
    node.kill();
    let version = Path::new("state/wasmnode/under-test/versions").join(digest(&component(ECHO)));
    fs::write(node.folder.path(version.to_str().unwrap()), "damaged").unwrap();
    node.start_again();
    node.wait_for("generation 1 of echo was lost in the restart");
    node.wait_for("generation 3 of echo serves");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn a_kept_version_serves_only_if_the_configuration_admits_it() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&mut node, COUNTER, 2);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1"));
    node.kill();
    let config = node.folder.path("node.toml");
    let listed = digest(&component(COUNTER));
    let policy = format!("[security]\nplugins = {{ digests = ['sha256:{listed}'] }}\n");
    fs::write(&config, fs::read_to_string(&config).unwrap() + &policy).unwrap();
    node.start_again();
    node.wait_for("generation 1 of echo was lost in the restart: security.plugins.digests does not list it");
    node.wait_for("generation 3 of echo serves");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn without_a_usable_state_folder_the_node_warns_once_and_serves() {
    let folder = Folder::new(&["echo"]);
    fs::write(folder.path("no-folder"), "").unwrap();
    let mut node = Node::start_in(folder, "name = 'under-test'\nstate = 'no-folder'\n", &[]);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    drop_in(&mut node, COUNTER, 2);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again"));
    node.signal("-TERM");
    node.wait();
    let said = node.log_to_its_end().iter().filter(|line| line.contains("rollbacks will be lost in a restart"));
    assert_eq!(said.count(), 1);

    let mut node = Node::start(&["echo"], "");
    node.kill();
    fs::write(node.folder.path("state/wasmnode/under-test/versions.json"), "rubbish").unwrap();
    node.start_again();
    node.wait_for("versions.json.damaged");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn two_nodes_of_one_name_do_not_share_their_state() {
    let first = Node::start(&["echo"], "");
    let state = first.folder.path("state/wasmnode");
    let settings = format!("name = 'under-test'\nstate = '{}'\n", state.display());
    let mut second = Node::start_in(Folder::new(&["echo"]), &settings, &[]);
    second.wait_for(&format!("another node with this name, process {}, uses it", first.id()));
    assert_eq!(second.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(first.call("echo", &[b"x"]).unwrap(), ["x"]);
}

/// Removes the file of `echo`, and waits until the service is withdrawn.
fn remove(node: &mut Node) {
    node.clear_log();
    fs::remove_file(node.folder.path("plugins/echo.wasm")).unwrap();
    node.wait_for("no plugin serves echo: its file was removed");
}

#[test]
fn a_file_that_is_removed_takes_neither_numbers_nor_rollbacks_with_it() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&mut node, COUNTER, 2);
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again"));
    remove(&mut node);
    node.folder.plugin("echo", &component(COUNTER));
    let file = node.folder.path("plugins/echo.wasm");
    let file = std::path::absolute(file).unwrap();
    let said = format!(
        "echo.wasm is generation 2 of echo, which was rolled back: no plugin serves echo; to serve the file: \
         wasmnode deploy {}",
        file.display()
    );
    node.wait_for(&said);
    node.wait_for_refusal("echo", "which was rolled back");
    assert_eq!(node.fail("echo", &[b"x"]).0, Code::UnknownService);
    node.signal("-TERM");
    node.start_again();
    node.wait_for(&said);
    assert_eq!(node.fail("echo", &[b"x"]).0, Code::UnknownService);
    // Other bytes serve, and the rolled-back ones do not replace them; a restart changes neither.
    drop_in(&mut node, ECHO, 3);
    node.folder.plugin("echo", &component(COUNTER));
    node.wait_for("echo.wasm is generation 2 of echo, which was rolled back: generation 3 keeps serving");
    node.signal("-TERM");
    node.start_again();
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    // Only a deployment makes them serve.
    let deployed = run(&["deploy", file.to_str().unwrap(), "--to", &node.ipc()]);
    assert_eq!(String::from_utf8(deployed.stdout).unwrap(), "generation 4 of echo serves\n");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn bytes_that_are_removed_and_put_back_serve_after_a_restart() {
    let mut node = Node::start(&["echo"], "");
    for generation in 2..6 {
        remove(&mut node);
        drop_in(&mut node, ECHO, generation);
    }
    node.signal("-TERM");
    node.wait();
    let version = Path::new("state/wasmnode/under-test/versions").join(digest(&component(ECHO)));
    assert!(node.folder.path(version.to_str().unwrap()).is_file());
}

#[test]
fn the_log_of_a_restart_names_a_service_once_and_not_for_each_version() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&mut node, COUNTER, 2);
    drop_in(&mut node, TRAP, 3);
    node.signal("-TERM");
    node.start_again();
    node.wait_for("generation 3 of echo serves as before the restart");
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 2 of echo serves again"), "it is restored");
    node.signal("-TERM");
    node.start_again();
    // The rollback waits until version 1 has been restored.
    assert!(plugins(&node, &["rollback", "echo"]).contains("generation 1 of echo serves again"));
    node.signal("-TERM");
    let said = node.log_to_its_end().iter().filter(|line| line.contains("can serve echo"));
    assert_eq!(said.count(), 0);
}
