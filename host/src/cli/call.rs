//! `wasmnode call`: one request, and its reply as it arrives.

use super::names::{address, suggest};
use super::{ConnectArgs, Failed, print};
use clap::Args;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use wasmnode::config::parse_duration;
use wasmnode_client::Request;
use wasmnode_core::{Address, Code, Failure};

/// Largest body that is read from stdin, in bytes: the maximum of `limits.message`.
const MAX_STDIN: u64 = 1 << 30;

pub(super) const CALL: &str = "\
The body is BODY. Without BODY, stdin is read if it is a pipe or a file and the service's name has no '#'. In a script
with a stdin of its own, write '' for an empty body. --timeout counts from the start and covers the reading of stdin.";

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The service's name; `NAME@NODE` calls it on that node
    #[arg(value_parser = address)]
    service: Address,
    /// The body; "" is an empty one, "-" reads stdin; without it, stdin is read if it is a pipe or a file
    body: Option<String>,
    #[command(flatten)]
    pub(super) to: ConnectArgs,
    /// Time limit for the answer; the service's own deadline may be shorter
    #[arg(long, default_value = "30s", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Wait for a service that no node offers yet, as long as --timeout allows
    #[arg(long)]
    wait: bool,
    /// Idempotency key of 1 to 255 bytes: repeated requests with the same key have their effect once
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
    /// A W3C traceparent to pass on, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    #[arg(long, value_parser = traceparent)]
    traceparent: Option<String>,
}

/// Why the value of an option is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvalidOption {
    /// The idempotency key is empty.
    NoKey,
    /// The idempotency key has this number of bytes.
    LongKey(usize),
    /// The text is not a traceparent.
    Traceparent,
}

impl fmt::Display for InvalidOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("it is empty, which is not a key; leave the option out"),
            Self::LongKey(length) => write!(f, "it has {length} bytes; a key has at most 255"),
            Self::Traceparent => f.write_str(
                "it is not a traceparent: 00-TRACE-PARENT-FLAGS, with 32, 16 and 2 hexadecimal digits (W3C Trace Context)",
            ),
        }
    }
}

impl std::error::Error for InvalidOption {}

/// Calls a service.
pub(crate) fn call(args: &CallArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let began = Instant::now();
    let mut client = args.to.connect(config)?;
    let mut request = Request::new(&args.service.to_string()).body([body(args)?]).wait(args.wait);
    if let Some(traceparent) = &args.traceparent {
        request = request.traceparent(traceparent);
    }
    if let Some(key) = &args.idempotency_key {
        request = request.idempotency_key(key.as_bytes());
    }
    let request = request.deadline(args.timeout.saturating_sub(began.elapsed()));
    let reply = client.call_while(request, |partial| print(&partial));
    print(&reply.map_err(|error| suggest(&mut client, &args.service, error))??)?;
    Ok(ExitCode::SUCCESS)
}

/// Parses an idempotency key.
fn idempotency_key(text: &str) -> Result<String, InvalidOption> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        0 => Err(InvalidOption::NoKey),
        length => Err(InvalidOption::LongKey(length)),
    }
}

/// Parses a `traceparent` by <https://www.w3.org/TR/trace-context/>: four fields of lower-case hexadecimal digits, or
/// more in a future version.
fn traceparent(text: &str) -> Result<String, InvalidOption> {
    let is_hex = |field: &str, digits| {
        field.len() == digits && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_one = match text.split('-').collect::<Vec<_>>()[..] {
        [version, trace, parent, flags, ref more @ ..] => {
            let fields = [(version, 2), (trace, 32), (parent, 16), (flags, 2)];
            let is_void = |field: &str| field.bytes().all(|byte| byte == b'0');
            fields.into_iter().all(|(field, digits)| is_hex(field, digits))
                && version != "ff"
                && (more.is_empty() || version != "00")
                && ![trace, parent].into_iter().any(is_void)
        }
        _ => false,
    };
    if is_one && text.is_ascii() { Ok(text.to_owned()) } else { Err(InvalidOption::Traceparent) }
}

fn body(args: &CallArgs) -> Result<Vec<u8>, Failed> {
    match args.body.as_deref() {
        Some("-") => stdin_within(args.timeout),
        Some(body) => Ok(body.as_bytes().to_vec()),
        None if !args.service.to_string().contains('#') && is_piped()? => stdin_within(args.timeout),
        None => Ok(Vec::new()),
    }
}

/// Returns `true` if stdin is a pipe, a socket used as one, or a file; not for a terminal or /dev/null.
fn is_piped() -> io::Result<bool> {
    let kind = File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()?.file_type();
    Ok(kind.is_fifo() || kind.is_socket() || kind.is_file())
}

/// Reads all of stdin in a separate thread, which is abandoned at the timeout.
fn stdin_within(timeout: Duration) -> Result<Vec<u8>, Failed> {
    let (sender, read) = channel();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut body = Vec::new();
        let done = io::stdin().lock().take(MAX_STDIN + 1).read_to_end(&mut body);
        let _receiver_may_have_timed_out = sender.send(done.map(|_| body));
    })?;
    let late = || Failed {
        message: format!(
            "stdin did not end within {timeout:?} (--timeout), and nothing was sent; write BODY or '' to ignore stdin"
        ),
        exit: 4,
    };
    let body = match read.recv_timeout(timeout) {
        Ok(body) => body?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(late()),
    };
    if body.len() as u64 > MAX_STDIN {
        let reason = format!("stdin has more than {MAX_STDIN} bytes, the maximum of limits.message; nothing was sent");
        return Err(Failed::of(&Failure::new(Code::TooLarge, reason)));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_refused_unless_it_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for good in [good, &format!("01{}-more", &good[2..])] {
            assert_eq!(traceparent(good), Ok(good.into()));
        }
        let (upper, more) = (good.to_uppercase(), format!("{good}-more"));
        let void = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for bad in ["", "zzz", "00-11-22-01", &upper, &more, &void, &format!("ff{}", &good[2..])] {
            assert!(traceparent(bad).is_err_and(|why| why.to_string().contains("00-TRACE-PARENT-FLAGS")), "{bad}");
        }
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_bytes() {
        assert!(idempotency_key("").is_err_and(|why| why.to_string().contains("is empty")));
        assert!(idempotency_key(&"x".repeat(256)).is_err_and(|why| why.to_string().contains("256 bytes")));
        assert!(idempotency_key(&"x".repeat(255)).is_ok());
    }
}
