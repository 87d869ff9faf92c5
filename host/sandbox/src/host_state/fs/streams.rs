//! Streams of a guest's files.

use super::Root;
use crate::calls::RunId;
use crate::host_state::blocking::Blocking;
use crate::host_state::descriptors::DescriptorPermit;
use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::File;
use std::future::ready;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Largest number of bytes read or written at a time.
const PART: usize = 64 << 10;

/// A call in progress.
type Call<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Begins a call, which runs to its end even if it is not awaited.
fn begin<T: Send + 'static>(blocking: &Blocking, call: impl FnOnce() -> io::Result<T> + Send + 'static) -> Call<T> {
    let blocking = blocking.clone();
    let mut call: Call<T> = Box::pin(async move { blocking.run(call).await? });
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Box::pin(ready(done)),
        Poll::Pending => call,
    }
}

/// Stream that reads a file from a position to its end.
pub(super) struct Reader {
    file: Arc<File>,
    position: u64,
    blocking: Blocking,
    state: Reading,
    _permit: Option<Arc<DescriptorPermit>>,
}

enum Reading {
    Idle,
    Busy(Call<Bytes>),
    Read(Bytes),
    Failed(io::Error),
    Ended,
}

impl Reader {
    pub(super) fn new(
        file: Arc<File>,
        position: u64,
        blocking: Blocking,
        permit: Option<Arc<DescriptorPermit>>,
    ) -> Self {
        Self { file, position, blocking, state: Reading::Idle, _permit: permit }
    }

    fn begin(&mut self, bytes: usize) {
        let (file, position) = (Arc::clone(&self.file), self.position);
        let read = move || {
            let mut buffer = BytesMut::zeroed(bytes.min(PART));
            loop {
                match file.read_at(&mut buffer, position) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => {
                        buffer.truncate(read?);
                        return Ok(buffer.freeze());
                    }
                }
            }
        };
        self.state = Reading::Busy(begin(&self.blocking, read));
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match &mut self.state {
            Reading::Idle if size > 0 => {
                self.begin(size);
                Ok(Bytes::new())
            }
            Reading::Idle | Reading::Busy(_) => Ok(Bytes::new()),
            Reading::Read(read) => {
                let part = read.split_to(read.len().min(size));
                self.position += part.len() as u64;
                if read.is_empty() {
                    self.state = Reading::Idle;
                }
                Ok(part)
            }
            Reading::Failed(_) | Reading::Ended => match mem::replace(&mut self.state, Reading::Ended) {
                Reading::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
                _ => Err(StreamError::Closed),
            },
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.begin(PART);
        }
        if let Reading::Busy(call) = &mut self.state {
            self.state = match call.await {
                Ok(read) if read.is_empty() => Reading::Ended,
                Ok(read) => Reading::Read(read),
                Err(error) => Reading::Failed(error),
            };
        }
    }
}

/// Position at which a stream writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// From this position on.
    At(u64),
    /// At the end of the file at the time of each write.
    Append,
}

/// Stream that writes to a file.
pub(super) struct Writer {
    file: Arc<File>,
    mode: Mode,
    root: Arc<Root>,
    blocking: Blocking,
    state: Writing,
    _permit: Option<Arc<DescriptorPermit>>,
    /// Request that the log names.
    request: RunId,
}

enum Writing {
    Idle,
    Busy(Call<usize>),
    Failed(io::Error),
    Closed,
}

impl Writer {
    pub(super) fn new(
        file: Arc<File>,
        mode: Mode,
        root: Arc<Root>,
        blocking: Blocking,
        permit: Option<Arc<DescriptorPermit>>,
        request: RunId,
    ) -> Self {
        Self { file, mode, root, blocking, state: Writing::Idle, _permit: permit, request }
    }

    fn check(&mut self) -> StreamResult<()> {
        match mem::replace(&mut self.state, Writing::Closed) {
            Writing::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Writing::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        if bytes.len() > PART || matches!(self.state, Writing::Busy(_)) {
            return Err(StreamError::trap("wrote more than check-write allows"));
        }
        let (file, mode, root, request) = (Arc::clone(&self.file), self.mode, Arc::clone(&self.root), self.request);
        self.state = Writing::Busy(begin(&self.blocking, move || write(&file, mode, &root, &bytes, request)));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(if matches!(self.state, Writing::Busy(_)) { 0 } else { PART })
    }

    async fn cancel(&mut self) {
        self.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Writing::Busy(call) = &mut self.state {
            self.state = match call.await {
                Ok(written) => {
                    if let Mode::At(position) = &mut self.mode {
                        *position += written as u64;
                    }
                    Writing::Idle
                }
                Err(error) => Writing::Failed(error),
            };
        }
    }
}

/// Counts the bytes, then writes all of them.
fn write(file: &File, mode: Mode, root: &Root, bytes: &[u8], request: RunId) -> io::Result<usize> {
    match mode {
        Mode::At(position) => {
            root.grow(file, position.saturating_add(bytes.len() as u64), request)?;
            file.write_all_at(bytes, position)?;
        }
        Mode::Append => {
            root.add(bytes.len() as u64, 0, request)?;
            let mut rest = bytes;
            while !rest.is_empty() {
                let written = append(file, rest)?;
                rest = &rest[written..];
            }
        }
    }
    Ok(bytes.len())
}

fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match pwritev2(file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Err(Errno::INTR) => {}
            // The file system has no atomic append, so write at the current end.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return file.write_at(bytes, file.metadata()?.len()),
            written => return Ok(written?),
        }
    }
}
