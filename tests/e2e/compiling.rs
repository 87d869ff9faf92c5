//! Files made to break the compiler, compiler processes that are killed, and damaged machine code: each affects only
//! its own file.

use crate::guests::component;
use crate::node::{Folder, Node, PATIENCE, run};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wasmnode::config::Config;
use wasmnode_client::{Code, Request};

const ECHO: &str = include_str!("../guests/echo.wat");

/// Limits that a test can wait for: three seconds of processor time for a small file.
const SHORT: &str = "[defaults]\ndeadline = '3m'\n[limits]\ncompile-time = '2s'\ncompile-time-per-mib = '1s'\n";

/// Deadline beyond the time that a busy machine takes to compile.
const WAITING: &str = "[defaults]\ndeadline = '3m'\n";

/// Limit that no test reaches.
const LONG: &str = "[defaults]\ndeadline = '3m'\n[limits]\ncompile-time = '1h'\n";

/// Encodes a number as WebAssembly does (LEB128).
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn counted(content: &[u8]) -> Vec<u8> {
    [number(content.len()), content.to_vec()].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], counted(content)].concat()
}

/// Returns the sections of a command around its code, with a custom section of `padding` bytes.
fn command(padding: usize) -> Vec<u8> {
    let exports = [&[2, 6][..], b"_start", &[0, 0, 6], b"memory", &[2, 0]].concat();
    let custom = [&counted(b"padding")[..], &vec![0; padding]].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(0, &custom),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(5, &[1, 0, 1]),
        section(7, &exports),
    ]
    .concat()
}

/// Returns a command that is truncated in its code section, on which `wit-component` panics.
fn cut(padding: usize) -> Vec<u8> {
    [command(padding), vec![10, 7, 1, 5, 0, 0x41, 1]].concat()
}

/// Returns a command with `depth` nested loops around `variables` variables that the innermost loop changes: small to
/// store, but the cost to compile is the product of both. `padding` makes files of equal cost differ.
fn bomb(depth: usize, variables: usize, padding: usize) -> Vec<u8> {
    let mut body = [number(1), number(variables), vec![0x7e], b"\x03\x40".repeat(depth)].concat();
    for variable in 0..variables {
        let variable = number(variable);
        body.extend([&[0x20][..], &variable, &[0x42, 1, 0x7c, 0x21], &variable].concat());
    }
    body.extend([0x41, 0, 0x0d, 0, 0x0b].repeat(depth));
    body.push(0x0b);
    [command(padding), section(10, &[&[1][..], &counted(&body)].concat())].concat()
}

/// Returns an echo that differs from every other one, so that it is in no cache.
fn unique_echo() -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    component(&format!("{ECHO}\n  (data (i32.const 2048) \"{now}\")"))
}

fn drop_in(node: &Node, service: &str, bytes: &[u8]) {
    let unfinished = node.folder.path("unfinished");
    fs::write(&unfinished, bytes).unwrap();
    fs::rename(&unfinished, node.folder.path(&format!("plugins/{service}.wasm"))).unwrap();
}

/// Waits for a service that will be offered, and calls it.
fn wait_and_call(node: &Node, service: &str) {
    let ask = Request::new(service).body(["x"]).wait(true).deadline(PATIENCE);
    assert_eq!(node.client().call(ask, |_| {}).unwrap(), ["x"]);
}

/// Returns the child processes of a process.
fn children(parent: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(|id| id.parse::<i32>().unwrap()));
    }
    children
}

/// Waits until `look` returns a value.
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

/// Returns the compiler process of a node, once it has replaced its copy of the node and closed the node's descriptors.
fn compiling(node: &Node) -> i32 {
    let has_begun = |process: &i32| {
        let words = fs::read_to_string(format!("/proc/{process}/cmdline"));
        words.is_ok_and(|words| words.contains("compile-process"))
    };
    wait_until("a process that compiles", || children(node.id()).into_iter().find(has_begun))
}

