//! Projects of `wasmnode new` build and serve, and so does the example `compter` in each of its languages: each is
//! built by its own tools, and all give the same answers.

use crate::commands::{compile, repository};
use crate::node::{Folder, Node, wasmnode};
use crate::tools;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Serves `compter.wasm` from the folder, and compares its answers.
fn assert_counts(folder: Folder) {
    // Instances of an interpreter are costly to make.
    let node = Node::start_in(folder, "[service.compter]\nreuse = 100\ndeadline = '3m'\n", &[]);
    for (text, counts) in [("", "0 0 0\n"), ("two words", "0 2 9\n"), ("a\tb\r\n\nc \u{e9}\n", "3 4 11\n")] {
        assert_eq!(node.call_when_offered("compter", &[text.as_bytes()]).unwrap(), [counts], "{text:?}");
    }
}

fn succeed(command: &mut Command) {
    let done = command.output().unwrap();
    let [stdout, stderr] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(done.status.success(), "{command:?}\n{stdout}{stderr}");
}

fn compile_c(folder: &Folder, source: &Path, plugin: &Path) {
    let mut command = Command::new("python3");
    command.args(["-m", "ziglang", "cc", "--target=wasm32-wasi", "-Os", "-o"]).arg(plugin).arg(source);
    let caches = folder.path("zig-cache");
    succeed(command.env("ZIG_GLOBAL_CACHE_DIR", &caches).env("ZIG_LOCAL_CACHE_DIR", &caches));
}

fn compile_zig(folder: &Folder, source: &Path, plugin: &Path) {
    let mut command = Command::new("python3");
    command.args(["-m", "ziglang", "build-exe", "-target", "wasm32-wasi", "-O", "ReleaseSmall"]).arg(source);
    let mut emit = OsString::from("-femit-bin=");
    emit.push(plugin);
    let caches = folder.path("zig-cache");
    succeed(command.arg(emit).env("ZIG_GLOBAL_CACHE_DIR", &caches).env("ZIG_LOCAL_CACHE_DIR", &caches));
}

/// Returns a command of Go for WASI. Its cache outlives the test, because compiling Go's own library takes long.
fn go(arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(arguments).env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOTOOLCHAIN", "local");
    command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
    command
}

/// Returns `true` if Go is installed in a version (1.21) that can compile for WASI, which a package without imports
/// shows.
fn has_go() -> bool {
    tools::has_for("go", &mut go(&["build", "-o", "/dev/null", "internal/goarch"]))
}

/// Builds `source` in the folder `place`.
fn compile_go(place: &Path, source: &str, plugin: &Path) {
    let mut command = go(&["build", "-ldflags", "-s -w", "-o"]);
    succeed(command.arg(plugin).arg(source).current_dir(place));
}

/// Returns `true` if Zig is installed, as a C compiler.
fn has_c() -> bool {
    tools::has("ziglang", &["python3", "-c", "import ziglang"])
}

/// Returns `true` if Zig is installed in a version whose library the examples use.
fn has_zig() -> bool {
    let version = "import importlib.metadata as m; assert [*map(int, m.version('ziglang').split('.')[:2])] >= [0, 15]";
    tools::has("ziglang", &["python3", "-c", version])
}

#[test]
fn rust_counts() {
    let folder = Folder::new(&[]);
    compile(&folder, "examples/compter/compter.rs", "compter");
    assert_counts(folder);
}

#[test]
fn c_counts() {
    if !has_c() {
        return;
    }
    let folder = Folder::new(&[]);
    compile_c(&folder, repository("examples/compter/compter.c").as_ref(), &folder.path("plugins/compter.wasm"));
    assert_counts(folder);
}

#[test]
fn zig_counts() {
    if !has_zig() {
        return;
    }
    let folder = Folder::new(&[]);
    compile_zig(&folder, repository("examples/compter/compter.zig").as_ref(), &folder.path("plugins/compter.wasm"));
    assert_counts(folder);
}

#[test]
fn go_counts() {
    if !has_go() {
        return;
    }
    let folder = Folder::new(&[]);
    compile_go(repository("examples/compter").as_ref(), "compter.go", &folder.path("plugins/compter.wasm"));
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

/// Creates a project with `wasmnode new`; returns its folder.
fn begin(folder: &Folder, language: &str) -> PathBuf {
    let mut command = wasmnode();
    succeed(command.args(["new", "my-service", "--lang", language]).current_dir(folder.path(".")));
    folder.path("my-service")
}

/// Serves the built component, and checks its answers.
fn assert_serves(folder: Folder, built: &str) {
    fs::copy(folder.path("my-service").join(built), folder.path("plugins/my-service.wasm")).unwrap();
    let node = Node::start_in(folder, "[service.my-service]\ndeadline = '3m'\n", &[]);
    assert_eq!(node.call_when_offered("my-service", &[b"bonjour"]).unwrap(), ["BONJOUR"]);
    for empty in [&[][..], &[b"".as_slice()]] {
        assert!(node.fail("my-service", empty).1.contains("send some text"));
    }
}

#[test]
fn a_new_rust_project_serves() {
    let folder = Folder::new(&[]);
    let project = begin(&folder, "rust");
    // With the versions of this repository.
    fs::copy(repository("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .current_dir(&project);
    succeed(&mut command);
    let built = target.join("wasm32-wasip2/release/my_service.wasm");
    assert_serves(folder, built.to_str().unwrap());
}

#[test]
fn a_new_c_project_serves() {
    if !has_c() {
        return;
    }
    let folder = Folder::new(&[]);
    let project = begin(&folder, "c");
    compile_c(&folder, &project.join("main.c"), &project.join("my-service.wasm"));
    assert_serves(folder, "my-service.wasm");
}

#[test]
fn a_new_zig_project_serves() {
    if !has_zig() {
        return;
    }
    let folder = Folder::new(&[]);
    let project = begin(&folder, "zig");
    compile_zig(&folder, &project.join("main.zig"), &project.join("my-service.wasm"));
    assert_serves(folder, "my-service.wasm");
}

#[test]
fn a_new_go_project_serves() {
    if !has_go() {
        return;
    }
    let folder = Folder::new(&[]);
    let project = begin(&folder, "go");
    compile_go(&project, ".", &project.join("my-service.wasm"));
    assert_serves(folder, "my-service.wasm");
}

#[test]
fn a_new_python_project_serves() {
    if !tools::has("componentize-py", &["componentize-py", "--version"]) {
        return;
    }
    let folder = Folder::new(&[]);
    let mut command = Command::new("componentize-py");
    command.args(["-d", "wit", "-w", "service", "componentize", "my_service", "-o", "my-service.wasm"]);
    succeed(command.current_dir(begin(&folder, "python")));
    assert_serves(folder, "my-service.wasm");
}

#[test]
fn a_new_javascript_project_serves() {
    if !tools::has("jco", &["jco", "--version"]) || !tools::has("npm", &["npm", "--version"]) {
        return;
    }
    let folder = Folder::new(&[]);
    succeed(Command::new("npm").args(["run", "build"]).current_dir(begin(&folder, "js")));
    assert_serves(folder, "my-service.wasm");
}

#[test]
fn an_existing_folder_is_not_changed() {
    let folder = Folder::new(&[]);
    fs::create_dir(folder.path("my-service")).unwrap();
    let done = wasmnode().args(["new", "my-service"]).current_dir(folder.path(".")).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(fs::read_dir(folder.path("my-service")).unwrap().count(), 0);
}
