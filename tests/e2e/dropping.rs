//! Files dropped into the folder of a running node: they serve, are replaced and removed, and no request is lost.

use crate::guests::component;
use crate::node::{Node, PATIENCE, run};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmnode_client::{Client, Code, Reply, Request};

const ECHO: &str = include_str!("../guests/echo.wat");
const TRAP: &str = include_str!("../guests/trap.wat");

/// Returns a plugin that behaves like the guest but has other bytes.
fn variant(guest: &str, number: usize) -> Vec<u8> {
    component(&format!("{guest}\n  (data (i32.const 2048) \"variant {number}\")"))
}

/// Puts a file into the folder atomically.
fn drop_in(node: &Node, service: &str, bytes: &[u8]) {
    let unfinished = node.folder.path("unfinished");
    fs::write(&unfinished, bytes).unwrap();
    fs::rename(&unfinished, node.folder.path(&format!("plugins/{service}.wasm"))).unwrap();
}

fn deploy(node: &Node, file: &str) -> (Option<i32>, String) {
    let (config, file) = (node.folder.path("node.toml"), node.folder.path(file));
    let done = run(&["deploy", file.to_str().unwrap(), "--config", config.to_str().unwrap(), "--to", &node.tcp]);
    (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

fn plugins(node: &Node, arguments: &[&str]) -> String {
    let done = run(&[&["plugins", "--to", &node.ipc()], arguments].concat());
    String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
}

#[test]
fn a_file_serves_from_the_moment_it_is_whole_until_it_is_removed() {
    let mut node = Node::start(&[], "[defaults]\ndeadline = '3m'\n");
    let mut client = node.client();
    let waiting = Request::new("hello").body(["x"]).wait(true).deadline(PATIENCE);
    let id = client.send(waiting).unwrap();
    // As with `cp`: written in place, and closed at the end.
    node.folder.plugin("hello", &component(ECHO));
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), (id, Reply::Final(vec!["x".into()])));

    fs::remove_file(node.folder.path("plugins/hello.wasm")).unwrap();
    node.wait_for("no plugin serves hello: its file was removed");
    assert_eq!(node.fail("hello", &[b"x"]).0, Code::UnknownService);

    drop_in(&node, "hello", &component(ECHO));
    let again = Request::new("hello").body(["y"]).wait(true).deadline(PATIENCE);
    assert_eq!(client.call(again, |_| {}).unwrap(), ["y"]);
}

#[test]
fn a_version_that_cannot_serve_is_reported_and_leaves_the_old_one_serving() {
    let mut node = Node::start(&["echo"], "");
    let whole = component(ECHO);
    for (bytes, why) in [(&b"rubbish"[..], "not a WebAssembly file"), (&whole[..whole.len() / 2], "copied in part")] {
        drop_in(&node, "echo", bytes);
        node.wait_for(why);
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
        node.wait_for_refusal("echo", why);
    }
    assert!(plugins(&node, &[]).contains("refused: it is not a valid component"), "{}", plugins(&node, &[]));
}

#[test]
fn a_folder_that_is_removed_and_recreated_is_watched_again() {
    let mut node = Node::start(&["echo"], "[defaults]\ndeadline = '3m'\n");
    let plugins = node.folder.path("plugins");
    fs::remove_dir_all(&plugins).unwrap();
    node.wait_for("cannot read the plugin folder");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    fs::create_dir(&plugins).unwrap();
    drop_in(&node, "hello", &component(ECHO));
    let ask = Request::new("hello").body(["y"]).wait(true).deadline(PATIENCE);
    assert_eq!(node.client().call(ask, |_| {}).unwrap(), ["y"]);
    node.wait_for("no plugin serves echo: its file was removed");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let mut node = Node::start(&[], "[limits]\nplugin = '1KiB'\n");
    drop_in(&node, "large", &[0; 1025]);
    node.wait_for("large.wasm is not loaded: its 1025 bytes are over limits.plugin = 1024");
    assert!(plugins(&node, &[]).lines().count() == 2, "{}", plugins(&node, &[]));
}

/// Returns an echo that takes seconds to compile, and differs in each run, because compiled plugins are cached.
pub(crate) fn slow_to_compile() -> Vec<u8> {
    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let line = "(local.set 0 (i32.xor (i32.rotl (local.get 0) (i32.const 3)) (i32.load (local.get 0))))\n".repeat(100);
    let function = format!("(func (param i32) (result i32)\n{line}(local.get 0))\n");
    component(&format!("{ECHO}\n  (data (i32.const 2048) \"{unique}\")\n{}", function.repeat(3000)))
}

