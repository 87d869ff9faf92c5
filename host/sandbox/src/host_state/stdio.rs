//! The log of a service: the output of its plugin to stdout, stderr and `log`, at a limited rate.

use crate::calls::RunId;
use crate::log_throttle::{LogDecision, LogThrottle};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::AsyncWrite;
use tracing::{Level, warn};
use wasmnode_protocol::ServiceName;
use wasmnode_protocol::text::{self, MAX_LINE};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Largest write of a guest in one call, in bytes. As many empty lines take about a millisecond, which is the time that
/// a guest may stay on the driver's thread.
const MAX_WRITE: usize = 16 << 10;

/// Size of the end of the output that is kept, in bytes.
const TAIL: usize = 1 << 10;

/// The log of one service, shared by all its instances.
pub(crate) struct ServiceLog {
    service: ServiceName,
    throttle: Mutex<LogThrottle>,
    dropped: AtomicU64,
}

impl ServiceLog {
    pub(crate) fn new(service: ServiceName, lines_per_second: u32) -> Self {
        Self {
            service,
            throttle: Mutex::new(LogThrottle::new(lines_per_second, Instant::now())),
            dropped: AtomicU64::new(0),
        }
    }

    /// Number of lines that were dropped because they exceeded the rate.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes a message of a request's run as one line.
    pub(crate) fn line(&self, level: Level, request: RunId, message: &str) {
        let verdict = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).check(Instant::now());
        let service = self.service.as_str();
        match verdict {
            LogDecision::Pass => {}
            LogDecision::PassAfter(lines) => {
                warn!(target: "plugin", service, "{lines} log lines left out: over service.{service}.log-lines");
            }
            LogDecision::Drop => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let (message, request) = (text::line(message, MAX_LINE), request.0);
        match level {
            Level::TRACE => tracing::trace!(target: "plugin", service, request, "{message}"),
            Level::DEBUG => tracing::debug!(target: "plugin", service, request, "{message}"),
            Level::INFO => tracing::info!(target: "plugin", service, request, "{message}"),
            Level::WARN => tracing::warn!(target: "plugin", service, request, "{message}"),
            Level::ERROR => tracing::error!(target: "plugin", service, request, "{message}"),
        }
    }
}

/// Stdout or stderr of one instance; all its streams write to the same log.
#[derive(Clone)]
pub(crate) struct Stdio(Arc<Lines>);

struct Lines {
    log: Arc<ServiceLog>,
    level: Level,
    /// Request whose run writes.
    request: AtomicU64,
    unfinished: Mutex<Vec<u8>>,
    /// End of the output; `None` if it is not quoted.
    tail: Option<Mutex<Vec<u8>>>,
}

impl Stdio {
    pub(crate) fn new(log: Arc<ServiceLog>, level: Level) -> Self {
        Self::of(log, level, None)
    }

    /// Creates an output that keeps its end.
    pub(crate) fn with_tail(log: Arc<ServiceLog>, level: Level) -> Self {
        Self::of(log, level, Some(Mutex::default()))
    }

    fn of(log: Arc<ServiceLog>, level: Level, tail: Option<Mutex<Vec<u8>>>) -> Self {
        Self(Arc::new(Lines { log, level, request: AtomicU64::new(0), unfinished: Mutex::default(), tail }))
    }

    /// Sets the request that is served next.
    pub(crate) fn begin(&self, request: RunId) {
        self.0.request.store(request.0, Ordering::Relaxed);
    }

    /// Logs the unfinished line.
    pub(crate) fn end_line(&self) {
        let mut unfinished = self.0.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if !unfinished.is_empty() {
            self.0.emit(&unfinished);
            unfinished.clear();
        }
    }

    /// Returns the end of the output as readable text; empty unless created by [`Self::with_tail`].
    pub(crate) fn tail(&self) -> String {
        let Some(tail) = &self.0.tail else { return String::new() };
        String::from_utf8_lossy(&tail.lock().unwrap_or_else(PoisonError::into_inner)).trim().to_owned()
    }

    fn write(&self, bytes: &[u8]) {
        self.0.remember(bytes);
        let mut unfinished = self.0.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    unfinished.extend_from_slice(end);
                    self.0.emit(&unfinished);
                    unfinished.clear();
                }
                None => unfinished.extend_from_slice(piece),
            }
            if unfinished.len() >= MAX_LINE {
                self.0.emit(&unfinished);
                unfinished.clear();
            }
        }
    }
}

impl Lines {
    fn remember(&self, bytes: &[u8]) {
        let Some(tail) = &self.tail else { return };
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }

    fn emit(&self, bytes: &[u8]) {
        for line in bytes.chunks(MAX_LINE).chain(bytes.is_empty().then_some(bytes)) {
            let request = RunId(self.request.load(Ordering::Relaxed));
            self.log.line(self.level, request, &String::from_utf8_lossy(line));
        }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stdio {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_WRITE {
            let (length, why) = (bytes.len(), "wrote more than check-write allows");
            return Err(StreamError::Trap(wasmtime::format_err!("{why}: {length} bytes, not {MAX_WRITE}")));
        }
        Self::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Self::write(&self, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
