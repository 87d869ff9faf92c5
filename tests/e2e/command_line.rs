//! The command line: input, output and exit codes.

use crate::majordomo::Worker;
use crate::node::{Folder, Node, run, wasmnode};
use serde_json::json;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn call(node: &Node, arguments: &[&str]) -> Output {
    let endpoint = node.ipc();
    run(&[&["call", "--to", &endpoint], arguments].concat())
}

#[test]
fn call_prints_the_reply_and_partial_replies_as_they_come() {
    let node = Node::start(&["echo", "partials"], "");
    let done = call(&node, &["echo", "bonjour"]);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), "bonjour".into()), "{}", text(&done.stderr));
    assert_eq!(text(&call(&node, &["partials", "\u{3}!"]).stdout), "\u{3}!".repeat(4));
}

#[test]
fn call_reads_the_body_from_stdin_where_none_is_given_and_stdin_is_a_pipe_or_a_file() {
    let node = Node::start(&["echo", "echo=echo#method"], "");
    let send = |arguments: &[&str], stdin: Stdio, written: &[u8]| {
        let mut command = wasmnode();
        command.args(["call", "--to", &node.tcp]).args(arguments).stdin(stdin).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        if let Some(mut stdin) = process.stdin.take() {
            // A command that does not read stdin may have ended.
            let _gone = stdin.write_all(written);
        }
        process.wait_with_output().unwrap().stdout
    };
    let bytes = [0, 255, 10];
    assert_eq!(send(&["echo", "-"], Stdio::piped(), &bytes), bytes);
    assert_eq!(send(&["echo"], Stdio::piped(), &bytes), bytes, "a pipe");
    let file = node.folder.path("body");
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(send(&["echo"], std::fs::File::open(&file).unwrap().into(), &[]), bytes, "a file");
    assert!(send(&["echo", ""], Stdio::piped(), &bytes).is_empty(), "an empty body was given");
    assert_eq!(send(&["echo", "x"], Stdio::piped(), &bytes), b"x");
    assert!(send(&["echo"], Stdio::null(), &[]).is_empty(), "a device");
    assert!(send(&["echo#method"], Stdio::piped(), &bytes).is_empty(), "a name with '#'");
    assert_eq!(send(&["echo#method", "-"], Stdio::piped(), &bytes), bytes);
}

