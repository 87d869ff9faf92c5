//! Terminals in which a page is replayed: a shell for commands that end, and one terminal for each node.
//!
//! A session has copies of `examples` and `plugins`, its own folder instead of `/tmp`, and its own loopback address and
//! ports. They replace those of the page in commands and examples; in the output, those of the page replace them.

use super::clone::{self, DEFAULT};
use super::page::{announced_exit, without_comment};
use super::places::Places;
use crate::node::{PATIENCE, wasmnode};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use tempfile::TempDir;

/// Options of a command line that starts a node, which has no others and no command.
const OF_A_NODE: [&str; 3] = ["--config", "--log", "--log-format"];

/// Exit code of a command, and its output on stdout and stderr.
pub(super) struct Done {
    pub(super) exit: i32,
    pub(super) printed: String,
}

pub(super) struct Session {
    home: TempDir,
    places: Places,
    shell: Child,
    typed: ChildStdin,
    exits: Receiver<String>,
    /// Nodes in terminals of their own.
    nodes: Vec<Node>,
    /// Nodes that were started with `&`, by the number of the job.
    jobs: Vec<Option<Node>>,
    /// Set if nodes were started since the last call, before which a reader would wait for their links.
    calls_wait: bool,
}

impl Session {
    /// Prepares the folders for a page of this name and text.
    pub(super) fn new(name: &str, page: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let places = clone::make(home.path(), name, page);
        let mut shell = prepare(Command::new("sh"), home.path());
        let shell = shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let exits = lines(shell.stdout.take().unwrap());
        let typed = shell.stdin.take().unwrap();
        Self { home, places, shell, typed, exits, nodes: Vec::new(), jobs: Vec::new(), calls_wait: false }
    }

    /// Copies a shipped plugin to the path of the reader's plugin.
    pub(super) fn give(&self, file: &str, plugin: &str) {
        clone::copy_plugin(plugin, &self.home.path().join("clone").join(file));
    }

    /// Runs a command of a page until it ends, or until the node that it starts is ready.
    pub(super) fn run(&mut self, command: &str) -> Done {
        let words: Vec<&str> = without_comment(command).split_whitespace().collect();
        let mut done = match words.split_first() {
            Some((&"wasmnode", arguments)) if starts_a_node(arguments) => self.start(arguments),
            Some((&"kill", jobs)) if jobs.iter().all(|job| job.starts_with('%')) => self.kill(jobs),
            _ => self.type_in(command),
        };
        done.printed = self.places.of_the_page(&done.printed);
        done
    }

    /// Sends Ctrl-C to each terminal of a node.
    pub(super) fn stop(&mut self) {
        for node in self.nodes.drain(..) {
            let status = node.end(Signal::INT);
            assert!(status.success(), "a node ends by Ctrl-C with {status}");
        }
    }

    fn start(&mut self, arguments: &[&str]) -> Done {
        let is_job = arguments.last() == Some(&"&");
        let arguments: Vec<String> =
            arguments.iter().filter(|word| **word != "&").map(|word| self.places.own(word)).collect();
        let mut command = wasmnode();
        command.args(&arguments);
        if !arguments.iter().any(|word| word == "--config") {
            command.args(["--config", DEFAULT]);
        }
        let mut command = prepare(command, self.home.path());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = lines(process.stderr.take().unwrap());
        let mut node = Node { process, log };
        let mut printed = String::new();
        loop {
            match node.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains("is ready") => break,
                Ok(line) => printed = printed + &line + "\n",
                Err(RecvTimeoutError::Timeout) => panic!("a node is not ready: {arguments:?}\n{printed}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let exit = node.process.wait().unwrap().code();
                    return Done { exit: exit.unwrap_or(-1), printed };
                }
            }
        }
        if is_job {
            self.jobs.push(Some(node));
        } else {
            self.nodes.push(node);
        }
        self.calls_wait = true;
        // Its log is not in the terminal in which the page continues.
        Done { exit: 0, printed: String::new() }
    }

    fn kill(&mut self, jobs: &[&str]) -> Done {
        for job in jobs {
            let number: usize = job.trim_start_matches('%').parse().unwrap();
            let node = self.jobs[number - 1].take().unwrap();
            let status = node.end(Signal::TERM);
            assert!(status.success(), "job {number} ends with {status}");
        }
        Done { exit: 0, printed: String::new() }
    }

    /// Runs a command in the shell. The first call after the start of a node waits for the links that it needs.
    fn type_in(&mut self, command: &str) -> Done {
        let succeeds = announced_exit(command) == 0;
        let mut command = self.places.own(command);
        if self.calls_wait && succeeds && command.contains("wasmnode call ") {
            if !command.contains("--wait") {
                command = command.replacen("wasmnode call ", "wasmnode call --wait ", 1);
            }
            self.calls_wait = false;
        }
        let [script, output] = ["command", "output"].map(|name| self.home.path().join(name));
        fs::write(&script, command.clone() + "\n").unwrap();
        let (script_path, output_path) = (script.display(), output.display());
        writeln!(self.typed, ". '{script_path}' </dev/null >'{output_path}' 2>&1; echo \"$?\"").unwrap();
        let exit = self.exits.recv_timeout(PATIENCE);
        let printed = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
        let exit = exit.unwrap_or_else(|error| panic!("{command}\ndoes not end ({error}):\n{printed}"));
        Done { exit: exit.parse().unwrap(), printed }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Processes started by the shell are in its group.
        let _it_may_have_ended = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _nothing_to_reap = self.shell.wait();
    }
}

struct Node {
    process: Child,
    log: Receiver<String>,
}

impl Node {
    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _nothing_to_reap = self.process.wait();
    }
}

fn starts_a_node(arguments: &[&str]) -> bool {
    let options = arguments.strip_suffix(&["&"]).unwrap_or(arguments);
    options.chunks(2).all(|option| option.len() == 2 && OF_A_NODE.contains(&option[0]))
}

/// Prepares a command in the session's clone, with the session's programs and folders.
fn prepare(mut command: Command, home: &Path) -> Command {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::join_paths([home.join("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
    command.current_dir(home.join("clone")).env("PATH", programs).env("XDG_CACHE_HOME", cache);
    command.env("XDG_STATE_HOME", home.join("state")).env("WASMNODE", wasmnode().get_program());
    command.env_remove("RUST_LOG");
    command
}

/// Returns the lines of an output as they arrive.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, received) = channel();
    let output = BufReader::new(output);
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    received
}
