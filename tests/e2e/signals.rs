//! Signals and terminals: what ends a node, what does not, and what SIGHUP reloads.

use crate::node::{Folder, Node, PATIENCE, run, wasmnode};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn sighup_reloads_keys_and_settings_and_logs_what_needs_a_restart() {
    let folder = Folder::new(&["echo"]);
    let keys = folder.path("keys");
    let keys = keys.to_str().unwrap();
    assert!(run(&["keygen", "--keys", keys]).status.success());
    let mut node = Node::start_in(folder, "[limits]\nmessage = '1MiB'\n[security]\nkeys = 'keys'\n", &[]);
    let file = node.folder.path("node.toml");
    node.signal("-HUP");
    node.wait_for("node.toml was read again; nothing has changed");
    node.wait_for("the keys were read again, 0 are trusted");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("1MiB", "2MiB") + "[service.echo]\nqueue = 5\n").unwrap();
    fs::write(node.folder.path("keys/trusted.toml"), "nobody's").unwrap();
    node.signal("-HUP");
    let line = node.wait_for("node.toml was read again; changed");
    assert!(line.ends_with(": service.echo.queue"), "{line}");
    let line = node.wait_for("changes that need a restart of the node");
    assert!(line.ends_with(": limits.message"), "{line}");
    fs::write(&file, text.replace("1MiB", "much")).unwrap();
    node.signal("-HUP");
    let line = node.wait_for("the configuration has mistakes");
    assert!(line.contains("limits.message: \"much\" is not a size"), "{line}");
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
}

#[test]
fn sighup_repeats_the_remarks_on_rejected_files() {
    let folder = Folder::new(&[]);
    let keys = folder.path("keys");
    assert!(run(&["keygen", "--keys", keys.to_str().unwrap()]).status.success());
    fs::create_dir(keys.join("trusted")).unwrap();
    fs::write(keys.join("trusted/typo.toml"), "kye = 1").unwrap();
    let mut node = Node::start_in(folder, "[security]\nkeys = 'keys'\n", &[]);
    node.wait_for("typo is not trusted");
    node.clear_log();
    node.signal("-HUP");
    node.wait_for("typo is not trusted");
}

#[test]
fn only_the_intended_signals_end_a_node_without_draining() {
    let mut node = Node::start(&["echo"], "");
    for signal in ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "XFSZ", "STKFLT"] {
        node.signal(&format!("-{signal}"));
        node.wait_for(&format!("SIG{signal} was received and has no effect"));
    }
    node.signal("-37");
    node.wait_for("SIGRTMIN+3 was received and has no effect");
    node.signal("-PIPE");
    node.signal("-HUP");
    node.wait_for("node.toml was read again; nothing has changed");
    assert_eq!(node.call("echo", &[b"still here"]).unwrap(), ["still here"]);
    for signal in ["-QUIT", "-PWR", "-XCPU"] {
        let mut node = Node::start(&[], "");
        node.signal(signal);
        node.wait_for("stopping: 0 requests in flight");
        assert!(node.wait().success(), "{signal}");
    }
}

/// Opens a terminal: the end that a person sees, and the end that a program writes to.
#[allow(unsafe_code, reason = "no crate in use opens terminals")]
fn terminal() -> (File, File) {
    let open = |path: &str| File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let person = open("/dev/ptmx");
    let (locked, mut number): (i32, u32) = (0, 0);
    // SAFETY: the descriptor is open, and both requests take a pointer to one integer (`ioctl_tty(2)`).
    let done = unsafe {
        [
            libc::ioctl(person.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked),
            libc::ioctl(person.as_raw_fd(), libc::TIOCGPTN, &raw mut number),
        ]
    };
    assert_eq!(done, [0, 0]);
    let program = open(&format!("/dev/pts/{number}"));
    (person, program)
}

/// Returns the lines of a terminal up to one with this text.
fn read_until(lines: &mut impl BufRead, text: &str) -> String {
    let (began, mut seen) = (Instant::now(), String::new());
    while !seen.contains(text) {
        assert!(lines.read_line(&mut seen).unwrap() > 0 && began.elapsed() < PATIENCE, "{seen}");
    }
    seen
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    for (variables, is_colourful) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let (folder, (person, program)) = (Folder::new(&[]), terminal());
        let mut command = wasmnode();
        command.arg("--config").arg(folder.configure("")).env_remove("NO_COLOR").envs(variables.iter().copied());
        let mut node = command.stderr(program).spawn().unwrap();
        let seen = read_until(&mut BufReader::new(&person), "is ready");
        node.kill().unwrap();
        node.wait().unwrap();
        assert_eq!(seen.contains('\u{1b}'), is_colourful, "{variables:?}: {seen:?}");
    }
}

/// Returns `true` if processes started by this one ignore SIGHUP, as under nohup: bit 0 of `SigIgn` in `proc(5)`.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

#[test]
fn a_node_whose_terminal_is_closed_drains_and_ends() {
    if ignores_hang_up() {
        println!("not tested, because SIGHUP is ignored here, as under nohup");
        return;
    }
    let (folder, (person, program)) = (Folder::new(&[]), terminal());
    let mut command = Command::new("setsid");
    command.arg("-c").arg(wasmnode().get_program()).arg("--config").arg(folder.configure(""));
    let mut node = command.env_remove("RUST_LOG").stdin(program).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(node.stderr.take().unwrap());
    read_until(&mut log, "is ready");
    drop(person);
    read_until(&mut log, "the terminal was closed");
    read_until(&mut log, "stopping: 0 requests in flight");
    assert!(node.wait().unwrap().success());
}
