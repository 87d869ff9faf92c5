//! A node that loads only listed or signed plugins: what it refuses, with which report, and that all others keep
//! serving.

use crate::guests::component;
use crate::node::{Folder, Node, run, wasmnode};
use crate::tools;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use wasmnode_client::Code;
use wasmnode_sandbox::digest;

const ECHO: &str = include_str!("../guests/echo.wat");
const COUNTER: &str = include_str!("../guests/counter.wat");

/// Creates a folder with two pairs of keys, ours and theirs, and a signed `echo` that serves in every test.
fn folder() -> Folder {
    let folder = Folder::new(&["echo"]);
    for name in ["ours", "theirs"] {
        succeed(&["sign", "--new-key", &path(&folder, name)]);
    }
    sign(&folder, "plugins/echo.wasm", "ours.key");
    folder
}

/// Starts a node in such a folder that trusts our key.
fn node() -> Node {
    Node::start_in(folder(), "[security.plugins]\nsigners = ['ours.pub']\n", &[])
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path(name).to_str().unwrap().to_owned()
}

fn succeed(arguments: &[&str]) -> String {
    let done = run(arguments);
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(done.status.success(), "{arguments:?}: {said}");
    said
}

fn fail(arguments: &[&str]) -> String {
    let done = run(arguments);
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert_eq!(done.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

fn sign(folder: &Folder, file: &str, key: &str) {
    succeed(&["sign", &path(folder, file), "--key", &path(folder, key)]);
}

/// Moves a file of the node's folder into its plugins.
fn move_in(node: &Node, file: &str) {
    fs::rename(node.folder.path(file), node.folder.path(&format!("plugins/{file}"))).unwrap();
}

fn plugins(node: &Node) -> String {
    succeed(&["plugins", "--to", &node.tcp])
}

fn deploy(node: &Node, file: &str, more: &[&str]) -> Vec<String> {
    let (config, file) = (path(&node.folder, "node.toml"), path(&node.folder, file));
    let arguments = ["deploy", &file, "--config", &config, "--to", &node.tcp];
    arguments.iter().chain(more).map(|&argument| argument.to_owned()).collect()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Restarts a node with a changed configuration.
fn start_again_with(node: &mut Node, change: impl FnOnce(&str) -> String) {
    node.kill();
    let config = node.folder.path("node.toml");
    fs::write(&config, change(&fs::read_to_string(&config).unwrap())).unwrap();
    node.start_again();
}

#[test]
fn files_without_a_trusted_signature_are_refused_reported_and_counted_while_others_serve() {
    let folder = folder();
    for name in ["unsigned", "stranger", "altered", "rubbish"] {
        folder.plugin(name, &component(COUNTER));
    }
    sign(&folder, "plugins/stranger.wasm", "theirs.key");
    sign(&folder, "plugins/altered.wasm", "ours.key");
    // The altered file has the same code; it is still a component.
    let mut altered = component(COUNTER);
    altered.extend([0, 2, 1, b'x']);
    folder.plugin("altered", &altered);
    fs::write(folder.path("plugins/rubbish.wasm.minisig"), "rubbish").unwrap();
    // Without a policy all four serve, and are cached as compiled plugins.
    let mut node = Node::start_in(folder, "", &[]);
    for service in ["unsigned", "stranger", "altered", "rubbish"] {
        node.wait_for(&format!("generation 1 of {service} serves"));
    }
    start_again_with(&mut node, |config| config.to_owned() + "[security.plugins]\nsigners = ['ours.pub']\n");

    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for("echo.wasm may be loaded: it is signed by ours.pub");
    for (service, why) in [
        ("unsigned", "it is not signed: there is no unsigned.wasm.minisig"),
        ("stranger", "stranger.wasm.minisig is by a key that security.plugins.signers does not list"),
        ("altered", "its bytes are not those that altered.wasm.minisig was made for"),
        ("rubbish", "rubbish.wasm.minisig is not a signature of minisign"),
    ] {
        let line = node.wait_for(&format!("{service}.wasm is not loaded: {why}"));
        assert!(line.contains(&format!("sign it with `wasmnode sign {service}.wasm --key SECRET`")), "{line}");
        assert!(plugins(&node).contains(&format!("refused: {why}")), "{}", plugins(&node));
        assert_eq!(node.fail(service, &[b"x"]).0, Code::UnknownService);
    }
    assert_eq!(node.report()["counters"]["plugins_refused"], 4);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_later_signature_lets_its_plugin_serve_without_a_restart() {
    let mut node = node();
    fs::write(node.folder.path("late.wasm"), component(COUNTER)).unwrap();
    sign(&node.folder, "late.wasm", "ours.key");
    move_in(&node, "late.wasm");
    node.wait_for_refusal("late", "it is not signed");
    // As with `cp`: written in place, and closed at the end.
    fs::copy(node.folder.path("late.wasm.minisig"), node.folder.path("plugins/late.wasm.minisig")).unwrap();
    node.wait_for("generation 1 of late serves");
    assert_eq!(node.call("late", &[b"x"]).unwrap(), [&[1][..]]);
    assert!(!plugins(&node).contains("refused"), "{}", plugins(&node));
}

#[test]
fn a_version_that_is_not_signed_leaves_the_old_one_serving_until_it_is() {
    let mut node = node();
    fs::write(node.folder.path("echo.wasm"), component(COUNTER)).unwrap();
    sign(&node.folder, "echo.wasm", "ours.key");
    move_in(&node, "echo.wasm");
    // The signature in the folder is that of the old version.
    node.wait_for_refusal("echo", "its bytes are not those that echo.wasm.minisig was made for");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    move_in(&node, "echo.wasm.minisig");
    node.wait_for("generation 2 of echo serves");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
    // The serving version was checked when it was loaded; the removal of its signature is reported, and has no other
    // effect.
    fs::remove_file(node.folder.path("plugins/echo.wasm.minisig")).unwrap();
    node.wait_for_refusal("echo", "it is not signed");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn the_provenance_of_a_file_is_logged_once_each_time_it_is_loaded() {
    let settings = "[security.plugins]\nsigners = ['ours.pub']\n";
    let mut node = Node::start_with_cache(folder(), "own-cache", settings);
    for _ in 0..2 {
        assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
        node.signal("-TERM");
        assert!(node.wait().success());
        let said = node.log_to_its_end().iter().filter(|line| line.contains("echo.wasm may be loaded")).count();
        assert_eq!(said, 1);
        // Removed, so that the plugin is compiled again.
        fs::remove_dir_all(node.folder.path("own-cache")).unwrap();
        node.start_again();
    }
}

#[test]
fn a_listed_digest_needs_no_signature() {
    let folder = Folder::new(&["echo"]);
    folder.plugin("other", &component(COUNTER));
    let settings = format!("[security]\nplugins = {{ digests = ['sha256:{}'] }}\n", digest(&component(ECHO)));
    let mut node = Node::start_in(folder, &settings, &[]);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.wait_for("echo.wasm may be loaded: its digest is listed");
    let remedy = format!("list \"sha256:{}\" in security.plugins.digests", digest(&component(COUNTER)));
    node.wait_for_refusal("other", &remedy);
}

#[test]
fn deploy_copies_the_signature_or_makes_it() {
    let node = node();
    fs::write(node.folder.path("hello.wasm"), component(COUNTER)).unwrap();
    let said = fail(&words(&deploy(&node, "hello.wasm", &[])));
    let (file, remedy) = (path(&node.folder, "hello.wasm"), "or deploy it with --sign-key SECRET, or list");
    assert!(said.contains(&format!("hello is refused: it is not signed: there is no {file}.minisig")), "{said}");
    assert!(said.contains(&format!("`wasmnode sign {file} --key SECRET`, {remedy}")), "{said}");
    // The same bytes again, with another verdict.
    let said = succeed(&words(&deploy(&node, "hello.wasm", &["--sign-key", &path(&node.folder, "ours.key")])));
    assert_eq!(said, "generation 1 of hello serves\n");

    fs::write(node.folder.path("hello.wasm"), component(ECHO)).unwrap();
    sign(&node.folder, "hello.wasm", "ours.key");
    assert_eq!(succeed(&words(&deploy(&node, "hello.wasm", &[]))), "generation 2 of hello serves\n");

    fs::remove_file(node.folder.path("hello.wasm.minisig")).unwrap();
    fs::write(node.folder.path("hello.wasm"), component(COUNTER)).unwrap();
    let said = fail(&words(&deploy(&node, "hello.wasm", &[])));
    assert!(said.contains("hello is refused: it is not signed"), "the old signature does not stay: {said}");
    assert_eq!(node.call("hello", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_cache_that_others_may_write_to_does_not_bypass_the_policy() {
    let mut node = Node::start(&["echo"], "");
    let cache = node.folder.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    start_again_with(&mut node, |config| {
        let (_, rest) = config.split_once("\nname").unwrap();
        format!("[node]\ncache = 'cache'\nname{rest}")
    });
    node.wait_for("others may write to it; remove that permission with chmod go-w");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[test]
fn keys_are_secret_and_never_overwritten() {
    let folder = Folder::new(&[]);
    let said = succeed(&["sign", "--new-key", &path(&folder, "release")]);
    let public = fs::read_to_string(folder.path("release.pub")).unwrap();
    assert!(said.contains(&format!("plugins = {{ signers = [\"{}\"] }}", public.lines().nth(1).unwrap())), "{said}");
    assert_eq!(fs::metadata(folder.path("release.key")).unwrap().mode() & 0o777, 0o600);
    let refused = |file: &str| {
        let said = fail(&["sign", "--new-key", &path(&folder, "release")]);
        assert!(said.contains(&format!("{file}: already exists, and keys are never overwritten")), "{said}");
    };
    refused("release.key");
    fs::remove_file(folder.path("release.key")).unwrap();
    refused("release.pub");
    assert!(!folder.path("release.key").exists());
    assert_eq!(fs::read_to_string(folder.path("release.pub")).unwrap(), public);
}

#[test]
fn without_a_name_the_keys_are_those_of_the_user() {
    let folder = Folder::new(&["echo"]);
    let mine = |arguments: &[&str]| {
        let mut command = wasmnode();
        command.env("HOME", folder.path("home")).env_remove("XDG_CONFIG_HOME");
        let done = command.args(arguments).output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let file = path(&folder, "plugins/echo.wasm");
    let (code, said) = mine(&["sign", &file]);
    assert!(code == Some(1) && said.contains("make one with `wasmnode sign --new-key`"), "{said}");
    assert_eq!(mine(&["sign", "--new-key"]).0, Some(0));
    assert!(folder.path("home/.config/wasmnode/signing.key").exists());
    assert_eq!(mine(&["sign", &file]), (Some(0), format!("{file}.minisig is written\n")));
    fs::write(folder.path("home/.config/wasmnode/signing.key"), "rubbish").unwrap();
    let (code, said) = mine(&["sign", &file]);
    assert!(code == Some(1) && said.contains("it is not a secret key that can be used"), "{said}");
}

/// Runs the tool minisign in this folder.
fn minisign(folder: &Path, arguments: &[&str]) {
    let done = Command::new("minisign").args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn keys_and_signatures_are_those_of_minisign_both_ways() {
    if !tools::has("minisign", &["minisign", "-v"]) {
        return;
    }
    let folder = folder();
    let here = folder.path("");
    minisign(&here, &["-V", "-H", "-p", "ours.pub", "-m", "plugins/echo.wasm"]);
    minisign(&here, &["-G", "-W", "-p", "tool.pub", "-s", "tool.key"]);
    for (service, legacy) in [("tool", None), ("legacy", Some("-l"))] {
        folder.plugin(service, &component(COUNTER));
        let file = format!("plugins/{service}.wasm");
        let options = ["-S", "-s", "tool.key", "-m", &file];
        minisign(&here, &options.into_iter().chain(legacy).collect::<Vec<_>>());
    }
    // Each signs with the other's key.
    folder.plugin("crossed", &component(COUNTER));
    minisign(&here, &["-S", "-s", "ours.key", "-m", "plugins/crossed.wasm"]);
    folder.plugin("back", &component(COUNTER));
    sign(&folder, "plugins/back.wasm", "tool.key");
    minisign(&here, &["-V", "-p", "tool.pub", "-m", "plugins/back.wasm"]);
    let mut node = Node::start_in(folder, "[security.plugins]\nsigners = ['ours.pub', 'tool.pub']\n", &[]);
    for service in ["echo", "tool", "legacy", "crossed", "back"] {
        node.wait_for(&format!("generation 1 of {service} serves"));
    }
}
