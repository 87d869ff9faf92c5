//! The plugin folder as operators, tools and failures treat it: replaced, linked, unreadable, full of other files.

use crate::guests::component;
use crate::node::{Folder, Node, PATIENCE, run};
use crate::tools;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Request};

const ECHO: &str = include_str!("../guests/echo.wat");
const COUNTER: &str = include_str!("../guests/counter.wat");

/// Longest time until a file serves that is dropped into a watched folder: a scan without a notification follows after
/// 15 s at the earliest.
const SOON: Duration = Duration::from_secs(12);

fn drop_in(folder: &Path, service: &str, guest: &str) {
    let unfinished = folder.join(".unfinished");
    fs::write(&unfinished, component(guest)).unwrap();
    fs::rename(&unfinished, folder.join(format!("{service}.wasm"))).unwrap();
}

fn plugins(node: &Node) -> String {
    String::from_utf8(run(&["plugins", "--to", &node.tcp]).stdout).unwrap()
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Drops a service into the folder, and returns the time until it answers.
fn time_until_served(node: &Node, folder: &Path, service: &str) -> Duration {
    drop_in(folder, service, ECHO);
    let began = Instant::now();
    let ask = Request::new(service).body(["y"]).wait(true).deadline(PATIENCE);
    assert_eq!(node.client().call(ask, |_| {}).unwrap(), ["y"]);
    began.elapsed()
}

#[test]
fn a_file_that_is_not_regular_is_reported_with_the_reason_and_delays_nothing() {
    let mut node = Node::start(&["echo"], "");
    let folder = node.folder.path("plugins");
    let path = |name: &str| folder.join(name);
    make_fifo(&path("pipe.wasm"));
    fs::create_dir(path("folder.wasm")).unwrap();
    symlink("/nowhere", path("link.wasm")).unwrap();
    symlink("/dev/zero", path("zero.wasm")).unwrap();
    let reasons = [
        ("pipe", "not a regular file but a FIFO"),
        ("folder", "not a regular file but a folder"),
        ("link", "a symbolic link to a file that does not exist"),
        ("zero", "not a regular file but a device"),
    ];
    for (service, why) in reasons {
        node.wait_for(&format!("{service}.wasm is not loaded: {why}"));
        node.wait_for_refusal(service, why);
    }
    assert_eq!(plugins(&node).lines().count(), 6, "{}", plugins(&node));
    drop_in(&folder, "hello", ECHO);
    node.wait_for("generation 1 of hello serves");
    fs::remove_file(path("pipe.wasm")).unwrap();
    drop_in(&folder, "pipe", ECHO);
    node.wait_for("generation 1 of pipe serves");
    node.signal("-TERM");
    node.wait();
    for (service, _) in reasons {
        let said = node.log_to_its_end().iter().filter(|line| line.contains(&format!("{service}.wasm is not loaded")));
        assert_eq!(said.count(), 1, "{service} is named once");
    }
}

#[test]
fn a_version_whose_file_becomes_a_fifo_keeps_serving() {
    let mut node = Node::start(&["echo"], "");
    let file = node.folder.path("plugins/echo.wasm");
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    node.wait_for("echo.wasm is not loaded: not a regular file but a FIFO");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    fs::remove_file(&file).unwrap();
    node.wait_for("no plugin serves echo: its file was removed");
}

#[test]
fn a_signature_that_is_not_a_file_is_reported_and_delays_nothing() {
    let folder = Folder::new(&["echo"]);
    let signed = component(COUNTER);
    let settings = format!("[security]\nplugins = {{ digests = ['sha256:{}'] }}\n", wasmnode_sandbox::digest(&signed));
    folder.plugin("signed", &signed);
    make_fifo(&folder.path("plugins/echo.wasm.minisig"));
    make_fifo(&folder.path("plugins/signed.wasm.minisig"));
    let node = Node::start_in(folder, &settings, &[]);
    node.wait_for_refusal("echo", "security.plugins.digests does not list it");
    assert_eq!(node.call("signed", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn a_replaced_folder_is_watched_like_the_first() {
    let node = Node::start(&["echo"], "[defaults]\ndeadline = '3m'\n");
    let path = |name: &str| node.folder.path(name);
    let plugins = path("plugins");
    fs::create_dir(path("next")).unwrap();
    drop_in(&path("next"), "echo", ECHO);
    fs::rename(&plugins, path("old")).unwrap();
    fs::rename(path("next"), &plugins).unwrap();
    let took = time_until_served(&node, &plugins, "moved");
    assert!(took < SOON, "moved: {took:?}");

    fs::remove_dir_all(&plugins).unwrap();
    fs::create_dir(&plugins).unwrap();
    let took = time_until_served(&node, &plugins, "again");
    assert!(took < SOON, "recreated: {took:?}");
    let took = time_until_served(&node, &plugins, "after");
    assert!(took < SOON, "and each that follows: {took:?}");
}

#[test]
fn links_that_are_pointed_elsewhere_are_followed() {
    // As configuration volumes are laid out: plugins/NAME -> ..data/NAME, ..data -> ..1, and later ..2.
    let folder = Folder::new(&[]);
    let path = |name: &str| folder.path(name);
    fs::remove_dir(path("plugins")).unwrap();
    for (release, guest) in [("..1", ECHO), ("..2", COUNTER)] {
        fs::create_dir_all(path("real").join(release)).unwrap();
        drop_in(&path("real").join(release), "told", guest);
    }
    symlink("..1", path("real/..data")).unwrap();
    symlink("..data/told.wasm", path("real/told.wasm")).unwrap();
    symlink("real", path("plugins")).unwrap();
    let mut node = Node::start_in(folder, "[defaults]\ndeadline = '3m'\n", &[]);
    let path = |name: &str| node.folder.path(name);
    assert_eq!(node.call("told", &[b"x"]).unwrap(), ["x"]);
    symlink("..2", path("real/..next")).unwrap();
    fs::rename(path("real/..next"), path("real/..data")).unwrap();
    node.wait_for("generation 2 of told serves");

    // The folder itself is a link too.
    let path = |name: &str| node.folder.path(name);
    fs::create_dir(path("other")).unwrap();
    drop_in(&path("other"), "told", COUNTER);
    symlink("other", path("next")).unwrap();
    fs::rename(path("next"), path("plugins")).unwrap();
    let took = time_until_served(&node, &path("plugins"), "hello");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn the_same_bytes_under_another_mode_time_or_inode_are_no_new_version() {
    let mut node = Node::start(&["echo"], "");
    let file = node.folder.path("plugins/echo.wasm");
    drop_in(&node.folder.path("plugins"), "echo", COUNTER);
    node.wait_for("generation 2 of echo serves");
    assert!(run(&["plugins", "--to", &node.ipc(), "rollback", "echo"]).status.success());
    let before = plugins(&node);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    settle(&mut node, 1);
    fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    settle(&mut node, 2);
    fs::hard_link(&file, node.folder.path("second-name")).unwrap();
    settle(&mut node, 3);
    fs::copy(&file, node.folder.path("copy")).unwrap();
    fs::rename(node.folder.path("copy"), &file).unwrap();
    settle(&mut node, 4);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"], "the version that was rolled back to");
    let rows = |list: &str| list.lines().filter(|line| line.starts_with("echo ")).map(String::from).collect::<Vec<_>>();
    assert_eq!(rows(&plugins(&node)).len(), rows(&before).len(), "{}", plugins(&node));

    // The earlier version is a change of the file, and its bytes are those that serve.
    drop_in(&node.folder.path("plugins"), "echo", ECHO);
    settle(&mut node, 5);
    drop_in(&node.folder.path("plugins"), "echo", COUNTER);
    node.wait_for("generation 3 of echo serves");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

/// Waits until the node has scanned the whole folder, which the next file to serve shows: changes are taken in the
/// order in which they settle, and a file that stays open settles after 2 s.
fn settle(node: &mut Node, number: usize) {
    let folder = node.folder.path("plugins");
    fs::write(folder.join(format!("marker{number}.wasm")), component(ECHO)).unwrap();
    // Two seconds later than the change in question, because its writer stays open.
    let open = fs::File::options().append(true).open(folder.join(format!("marker{number}.wasm"))).unwrap();
    node.wait_for(&format!("generation 1 of marker{number} serves"));
    drop(open);
}

/// Starts a node as a user that is subject to file permissions; `None` if the tests cannot switch to one.
fn node_of_nobody(plugins: &[&str]) -> Option<Node> {
    const NOBODY: u32 = 65_534;
    let folder = Folder::new(plugins);
    if !rustix::process::geteuid().is_root() {
        return Some(Node::start_in(folder, "", &[]));
    }
    if !tools::has("setpriv", &["setpriv", "--version"]) {
        return None;
    }
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    chown(folder.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    Some(Node::start_inside(&words.map(String::from), folder, ""))
}

#[test]
fn a_folder_whose_files_cannot_be_examined_keeps_its_services() {
    let Some(mut node) = node_of_nobody(&["echo"]) else { return };
    let plugins = node.folder.path("plugins");
    // The folder can be listed, but its files cannot be examined.
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o744)).unwrap();
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&plugins, fs::Permissions::from_mode(0o644)).unwrap();
    }
    node.wait_for("echo.wasm is not loaded: cannot examine it: Permission denied");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for_refusal("echo", "Permission denied");
    // The folder cannot be listed.
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o000)).unwrap();
    node.wait_for("cannot read the plugin folder");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o755)).unwrap();
    node.wait_for("is readable again");
    drop_in(&plugins, "hello", ECHO);
    node.wait_for("generation 1 of hello serves");
    let is_refused = || self::plugins(&node).contains("refused");
    let until = Instant::now() + PATIENCE;
    while is_refused() {
        assert!(Instant::now() < until, "{}", self::plugins(&node));
    }
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_file_that_cannot_be_opened_for_lack_of_descriptors_is_read_later() {
    let mut node = Node::start(&["echo"], "");
    let mut client = node.client();
    let own = getrlimit(Resource::Nofile);
    let process = Pid::from_raw(node.id()).unwrap();
    // Connected before the limit, so that the client needs no further descriptor of the node.
    assert_eq!(client.call(Request::new("echo").body(["x"]), |_| {}).unwrap(), ["x"]);
    let before = prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(3), maximum: own.maximum }).unwrap();
    drop_in(&node.folder.path("plugins"), "hello", ECHO);
    node.wait_for("Too many open files");
    assert_eq!(client.call(Request::new("echo").body(["x"]), |_| {}).unwrap(), ["x"]);
    prlimit(Some(process), Resource::Nofile, before).unwrap();
    node.wait_for("generation 1 of hello serves");
    assert_eq!(node.call("hello", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(node.fail("missing", &[]).0, Code::UnknownService);
}
