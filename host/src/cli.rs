//! The command line: commands, options and exit codes.

mod atomic_file;
mod before;
mod call;
mod check;
mod connect;
mod deploy;
mod filter;
mod init;
mod keys;
mod log;
mod log_buffer;
mod names;
mod new;
mod node;
mod plugins;
#[cfg(test)]
mod reference;
mod reload;
mod sign;
mod status;
mod trace;
mod traffic;

use before::Before;
use call::CALL;
pub(crate) use call::{CallArgs, call};
pub(crate) use check::{CheckArgs, check};
use connect::ConnectArgs;
pub(crate) use deploy::{DeployArgs, deploy};
use filter::Filter;
pub(crate) use init::{InitArgs, init};
use keys::KEYS;
pub(crate) use keys::{DistrustArgs, KeygenArgs, TrustArgs, distrust, keygen, trust};
use log_buffer::LogBuffer;
pub(crate) use new::{NewArgs, new};
use node::NodeArgs;
pub(crate) use node::print_first_steps;
pub(crate) use plugins::{InspectArgs, PluginsArgs, inspect, plugins};
pub(crate) use reload::reload;
use sign::SIGNING;
pub(crate) use sign::{SignArgs, sign};
pub(crate) use status::{ExplainArgs, ListArgs, explain, members, services};
use trace::TRACE;
pub(crate) use trace::{TraceArgs, trace};
use traffic::TRAFFIC;
pub(crate) use traffic::{TrafficArgs, traffic};

use clap::{Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use wasmnode::config::ConfigError;
use wasmnode::driver::RunError;
use wasmnode_client as client;
use wasmnode_core::text::{self, MAX_LINE};
use wasmnode_core::{Body, Code, Failure};

const EXAMPLES: &str = "\
Examples:
  wasmnode                                        serve plugins/ on ipc://wasmnode.ipc and tcp://127.0.0.1:5555
  wasmnode --config examples/node2.toml           serve what the file configures
  wasmnode init                                   write a commented configuration: node.toml
  wasmnode check --config examples/node2.toml     list every mistake of the file
  wasmnode services                               list what can be called, with counters
  wasmnode members                                list the nodes of the zone
  wasmnode explain afficher                       report where a request would go, and why
  wasmnode trace afficher@lyon                    report the path of a request, hop by hop, with times
  wasmnode new hello --lang python                start a service in rust, c, zig, go, python or javascript
  wasmnode inspect hello.wasm                     report what a file is, and what it imports
  wasmnode deploy hello.wasm                      serve `hello`, or its new version
  wasmnode sign hello.wasm                        sign it, for nodes that load only signed plugins; see sign --help
  wasmnode reload --config examples/node2.toml    use what has changed in the file
  wasmnode plugins rollback hello                 return to the version before
  wasmnode traffic --config traffic.toml          send random requests between zones, and report the outcome
  wasmnode keygen                                 make this machine's keys; trust --help shows how to use them
  wasmnode call afficher bonjour                  call a service
  wasmnode call afficher@node2 bonjour            call it on that node
  date | wasmnode call print - --to ipc://wasmnode.ipc";

const EXIT_CODES: &str = "\
Exit codes:
  0  a reply                              5  too many requests, or the node is stopping: try again later
  1  the program could not do its work    6  the service crashed, or exceeded a limit
  2  wrong arguments, a malformed name    7  the service rejected the request, or reported a failure
  3  no such service                      8  not allowed
  4  no answer in time                    9  no node at the endpoint, or it broke the protocol
                                         10  lost or cancelled: the request may have run";

/// Environment variable of the configuration, for a command line without `--config`.
const CONFIG: &str = "WASMNODE_CONFIG";

/// Time limit for a node's answers about itself.
const ANSWER: Duration = Duration::from_secs(5);

/// A broker node that serves sandboxed WebAssembly components over ZeroMQ.
///
/// Without a command it runs a node until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The node's configuration, or for `traffic` the file that describes the traffic; by default $WASMNODE_CONFIG.
    /// Without it, a node serves plugins/, print and afficher on ipc://wasmnode.ipc and tcp://127.0.0.1:5555
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// What a node logs: error, warn, info, debug or trace, or a filter such as "info,plugin=debug"; RUST_LOG works too
    #[arg(long, value_name = "FILTER", global = true, value_parser = Filter::parse)]
    log: Option<Filter>,
    /// Format of the log, which is written to stderr
    #[arg(long, value_enum, default_value = "human", value_name = "FORMAT", global = true)]
    log_format: LogFormat,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    before: Before,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Text for a terminal
    Human,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Call a service and print its reply, partial replies as they arrive
    #[command(before_help = CALL, after_help = EXIT_CODES)]
    Call(CallArgs),
    /// List what can be called, with counters
    Services(ListArgs),
    /// List the nodes of the zone
    Members(ListArgs),
    /// Report where a request would go, and why
    Explain(ExplainArgs),
    /// Report the path of a request that runs nothing: each hop with its time and its decision
    #[command(after_help = TRACE)]
    Trace(TraceArgs),
    /// List the plugins in all their versions, or return to the version before
    Plugins(PluginsArgs),
    /// Place a component into the plugin folder, safely, and wait until it serves
    Deploy(DeployArgs),
    /// Have a node read its configuration and its keys again, and report what changed and what needs a restart
    Reload(ListArgs),
    /// Sign plugins, for nodes that load only signed ones, or make a pair of signing keys
    #[command(after_help = SIGNING)]
    Sign(SignArgs),
    /// Write a small project for a new service
    New(NewArgs),
    /// Report what a file is, what it imports, and whether it could serve
    Inspect(InspectArgs),
    /// Send random requests to nodes, and report whether each had exactly one answer
    #[command(after_help = TRAFFIC)]
    Traffic(TrafficArgs),
    /// Write a commented configuration
    Init(InitArgs),
    /// Check a configuration and list every mistake
    Check(CheckArgs),
    /// Make the keys of this machine, so that its nodes and clients can prove their identity
    #[command(after_help = KEYS)]
    Keygen(KeygenArgs),
    /// Trust a key, or a user of this machine
    #[command(after_help = KEYS)]
    Trust(TrustArgs),
    /// Revoke a trusted key or user
    #[command(after_help = KEYS)]
    Distrust(DistrustArgs),
    /// Compile one file for a node, by an internal protocol on standard input and output
    #[command(hide = true)]
    CompileProcess,
}

