//! One exchange with a compiler process: sends job and file, receives greeting, answer, code and error output.
//!
//! Runs on one thread without blocking, so that a process that does not read or write delays it only for the time that
//! it may take. Everything that is received is bounded.

use super::protocol::{self, Answer, GREETING};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// Largest end of the error output that is kept, in bytes: a panic's message and its location.
const LAST_WORDS: usize = 1 << 10;

/// Bytes read at a time: the capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// Largest number of reads from standard error in a row, so that an endless writer does not delay the rest.
const READS: u32 = 64;

/// Time within which a process must send its greeting, even on a busy machine.
const GREETING_TIME: Duration = Duration::from_secs(30);

/// Largest part of a wrong greeting that is quoted, in bytes.
const QUOTED: usize = 60;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The time is up.
    Late,
    /// The greeting is wrong; it begins with this text.
    Imposter(String),
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
    /// Rest of the job that is to be sent.
    unsent: [&'a [u8]; 2],
    /// Received bytes that are not decoded yet.
    arrived: Vec<u8>,
    /// The answer, and the number of bytes that follow it.
    answer: Option<(Answer, usize)>,
    /// Largest number of bytes that may follow the answer.
    most: u64,
    words: Vec<u8>,
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
        let (arrived, words) = (Vec::new(), Vec::new());
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
            words,
        })
    }

    /// Returns `true` once the expected greeting has been received.
    pub(super) fn has_greeted(&self) -> bool {
        self.has_greeted
    }

    /// Returns the end of what the process wrote to standard error.
    pub(super) fn last_words(&mut self) -> String {
        self.listen();
        String::from_utf8_lossy(&self.words).trim().to_owned()
    }

    /// Runs the exchange until `until` at the latest; returns the answer and the bytes that follow it.
    ///
    /// # Errors
    /// If there is no answer, and why.
    pub(super) fn run(&mut self, until: Instant) -> Result<(Answer, Vec<u8>), ExchangeError> {
        let mut chunk = vec![0; CHUNK];
        let greeting_due = until.min(Instant::now() + GREETING_TIME);
        loop {
            let due = if self.has_greeted { until } else { greeting_due };
            self.wait(due.checked_duration_since(Instant::now()).ok_or(ExchangeError::Late)?);
            self.send();
            self.listen();
            match self.stdout.read(&mut chunk) {
                Ok(0) => return Err(ExchangeError::Ended),
                Ok(read) => self.arrived.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(ExchangeError::Garbled(error)),
            }
            self.greet()?;
            if let Some(answer) = self.understand()? {
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
        let _an_interruption_is_a_reason_to_look = poll(&mut watched, Timespec::try_from(timeout).ok().as_ref());
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
                    Err(error) if is_passing(&error) => return,
                    Err(_) => *part = &[],
                }
            }
        }
    }

    /// Reads what was written to standard error, and keeps the end of it.
    fn listen(&mut self) {
        let mut chunk = [0; LAST_WORDS];
        for _ in 0..READS {
            let Some(stderr) = &mut self.stderr else { return };
            match stderr.read(&mut chunk) {
                Ok(0) => self.stderr = None,
                Ok(read) => {
                    self.words.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    self.words.drain(..self.words.len().saturating_sub(LAST_WORDS));
                }
                Err(error) if is_passing(&error) => return,
                Err(_) => self.stderr = None,
            }
        }
    }

    fn greet(&mut self) -> Result<(), ExchangeError> {
        if self.has_greeted {
            return Ok(());
        }
        let common = self.arrived.len().min(self.greeting.len());
        if self.arrived.get(..common) != self.greeting.get(..common) {
            let said = self.arrived.get(..self.arrived.len().min(QUOTED)).unwrap_or_default();
            return Err(ExchangeError::Imposter(String::from_utf8_lossy(said).into_owned()));
        }
        if common == self.greeting.len() {
            self.arrived.drain(..common);
            self.has_greeted = true;
        }
        Ok(())
    }

    fn understand(&mut self) -> Result<Option<(Answer, Vec<u8>)>, ExchangeError> {
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
                Err(ExchangeError::Garbled(io::Error::other("more follows the answer than it states")))
            }
            Some((_, follow)) if self.arrived.len() == *follow => {
                Ok(self.answer.take().map(|(answer, _)| (answer, std::mem::take(&mut self.arrived))))
            }
            _ => Ok(None),
        }
    }
}

fn too_much(bytes: u64, most: u64) -> ExchangeError {
    ExchangeError::Garbled(io::Error::other(format!("its compiled form has {bytes} bytes, and may have {most}")))
}

/// Returns `true` if the call may succeed when the pipe is ready.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
