//! The node's side of compiler processes: starts one per file, and always reaps it.
//!
//! One process serves one file, so that the effects of a file on the compiler concern no other file, and the system
//! counts processor time and memory per file. Starting a process costs a few milliseconds, so none is kept in reserve.

use super::exchange::{Exchange, ExchangeError};
use super::protocol::{self, Answer, CompileJob, GREETING};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longest time between the end of a process's output and its exit, after which it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval of checks whether a process has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Signal that the system sends at the limit of processor time.
const SIGXCPU: i32 = 24;

/// Compiler processes of one node.
pub(super) struct Processes {
    program: PathBuf,
    greeting: [u8; GREETING],
    running: Mutex<Running>,
    /// Reason why the program is not started again.
    unusable: OnceLock<WrongProgram>,
}

#[derive(Default)]
struct Running {
    is_closed: bool,
    started: u64,
    children: BTreeMap<u64, Arc<Mutex<Child>>>,
}

/// How a program shows that it is not a compiler process of this build.
#[derive(Debug, Clone)]
pub(crate) enum WrongProgram {
    /// It does not greet.
    Silent,
    /// It greets with this text.
    Greeting(String),
    /// It ends before its greeting, with this status and error output.
    Ended(ExitStatus, String),
}

/// Reason why there is no answer.
#[derive(Debug)]
pub(crate) enum ProcessError {
    /// The system could not start the process.
    CannotStart(PathBuf, io::Error),
    /// The program is not a compiler process of this build.
    Unusable(PathBuf, WrongProgram),
    /// The process exceeded its processor time.
    ProcessorTime,
    /// The process did not answer in this time.
    WallTime(Duration),
    /// The process exceeded its memory.
    Memory,
    /// The process ended before its answer, with this status and error output.
    Crashed(ExitStatus, String),
    /// The process sent something other than an answer.
    Garbled(io::Error),
    /// The node stops, or the job was cancelled.
    Stopped,
}

/// Cancels a job from another thread, whether its process runs or is yet to start. Clones cancel the same job.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cancel(Arc<Mutex<Cancelled>>);

#[derive(Debug, Default)]
struct Cancelled {
    is_cancelled: bool,
    child: Option<Arc<Mutex<Child>>>,
}

impl Cancel {
    /// Kills the process of the job, without waiting for its end; after that, none is started for the job.
    pub(crate) fn cancel(&self) {
        let mut cancelled = lock(&self.0);
        cancelled.is_cancelled = true;
        if let Some(child) = &cancelled.child {
            let _it_may_have_ended = lock(child).kill();
        }
    }

    /// Returns `true` after [`cancel`](Self::cancel).
    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.0).is_cancelled
    }

    /// Makes [`cancel`](Self::cancel) kill this process; kills it if the job is cancelled already.
    fn watch(&self, child: &Arc<Mutex<Child>>) {
        let mut cancelled = lock(&self.0);
        if cancelled.is_cancelled {
            let _it_may_have_ended = lock(child).kill();
        }
        cancelled.child = Some(Arc::clone(child));
    }
}

impl Processes {
    /// Prepares processes of this program, whose engine has settings of this digest.
    pub(super) fn new(program: PathBuf, settings: &[u8; 32]) -> Self {
        let greeting = protocol::greeting(settings);
        Self { program, greeting, running: Mutex::default(), unusable: OnceLock::new() }
    }