impl Cli {
    /// Moves options written before the command into its arguments, and completes them from the environment.
    pub(crate) fn complete(&mut self) -> Result<(), Failed> {
        if self.command.is_some() {
            self.node.reject_beside_command()?;
        }
        self.before.move_to(&mut self.command, self.config.is_none())?;
        // The file of `traffic` is a plan, not a configuration.
        if self.config.is_none() && !matches!(self.command, Some(Command::Traffic(_))) {
            self.config = std::env::var_os(CONFIG).filter(|file| !file.is_empty()).map(PathBuf::from);
        }
        Ok(())
    }

    /// Starts logging to stderr from a separate thread, so that a slow terminal does not hold up the node. Lines that
    /// the thread cannot keep up with are dropped.
    pub(crate) fn start_logging(&self) -> Result<WorkerGuard, Failed> {
        let wrong = |message| Failed { message, exit: 2 };
        let filter = match &self.log {
            Some(filter) => filter.of_own_parts(),
            None => match environment(EnvFilter::DEFAULT_ENV)?.filter(|text| !text.trim().is_empty()) {
                Some(text) => Filter::parse_any(&text).map_err(|error| wrong(format!("RUST_LOG: {error}")))?,
                None => Filter::default(),
            },
        };
        // The messages of wasmtime-wasi-http about guests belong to the log of their service, within its limits; those
        // of notify concern nobody.
        let filter = EnvFilter::try_new(format!("wasmtime_wasi_http=off,notify=warn,{}", filter.as_str()))
            .map_err(|error| wrong(error.to_string()))?;
        let (writer, guard) = LogBuffer::start(std::io::stderr(), self.log_format);
        let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        match self.log_format {
            LogFormat::Human => {
                let is_colourful = is_colourful(std::io::stderr().is_terminal());
                format.fmt_fields(log::fields()).with_ansi(is_colourful).with_target(false).init();
            }
            LogFormat::Json => format.json().flatten_event(true).init(),
        }
        Ok(guard)
    }
}

/// Returns the text of an environment variable; `None` if it is not set or empty.
fn environment(name: &str) -> Result<Option<String>, Failed> {
    let given = std::env::var_os(name).filter(|text| !text.is_empty());
    let wrong = |_| Failed { message: format!("{name} is not UTF-8"), exit: 2 };
    given.map(|text| text.into_string().map_err(wrong)).transpose()
}

