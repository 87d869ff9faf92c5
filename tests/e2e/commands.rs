//! Plain WASI commands as services.

use crate::node::{Folder, Node, PATIENCE};
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use wasmnode_client::{Code, Request};

pub(crate) fn repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a program of one file into the plugin folder.
pub(crate) fn compile(folder: &Folder, source: &str, service: &str) {
    let plugin = folder.path(&format!("plugins/{service}.wasm"));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["-O", "--edition", "2024", "--target", "wasm32-wasip2", "-o"]).arg(plugin).arg(repository(source));
    assert!(command.status().unwrap().success());
}

fn start(settings: &str) -> Node {
    let folder = Folder::new(&[]);
    compile(&folder, "tests/guests/command.rs", "told");
    Node::start_in(folder, settings, &[])
}

#[test]
fn the_body_is_its_input_and_its_output_is_the_reply() {
    let node = start("");
    assert_eq!(node.call("told", &[b"say bonjour"]).unwrap(), ["bonjour"]);
    assert_eq!(node.call("told", &[b"say ", b"one", b"frame"]).unwrap(), ["oneframe"]);
    assert_eq!(node.call("told", &[b"much 100000"]).unwrap()[0].len(), 100_000);
}

#[test]
fn its_environment_describes_the_request_and_nothing_else() {
    let node = start("");
    let ask = Request::new("told").body(["see"]).deadline(PATIENCE).traceparent("00-1-2-01").idempotency_key(b"key");
    let seen = node.client().call(ask, |_| {}).unwrap();
    let seen = String::from_utf8(seen[0].to_vec()).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "[\"told\"]");
    let names: Vec<&str> = lines[1..lines.len() - 1].iter().map(|line| line.split_once('=').unwrap().0).collect();
    let expected = ["TRACEPARENT", "WASMNODE_CALLER", "WASMNODE_IDEMPOTENCY_KEY", "WASMNODE_REMAINING_US"];
    assert_eq!(names, [&expected[..], &["WASMNODE_REQUEST_ID", "WASMNODE_SERVICE"]].concat());
    assert_eq!(lines[lines.len() - 1], "files: false");
}

#[test]
fn a_non_zero_exit_is_a_failure_with_its_stderr_as_the_reason() {
    let mut node = start("");
    let (code, why) = node.fail("told", &[b"exit 3"]);
    assert_eq!((code, why.as_str()), (Code::Failed, "told ended with exit code 1: out of paper"));
    node.wait_for("out of paper");
    assert_eq!(node.call("told", &[b"exit 0"]).unwrap(), [""]);
    let (code, why) = node.fail("told", &[b"dance"]);
    assert!(code == Code::Crashed && why.contains("unknown instruction \"dance\""), "{why}");
}

#[test]
fn too_long_an_output_is_a_failure_that_names_the_limit() {
    let node = start("[service.told]\nreply = '1KiB'\n");
    assert_eq!(node.call("told", &[b"much 1024"]).unwrap()[0].len(), 1024);
    let (code, why) = node.fail("told", &[b"much 1025"]);
    assert!(code == Code::TooLarge && why.contains("service.told.reply = 1024"), "{why}");
}

#[test]
fn a_core_module_of_preview_1_is_adapted() {
    let folder = Folder::new(&[]);
    let module = fs::read(repository("tests/guests/preview1.wat")).unwrap();
    folder.plugin("cat", &wat::parse_bytes(&module).unwrap());
    let node = Node::start_in(folder, "", &[]);
    assert_eq!(node.call("cat", &[b"bonjour"]).unwrap(), ["bonjour"]);
}

/// Returns the output of the command for this input, as text.
fn output(node: &Node, what: &str) -> String {
    String::from_utf8(node.call("told", &[what.as_bytes()]).unwrap()[0].to_vec()).unwrap()
}

#[test]
fn folders_are_granted_one_by_one_for_reading_or_writing() {
    let folder = Folder::new(&[]);
    compile(&folder, "tests/guests/command.rs", "told");
    for name in ["open", "shut"] {
        fs::create_dir(folder.path(name)).unwrap();
        fs::write(folder.path(name).join("file"), "content").unwrap();
    }
    std::os::unix::fs::symlink(folder.path("node.toml"), folder.path("shut/way-out")).unwrap();
    let settings =
        "[service.told]\nfs = [{ host = 'open', guest = '/open', write = true }, { host = 'shut', guest = '/shut' }]\n";
    let node = Node::start_in(folder, settings, &[]);
    assert_eq!(output(&node, "read /shut/file"), "Ok(\"content\")");
    assert_eq!(output(&node, "write /shut/file"), "Err(PermissionDenied)");
    assert_eq!(output(&node, "write /open/file"), "Ok(())");
    assert_eq!(fs::read_to_string(node.folder.path("open/file")).unwrap(), "written");
    for outside in ["/etc/passwd", "/open/../node.toml", "/shut/way-out"] {
        let said = output(&node, &format!("read {outside}"));
        assert!(said.starts_with("Err("), "{outside}: {said}");
    }
}

#[test]
fn connections_are_granted_by_address_and_listening_is_not() {
    let folder = Folder::new(&[]);
    compile(&folder, "tests/guests/command.rs", "told");
    let [granted, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, other] = [&granted, &other].map(|listener| listener.local_addr().unwrap());
    let settings = format!("[service.told]\nnet = ['tcp:{address}']\nenv = {{ LANG = 'fr' }}\n");
    let node = Node::start_in(folder, &settings, &[]);
    assert_eq!(output(&node, &format!("connect {address}")), "Ok(())");
    granted.accept().unwrap();
    assert_eq!(output(&node, &format!("connect {other}")), "Err(PermissionDenied)");
    assert_eq!(output(&node, "listen 127.0.0.1:0"), "false");
    assert!(output(&node, "see").contains("\nLANG=fr\n"));
}

#[test]
fn a_plugin_with_a_missing_folder_is_not_loaded() {
    let folder = Folder::new(&[]);
    compile(&folder, "tests/guests/command.rs", "told");
    let mut node = Node::start_in(folder, "[service.told]\nfs = [{ host = 'none', guest = '/none' }]\n", &[]);
    let line = node.wait_for("told.wasm is not loaded");
    assert!(line.contains("cannot open the folder") && line.contains("that `fs` grants"), "{line}");
}
