//! A TCP connection whose reads and writes are gathered, so that a burst of small messages takes few system calls.

use super::Result;
use rustix::net::{RecvFlags, recv};
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

const READ: usize = 256 * 1024;

pub(crate) struct Stream {
    stream: TcpStream,
    /// What was received; what lies before `taken` is done with.
    input: Vec<u8>,
    taken: usize,
    chunk: Vec<u8>,
    output: Vec<u8>,
}

impl Stream {
    /// Takes a connection over, on which a read fails after this time.
    pub(crate) fn new(stream: TcpStream, patience: Option<Duration>) -> Result<Self> {
        stream.set_read_timeout(patience)?;
        Ok(Self { stream, input: Vec::new(), taken: 0, chunk: vec![0; READ], output: Vec::new() })
    }

    /// What was received and is not taken yet.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    pub(crate) fn take(&mut self, length: usize) {
        self.taken += length;
    }

    /// What [`Stream::read`] sends before it reads.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what is gathered, then reads more. Tells whether anything came; without `wait`, nothing may have.
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

    /// Reads until `find` takes what it looks for out of the input; without `wait`, that may not be there yet.
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

/// The first line of some bytes, and the length of it with its end.
pub(crate) fn line(bytes: &[u8]) -> Option<(&str, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).unwrap_or("?"), end + 2))
}
