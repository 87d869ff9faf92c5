//! A peer that writes ZMTP (RFC 13, 15, 23 and 37) byte by byte, and so can say what no library would. Shared by the
//! end-to-end tests and the unit tests of sockets.

#![allow(dead_code, reason = "not every user needs everything")]

use rustix::net::sockopt::set_socket_linger;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Flags of a frame: more follow; its length has eight bytes; it is a command.
pub(crate) const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// How long a read may take that is sure to bring something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream of either transport.
pub(crate) trait Stream: Read + Write + AsFd + Send {
    fn set_patience(&self, patience: Duration);
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

/// One connection.
pub(crate) struct RawPeer(Box<dyn Stream>);

/// A greeting of ZMTP 3.
pub(crate) fn greeting(minor: u8, mechanism: &str) -> Vec<u8> {
    let mut bytes = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, minor][..], mechanism.as_bytes()].concat();
    bytes.resize(64, 0);
    bytes
}

/// One frame.
pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(length) => [&[flags, length][..], body].concat(),
        Err(_) => [&[flags | LONG][..], &(body.len() as u64).to_be_bytes(), body].concat(),
    }
}

/// The beginning of a frame that declares so many bytes.
pub(crate) fn declaration(flags: u8, length: u64) -> Vec<u8> {
    [&[flags | LONG][..], &length.to_be_bytes()].concat()
}

/// A message of these frames.
pub(crate) fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    frames.iter().enumerate().flat_map(|(index, body)| frame(if index < last { MORE } else { 0 }, body)).collect()
}

/// A request of Majordomo 0.2.
pub(crate) fn request(service: &str, body: &[u8]) -> Vec<u8> {
    message(&[b"MDPC02", b"\x01", service.as_bytes(), body])
}

/// A PING with a time to live in tenths of a second.
pub(crate) fn ping(ttl: u16) -> Vec<u8> {
    frame(COMMAND, &[b"\x04PING".as_slice(), &ttl.to_be_bytes()].concat())
}

/// The READY of a DEALER.
pub(crate) fn ready(identity: &[u8]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    for (name, value) in [("Socket-Type", &b"DEALER"[..]), ("Identity", identity)] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    }
    frame(COMMAND, &body)
}

impl RawPeer {
    /// Connects to an endpoint as a node writes it, and says nothing yet.
    pub(crate) fn connect(endpoint: &str) -> Self {
        match endpoint.split_once("://").unwrap() {
            ("ipc", path) => Self::on(UnixStream::connect(path).unwrap()),
            (_, address) => Self::on(TcpStream::connect(address).unwrap()),
        }
    }

    pub(crate) fn on(stream: impl Stream + 'static) -> Self {
        stream.set_patience(PATIENCE);
        Self(Box::new(stream))
    }

    /// Connects and shakes hands without keys, as ZMTP 3.1.
    pub(crate) fn open(endpoint: &str, identity: &[u8]) -> Self {
        Self::connect(endpoint).shaken(1, identity)
    }

    /// Shakes hands without keys.
    pub(crate) fn shaken(mut self, minor: u8, identity: &[u8]) -> Self {
        self.send(&greeting(minor, "NULL"));
        self.send(&ready(identity));
        self.0.read_exact(&mut [0; 64]).unwrap();
        let (flags, body) = self.read_frame().unwrap();
        assert!(flags & COMMAND != 0 && body.starts_with(b"\x05READY"), "{flags} {body:?}");
        self
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends the same, once or again and again until so many bytes are sent; `false` if the other side has ended the
    /// connection.
    pub(crate) fn flood(&mut self, bytes: &[u8], least: usize) -> bool {
        let many = bytes.repeat(least.min(64 << 10).div_ceil(bytes.len()));
        let mut sent = 0;
        while sent < least {
            if self.0.write_all(&many).is_err() {
                return false;
            }
            sent += many.len();
        }
        true
    }

    /// The next frame: flags and body.
    pub(crate) fn read_frame(&mut self) -> Result<(u8, Vec<u8>), Error> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut length = [0, 0, 0, 0, 0, 0, 0, head[1]];
        if head[0] & LONG != 0 {
            length[0] = head[1];
            self.0.read_exact(&mut length[1..])?;
        }
        let mut body = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    /// The frames of the next message.
    pub(crate) fn read_message(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = self.read_frame()?;
            if flags & COMMAND == 0 {
                frames.push(body);
                if flags & MORE == 0 {
                    return Ok(frames);
                }
            }
        }
    }

    /// Whether nothing arrives within this time, not even an end.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.0.set_patience(time);
        let read = self.0.read(&mut [0]);
        self.0.set_patience(PATIENCE);
        read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Reads until the other side ends the connection.
    pub(crate) fn wait_for_end(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }

    /// Ends the connection without a farewell; what the other side has not read yet is lost.
    pub(crate) fn reset(self) {
        set_socket_linger(self.0.as_fd(), Some(Duration::ZERO)).unwrap();
    }
}