fn is_alive(process: i32) -> bool {
    // A zombie, for which the parent has not waited yet, counts as dead.
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn inspect(node: &Node, bytes: &[u8]) -> (Option<i32>, String) {
    let (config, file) = (node.folder.path("node.toml"), node.folder.path("inspected.wasm"));
    fs::write(&file, bytes).unwrap();
    let done = run(&["inspect", file.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

#[test]
fn a_file_that_makes_a_parser_panic_is_refused_at_the_start_and_later_and_loading_continues() {
    let folder = Folder::new(&["echo"]);
    folder.plugin("cut", &cut(0));
    folder.plugin("large", &cut(1 << 20));
    let mut node = Node::start_in(folder, WAITING, &[]);
    for service in ["cut", "large"] {
        node.wait_for_refusal(service, "panicked");
    }
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    for (service, padding) in [("cut-later", 1), ("large-later", (1 << 20) + 1)] {
        drop_in(&node, service, &cut(padding));
        node.wait_for(&format!("{service}.wasm is not loaded: the process that compiled it ended with"));
        node.wait_for_refusal(service, "panicked");
    }
    for service in ["quick", "slow"] {
        drop_in(&node, service, &unique_echo());
        wait_and_call(&node, service);
    }
    let (code, said) = inspect(&node, &cut(0));
    assert!(code == Some(1) && said.contains("panicked"), "{said}");
}

#[test]
fn files_that_take_too_long_to_compile_delay_no_other_and_are_refused_at_their_limit() {
    let mut node = Node::start(&[], SHORT);
    for number in 0..3 {
        drop_in(&node, &format!("bomb{number}"), &bomb(300, 300, number));
    }
    drop_in(&node, "large-bomb", &bomb(300, 300, 1 << 20));
    drop_in(&node, "small", &unique_echo());
    wait_and_call(&node, "small");
    let why = "compiling it exceeded the limit of processor time: 3 s by limits.compile-time";
    for number in 0..3 {
        node.wait_for_refusal(&format!("bomb{number}"), why);
    }
    node.wait_for_refusal("large-bomb", "4 s by limits.compile-time and limits.compile-time-per-mib");
    // No compilation of a refused file continues.
    wait_until("no process compiles", || children(node.id()).is_empty().then_some(()));
    let (code, said) = inspect(&node, &bomb(300, 300, 0));
    assert!(code == Some(1) && said.contains(why), "{said}");
    node.wait_for("bomb0.wasm");
}

#[test]
fn a_small_file_does_not_wait_for_a_pile_of_others_that_were_found_before() {
    let mut node = Node::start(&[], WAITING);
    for number in 0..12 {
        drop_in(&node, &format!("bomb{number}"), &bomb(300, 300, number));
    }
    node.wait_for("in the background");
    drop_in(&node, "small", &unique_echo());
    wait_and_call(&node, "small");
    node.signal("-TERM");
    assert!(node.wait().success());
    let log = node.log_to_its_end();
    let small = log.iter().position(|line| line.contains("can serve small")).unwrap();
    let before = log[..small].iter().filter(|line| line.contains("in the background")).count();
    assert!(before < 6, "{before} were tried before it");
}

#[test]
fn the_compilation_of_a_removed_or_replaced_file_or_of_an_abandoned_deploy_is_ended() {
    let mut node = Node::start(&[], LONG);
    let ended = |compiler: i32| wait_until("its process ends", || (!is_alive(compiler)).then_some(()));
    for (service, padding) in [("small", 0), ("large", 1 << 20)] {
        drop_in(&node, service, &bomb(300, 300, padding));
        node.wait_for(&format!("{service}.wasm ("));
        let compiler = compiling(&node);
        fs::remove_file(node.folder.path(&format!("plugins/{service}.wasm"))).unwrap();
        ended(compiler);

        drop_in(&node, service, &bomb(300, 300, padding + 1));
        let compiler = compiling(&node);
        drop_in(&node, service, &unique_echo());
        ended(compiler);
        wait_and_call(&node, service);
    }
    let file = node.folder.path("bomb.wasm");
    fs::write(&file, bomb(300, 300, 2)).unwrap();
    let file = file.to_str().unwrap();
    let done = run(&["deploy", file, "--name", "small", "--to", &node.tcp, "--timeout", "3s"]);
    assert_eq!(done.status.code(), Some(4));
    wait_until("no process compiles", || children(node.id()).is_empty().then_some(()));
    wait_and_call(&node, "small");
    node.signal("-TERM");
    assert!(node.wait().success());
    let log = node.log_to_its_end();
    assert!(!log.iter().any(|line| line.contains("is not loaded")), "{log:?}");
    let once = log.iter().filter(|line| line.contains("generation 1 of small serves")).count();
    assert_eq!(once, 1, "{log:?}");
}

#[test]
fn a_file_that_takes_too_much_memory_to_compile_is_refused() {
    let mut node = Node::start(&["echo"], "[defaults]\ndeadline = '3m'\n[limits]\ncompile-memory = '64MiB'\n");
    let data = "x".repeat(48 << 20);
    drop_in(&node, "large", &component(&format!("{ECHO}\n  (memory $more 1024)\n  (data \"{data}\")")));
    node.wait_for_refusal("large", "limits.compile-memory = 67108864");
    drop_in(&node, "small", &unique_echo());
    wait_and_call(&node, "small");
    node.wait_for("large.wasm is not loaded");
}

#[test]
fn a_node_listens_serves_and_stops_while_a_file_that_was_there_compiles() {
    let folder = Folder::new(&["echo"]);
    folder.plugin("bomb", &bomb(300, 300, 0));
    folder.plugin("large-bomb", &bomb(300, 300, 1 << 20));
    let mut node = Node::start_unready(folder, WAITING);
    wait_and_call(&node, "echo");
    assert_eq!(node.fail("bomb", &[b"x"]).0, Code::UnknownService);
    let mut compilers = Vec::new();
    wait_until("both compile", || {
        compilers = children(node.id());
        (compilers.len() == 2).then_some(())
    });
    let began = Instant::now();
    node.signal("-TERM");
    assert!(node.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for compiler in compilers {
        assert!(!is_alive(compiler), "{compiler} outlived the node");
    }
    assert!(!node.log_to_its_end().iter().any(|line| line.contains("is not loaded")));
}

#[test]
fn after_half_a_minute_a_node_logs_that_it_is_ready_and_what_still_compiles() {
    let folder = Folder::new(&["echo"]);
    folder.plugin("bomb", &bomb(300, 300, 0));
    let mut node = Node::start_in(folder, "", &[]);
    let line = node.wait_for("is ready after 30");
    assert!(line.contains("while plugins still load: bomb"), "{line}");
}

#[test]
fn a_compiler_process_that_is_killed_costs_its_file_and_one_whose_node_is_killed_ends() {
    let mut node = Node::start(&[], WAITING);
    drop_in(&node, "bomb", &bomb(300, 300, 1 << 20));
    let compiler = compiling(&node);
    // The compiler process has none of the node's connections.
    let descriptors = fs::read_dir(format!("/proc/{compiler}/fd")).unwrap();
    let links: Vec<PathBuf> = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
    assert!(!links.iter().any(|link| link.to_string_lossy().starts_with("socket:")), "{links:?}");
    kill(compiler);
    node.wait_for_refusal("bomb", "ended with signal: 9 (SIGKILL)");
    drop_in(&node, "small", &unique_echo());
    wait_and_call(&node, "small");

    drop_in(&node, "again", &bomb(300, 300, (1 << 20) + 1));
    let compiler = compiling(&node);
    node.kill();
    wait_until("the compiler process ends with its node", || (!is_alive(compiler)).then_some(()));
}

fn kill(process: i32) {
    assert!(std::process::Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}

/// Returns the path of the only entry in the node's own cache.
fn entry(node: &Node) -> PathBuf {
    let entries: Vec<PathBuf> =
        fs::read_dir(node.folder.path("own-cache")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

#[test]
fn machine_code_that_was_changed_anywhere_is_compiled_again() {
    let mut node = Node::start_with_cache(Folder::new(&[]), "own-cache", WAITING);
    let bytes = unique_echo();
    drop_in(&node, "echo0", &bytes);
    wait_and_call(&node, "echo0");
    let entry =
        wait_until("an entry", || fs::read_dir(node.folder.path("own-cache")).unwrap().next().map(|_| entry(&node)));
    let whole = wait_until("a whole entry", || fs::read(&entry).ok());
    let mut damaged: Vec<Vec<u8>> = (0..24)
        .map(|part| {
            let mut bytes = whole.clone();
            let place = part * (whole.len() - 1) / 23;
            bytes[place] ^= 1 << (part % 8);
            bytes
        })
        .collect();
    damaged.extend([whole[..whole.len() / 2].to_vec(), whole[..20].to_vec(), Vec::new(), vec![0; whole.len()]]);
    for (number, damaged) in damaged.iter().enumerate() {
        node.clear_log();
        fs::write(&entry, damaged).unwrap();
        let service = format!("echo{}", number + 1);
        drop_in(&node, &service, &bytes);
        wait_and_call(&node, &service);
        node.wait_for("is damaged");
        assert_eq!(fs::read(&entry).unwrap(), whole, "damage {number}");
    }
}

#[test]
fn a_cache_below_a_folder_that_others_may_write_to_is_reported_once_and_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new(&["echo"]);
    let above = folder.path("open");
    fs::create_dir_all(above.join("cache")).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
    let mut node = Node::start_with_cache(folder, "open/cache", WAITING);
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
    drop_in(&node, "small", &unique_echo());
    wait_and_call(&node, "small");
    assert_eq!(fs::read_dir(above.join("cache")).unwrap().count(), 0);
    node.signal("-TERM");
    node.wait();
    let said = node.log_to_its_end().iter().filter(|line| line.contains("no cache in")).count();
    assert_eq!(said, 1);
}

#[test]
fn with_a_program_that_is_not_a_compiler_process_files_are_refused() {
    let refusal = |program: &str| {
        let mut config = Config::embedded();
        config.cache = tempfile::tempdir().unwrap().path().join("cache");
        config.compile.program = program.into();
        wasmnode_sandbox::inspect(&unique_echo(), &config.sandbox()).unwrap_err().to_string()
    };
    let why = refusal("/nowhere/wasmnode");
    assert!(why.contains("cannot start /nowhere/wasmnode") && why.contains("No such file"), "{why}");
    let why = refusal("/bin/echo");
    assert!(why.contains("/bin/echo greets with \"compile-process\\n\""), "{why}");
    let why = refusal("/bin/false");
    assert!(why.contains("/bin/false ends with exit status: 1"), "{why}");
}
