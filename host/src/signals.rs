//! Signal handling. Every signal that would end a process by default has a meaning here, because an end without
//! draining loses what is in flight:
//!
//! | signal | meaning |
//! |---|---|
//! | TERM, INT, QUIT, PWR, XCPU | drain, then end; the second of them ends the wait, the third the process |
//! | HUP | reload files (module `reload`); drain, if the node's terminal was closed |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, STKFLT, XFSZ, real-time signals | logged, and otherwise ignored |
//!
//! The runtime of every Rust program ignores PIPE. ABRT, KILL and the signals of a crash keep their defaults: they are
//! meant to end a process without draining.

use crate::event_queue::EventSender;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use wasmnode_core::Input;

const ENDING: [i32; 5] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGPWR, libc::SIGXCPU];

const IGNORED: [(i32, &str); 8] = [
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGSTKFLT, "SIGSTKFLT"),
    // Writing beyond `ulimit -f` fails, and the writer reports the error.
    (libc::SIGXFSZ, "SIGXFSZ"),
];

/// Time limit for the shutdown after the drain: a thread that hangs in the system must not keep the process alive.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Time for the log's thread to write the last line of a process that hangs.
const LOG_GRACE: Duration = Duration::from_millis(100);

/// Installs the signal handlers. `hang_up` is called for each SIGHUP that requests a reload.
///
/// Call it within the runtime.
///
/// # Errors
/// If the system refuses a handler.
pub(crate) fn listen(sending: &EventSender<Input>, hang_up: impl Fn() + Send + 'static) -> io::Result<()> {
    let end = End { sending: sending.clone(), signals: Arc::default() };
    for number in ENDING {
        let (mut received, end) = (signal(SignalKind::from_raw(number))?, end.clone());
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                end.advance();
            }
        });
    }
    let first = libc::SIGRTMIN();
    let of_real_time = (first..=libc::SIGRTMAX()).map(|number| (number, format!("SIGRTMIN+{}", number - first)));
    for (number, name) in IGNORED.map(|(number, name)| (number, name.to_owned())).into_iter().chain(of_real_time) {
        let mut received = signal(SignalKind::from_raw(number))?;
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                info!("{name} was received and has no effect");
            }
        });
    }
    listen_for_hang_ups(end, hang_up)
}

fn listen_for_hang_ups(end: End, hang_up: impl Fn() + Send + 'static) -> io::Result<()> {
    // Under nohup the node must outlive its terminal.
    let has_terminal = !is_ignored(libc::SIGHUP) && is_on_terminal();
    let mut received = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while received.recv().await.is_some() {
            if has_terminal && !is_on_terminal() {
                info!("the terminal was closed");
                end.advance();
            } else {
                hang_up();
            }
        }
    });
    Ok(())
}

#[derive(Debug, Clone)]
struct End {
    sending: EventSender<Input>,
    signals: Arc<AtomicU32>,
}

impl End {
    fn advance(&self) {
        match self.signals.fetch_add(1, Ordering::SeqCst) {
            0 => self.sending.send(Input::Drain),
            1 => {
                self.sending.send(Input::Stop);
                end_in_time();
            }
            _ => give_up(),
        }
    }
}

/// Ends the process unless it ends by itself within [`SHUTDOWN`].
pub(crate) fn end_in_time() {
    let give_up_later = || {
        std::thread::sleep(SHUTDOWN);
        give_up();
    };
    if let Err(error) = std::thread::Builder::new().name("end".into()).spawn(give_up_later) {
        warn!("no time limit for the end of the process: the system refuses a thread: {error}");
    }
}

fn give_up() {
    error!("the node hangs while it stops; ending the process without completing the shutdown");
    // Another thread writes the log, and may hang as well.
    std::thread::sleep(LOG_GRACE);
    std::process::exit(1);
}

/// Returns `true` if the process has a controlling terminal that still exists.
fn is_on_terminal() -> bool {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/dev/tty").is_ok()
}

/// Returns `true` if the process was started with the signal ignored (`SigIgn` in `proc_pid_status(5)`).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (signal - 1)) != 0
}
