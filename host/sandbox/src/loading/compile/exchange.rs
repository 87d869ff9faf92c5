//! One exchange with a compiler process: sends job and file, receives greeting, answer, code and error output.
//!
//! Runs on one thread with non-blocking pipes, so that a process that does not read or write delays it only until its
//! time limit. All received data is bounded.

use super::protocol::{self, Answer, GREETING};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// Size of the end of the error output that is kept, in bytes: enough for a panic's message and location.
const STDERR_TAIL: usize = 1 << 10;

/// Bytes read at a time: the capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// Largest number of reads from standard error in a row, so that an endless writer does not delay the rest.
const READS: u32 = 64;

/// Time limit for the greeting, long enough for a busy machine.
const GREETING_TIME: Duration = Duration::from_secs(30);

/// Largest part of a wrong greeting that is quoted, in bytes.
const QUOTED: usize = 60;

/// Reason why there is no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The time limit has passed.
    TimedOut,
    /// The greeting is wrong; it begins with this text.
    WrongGreeting(String),
    /// The received bytes are not an answer.
    Garbled(io::Error),
    /// The process closed its output.
    Ended,
}

/// An exchange in progress.
pub(super) struct Exchange<'a> {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    greeting: &'a [u8],
    has_greeted: bool,
    /// Rest of the job and the file that is not sent yet.
    unsent: [&'a [u8]; 2],
    /// Received bytes that are not decoded yet.
    arrived: Vec<u8>,
    /// The answer, and the number of bytes that follow it.
    answer: Option<(Answer, usize)>,
    /// Largest number of bytes that may follow the answer.
    most: u64,
    stderr_end: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// Prepares to send `job` to a process with these pipes, once it has sent `greeting`.
    ///
    /// # Errors
    /// If the pipes cannot be made non-blocking.
    pub(super) fn new(
        (stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
        greeting: &'a [u8; GREETING],
        job: [&'a [u8]; 2],
        most: u64,
    ) -> io::Result<Self> {
        for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        let (arrived, stderr_end) = (Vec::new(), Vec::new());
        let stderr = Some(stderr);
        Ok(Self {
            stdin,
            stdout,
            stderr,
            greeting,
            has_greeted: false,
            unsent: job,
            arrived,
            answer: None,
            most,
            stderr_end,
        })
    }

    /// Returns `true` once the expected greeting has been received.
    pub(super) fn has_greeted(&self) -> bool {
        self.has_greeted
    }

    /// Returns the end of the process's error output.
    pub(super) fn stderr_tail(&mut self) -> String {
        self.read_stderr();
        String::from_utf8_lossy(&self.stderr_end).trim().to_owned()
    }

    /// Runs the exchange until `until` at the latest; returns the answer and the bytes that follow it.
    ///
    /// # Errors
    /// The reason, if there is no answer.
    pub(super) fn run(&mut self, until: Instant) -> Result<(Answer, Vec<u8>), ExchangeError> {
        let mut chunk = vec![0; CHUNK];
        let greeting_due = until.min(Instant::now() + GREETING_TIME);
        loop {
            let due = if self.has_greeted { until } else { greeting_due };
            self.wait(due.checked_duration_since(Instant::now()).ok_or(ExchangeError::TimedOut)?);
            self.send();
            self.read_stderr();
            match self.stdout.read(&mut chunk) {
                Ok(0) => return Err(ExchangeError::Ended),
                Ok(read) => self.arrived.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if is_transient(&error) => continue,
                Err(error) => return Err(ExchangeError::Garbled(error)),
            }
            self.check_greeting()?;
            if let Some(answer) = self.read_answer()? {
                return Ok(answer);
            }
        }
    }

    /// Waits until a pipe is ready.
    fn wait(&self, timeout: Duration) {
        let mut watched = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        watched.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        if self.has_greeted && self.unsent.iter().any(|part| !part.is_empty()) {
            watched.push(PollFd::new(&self.stdin, PollFlags::OUT));
        }
        let _errors_are_found_by_the_reads = poll(&mut watched, Timespec::try_from(timeout).ok().as_ref());
    }

    /// Sends as much of the job as the pipe takes. A broken pipe is detected by the end of the output.
    fn send(&mut self) {
        if !self.has_greeted {
            return;
        }
        for part in &mut self.unsent {
            while !part.is_empty() {
                match self.stdin.write(part) {
                    Ok(written) => *part = part.get(written..).unwrap_or_default(),
                    Err(error) if is_transient(&error) => return,
                    Err(_) => *part = &[],
                }
            }
        }
    }

    /// Reads the error output, and keeps its end.
    fn read_stderr(&mut self) {
        let mut chunk = [0; STDERR_TAIL];
        for _ in 0..READS {
            let Some(stderr) = &mut self.stderr else { return };
            match stderr.read(&mut chunk) {
                Ok(0) => self.stderr = None,
                Ok(read) => {
                    self.stderr_end.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    self.stderr_end.drain(..self.stderr_end.len().saturating_sub(STDERR_TAIL));
                }
                Err(error) if is_transient(&error) => return,
                Err(_) => self.stderr = None,
            }
        }
    }

    fn check_greeting(&mut self) -> Result<(), ExchangeError> {
        if self.has_greeted {
            return Ok(());
        }
        let common = self.arrived.len().min(self.greeting.len());
        if self.arrived.get(..common) != self.greeting.get(..common) {
            let received = self.arrived.get(..self.arrived.len().min(QUOTED)).unwrap_or_default();
            return Err(ExchangeError::WrongGreeting(String::from_utf8_lossy(received).into_owned()));
        }
        if common == self.greeting.len() {
            self.arrived.drain(..common);
            self.has_greeted = true;
        }
        Ok(())
    }

    fn read_answer(&mut self) -> Result<Option<(Answer, Vec<u8>)>, ExchangeError> {
        if !self.has_greeted {
            return Ok(None);
        }
        if self.answer.is_none()
            && let Some((answer, length)) = protocol::decode::<Answer>(&self.arrived).map_err(ExchangeError::Garbled)?
        {
            self.arrived.drain(..length);
            let follow = match answer {
                Answer::Code { bytes } if bytes > self.most => return Err(too_much(bytes, self.most)),
                Answer::Code { bytes } => usize::try_from(bytes).map_err(|_| too_much(bytes, self.most))?,
                Answer::Description(_) | Answer::Refused(_) => 0,
            };
            self.arrived.reserve_exact(follow.saturating_sub(self.arrived.len()));
            self.answer = Some((answer, follow));
        }
        match &self.answer {
            Some((_, follow)) if self.arrived.len() > *follow => {
                Err(ExchangeError::Garbled(io::Error::other("more bytes follow the answer than it states")))
            }
            Some((_, follow)) if self.arrived.len() == *follow => {
                Ok(self.answer.take().map(|(answer, _)| (answer, std::mem::take(&mut self.arrived))))
            }
            _ => Ok(None),
        }
    }
}

fn too_much(bytes: u64, most: u64) -> ExchangeError {
    ExchangeError::Garbled(io::Error::other(format!("its compiled form has {bytes} bytes; the limit is {most}")))
}

/// Returns `true` if the call may succeed when the pipe is ready.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
