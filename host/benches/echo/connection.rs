//! Connection of a client to a contender, and the implementation for contenders on ZeroMQ.
//!
//! Every request carries a stamp, which its answer returns, so round-trip times are right in whatever order answers
//! arrive.

use super::Result;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use wasmnode_core::message::{self, Frame, Request, native};

/// Time without an answer after which the run fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Position of the request's number in a native message, and of the body in a compact reply.
const ID: Range<usize> = 7..15;
const BODY: usize = 15 + 3;

/// Bytes of the body that hold the stamp.
pub(crate) const STAMP: usize = 8;

pub(crate) trait Connection {
    /// Sends a request with a stamp, at the latest when the client waits for an answer.
    fn send(&mut self, stamp: u64) -> Result<()>;

    /// Returns the stamp of the next answer. Without `wait`, there may be none yet.
    fn receive(&mut self, wait: bool) -> Result<Option<u64>>;

    /// Returns a descriptor that becomes readable when an answer arrives, once all earlier ones were received.
    fn fd(&self) -> Result<BorrowedFd<'_>>;
}

/// Returns the stamp at the start of an echo of `payload` bytes.
pub(crate) fn stamp_of(body: &[u8], payload: usize) -> Result<u64> {
    if body.len() != payload {
        return Err(format!("an answer of {} bytes instead of {payload}", body.len()).into());
    }
    let stamp = body.get(..STAMP).ok_or("an answer without a stamp")?;
    Ok(u64::from_be_bytes(stamp.try_into()?))
}

/// Returns the body of a compact message without other fields, or of a native request with no other field.
fn only_field(frame: &[u8]) -> &[u8] {
    let request = |name: &u8| BODY + 6 + usize::from(*name);
    let at = if frame[ID.start - 1] == 6 { frame.get(BODY + 2).map_or(BODY, request) } else { BODY };
    frame.get(at..).unwrap_or_default()
}

/// Protocol over ZeroMQ.
#[derive(Clone)]
pub(crate) enum Dialect {
    /// The native protocol, with the names of the services, which are called in turn.
    Native(Vec<String>),
    /// Majordomo 0.2.
    Majordomo2(String),
    /// Majordomo 0.1, the version of the guide's broker.
    Majordomo1(String),
}

/// Returns the native dialect with one service.
pub(crate) fn native(service: &str) -> Dialect {
    Dialect::Native(vec![service.to_owned()])
}

/// Keys of both sides, for servers that require them.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) server: Vec<u8>,
    pub(crate) client: Vec<u8>,
    pub(crate) client_secret: Vec<u8>,
}

pub(crate) struct ZeroMq {
    socket: zmq::Socket,
    dialect: Dialect,
    /// Requests that are sent in turn.
    requests: Vec<Vec<Vec<u8>>>,
    next: usize,
    payload: usize,
}

impl ZeroMq {
    pub(crate) fn connect(
        context: &zmq::Context,
        endpoint: &str,
        keys: Option<&Keys>,
        dialect: Dialect,
        payload: usize,
    ) -> Result<Self> {
        let socket = context.socket(zmq::DEALER)?;
        socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis())?)?;
        socket.set_linger(0)?;
        // So that a server that is about to listen is reached without delay.
        socket.set_reconnect_ivl(1)?;
        socket.set_sndhwm(0)?;
        socket.set_rcvhwm(0)?;
        if let Some(keys) = keys {
            socket.set_curve_serverkey(&keys.server)?;
            socket.set_curve_publickey(&keys.client)?;
            socket.set_curve_secretkey(&keys.client_secret)?;
        }
        socket.connect(endpoint)?;
        Ok(Self { socket, requests: requests(&dialect, payload), dialect, next: 0, payload })
    }
}

fn requests(dialect: &Dialect, payload: usize) -> Vec<Vec<Vec<u8>>> {
    let body = vec![b'x'; payload];
    let native = |service: &String| {
        let request = Request {
            id: 1,
            service: Frame::copy_from_slice(service.as_bytes()),
            deadline_ms: None,
            // The nodes may not be linked yet.
            wait: true,
            trace: false,
            traceparent: None,
            idempotency_key: None,
            body: vec![Frame::copy_from_slice(&body)],
        };
        // The names of services under test are short, so encoding cannot fail.
        let frames = native::encode_request(message::Dialect::NativeCompact, &request).unwrap_or_default();
        frames.into_iter().map(Into::into).collect()
    };
    match dialect {
        Dialect::Native(services) => services.iter().map(native).collect(),
        Dialect::Majordomo2(service) => vec![vec![b"MDPC02".to_vec(), vec![1], service.clone().into(), body]],
        Dialect::Majordomo1(service) => vec![vec![vec![], b"MDPC01".to_vec(), service.clone().into(), body]],
    }
}

impl Connection for ZeroMq {
    fn send(&mut self, stamp: u64) -> Result<()> {
        let request = &mut self.requests[self.next];
        let stamped = match (&self.dialect, &mut request[..]) {
            (Dialect::Native(_), [header, ..]) => header.get_mut(ID),
            (_, [.., body]) => body.get_mut(..STAMP),
            _ => None,
        };
        stamped.ok_or("no room for the stamp")?.copy_from_slice(&stamp.to_be_bytes());
        self.socket.send_multipart(&*request, 0)?;
        self.next = (self.next + 1) % self.requests.len();
        Ok(())
    }

    fn receive(&mut self, wait: bool) -> Result<Option<u64>> {
        let mut frame = zmq::Message::new();
        match self.socket.recv(&mut frame, if wait { 0 } else { zmq::DONTWAIT }) {
            Err(zmq::Error::EAGAIN) if !wait => return Ok(None),
            Err(zmq::Error::EAGAIN) => return Err("no answer".into()),
            received => received?,
        }
        // A final native answer, or the own request from a bare echo.
        let is_compact = matches!(frame.get(native::MAGIC.len()), Some(6 | 8));
        let is_native = frame.starts_with(native::MAGIC) && (is_compact || matches!(frame.get(6), Some(1 | 3)));
        let header: Option<[u8; 8]> = if is_native { frame.get(ID).and_then(|id| id.try_into().ok()) } else { None };
        if matches!(self.dialect, Dialect::Native(_)) && !is_native {
            return Err(format!("not an answer: {}", String::from_utf8_lossy(&frame)).into());
        }
        while frame.get_more() {
            self.socket.recv(&mut frame, 0)?;
        }
        let is_echo = !matches!(&self.dialect, Dialect::Native(services) if services.iter().all(|service| service.starts_with("mmi.")));
        let body = if is_native && is_compact { only_field(&frame) } else { &frame };
        let in_body = if is_echo { Some(stamp_of(body, self.payload)?) } else { None };
        let stamp = header.map(u64::from_be_bytes).or(in_body);
        Ok(Some(stamp.ok_or("an answer without a stamp")?))
    }

    #[allow(unsafe_code, reason = "the crate returns only the number of the descriptor")]
    fn fd(&self) -> Result<BorrowedFd<'_>> {
        // SAFETY: the descriptor is open as long as the socket, which outlives the borrow.
        Ok(unsafe { BorrowedFd::borrow_raw(self.socket.get_fd()?) })
    }
}
