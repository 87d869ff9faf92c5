//! The first minutes with the program: a node in an empty folder, its options and variables, and `init`.

use crate::command_line::text;
use crate::node::{PATIENCE, wasmnode};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;
use wasmnode_client::{Client, Request};

/// Node without a configuration, whose current folder is empty at the start.
struct BareNode {
    folder: TempDir,
    process: Child,
}

impl BareNode {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("here")).unwrap();
        let mut command = command(folder.path());
        command.args(["--listen", "ipc://node.ipc", "--name", "bare"]).stderr(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        Self { folder, process }
    }

    fn here(&self, name: &str) -> PathBuf {
        self.folder.path().join("here").join(name)
    }

    fn call(&self, service: &str) -> String {
        let mut client = Client::connect(&format!("ipc://{}", self.here("node.ipc").display())).unwrap();
        let reply = client.call(Request::new(service).body(["hello"]).wait(true).deadline(PATIENCE), |_| {});
        String::from_utf8(reply.unwrap().concat()).unwrap()
    }

    fn call_until(&self, service: &str, is_expected: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !is_expected(&self.call(service)) {
            assert!(began.elapsed() < PATIENCE, "{service} still replies {:?}", self.call(service));
        }
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.here("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for BareNode {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _it_may_have_ended = self.process.wait();
    }
}

/// Returns a command that runs in `here`, and keeps its state and cache beside it.
fn command(folder: &Path) -> Command {
    let mut command = wasmnode();
    command.current_dir(folder.join("here"));
    for (variable, name) in [("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
        command.env(variable, folder.join(name));
    }
    command.env_remove("WASMNODE_TO").env_remove("WASMNODE_CONFIG");
    command
}

fn is_frame(reply: &str) -> bool {
    reply.starts_with('┌')
}

#[test]
fn in_an_empty_folder_print_and_afficher_serve_and_only_the_socket_is_made() {
    let node = BareNode::start();
    assert_eq!(node.call("print"), "printed 5 bytes");
    assert!(is_frame(&node.call("afficher")));
    assert_eq!(node.entries(), ["node.ipc"]);
    assert!(!node.folder.path().join("state").exists());
}

#[test]
fn a_file_replaces_a_built_in_plugin_of_its_name_until_it_is_removed() {
    let node = BareNode::start();
    assert_eq!(node.call("print"), "printed 5 bytes");
    let afficher = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/afficher.wasm");
    let mut deploy = command(node.folder.path());
    let deployed = deploy.arg("deploy").arg(&afficher).args(["--name", "print", "--to", "ipc://node.ipc"]).output();
    assert_eq!(text(&deployed.unwrap().stdout), "generation 2 of print serves\n");
    assert!(is_frame(&node.call("print")));
    fs::remove_file(node.here("plugins/print.wasm")).unwrap();
    node.call_until("print", |reply| reply == "printed 5 bytes");
}

#[test]
fn variables_that_are_not_utf8_are_rejected_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("here")).unwrap();
    for (argument, variable) in [("services", "WASMNODE_TO"), ("--listen=ipc://a", "RUST_LOG")] {
        let done = command(folder.path()).arg(argument).env(variable, OsStr::from_bytes(b"\xff")).output().unwrap();
        let stderr = text(&done.stderr);
        let is_named = stderr.contains(&format!("{variable} is not UTF-8"));
        assert!(done.status.code() == Some(2) && is_named, "{variable}: {stderr}");
    }
}

#[test]
fn options_and_variables_with_mistakes_are_rejected_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("here")).unwrap();
    let cases: [(&[&str], &str, &str, i32, &str); 6] = [
        (&["--listen", "tcp://0.0.0.0:0"], "", "", 1, "--listen: \"tcp://0.0.0.0:0\": listening beyond this machine"),
        (&["--listen", "ipc://a", "--listen", "ipc://a"], "", "", 1, "--listen: \"ipc://a\" is given twice"),
        (&["--plugins", "missing"], "", "", 1, "cannot read the plugin folder missing"),
        (&["--name", "a", "services"], "", "", 2, "--name before a command is an option of a node that runs"),
        (&["services"], "WASMNODE_TO", "nowhere", 2, "WASMNODE_TO: \"nowhere\" is not an endpoint"),
        (&["services"], "WASMNODE_CONFIG", "missing.toml", 1, "missing.toml: no such file"),
    ];
    for (arguments, variable, value, code, why) in cases {
        let mut command = command(folder.path());
        if !variable.is_empty() {
            command.env(variable, value);
        }
        let done = command.args(arguments).output().unwrap();
        let stderr = text(&done.stderr);
        assert!(done.status.code() == Some(code) && stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

#[test]
fn init_writes_a_configuration_once_that_check_accepts() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("here")).unwrap();
    let run = |arguments: &[&str]| command(folder.path()).args(arguments).output().unwrap();
    assert_eq!(text(&run(&["init"]).stdout), "node.toml is written; run it with: wasmnode --config node.toml\n");
    let checked = run(&["check", "node.toml"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let again = run(&["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("node.toml exists already"), "{}", text(&again.stderr));
}
