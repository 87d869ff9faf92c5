//! `wasmnode deploy`: the node's verdict precedes the file, and whichever process is killed, the serving version is not
//! lost.

use crate::dropping::slow_to_compile;
use crate::guests::component;
use crate::node::{Folder, Node, PATIENCE, run, wasmnode};
use crate::tools;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Request};

const ECHO: &str = include_str!("../guests/echo.wat");
const COUNTER: &str = include_str!("../guests/counter.wat");

/// Time limit for a refusal that needs no look at the content.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Deploys a file of the node's folder, from an unrelated current folder.
fn deploy(node: &Node, file: &str, more: &[&str]) -> (Option<i32>, String) {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = node.folder.path(file);
    let mut command = wasmnode();
    command.current_dir(elsewhere.path()).args(["deploy", file.to_str().unwrap(), "--to", &node.tcp]).args(more);
    said(&command.output().unwrap())
}

fn said(done: &Output) -> (Option<i32>, String) {
    (done.status.code(), String::from_utf8([&done.stdout[..], &done.stderr].concat()).unwrap())
}

/// Returns all names in the plugin folder.
fn names(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.folder.path("plugins")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_is_refused_leaves_the_one_that_serves_as_it_was() {
    let mut node = Node::start(&["echo"], "");
    let whole = component(ECHO);
    for (bytes, why) in [(&b"junk"[..], "not a WebAssembly file"), (&whole[..whole.len() / 2], "copied in part")] {
        fs::write(node.folder.path("junk.wasm"), bytes).unwrap();
        let (code, said) = deploy(&node, "junk.wasm", &["--name", "echo"]);
        assert!(code == Some(1) && said.contains("echo is refused: ") && said.contains(why), "{said}");
        assert_eq!(fs::read(node.folder.path("plugins/echo.wasm")).unwrap(), whole);
        assert_eq!(names(&node), ["echo.wasm"]);
    }
    node.kill();
    node.start_again();
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn deploy_finds_the_nodes_folder_from_anywhere() {
    let node = Node::start(&["echo"], "");
    fs::write(node.folder.path("hello.wasm"), component(COUNTER)).unwrap();
    assert_eq!(deploy(&node, "hello.wasm", &[]), (Some(0), "generation 1 of hello serves\n".into()));
    assert_eq!(names(&node), ["echo.wasm", "hello.wasm"]);
    assert_eq!(node.call("hello", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn the_deploy_command_in_the_readme_of_a_new_project_works() {
    let node = Node::start(&["echo"], "");
    for lang in ["rust", "c", "zig", "go", "python", "javascript"] {
        let (project, name) = (tempfile::tempdir().unwrap(), format!("made-in-{lang}"));
        let mut new = wasmnode();
        new.current_dir(project.path()).args(["new", &name, "--lang", lang]);
        assert!(new.output().unwrap().status.success());
        let readme = fs::read_to_string(project.path().join(&name).join("README.md")).unwrap();
        let line = readme.lines().find_map(|line| line.strip_prefix("$ wasmnode deploy ")).unwrap();
        let file = project.path().join(&name).join(line.split_whitespace().next().unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, component(ECHO)).unwrap();
        let mut deploy = wasmnode();
        // The node under test has another port than the default of the command.
        deploy.current_dir(project.path().join(&name)).arg("deploy").args(line.split_whitespace());
        let done = deploy.args(["--to", &node.tcp]).output().unwrap();
        assert_eq!(said(&done), (Some(0), format!("generation 1 of {name} serves\n")));
    }
}

#[test]
fn a_file_that_no_node_would_load_is_refused_immediately_and_not_written() {
    let node = Node::start(&["echo"], "services = ['echo', 'hello']\n[limits]\nplugin = '1MiB'\n");
    fs::write(node.folder.path("hello.wasm"), component(ECHO)).unwrap();
    fs::write(node.folder.path("large.wasm"), vec![0; (1 << 20) + 1]).unwrap();
    let before = fs::read_dir(node.folder.path("")).unwrap().count();
    for (file, name, code, why) in [
        ("hello.wasm", "../x", 2, "is a path, and the name of a plugin has no '/'"),
        ("hello.wasm", "/tmp/x", 2, "is a path"),
        ("hello.wasm", ".x", 2, "begins with a dot"),
        ("hello.wasm", &"x".repeat(250), 2, "too long for a file"),
        ("hello.wasm", "node.x", 2, "the node answers node.x itself"),
        ("large.wasm", "hello", 1, "its 1048577 bytes are over limits.plugin = 1048576"),
        ("hello.wasm", "other", 1, "node.services does not list other"),
    ] {
        let began = Instant::now();
        let (exit, said) = deploy(&node, file, &["--name", name]);
        assert!(exit == Some(code) && said.contains(why), "{name}: {exit:?} {said}");
        assert!(began.elapsed() < AT_ONCE, "{name}: {:?}", began.elapsed());
    }
    assert_eq!(names(&node), ["echo.wasm"]);
    assert_eq!(fs::read_dir(node.folder.path("")).unwrap().count(), before);
}

#[test]
fn a_version_that_was_rolled_back_serves_again_if_it_is_deployed_again() {
    let node = Node::start(&["echo"], "");
    fs::write(node.folder.path("echo.wasm"), component(COUNTER)).unwrap();
    assert_eq!(deploy(&node, "echo.wasm", &[]), (Some(0), "generation 2 of echo serves\n".into()));
    assert!(run(&["plugins", "--to", &node.ipc(), "rollback", "echo"]).status.success());
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    assert_eq!(deploy(&node, "echo.wasm", &[]), (Some(0), "generation 3 of echo serves\n".into()));
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), [&[1][..]]);
}

#[test]
fn a_verdict_is_given_on_staged_files_of_the_folder_and_on_nothing_else() {
    let node = Node::start(&["echo"], "");
    let ask = |service: &str, staged: &str| {
        let body = ["try", service, staged].map(|word| word.as_bytes().to_vec());
        let until = Instant::now() + PATIENCE;
        loop {
            match node.client().call(Request::new("node.plugins").body(body.clone()).deadline(PATIENCE), |_| {}) {
                Ok(said) if said == ["\"pending\""] => assert!(Instant::now() < until),
                Ok(said) => return String::from_utf8(said.concat()).unwrap(),
                Err(error) => return error.to_string(),
            }
        }
    };
    for outside in ["../node.toml", "/etc/passwd", "echo.wasm", "./.x", ".x/../y", ""] {
        let said = ask("hello", outside);
        assert!(said.contains("422") && said.contains("begins with a dot, and is no path"), "{outside}: {said}");
    }
    assert!(ask("hello", ".missing").contains("no such file"));
    fs::write(node.folder.path("plugins/.staged"), component(ECHO)).unwrap();
    assert!(ask("node.x", ".staged").contains("the node answers node.x itself"));
    assert!(ask("a/b", ".staged-too").contains("is a path"));
    // The number of verdicts is bounded, and unused ones are dropped first.
    for number in 0..100 {
        assert!(ask("hello", &format!(".missing-{number}")).contains("no such file"));
    }
    assert!(ask("hello", ".staged").contains(&wasmnode_sandbox::digest(&component(ECHO))));
    assert_eq!(names(&node), [".staged", "echo.wasm"]);
    assert_eq!(node.fail("hello", &[]).0, Code::UnknownService, "a verdict puts nothing in place");
}

#[test]
fn for_a_node_without_versions_the_old_file_is_kept_beside_the_new_one() {
    let folder = Folder::new(&["echo"]);
    fs::write(folder.path("no-folder"), "").unwrap();
    let node = Node::start_in(folder, "name = 'under-test'\nstate = 'no-folder'\n", &[]);
    for (guest, generation, previous) in [(COUNTER, 2, ECHO), (ECHO, 3, COUNTER)] {
        fs::write(node.folder.path("echo.wasm"), component(guest)).unwrap();
        let served = format!("generation {generation} of echo serves\n");
        assert_eq!(deploy(&node, "echo.wasm", &[]), (Some(0), served));
        assert_eq!(names(&node), [".echo.wasm.previous", "echo.wasm"]);
        assert_eq!(fs::read(node.folder.path("plugins/.echo.wasm.previous")).unwrap(), component(previous));
    }
}

/// Starts to deploy a file that takes seconds to compile, and waits until the node compiles it.
fn begin_slow(node: &mut Node) -> Child {
    fs::write(node.folder.path("slow.wasm"), slow_to_compile()).unwrap();
    let file = node.folder.path("slow.wasm");
    let mut command = wasmnode();
    command.args(["deploy", file.to_str().unwrap(), "--name", "echo", "--to", &node.tcp, "--timeout", "180s"]);
    let deploying = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    node.wait_for("compiling ");
    deploying
}

#[test]
fn a_person_at_a_terminal_sees_that_the_node_compiles() {
    if !tools::has("script", &["script", "--version"]) {
        return;
    }
    let node = Node::start(&["echo"], "");
    fs::write(node.folder.path("slow.wasm"), slow_to_compile()).unwrap();
    let (program, file) = (wasmnode().get_program().to_owned(), node.folder.path("slow.wasm"));
    let line = format!("{} deploy {} --to {} --timeout 180s", program.display(), file.display(), node.tcp);
    let done = Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]).output().unwrap();
    let (code, said) = said(&done);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("slow: compiling on the node, 1 s"), "{said}");
    assert!(said.ends_with("generation 1 of slow serves\r\n"), "{said}");
}