#[test]
fn call_waits_for_a_service_until_its_timeout_and_reports_it() {
    // Has passed when the plugin arrives; the request then has the whole deadline again.
    let deadline = Duration::from_secs(2);
    let node = Node::start(&[], "[defaults]\ndeadline = '2s'\n");
    let endpoint = node.ipc();
    let mut command = wasmnode();
    command.args(["call", "late", "x", "--wait", "--timeout", "3m", "--to", &endpoint]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    node.wait_for_figure("late", "queued", 1);
    let waits_since = Instant::now();
    while waits_since.elapsed() <= deadline {
        node.wait_for_figure("late", "queued", 1);
    }
    node.folder.plugin("late", &std::fs::read(Folder::new(&["echo"]).path("plugins/echo.wasm")).unwrap());
    let done = waiting.wait_with_output().unwrap();
    assert_eq!(text(&done.stdout), "x", "{}", text(&done.stderr));
    let never = call(&node, &["never", "x", "--wait", "--timeout", "300ms"]);
    let said = text(&never.stderr);
    assert!(never.status.code() == Some(3) && said.contains("it waited for the client's deadline of"), "{said}");
}

#[test]
fn a_command_without_an_endpoint_calls_the_node_at_the_ipc_socket_of_this_folder_as_its_owner() {
    let node = Node::start(&["echo"], "listen = ['ipc://wasmnode.ipc', 'tcp://127.0.0.1:0']\n");
    let here = |arguments: &[&str]| wasmnode().args(arguments).current_dir(node.folder.path("")).output().unwrap();
    assert_eq!(text(&here(&["call", "echo", "x"]).stdout), "x");
    let said = text(&here(&["plugins", "rollback", "echo"]).stderr);
    assert!(said.contains("there is no generation of echo before the serving one"), "{said}");
}

#[test]
fn the_timeout_of_a_call_covers_the_reading_of_stdin() {
    let mut command = wasmnode();
    command.args(["call", "echo", "--timeout", "50ms"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let never_closed = process.stdin.take();
    let done = process.wait_with_output().unwrap();
    drop(never_closed);
    let said = text(&done.stderr);
    assert!(done.status.code() == Some(4) && said.contains("stdin did not end within 50ms (--timeout)"), "{said}");
}

#[test]
fn the_exit_code_is_that_of_the_failures_class() {
    let settings = "[service.loop]\ndeadline = '50ms'\n[limits]\nmessage = '1KiB'\n";
    let node = Node::start(&["trap", "loop", "reject"], settings);
    for (arguments, code, said) in [
        (&["missing", "x"][..], 3, "404 unknown service"),
        (&["loop", "x"], 4, "504 deadline"),
        (&["trap", "x"], 6, "502 crashed"),
        (&["reject", "x"], 7, "ask for something else"),
        (&["trap", &"x".repeat(2000)], 6, "limits.message = 1024"),
    ] {
        let done = call(&node, arguments);
        let stderr = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("wasmnode: ") && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_name_is_checked_before_anything_is_sent_and_alike_in_every_command() {
    let long = "a".repeat(255);
    let (node, longer) = (Node::start(&[], ""), format!("{long}-delete-everything"));
    let _worker = Worker::v2(&node.ipc(), &long);
    node.wait_for_workers(&long, 1);
    let endpoint = node.ipc();
    for name in [&longer, "not a name", "a@", "a@b@c", "a\nb"] {
        for command in [&["call", name, "x"][..], &["explain", name], &["trace", name], &["plugins", "rollback", name]]
        {
            let done = run(&[command, &["--to", &endpoint]].concat());
            let said = text(&done.stderr);
            assert_eq!(done.status.code(), Some(2), "{command:?}: {said}");
            assert!(said.contains("400 malformed: the service name") && done.stdout.is_empty(), "{command:?}: {said}");
        }
    }
    // The library sends nothing either, not even to an absent node.
    let mut nowhere = wasmnode_client::Client::connect("ipc:///nowhere.ipc").unwrap();
    let refused = nowhere.call(wasmnode_client::Request::new(&longer), |_| {});
    assert!(
        matches!(&refused, Err(wasmnode_client::Error::Failure(failure)) if failure.code.number() == 400),
        "{refused:?}"
    );
    let counters = &node.report()["counters"];
    assert_eq!([&counters["malformed"], &counters["failed"]], [&json!(0), &json!({})]);
}

#[test]
fn an_unknown_service_is_exit_code_3_everywhere_with_a_suggestion() {
    let node = Node::start(&["print", "echo"], "");
    let endpoint = node.ipc();
    for command in
        [&["call", "pritn", "x"][..], &["explain", "pritn"], &["trace", "pritn"], &["plugins", "rollback", "pritn"]]
    {
        let done = run(&[command, &["--to", &endpoint]].concat());
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{command:?}: {said}");
        assert!(
            said.contains("404 unknown service") && said.ends_with("; did you mean print?\n"),
            "{command:?}: {said}"
        );
    }
    let explained = run(&["explain", "nothing-alike", "--to", &endpoint]);
    assert_eq!(explained.status.code(), Some(3));
    assert!(text(&explained.stdout).contains("=> 404: no node offers it"), "{explained:?}");
    assert!(!text(&explained.stderr).contains("did you mean"), "{explained:?}");
    assert_eq!(run(&["explain", "print", "--to", &endpoint]).status.code(), Some(0));
}

#[test]
fn a_time_or_a_quota_that_the_configuration_would_refuse_is_refused_as_an_option_too() {
    let folder = Folder::new(&["echo"]);
    let file = folder.path("plugins/echo.wasm");
    for time in ["18446744073709551615s 1000ms", "0s", "31d", "1us", "soon"] {
        for command in [&["call", "echo", "x"][..], &["trace", "echo"], &["deploy", file.to_str().unwrap()]] {
            let done = run(&[command, &["--timeout", time]].concat());
            let said = text(&done.stderr);
            assert!(done.status.code() == Some(2) && said.contains("write"), "{command:?} {time}: {said}");
        }
    }
    let keys = folder.path("keys");
    for quota in [
        ["--requests-per-second", "0"],
        ["--requests-per-second", "1000000001"],
        ["--bytes-per-second", "0"],
        ["--bytes-per-second", "2TiB"],
        ["--outstanding", "10000001"],
        ["--offer", "print"],
    ] {
        let trust = ["trust", "shop", "--uid", "1001", "--keys", keys.to_str().unwrap()];
        let done = run(&[&trust[..], &quota].concat());
        assert_eq!(done.status.code(), Some(2), "{quota:?}: {}", text(&done.stderr));
    }
    assert!(!keys.exists(), "nothing was written");
}

#[test]
fn an_invalid_option_is_rejected_with_a_remedy_before_anything_is_sent() {
    let folder = Folder::new(&[]);
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    assert!(run(&["sign", "--new-key", &path("release")]).status.success());
    std::fs::write(folder.path("x.wasm"), "").unwrap();
    let call = |option| vec!["call".to_owned(), "echo".into(), "x".into(), option, String::new()];
    let with = |option: &str, value: &str| [&call(option.into())[..4], &[value.to_owned()]].concat();
    let words = |line: &[&str]| line.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (arguments, exit, why) in [
        (with("--timeout", "-1s"), 2, "\"-1s\" is not a duration; write \"2s\""),
        (with("--idempotency-key", ""), 2, "it is empty"),
        (with("--traceparent", "zzz"), 2, "00-TRACE-PARENT-FLAGS"),
        (words(&["trust", "bob", "--uid", "bob"]), 2, "`id -u NAME`"),
        (words(&["deploy", &path(".")]), 2, "is a folder; name the component"),
        (words(&["sign", &path("x.wasm"), "--key", &path("release.pub")]), 1, "it is the public key"),
    ] {
        let done = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = text(&done.stderr);
        assert!(done.status.code() == Some(exit) && said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn output_that_cannot_be_written_is_reported_with_exit_code_1() {
    let node = Node::start(&["echo"], "");
    for command in [&["call", "echo", "x"][..], &["services"], &["plugins"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = wasmnode().args(command).args(["--to", &node.ipc()]).stdout(full).output().unwrap();
        let said = text(&done.stderr);
        assert!(done.status.code() == Some(1) && said.contains("cannot write the output: No space left"), "{said}");
    }
}

#[test]
fn an_unknown_node_is_reported_with_a_suggestion() {
    let node = Node::start(&["echo"], "name = 'node2'\n");
    for command in [&["call", "echo@nod2", "x"][..], &["explain", "echo@nod2"], &["trace", "echo@nod2"]] {
        let done = run(&[command, &["--to", &node.ipc()]].concat());
        let said = text(&done.stderr);
        let hint = "; no node or zone nod2 is known there; did you mean echo@node2?\n";
        assert!(done.status.code() == Some(3) && said.ends_with(hint), "{command:?}: {said}");
    }
    let said = text(&call(&node, &["echo@elsewhere", "x"]).stderr);
    assert!(said.ends_with("; no node or zone elsewhere is known there\n"), "{said}");
}

#[test]
fn a_file_that_no_service_can_be_named_after_is_listed_with_the_reason() {
    let mut node = Node::start(&["echo"], "");
    std::fs::write(node.folder.path("plugins/my echo.wasm"), "x").unwrap();
    std::fs::write(node.folder.path("plugins/node.echo.wasm"), "x").unwrap();
    std::fs::write(node.folder.path("plugins/UP.WASM"), "x").unwrap();
    let listed = text(&run(&["plugins", "--to", &node.ipc()]).stdout);
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(
        line("my echo.wasm").contains("- refused: ") && line("my echo.wasm").ends_with("; rename the file"),
        "{listed}"
    );
    assert!(line("node.echo.wasm").contains("the node answers node.echo itself; rename"), "{listed}");
    assert!(line("UP.WASM").ends_with("its name ends in .WASM, not in .wasm; rename the file"), "{listed}");
    assert!(line("echo ").contains("serving"), "{listed}");
    node.wait_for("UP.WASM is not loaded: its name ends in .WASM");
}

#[test]
fn options_are_accepted_before_and_after_the_command() {
    let folder = Folder::new(&[]);
    folder.plugin("echo", &std::fs::read(Folder::new(&["print"]).path("plugins/print.wasm")).unwrap());
    let node = Node::start_in(folder, "", &[]);
    let endpoint = node.ipc();
    let to = ["--to", endpoint.as_str()];
    for command in [
        &[&["--log", "info", "--json"][..], &to, &["services"]].concat()[..],
        &[&["services", "--json", "--log", "info", "--log-format", "json"][..], &to].concat(),
        &[&to[..], &["plugins", "--json"]].concat(),
        &[&["plugins"][..], &to, &["--json"]].concat(),
    ] {
        let done = run(command);
        let is_json = matches!(done.stdout.first(), Some(b'[' | b'{'));
        assert!(done.status.success() && is_json, "{command:?}: {done:?}");
    }
    // There is no earlier version, but the node was called.
    for rollback in [
        [&["plugins", "rollback", "echo"][..], &to].concat(),
        [&["plugins"][..], &to, &["rollback", "echo"]].concat(),
        [&to[..], &["plugins", "rollback", "echo", "--keys", "nowhere"]].concat(),
    ] {
        let done = run(&rollback);
        assert!(text(&done.stderr).starts_with("wasmnode: 4"), "{rollback:?}: {done:?}");
    }
    let misplaced = run(&[&to[..], &["new", "x"]].concat());
    assert_eq!(misplaced.status.code(), Some(2));
    assert!(text(&misplaced.stderr).contains("--to is not an option of this command"), "{misplaced:?}");
}

#[test]
fn a_command_whose_output_is_closed_ends_quietly_and_cancels_its_request() {
    let node = Node::start(&["partials", "echo"], "");
    let endpoint = node.ipc();
    let body = format!("\u{7f}{}", "x".repeat(100_000));
    for command in
        [&["services"][..], &["members"], &["explain", "echo"], &["call", "echo", "x"], &["call", "partials", &body]]
    {
        let mut process = wasmnode();
        process.args(command).args(["--to", &endpoint]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = process.spawn().unwrap();
        // The pipe has no reader before anything is written to it.
        drop(process.stdout.take());
        let done = process.wait_with_output().unwrap();
        assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()), "{command:?}");
    }
}

#[test]
fn an_absent_node_and_a_wrong_endpoint_are_reported_immediately() {
    let folder = Folder::new(&[]);
    let absent = run(&["call", "echo", "--to", &format!("ipc://{}", folder.path("absent.ipc").display())]);
    assert_eq!(absent.status.code(), Some(9));
    assert!(text(&absent.stderr).contains("start one with `wasmnode`"), "{}", text(&absent.stderr));
    let wrong = run(&["call", "echo", "--to", "localhost"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("write \"ipc://node.ipc\""), "{}", text(&wrong.stderr));
}

#[test]
fn services_lists_what_can_be_called() {
    let node = Node::start(&["echo", "counter"], "");
    node.call("echo", &[]).unwrap();
    let config = node.folder.path("node.toml");
    let done = run(&["services", "--config", config.to_str().unwrap()]);
    let stdout = text(&done.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let columns: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(columns, ["SERVICE", "counter", "echo"], "{}", text(&done.stderr));
    assert_eq!(rows[2][5], "1", "{stdout}");
}

#[test]
fn check_names_every_mistake_with_its_line() {
    let folder = Folder::new(&[]);
    let file = folder.configure("plugin = 'x'\n[service.print]\nmemory = '64 potatoes'\n[service.echo]\nreuse = 0\n");
    let done = run(&["check", "--config", file.to_str().unwrap()]);
    let stderr = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    for mistake in ["node.toml:5: node.plugin", "node.toml:7: service.print.memory", "node.toml:9: service.echo.reuse"]
    {
        assert!(stderr.contains(mistake), "no {mistake} in\n{stderr}");
    }
    assert_eq!(text(&run(&["check", file.to_str().unwrap()]).stderr), stderr, "the file may be named without --config");
    let unsaid = run(&["check"]);
    assert_eq!(unsaid.status.code(), Some(2));
    assert!(text(&unsaid.stderr).contains("check FILE, or wasmnode check --config FILE"), "{unsaid:?}");
}

#[test]
fn check_requires_no_plugin_folder_of_a_router() {
    let folder = Folder::new(&[]);
    let file = folder.path("router.toml");
    let router = "[router.neighbour.lyon]\nendpoint = 'tcp://127.0.0.1:1'\n";
    std::fs::write(&file, format!("node = {{ plugins = 'none' }}\n{router}")).unwrap();
    let checked = run(&["check", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    std::fs::write(&file, "node = { plugins = 'none' }\n").unwrap();
    assert!(!run(&["check", file.to_str().unwrap()]).status.success());
}

#[test]
fn check_finds_what_is_missing_on_the_machine_with_every_other_mistake() {
    let folder = Folder::new(&[]);
    let own = folder.path("keys");
    assert!(run(&["keygen", "--keys", own.to_str().unwrap()]).status.success());
    std::fs::create_dir(own.join("trusted")).unwrap();
    std::fs::write(own.join("trusted/typo.toml"), "kye = 'x'\n").unwrap();
    std::fs::create_dir(own.join("trusted/folder.toml")).unwrap();
    std::fs::write(own.join("trusted/._x.toml"), "left behind").unwrap();
    std::fs::write(folder.path("cache"), "no folder").unwrap();
    let file = folder.path("node.toml");
    let config = "[node]\nplugins = 'none'\ncache = 'cache'\nlisten = ['ipc://away/node.ipc']\n[security]\nkeys = 'keys'\n\
                  [service.told]\nfs = [{ host = 'gone', guest = 'd', wirte = true }]\nmemory = 'much'\n";
    std::fs::write(&file, config).unwrap();
    let done = run(&["check", file.to_str().unwrap()]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    for mistake in [
        "node.toml:2: node.plugins: the folder ",
        "none does not exist; make it, or name another",
        "node.toml:3: node.cache: ",
        "cache is not a folder",
        "node.toml:4: node.listen: the folder ",
        "node.toml:6: security.keys: ",
        "typo.toml:1: kye: unknown key; did you mean key?",
        "folder.toml: is skipped: not a regular file but a folder",
        "node.toml:8: service.told.fs[0].host: the folder ",
        "node.toml:8: service.told.fs[0].guest: \"d\" is not an absolute path",
        "node.toml:8: service.told.fs[0].wirte: unknown key; did you mean write?",
        "node.toml:9: service.told.memory: ",
    ] {
        assert!(said.contains(mistake), "no {mistake} in\n{said}");
    }
    assert!(!said.contains("._x"), "{said}");
}

#[test]
fn the_examples_are_without_mistakes() {
    for file in ["node1", "node2"] {
        let path = format!("{}/../examples/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let done = run(&["check", "--config", &path]);
        assert_eq!(text(&done.stdout), format!("{path}: no mistakes; node {file} of zone local\n"));
    }
}

#[test]
fn a_wrong_log_filter_is_rejected_with_a_suggestion() {
    for (filter, said) in [
        ("loud=very", "loud=very"),
        ("inof", "did you mean info?"),
        ("plugin", "plugin=debug"),
        ("plugn=debug", "did you mean plugin?"),
        ("", "it is empty"),
    ] {
        for arguments in [&["--log", filter][..], &["services", "--log", filter]] {
            let done = run(arguments);
            assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
            assert!(text(&done.stderr).contains(said), "{}", text(&done.stderr));
        }
    }
    let done = wasmnode().env("RUST_LOG", "info,plugin=debgu").output().unwrap();
    let said = text(&done.stderr);
    assert!(
        done.status.code() == Some(2) && said.contains("RUST_LOG: \"debgu\" is not a level; did you mean debug?"),
        "{said}"
    );
}

#[test]
fn inspect_reports_what_a_file_is_and_what_it_imports() {
    let folder = Folder::new(&["echo", "print", "probe"]);
    let inspect = |file: &str| {
        let done = run(&["inspect", folder.path(file).to_str().unwrap()]);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, said) = inspect("plugins/print.wasm");
    assert!(
        code == Some(0) && said.starts_with("kind      component of the world wasmnode:service/service\n"),
        "{said}"
    );
    assert!(said.contains("\n            handle: func(request: request) -> result<body, failure>;\n"), "{said}");
    let (_, said) = inspect("plugins/probe.wasm");
    assert!(said.contains("variables if `env` grants them") && said.contains("folders if `fs` grants them"), "{said}");

    let wat = "(component (import \"wasi:http/types@0.3.0\" (instance)) (import \"a:b/c\" (instance)))";
    folder.plugin("greedy", &wat::parse_str(wat).unwrap());
    let (code, said) = inspect("plugins/greedy.wasm");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("it imports interfaces that the host does not offer: wasi:http/types@0.3.0, a:b/c"),
        "{said}"
    );
    folder.plugin("rubbish", b"rubbish");
    assert!(inspect("plugins/rubbish.wasm").1.contains("it is not a WebAssembly file"));
}