    /// Runs a job on a file in a process, for at most `wall` of wall-clock time. Returns the answer and the bytes that
    /// follow it, at most `most`.
    ///
    /// # Errors
    /// If there is no answer; the error describes how the process ended.
    pub(super) fn run(
        &self,
        job: &CompileJob,
        file: &[u8],
        most: u64,
        wall: Duration,
        cancel: &Cancel,
    ) -> Result<(Answer, Vec<u8>), ProcessError> {
        if let Some(why) = self.unusable.get() {
            return Err(ProcessError::Unusable(self.program.clone(), why.clone()));
        }
        if cancel.is_cancelled() {
            return Err(ProcessError::Stopped);
        }
        let job = protocol::encode(job).map_err(ProcessError::Garbled)?;
        let (guard, mut exchange) = self.start(&job, file, most)?;
        cancel.watch(&guard.child);
        let ended = exchange.run(Instant::now() + wall);
        let error = match ended {
            Ok(answer) => return Ok(answer),
            Err(_) if self.lock().is_closed || cancel.is_cancelled() => return Err(ProcessError::Stopped),
            Err(error) => error,
        };
        Err(match error {
            ExchangeError::TimedOut if exchange.has_greeted() => ProcessError::WallTime(wall),
            ExchangeError::TimedOut => self.mark_unusable(WrongProgram::Silent),
            ExchangeError::WrongGreeting(received) => self.mark_unusable(WrongProgram::Greeting(received)),
            ExchangeError::Garbled(error) => ProcessError::Garbled(error),
            ExchangeError::Ended => {
                let status = guard.end().map_err(ProcessError::Garbled)?;
                let words = exchange.stderr_tail();
                match status.signal() {
                    Some(SIGXCPU) => ProcessError::ProcessorTime,
                    _ if is_out_of_memory(&words) => ProcessError::Memory,
                    // A signal is no evidence against the program.
                    None if !exchange.has_greeted() => self.mark_unusable(WrongProgram::Ended(status, words)),
                    _ => ProcessError::Crashed(status, words),
                }
            }
        })
    }

    /// Kills all processes, without waiting for their exits, and starts no others.
    pub(super) fn close(&self) {
        let mut running = self.lock();
        running.is_closed = true;
        for child in running.children.values() {
            let _it_may_have_ended = lock(child).kill();
        }
    }

    /// Kills all processes, and returns when none is left.
    pub(super) fn end(&self) {
        self.close();
        let children: Vec<Arc<Mutex<Child>>> = self.lock().children.values().cloned().collect();
        children.iter().for_each(|child| kill(child));
    }

