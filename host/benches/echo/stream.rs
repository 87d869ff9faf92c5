//! TCP connection with buffered reads and writes, so that a burst of small messages takes few system calls.

use super::Result;
use rustix::net::{RecvFlags, recv};
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

const READ: usize = 256 * 1024;

pub(crate) struct Stream {
    stream: TcpStream,
    /// Received bytes; those before `taken` are consumed.
    input: Vec<u8>,
    taken: usize,
    chunk: Vec<u8>,
    output: Vec<u8>,
}

impl Stream {
    /// Wraps a connection on which a read fails after this time.
    pub(crate) fn new(stream: TcpStream, patience: Option<Duration>) -> Result<Self> {
        stream.set_read_timeout(patience)?;
        Ok(Self { stream, input: Vec::new(), taken: 0, chunk: vec![0; READ], output: Vec::new() })
    }

    /// Returns the received bytes that are not consumed yet.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    pub(crate) fn take(&mut self, length: usize) {
        self.taken += length;
    }

    /// Returns the buffer that [`Stream::read`] sends before it reads.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends the buffered output, then reads more. Returns `true` if bytes arrived; without `wait`, there may be none.
    pub(crate) fn read(&mut self, wait: bool) -> Result<bool> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        self.input.drain(..self.taken);
        self.taken = 0;
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        match recv(&self.stream, &mut *self.chunk, flags) {
            Ok((_, 0)) => Err("the connection was closed".into()),
            Ok((_, length)) => {
                self.input.extend_from_slice(&self.chunk[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && !wait => Ok(false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err("no answer".into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads until `find` finds an item in the input; without `wait`, there may be none yet.
    pub(crate) fn read_until<T>(
        &mut self,
        wait: bool,
        find: impl Fn(&mut Self) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            let found = find(self)?;
            if found.is_some() || !self.read(wait)? {
                return Ok(found);
            }
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Returns the first line, and its length with the line break.
pub(crate) fn line(bytes: &[u8]) -> Option<(&str, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).unwrap_or("?"), end + 2))
}
