//! The example `compter` in every language that it is written in: each built by its own tools, each with the same answers.

use crate::commands::{compile, repository};
use crate::node::{Folder, Node};
use crate::tools;
use std::process::Command;

/// Serves the `compter.wasm` that was put into the folder, and compares its answers.
fn assert_counts(folder: Folder) {
    // Instances of an interpreter are costly to make.
    let node = Node::start_in(folder, "[service.compter]\nreuse = 100\ndeadline = '3m'\n", &[]);
    for (text, counts) in [("", "0 0 0\n"), ("two words", "0 2 9\n"), ("a\tb\r\n\nc \u{e9}\n", "3 4 11\n")] {
        assert_eq!(node.call("compter", &[text.as_bytes()]).unwrap(), [counts], "{text:?}");
    }
}

fn succeed(command: &mut Command) {
    let done = command.output().unwrap();
    let [stdout, stderr] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(done.status.success(), "{command:?}\n{stdout}{stderr}");
}

#[test]
fn rust_counts() {
    let folder = Folder::new(&[]);
    compile(&folder, "examples/compter/compter.rs", "compter");
    assert_counts(folder);
}

#[test]
fn c_counts() {
    if !tools::has("ziglang", &["python3", "-c", "import ziglang"]) {
        return;
    }
    let folder = Folder::new(&[]);
    let mut command = Command::new("python3");
    command.args(["-m", "ziglang", "cc", "--target=wasm32-wasi", "-Os", "-o"]);
    command.arg(folder.path("plugins/compter.wasm")).arg(repository("examples/compter/compter.c"));
    let caches = folder.path("zig-cache");
    succeed(command.env("ZIG_GLOBAL_CACHE_DIR", &caches).env("ZIG_LOCAL_CACHE_DIR", &caches));
    assert_counts(folder);
}

#[test]
fn python_counts() {
    if !tools::has("componentize-py", &["componentize-py", "--version"]) {
        return;
    }
    let folder = Folder::new(&[]);
    let mut command = Command::new("componentize-py");
    command.args(["-d", &repository("wit"), "-w", "service", "componentize", "-p", &repository("examples/compter")]);
    succeed(command.args(["compter", "-o"]).arg(folder.path("plugins/compter.wasm")));
    assert_counts(folder);
}

#[test]
fn javascript_counts() {
    if !tools::has("jco", &["jco", "--version"]) {
        return;
    }
    let folder = Folder::new(&[]);
    let mut command = Command::new("jco");
    command.args(["componentize", &repository("examples/compter/compter.js"), "--wit", &repository("wit")]);
    command.args(["--world-name", "service", "--disable", "http", "--disable", "fetch-event", "--out"]);
    succeed(command.arg(folder.path("plugins/compter.wasm")));
    assert_counts(folder);
}