#[test]
fn a_deploy_that_is_killed_before_the_verdict_changes_nothing() {
    let mut node = Node::start(&["echo"], "");
    let mut deploying = begin_slow(&mut node);
    deploying.kill().unwrap();
    deploying.wait().unwrap();
    node.wait_for("can serve echo");
    assert_eq!(fs::read(node.folder.path("plugins/echo.wasm")).unwrap(), component(ECHO));
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    node.kill();
    node.start_again();
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"], "the staged file is never loaded");
    let list = String::from_utf8(run(&["plugins", "--to", &node.tcp]).stdout).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[test]
fn a_node_that_is_killed_before_its_verdict_keeps_the_old_file() {
    let mut node = Node::start(&["echo"], "");
    let deploying = begin_slow(&mut node);
    node.kill();
    let (code, said) = said(&deploying.wait_with_output().unwrap());
    assert!(code.is_some_and(|code| code != 0) && said.contains("nothing was put in place"), "{code:?} {said}");
    assert_eq!(names(&node), ["echo.wasm"]);
    node.start_again();
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn without_a_node_only_the_configuration_names_the_plugin_folder() {
    let folder = Folder::new(&["echo"]);
    let config = folder.configure("");
    let config = config.to_str().unwrap();
    fs::write(folder.path("hello.wasm"), component(ECHO)).unwrap();
    fs::write(folder.path("junk.wasm"), "junk").unwrap();
    let file = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (code, text) = said(&run(&["deploy", &file("junk.wasm"), "--name", "echo", "--config", config]));
    assert!(code == Some(1) && text.contains("echo is refused: it is not a WebAssembly file"), "{text}");
    assert_eq!(fs::read(folder.path("plugins/echo.wasm")).unwrap(), component(ECHO));
    let absent = format!("ipc://{}", file("absent.ipc"));
    let (code, text) = said(&run(&["deploy", &file("hello.wasm"), "--config", config, "--to", &absent]));
    assert!(code == Some(9) && text.contains("nothing was put in place"), "{text}");
    assert!(!folder.path("plugins/hello.wasm").exists());
    let (code, text) = said(&run(&["deploy", &file("hello.wasm"), "--config", config]));
    assert!(code == Some(0) && text.contains("it serves when the node starts"), "{text}");
    let node = Node::start_in(folder, "", &[]);
    assert_eq!(node.call("hello", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn the_folder_of_another_machine_is_detected() {
    if !tools::has("unshare", &["unshare", "-m", "true"]) {
        return;
    }
    let folder = Folder::new(&["echo"]);
    // The node has another file system under the same path, as in a container.
    let script =
        format!("cp -r {0} {0}-inside && mount --bind {0}-inside {0} && exec \"$@\"", folder.path("plugins").display());
    let words = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let node = Node::start_inside(&words.map(String::from), folder, "");
    fs::write(node.folder.path("hello.wasm"), component(ECHO)).unwrap();
    let (code, said) = deploy(&node, "hello.wasm", &[]);
    assert!(code == Some(1) && said.contains("is on another machine, or in another container"), "{said}");
    assert_eq!(names(&node), ["echo.wasm"]);
}

#[test]
fn a_user_who_may_not_write_to_the_folder_gets_the_reason() {
    if !rustix::process::geteuid().is_root() || !tools::has("setpriv", &["setpriv", "--version"]) {
        return;
    }
    let node = Node::start(&["echo"], "");
    fs::write(node.folder.path("hello.wasm"), component(ECHO)).unwrap();
    // Everybody may read the file to deploy; the plugins are in a folder without access.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(node.folder.path("hello.wasm"), open.path().join("hello.wasm")).unwrap();
    for mode in [0o755, 0o700] {
        fs::set_permissions(node.folder.path(""), fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(wasmnode().get_program());
        command.arg("deploy").arg(open.path().join("hello.wasm")).args(["--to", &node.tcp]);
        let (code, said) = said(&command.output().unwrap());
        assert!(code == Some(8) && said.contains("run deploy as a user who may"), "{mode:o}: {code:?} {said}");
    }
    assert_eq!(names(&node), ["echo.wasm"]);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_deploy_whose_file_is_replaced_reports_it_soon() {
    let node = Node::start(&["echo"], "");
    let guests: Vec<Vec<u8>> = (0..3).map(|last| [&component(ECHO)[..], &[0, 2, 1, last]].concat()).collect();
    for (number, guest) in guests.iter().enumerate() {
        fs::write(node.folder.path(&format!("{number}.wasm")), guest).unwrap();
    }
    let digests: Vec<String> = guests.iter().map(|guest| wasmnode_sandbox::digest(guest)).collect();
    let mut replaced = 0;
    for _ in 0..5 {
        let began = Instant::now();
        let deploying: Vec<Child> = (0..guests.len())
            .map(|number| {
                let file = node.folder.path(&format!("{number}.wasm"));
                let mut command = wasmnode();
                command.args([
                    "deploy",
                    file.to_str().unwrap(),
                    "--name",
                    "echo",
                    "--to",
                    &node.tcp,
                    "--timeout",
                    "120s",
                ]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let ended: Vec<_> = deploying.into_iter().map(|child| said(&child.wait_with_output().unwrap())).collect();
        assert!(began.elapsed() < AT_ONCE * 2, "{ended:?}");
        for (code, said) in &ended {
            let is_replaced =
                said.contains("another deploy, a copy or a removal has replaced the file of echo: generation");
            let is_serving_named = digests.iter().any(|digest| said.contains(digest));
            assert!(*code == Some(0) || *code == Some(1) && is_replaced && is_serving_named, "{ended:?}");
            replaced += usize::from(is_replaced);
        }
    }
    assert!(replaced > 0, "concurrent deploys never collided");
}
