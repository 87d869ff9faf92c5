//! Buffer of logged lines that have not been written yet, bounded in bytes.
//!
//! A separate thread writes the lines, so that no request waits for a slow terminal or an unread pipe. Waiting lines
//! take memory of the node, and plugins and strangers cause some of them; so their bytes are counted. A line that does
//! not fit is dropped and counted, and a note after the next written line reports the number.

use super::LogFormat;
use std::io::{Result, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Largest number of waiting bytes, including each line's overhead.
const MAX_BYTES: usize = 8 << 20;

/// Overhead in bytes that is counted for each line.
const LINE_OVERHEAD: usize = 512;

/// Counters that both ends of the buffer share.
#[derive(Default)]
struct Counts {
    bytes: AtomicUsize,
    left_out: AtomicU64,
}

/// Sending end, which accepts lines.
#[derive(Clone)]
pub(super) struct LogBuffer {
    lines: NonBlocking,
    counts: Arc<Counts>,
}

/// Receiving end, which writes them.
struct Drain<W> {
    to: W,
    format: LogFormat,
    counts: Arc<Counts>,
}

impl LogBuffer {
    /// Starts the writing thread. When the guard is dropped, it writes the rest, within at most a second.
    pub(super) fn start(to: impl Write + Send + 'static, format: LogFormat) -> (Self, WorkerGuard) {
        let counts = Arc::new(Counts::default());
        // The builder's own limit is in lines; because of the overhead, the bytes run out first.
        let builder = NonBlockingBuilder::default().buffered_lines_limit(MAX_BYTES / LINE_OVERHEAD + 1);
        let (lines, guard) = builder.finish(Drain { to, format, counts: Arc::clone(&counts) });
        (Self { lines, counts }, guard)
    }
}

impl Write for LogBuffer {
    /// Accepts one line.
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        let weight = line.len() + LINE_OVERHEAD;
        if self.counts.bytes.fetch_add(weight, Ordering::Relaxed) + weight <= MAX_BYTES {
            return self.lines.write(line);
        }
        self.counts.bytes.fetch_sub(weight, Ordering::Relaxed);
        self.counts.left_out.fetch_add(1, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl<W: Write> Write for Drain<W> {
    /// Writes one line, as a whole.
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        let written = self.to.write_all(line);
        self.counts.bytes.fetch_sub(line.len() + LINE_OVERHEAD, Ordering::Relaxed);
        let left_out = self.counts.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            self.to.write_all(note(left_out, self.format).as_bytes())?;
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.to.flush()
    }
}

/// Returns the log line that reports the number of dropped lines, in the format of the log.
fn note(left_out: u64, format: LogFormat) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now());
    let message =
        format!("{left_out} log lines are left out, because {MAX_BYTES} bytes of lines wait for the reader of stderr");
    match format {
        LogFormat::Human => format!("{time}  WARN wasmnode: {message}\n"),
        LogFormat::Json => {
            format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\"target\":\"wasmnode\"}}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Writer that waits for permission before each write.
    struct Slow {
        allowed: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            let _an_error_once_the_sender_is_gone = self.allowed.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn slow(format: LogFormat) -> (LogBuffer, WorkerGuard, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (allow, allowed) = channel();
        let written = Arc::new(Mutex::default());
        let (buffer, guard) = LogBuffer::start(Slow { allowed, written: Arc::clone(&written) }, format);
        (buffer, guard, allow, written)
    }

    #[test]
    fn unread_lines_are_bounded_in_bytes_and_dropped_ones_are_counted_and_reported() {
        for (length, format) in [(1 << 20, LogFormat::Human), (8 << 10, LogFormat::Json), (1, LogFormat::Human)] {
            let (mut buffer, guard, allow, written) = slow(format);
            let line = vec![b'x'; length];
            let most = MAX_BYTES / (length + LINE_OVERHEAD);
            for _ in 0..most + 1_000 {
                buffer.write_all(&line).unwrap();
            }
            assert!(buffer.counts.bytes.load(Ordering::Relaxed) <= MAX_BYTES);
            assert_eq!(buffer.counts.left_out.load(Ordering::Relaxed), 1_000, "lines of {length} bytes");
            drop(allow);
            drop(guard);
            let written = String::from_utf8(std::mem::take(&mut *written.lock().unwrap())).unwrap();
            assert_eq!(written.matches("1000 log lines are left out").count(), 1);
            assert_eq!(written.matches('x').count(), most * length);
            assert_eq!(buffer.counts.bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn the_note_is_a_line_like_all_others() {
        let json: serde_json::Value = serde_json::from_str(&note(7, LogFormat::Json)).unwrap();
        assert!(json["message"].as_str().unwrap().starts_with("7 log lines are left out"));
        assert_eq!(json["level"], "WARN");
        assert!(note(7, LogFormat::Human).contains("Z  WARN wasmnode: 7 log lines"));
    }
}
