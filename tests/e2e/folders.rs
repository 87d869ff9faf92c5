//! Use of granted folders by plugins: within limits, and without delaying others.

use crate::commands::compile;
use crate::http;
use crate::node::{Folder, Node, PATIENCE};
use crate::tools::has;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use wasmnode_client::Request;

/// Error of wasi-libc for a failed write to a stream, whatever its error code: an I/O error.
const FULL: &str = "Uncategorized";

/// Starts a node with the service `files`, which may write to the folders `a` and `b`.
fn start(limits: &str, settings: &str) -> Node {
    let folder = Folder::new(&["echo"]);
    compile(&folder, "tests/guests/files.rs", "files");
    for name in ["a", "b"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    let grant = |name: &str| format!("{{ host = '{name}', guest = '/{name}', write = true{limits} }}");
    let (a, b) = (grant("a"), grant("b"));
    let settings = format!("{settings}\n[service.files]\ndeadline = '3m'\nfs = [{a}, {b}]\n");
    Node::start_in(folder, &settings, &[])
}

fn output(node: &Node, what: &str) -> String {
    String::from_utf8(node.call("files", &[what.as_bytes()]).unwrap()[0].to_vec()).unwrap()
}

#[test]
fn files_are_read_written_listed_and_renamed() {
    let node = start("", "");
    let long = "x".repeat(200_000);
    for (what, answer) in [
        ("write /a/one bonjour", "ok"),
        ("read /a/one", "bonjour"),
        ("append /a/one !", "ok"),
        ("append /a/two first", "ok"),
        ("rename /a/one /a/three", "ok"),
        ("read /a/three", "bonjour!"),
        ("read /a/one", "NotFound"),
        ("far /a/far 100000 5", "100005"),
        ("touch /a/far", "0ns"),
        ("folders /a 2", "2"),
        ("list /a", "5 2"),
        ("many /b 700", "700"),
        ("list /b", "700 0"),
        ("read /a/../../etc/passwd", "PermissionDenied"),
        (&format!("write /a/long {long}"), "ok"),
        ("read /a/long", &long),
        ("remove /a/long", "ok"),
        ("read /a", "IsADirectory"),
    ] {
        assert_eq!(output(&node, what), answer, "{what:.40}");
    }
    assert_eq!(fs::read_to_string(node.folder.path("a/three")).unwrap(), "bonjour!");
}

#[test]
fn what_is_neither_a_file_nor_a_folder_is_not_opened() {
    let mut node = start("", "");
    mknodat(CWD, node.folder.path("a/pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _listener = UnixListener::bind(node.folder.path("a/socket")).unwrap();
    std::os::unix::fs::symlink("pipe", node.folder.path("a/link")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", node.folder.path("a/out")).unwrap();
    for path in ["/a/pipe", "/a/link", "/a/out"] {
        for what in
            [format!("read {path}"), format!("write {path} x"), format!("append {path} x"), format!("touch {path}")]
        {
            assert_eq!(output(&node, &what), "PermissionDenied", "{what}");
        }
    }
    assert_eq!(output(&node, "read /a/socket"), "PermissionDenied");
    node.wait_for("pipe in /a is neither a file nor a folder, and is not opened");
    if mknodat(CWD, node.folder.path("a/zero"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), 0x105).is_ok() {
        assert_eq!(output(&node, "read /a/zero"), "PermissionDenied");
    }
    assert_eq!(output(&node, "list /a").split(' ').nth(1), Some("0"));
}

#[test]
fn a_folder_holds_only_the_bytes_of_its_grant() {
    let mut node = start(", bytes = '1MiB'", "");
    fs::write(node.folder.path("a/before"), vec![0; 500_000]).unwrap();
    for (what, answer) in [
        ("set-size /a/sparse 1099511627776", "StorageFull"),
        ("set-size /a/sparse 548576", "ok"),
        ("write /a/x 1", FULL),
        ("append /a/sparse 1", FULL),
        ("far /a/far 0 1", FULL),
        ("far /b/far 1000000 48576", "1048576"),
        ("far /b/far 1000000 48577", FULL),
    ] {
        assert_eq!(output(&node, what), answer, "{what}");
    }
    let line = node.wait_for("/a is full");
    assert!(line.contains("its grant in `fs`: bytes = 1048576"), "{line}");
    assert_eq!(output(&node, "remove /a/sparse"), "ok");
    // The folder is measured again before it counts as full; the delay depends on the time that takes.
    while output(&node, "far /a/x 0 500000") != "500000" {}
    // Space that other processes free counts as well.
    fs::remove_file(node.folder.path("a/before")).unwrap();
    while output(&node, "far /a/y 0 500000") != "500000" {}
    assert_eq!(output(&node, "far /a/z 0 500000"), FULL);
}

#[test]
fn what_was_there_before_a_restart_counts_after_it() {
    let mut node = start(", bytes = '1MiB', files = 3", "");
    assert_eq!(output(&node, "far /a/x 0 1000000"), "1000000");
    node.signal("-TERM");
    node.start_again();
    assert_eq!(output(&node, "far /a/y 0 1000000"), FULL);
    assert_eq!(output(&node, "far /a/z 0 40000"), "40000");
    // `y` is there too, and empty.
    assert_eq!(output(&node, "many /a 1"), "0 StorageFull");
}

#[test]
fn a_deleted_file_that_is_open_still_counts() {
    let node = start(", bytes = '1MiB'", "");
    let written: u64 = output(&node, "unseen /a/x 100000000").parse().unwrap();
    assert!((900_000..=1 << 20).contains(&written), "{written}");
    // Its instance has ended, which closes and frees the file.
    while output(&node, "far /a/y 0 1000000") != "1000000" {}
}

#[test]
fn a_folder_holds_only_the_files_folders_and_links_of_its_grant() {
    let node = start(", files = 10", "");
    assert_eq!(output(&node, "many /a 4"), "4");
    assert_eq!(output(&node, "links /a/0 3"), "3");
    assert_eq!(output(&node, "folders /a 100"), "3 StorageFull");
    assert_eq!(output(&node, "many /b 17000"), "10 StorageFull");
    assert_eq!(fs::read_dir(node.folder.path("b")).unwrap().count(), 10);
}

#[test]
fn nothing_is_moved_or_linked_from_one_granted_folder_to_another() {
    let node = start("", "");
    assert_eq!(output(&node, "write /a/x 1"), "ok");
    assert_eq!(output(&node, "rename /a/x /b/x"), "CrossesDevices");
    assert_eq!(output(&node, "link /a/x /b/x"), "CrossesDevices");
}

#[test]
fn plugins_have_a_share_of_the_nodes_descriptors_and_new_connections_the_rest() {
    let mut node = start("", "[limits]\nplugin-descriptors = 50");
    fs::write(node.folder.path("a/file"), "content").unwrap();
    let before = node.descriptors();
    for _ in 0..3 {
        let held = output(&node, "hold /a/file 1000");
        let (held, _) = held.split_once(' ').expect("it does not get a thousand");
        assert_eq!(held, "50");
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    }
    node.wait_for("all 50 descriptors that plugins may have together (limits.plugin-descriptors) are in use");
    // Descriptors of ended instances are free again.
    assert_eq!(output(&node, "read /a/file"), "content");
    node.wait_until_quiet(PATIENCE);
    assert!(node.descriptors() < before + 50, "{before} {}", node.descriptors());
}

#[test]
fn by_default_plugins_have_a_quarter_of_the_descriptors() {
    let folder = Folder::new(&["echo"]);
    compile(&folder, "tests/guests/files.rs", "files");
    fs::create_dir(folder.path("a")).unwrap();
    fs::write(folder.path("a/file"), "content").unwrap();
    let settings = "[service.files]\ndeadline = '3m'\nfs = [{ host = 'a', guest = '/a' }]\n";
    let before = ["sh", "-c", "ulimit -n 400 && exec \"$0\" \"$@\""].map(str::to_owned);
    let node = Node::start_inside(&before, folder, settings);
    let held = output(&node, "hold /a/file 1000");
    assert!(held.starts_with("100 "), "{held}");
}

/// Configures a resolver that never answers: on an interface that drops everything.
const UNRESPONSIVE_RESOLVER: &str = "mount --bind $0 /etc/resolv.conf && ip link add deaf type dummy \
    && ip addr add 10.99.0.1/24 dev deaf && ip link set deaf up && ip link set lo up && exec \"$@\"";

#[test]
fn a_node_ends_although_a_name_lookup_hangs() {
    if !has("netns", &["unshare", "-mn", "sh", "-c", "ip link add deaf type dummy"]) {
        return;
    }
    for (drain, signals) in [("100ms", 1), ("10m", 2)] {
        let folder = Folder::new(&[]);
        folder.plugin("fetch", &http::component("fetch"));
        fs::write(folder.path("resolv.conf"), "nameserver 10.99.0.2\noptions timeout:30 attempts:5\n").unwrap();
        let resolver = folder.path("resolv.conf").display().to_string();
        let before = ["unshare", "-mn", "sh", "-c", UNRESPONSIVE_RESOLVER, &resolver].map(str::to_owned);
        let grant = "[service.fetch]\nhttp = ['api.example.org']\ndeadline = '3m'\n";
        let mut node = Node::start_inside(&before, folder, &format!("drain = '{drain}'\n{grant}"));
        let mut client = node.client();
        client.send(Request::new("fetch").body(["api.example.org"]).deadline(PATIENCE)).unwrap();
        node.wait_until_running("fetch");
        let asked = Instant::now();
        node.signal("-TERM");
        if signals == 2 {
            node.wait_for("stopping: 1 request in flight");
            node.signal("-TERM");
        }
        let status = node.wait_at_most(PATIENCE).expect("it ends");
        assert!(status.success(), "{status}");
        // The resolver gives up after minutes.
        assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    }
}

#[test]
fn connections_take_descriptors_of_the_plugins_share() {
    let folder = Folder::new(&[]);
    compile(&folder, "tests/guests/command.rs", "told");
    folder.plugin("fetch", &http::component("fetch"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let grants = format!("[service.told]\nnet = ['tcp:{address}']\n[service.fetch]\nhttp = ['{address}']\n");
    let mut node = Node::start_in(folder, &format!("[limits]\nplugin-descriptors = 0\n{grants}"), &[]);
    let connected = node.call("told", &[format!("connect {address}").as_bytes()]).unwrap();
    assert!(connected[0].starts_with(b"Err("), "{connected:?}");
    let fetched = node.call("fetch", &[address.to_string().as_bytes()]).unwrap();
    assert_eq!(fetched, ["ErrorCode::ConnectionLimitReached"]);
    node.wait_for("all 0 descriptors that plugins may have together");
}