/// Returns `true` on a terminal with colours, unless the user disables them (<https://no-color.org>).
fn is_colourful(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Prints what clap has to say: the help that was asked for, or the mistake in the arguments. If these have characters
/// that could move the cursor of a terminal, prints without colours. Returns the exit code.
pub(crate) fn report_arguments(error: &clap::Error) -> ExitCode {
    let is_plain = |argument: OsString| argument.to_str().is_some_and(|text| !text.chars().any(is_escaped));
    let _output_may_be_closed = match std::env::args_os().all(is_plain) {
        true => error.print(),
        false => std::io::stderr().write_all(for_terminal(error.render().to_string().as_bytes()).as_bytes()),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Failure of a command.
#[derive(Debug)]
pub(crate) struct Failed {
    message: String,
    exit: u8,
}

impl Failed {
    /// End of a command whose output pipe was closed: without a message, and not a failure.
    const QUIET: Self = Self { message: String::new(), exit: 0 };

    /// Prints the message, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            let lines: Vec<_> = self.message.lines().map(|line| text::line(line, MAX_LINE)).collect();
            let _stderr_may_be_closed = writeln!(std::io::stderr(), "wasmnode: {}", lines.join("\n"));
        }
        ExitCode::from(self.exit)
    }

    /// Converts a failure that a node answered, or would answer.
    fn of(failure: &Failure) -> Self {
        Self { message: failure.to_string(), exit: exit_code(failure.code) }
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self { message: format!("the configuration has mistakes:\n{error}"), exit: 1 }
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        Self { message: error.to_string(), exit: 1 }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self { message: format!("cannot read stdin: {error}"), exit: 1 }
    }
}

impl From<client::Error> for Failed {
    fn from(error: client::Error) -> Self {
        let exit = match &error {
            client::Error::Failure(failure) => return Self::of(failure),
            client::Error::Timeout { .. } => 4,
            client::Error::Refused { .. } => 8,
            client::Error::Lost { .. } => 10,
            client::Error::Socket { .. } => 2,
            // No node, or one that breaks the protocol.
            _ => 9,
        };
        Self { message: error.to_string(), exit }
    }
}

fn exit_code(code: Code) -> u8 {
    match code {
        Code::Malformed => 2,
        Code::UnknownService => 3,
        Code::Deadline => 4,
        Code::Overloaded | Code::Draining | Code::Unreachable => 5,
        Code::Crashed | Code::Exhausted | Code::TooLarge | Code::Loop => 6,
        Code::Rejected | Code::Failed => 7,
        Code::Forbidden => 8,
        Code::Lost | Code::Cancelled => 10,
    }
}

/// Writes the frames unchanged to a pipe or a file. On a terminal each frame ends with a line break, and control
/// characters that could move the cursor or reorder text are escaped.
fn print(body: &Body) -> Result<(), Failed> {
    write_out(body).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failed::QUIET,
        _ => Failed { message: format!("cannot write the output: {error}"), exit: 1 },
    })
}

fn write_out(body: &Body) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for frame in body {
        if stdout.is_terminal() {
            stdout.write_all(for_terminal(frame).as_bytes())?;
        } else {
            stdout.write_all(frame)?;
        }
    }
    stdout.flush()
}

/// Returns `true` if a character could move the cursor of a terminal, or reorder text.
fn is_escaped(c: char) -> bool {
    !matches!(c, '\n' | '\t') && (c.is_control() || text::is_bidi(c))
}

/// Converts a frame to lines in which no character moves the cursor or reorders text.
fn for_terminal(frame: &[u8]) -> String {
    let text = String::from_utf8_lossy(frame);
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_escaped(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if !shown.ends_with('\n') {
        shown.push('\n');
    }
    shown
}

/// Parses a node's report. Each string in it becomes a single line that is safe to print on a terminal.
fn read<T: DeserializeOwned>(reply: &Body) -> Result<T, Failed> {
    let report =
        serde_json::from_slice(&reply.concat()).and_then(|report| serde_json::from_value(one_line_each(report)));
    report.map_err(|error| Failed { message: format!("the node's report cannot be read: {error}"), exit: 9 })
}

fn one_line_each(report: Value) -> Value {
    let line = |text| text::into_line(text, MAX_LINE);
    match report {
        Value::String(text) => Value::String(line(text)),
        Value::Array(items) => items.into_iter().map(one_line_each).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (line(name), one_line_each(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_on_a_terminal_moves_no_cursor() {
        assert_eq!(for_terminal("┌─┐\n│a│\tb".as_bytes()), "┌─┐\n│a│\tb\n");
        assert_eq!(for_terminal(b"\x1b[2Jx\r\xff\n"), "\\u{1b}[2Jx\\r\u{fffd}\n");
        assert_eq!(for_terminal("a\u{202e}b\u{9b}c".as_bytes()), "a\\u{202e}b\\u{9b}c\n");
    }

    #[test]
    fn each_text_of_a_report_becomes_one_line() {
        let reply = vec![r#"{"a\nb": ["\u001b[2J", {"c": 1}], "d": "\u202e"}"#.into()];
        let report: Value = read(&reply).unwrap();
        assert_eq!(report.to_string(), r#"{"a b":["\\u{1b}[2J",{"c":1}],"d":"\\u{202e}"}"#);
    }
}