    fn start<'a>(
        &'a self,
        job: &'a [u8],
        file: &'a [u8],
        most: u64,
    ) -> Result<(ProcessGuard<'a>, Exchange<'a>), ProcessError> {
        let mut running = self.lock();
        if running.is_closed {
            return Err(ProcessError::Stopped);
        }
        let cannot = |error: io::Error| ProcessError::CannotStart(self.program.clone(), error);
        let mut command = Command::new(&self.program);
        command.arg0("wasmnode").arg(super::COMMAND);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A process group of its own, so that signals from the node's terminal (Ctrl-C) reach the node alone.
        command.process_group(0);
        let mut child = command.spawn().map_err(cannot)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        running.started += 1;
        let number = running.started;
        running.children.insert(number, Arc::clone(&child));
        drop(running);
        let guard = ProcessGuard { processes: self, number, child };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(cannot(io::Error::other("it has no pipes")));
        };
        let exchange = Exchange::new((stdin, stdout, stderr), &self.greeting, [job, file], most).map_err(cannot)?;
        Ok((guard, exchange))
    }

    /// Marks the program as unusable, so that it is not started again.
    fn mark_unusable(&self, why: WrongProgram) -> ProcessError {
        ProcessError::Unusable(self.program.clone(), self.unusable.get_or_init(|| why).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process, which is killed and reaped on drop.
struct ProcessGuard<'a> {
    processes: &'a Processes,
    number: u64,
    child: Arc<Mutex<Child>>,
}

impl ProcessGuard<'_> {
    /// Waits for the exit of a process that has closed its output.
    fn end(&self) -> io::Result<ExitStatus> {
        let until = Instant::now() + EXIT_TIMEOUT;
        loop {
            if let Some(status) = lock(&self.child).try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                kill(&self.child);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for ProcessGuard<'_> {
    fn drop(&mut self) {
        kill(&self.child);
        self.processes.lock().children.remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a process that may have exited, and reaps it.
fn kill(child: &Mutex<Child>) {
    let mut child = lock(child);
    let _it_may_have_ended = child.kill();
    let _it_may_have_been_waited_for = child.wait();
}

/// Returns `true` if this is the error output of a program to which the system denied memory.
fn is_out_of_memory(words: &str) -> bool {
    words.contains("memory allocation of") || words.contains("Cannot allocate memory")
}

impl fmt::Display for WrongProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not greet"),
            Self::Greeting(said) => write!(f, "greets with {said:?}"),
            Self::Ended(status, words) => write!(f, "ends with {status} and {words:?}"),
        }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotStart(program, error) => {
                write!(f, "cannot start {} as the process that compiles it: {error}", program.display())
            }
            Self::Unusable(program, why) => write!(
                f,
                "nothing can be compiled: {} {why}, and is not this version of wasmnode; it is not started again, \
                 so restart the node",
                program.display()
            ),
            Self::ProcessorTime => f.write_str("compiling it exceeded the limit of processor time"),
            Self::WallTime(wall) => write!(f, "compiling it did not end within {wall:?}"),
            Self::Memory => f.write_str("compiling it exceeded the limit of memory"),
            Self::Crashed(status, words) if words.is_empty() => {
                write!(f, "the process that compiled it ended with {status}")
            }
            Self::Crashed(status, words) => {
                write!(f, "the process that compiled it ended with {status}: {words}")
            }
            Self::Garbled(error) => write!(f, "the process that compiled it broke the protocol: {error}"),
            Self::Stopped => f.write_str("its compilation was cancelled"),
        }
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::CannotStart(_, source) | Self::Garbled(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Wanted;
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const SETTINGS: [u8; 32] = [b's'; 32];
    const WALL: Duration = Duration::from_secs(60);

    /// Returns a program that records each start, and then runs `does`.
    fn program(does: &str) -> (TempDir, Processes) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let greeting = folder.path().join("greeting");
        fs::write(&greeting, protocol::greeting(&SETTINGS)).unwrap();
        let starts = folder.path().join("starts");
        let does = does.replace("GREETING", &greeting.display().to_string());
        fs::write(&path, format!("#!/bin/sh\necho >> {}\n{does}\n", starts.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        (folder, Processes::new(path, &SETTINGS))
    }

    fn starts(folder: &TempDir) -> usize {
        // A process that is killed early records nothing.
        fs::read_to_string(folder.path().join("starts")).unwrap_or_default().lines().count()
    }

    fn run(processes: &Processes, wall: Duration) -> Result<(Answer, Vec<u8>), ProcessError> {
        run_until(processes, wall, &Cancel::default())
    }

    fn run_until(processes: &Processes, wall: Duration, cancel: &Cancel) -> Result<(Answer, Vec<u8>), ProcessError> {
        let job = CompileJob {
            bytes: 4,
            seconds: 1,
            memory: 1 << 30,
            threads: 1,
            is_low_priority: false,
            wanted: Wanted::Code,
        };
        processes.run(&job, b"file", 100, wall, cancel)
    }

    fn error_text(processes: &Processes) -> String {
        run(processes, WALL).unwrap_err().to_string()
    }

    #[test]
    fn a_program_with_a_wrong_greeting_is_not_started_again() {
        for (does, why) in [
            ("echo 'wasmnode compiler process, 2'; cat > /dev/null", "greets with \"wasmnode compiler process, 2\\n\""),
            ("head -c 60 GREETING", "ends with exit status: 0"),
            ("echo trouble >&2; exit 3", "ends with exit status: 3 and \"trouble\""),
        ] {
            let (folder, processes) = program(does);
            for _ in 0..3 {
                let text = error_text(&processes);
                assert!(text.contains(why) && text.contains("it is not started again"), "{text}");
            }
            assert_eq!(starts(&folder), 1, "{does}");
        }
    }

    #[test]
    fn a_process_that_is_killed_or_fails_with_one_file_serves_the_next() {
        for (does, why) in [
            ("kill -9 $$", "signal: 9 (SIGKILL)"),
            ("cat GREETING; echo 'it panicked' >&2; exit 101", "exit status: 101: it panicked"),
            ("cat GREETING; echo 'memory allocation of 7 bytes failed' >&2; kill -6 $$", "limit of memory"),
            ("cat GREETING; kill -24 $$", "limit of processor time"),
            ("cat GREETING; printf '\\377\\377\\377\\377'", "broke the protocol: a message is over"),
            ("cat GREETING; printf '\\4\\0\\0\\0what'", "broke the protocol: expected value"),
            ("cat GREETING; printf '\\26\\0\\0\\0{\"Code\":{\"bytes\":101}}'", "has 101 bytes; the limit is 100"),
            ("cat GREETING; printf '\\24\\0\\0\\0{\"Code\":{\"bytes\":4}}abcde'", "more bytes follow the answer"),
        ] {
            let (folder, processes) = program(does);
            for _ in 0..2 {
                let text = error_text(&processes);
                assert!(text.contains(why), "{does}: {text}");
            }
            assert_eq!(starts(&folder), 2, "{does}");
        }
    }

    #[test]
    fn an_answer_of_a_process_that_does_not_exit_is_accepted() {
        let (_folder, processes) =
            program("cat GREETING; printf '\\24\\0\\0\\0{\"Code\":{\"bytes\":4}}abcd'; sleep 1000");
        assert_eq!(run(&processes, WALL).unwrap(), (Answer::Code { bytes: 4 }, b"abcd".to_vec()));
    }

    #[test]
    fn a_process_that_hangs_or_floods_is_killed_at_its_limit() {
        for does in ["cat GREETING; sleep 1000", "cat GREETING; while :; do echo flood >&2; done"] {
            let (_folder, processes) = program(does);
            let wall = Duration::from_secs(3);
            assert!(matches!(run(&processes, wall), Err(ProcessError::WallTime(_))), "{does}");
            assert!(processes.lock().children.is_empty());
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_reported_and_tried_again() {
        let processes = Processes::new("/nowhere/wasmnode".into(), &SETTINGS);
        for _ in 0..2 {
            assert!(matches!(run(&processes, WALL), Err(ProcessError::CannotStart(..))));
        }
    }

    #[test]
    fn a_cancelled_job_ends_and_starts_no_further_process() {
        for does in ["sleep 1000", "cat GREETING; sleep 1000"] {
            let (folder, processes) = program(does);
            let cancel = Cancel::default();
            std::thread::scope(|scope| {
                let running = scope.spawn(|| run_until(&processes, WALL, &cancel));
                while processes.lock().children.is_empty() {
                    std::thread::yield_now();
                }
                cancel.cancel();
                assert!(matches!(running.join().unwrap(), Err(ProcessError::Stopped)), "{does}");
            });
            assert!(processes.lock().children.is_empty());
            let started = starts(&folder);
            assert!(matches!(run_until(&processes, WALL, &cancel), Err(ProcessError::Stopped)));
            assert_eq!(starts(&folder), started, "{does}");
            assert!(processes.unusable.get().is_none(), "a kill before the greeting proves nothing");
        }
    }

    #[test]
    fn closing_kills_all_processes_and_starts_none() {
        let (folder, processes) = program("cat GREETING; sleep 1000");
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&processes, WALL));
            while processes.lock().children.is_empty() {
                std::thread::yield_now();
            }
            processes.end();
            assert!(matches!(running.join().unwrap(), Err(ProcessError::Stopped)));
        });
        assert!(matches!(run(&processes, WALL), Err(ProcessError::Stopped)));
        assert!(processes.lock().children.is_empty());
        assert!(starts(&folder) <= 1);
    }
}