#[test]
fn a_file_that_is_slow_to_compile_delays_no_other() {
    let mut node = Node::start(&[], "");
    drop_in(&node, "slow", &slow_to_compile());
    node.wait_for("which can take a while");
    drop_in(&node, "quick", &component(ECHO));
    node.wait_for("generation 1 of quick serves");
    assert_eq!(node.call("quick", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(node.fail("slow", &[b"x"]).0, Code::UnknownService);
    // A later change of the slow plugin replaces the earlier one.
    drop_in(&node, "slow", &component(TRAP));
    node.wait_for("a newer change of slow follows");
    node.wait_for("generation 1 of slow serves");
    assert_eq!(node.fail("slow", &[b"x"]).0, Code::Crashed);
}

#[test]
fn deploy_reports_immediately_that_the_node_would_not_load_the_service() {
    let node = Node::start(&["echo"], "services = ['echo']\n");
    fs::write(node.folder.path("hello.wasm"), component(ECHO)).unwrap();
    let (code, said) = deploy(&node, "hello.wasm");
    assert!(code == Some(1) && said.contains("node.services does not list hello"), "{said}");
    assert!(!node.folder.path("plugins/hello.wasm").exists());
}

#[test]
fn rolled_back_bytes_that_return_are_reported_once_with_a_remedy() {
    let mut node = Node::start(&["echo"], "");
    let counter = component(include_str!("../guests/counter.wat"));
    node.folder.plugin("echo", &counter);
    node.wait_for("generation 2 of echo serves");
    plugins(&node, &["rollback", "echo"]);
    for _ in 0..2 {
        node.folder.plugin("echo", b"rubbish");
        node.wait_for_refusal("echo", "it is not a WebAssembly file");
        node.folder.plugin("echo", &counter);
        let until = Instant::now() + PATIENCE;
        while plugins(&node, &[]).contains("refused") {
            assert!(Instant::now() < until, "it is in order");
        }
    }
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.signal("-TERM");
    let said = format!(
        "echo.wasm is generation 2 of echo, which was rolled back: generation 1 keeps serving; to serve the file: \
         wasmnode deploy {}",
        std::path::absolute(node.folder.path("plugins/echo.wasm")).unwrap().display()
    );
    assert_eq!(node.log_to_its_end().iter().filter(|line| line.contains(&said)).count(), 1);
}

#[test]
fn deploy_waits_for_the_new_version_and_rollback_returns_to_the_old_one() {
    let node = Node::start(&["echo"], "");
    fs::write(node.folder.path("echo.wasm"), component(include_str!("../guests/counter.wat"))).unwrap();
    assert_eq!(deploy(&node, "echo.wasm"), (Some(0), "generation 2 of echo serves\n".into()));
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
    let list = plugins(&node, &[]);
    let states: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(states, ["serving", "previous"], "{list}");

    assert_eq!(plugins(&node, &["rollback", "echo"]), "generation 1 of echo serves again, instead of 2\n");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert!(plugins(&node, &["rollback", "echo"]).contains("no generation of echo before the serving one"));

    fs::write(node.folder.path("echo.wasm"), "rubbish").unwrap();
    let (code, said) = deploy(&node, "echo.wasm");
    assert!(code == Some(1) && said.contains("echo is refused: it is not a WebAssembly file"), "{said}");
}

#[test]
fn a_new_version_that_crashes_too_often_gives_way_to_the_one_before() {
    let mut node = Node::start(&["echo"], "[service.echo]\ntrial-requests = 10\ntrial-crashes = 20\n");
    drop_in(&node, "echo", &component(TRAP));
    node.wait_for("generation 2 of echo serves");
    for _ in 0..3 {
        assert_eq!(node.fail("echo", &[b"x"]).0, Code::Crashed);
    }
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for("generation 1 of echo serves again: 2 crashed in too many");
    assert!(plugins(&node, &[]).contains("rolled back"));
}

#[test]
fn a_new_version_that_only_crashes_gives_way_before_a_quarantine_begins() {
    let mut node = Node::start(&["echo"], "");
    drop_in(&node, "echo", &component(TRAP));
    node.wait_for("generation 2 of echo serves");
    let failures: Vec<String> = (0..11).map(|_| node.fail("echo", &[b"x"]).1).collect();
    assert!(failures.iter().all(|why| why.contains("unreachable")), "{failures:?}");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for("generation 1 of echo serves again: 2 crashed in too many");
}

#[test]
fn two_hundred_replacements_under_load_lose_duplicate_and_fail_no_request() {
    const REPLACEMENTS: usize = 200;
    let mut node = Node::start(&[], "[service.echo]\ndeadline = '10m'\n");
    drop_in(&node, "echo", &variant(ECHO, 0));
    node.wait_for("generation 1 of echo");
    let is_over = AtomicBool::new(false);
    let endpoint = node.ipc();
    let answered = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(&endpoint, &is_over));
        let variants = [variant(ECHO, 0), variant(ECHO, 1)];
        for number in 1..=REPLACEMENTS {
            drop_in(&node, "echo", &variants[number % 2]);
            node.wait_for(&format!("generation {} of echo serves", number + 1));
        }
        is_over.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    assert!(answered > REPLACEMENTS as u64, "{answered} requests are no load");
    println!("{answered} requests, {REPLACEMENTS} replacements");
}

/// Keeps 32 requests in flight until `is_over`; each must be answered once, with its own body.
fn load(endpoint: &str, is_over: &AtomicBool) -> u64 {
    let mut client = Client::connect(endpoint).unwrap();
    let mut unanswered = BTreeMap::new();
    let mut answered = 0_u64;
    loop {
        while unanswered.len() < 32 && !is_over.load(Ordering::SeqCst) {
            let body = (answered + unanswered.len() as u64).to_be_bytes().to_vec();
            let id = client.send(Request::new("echo").body([body.clone()])).unwrap();
            unanswered.insert(id, body);
        }
        if unanswered.is_empty() {
            return answered;
        }
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        let body = unanswered.remove(&id).expect("an answer to a request that has none yet");
        assert_eq!(reply, Reply::Final(vec![body.into()]));
        answered += 1;
    }
}
