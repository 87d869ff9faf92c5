//! Blocking client of a node, in the native dialect ([`wasmnode_protocol::message::native`]).
//!
//! [`Client::call`] sends one request and waits for its answer. [`Client::send`] and [`Client::receive`] pipeline: any
//! number of requests can be pending on one connection.
//!
//! ```no_run
//! use wasmnode_client::{Client, Request};
//!
//! let mut client = Client::connect("tcp://127.0.0.1:5555")?;
//! let reply = client.call(Request::new("afficher").body(["bonjour"]), |_partial| {})?;
//! println!("{}", String::from_utf8_lossy(&reply[0]));
//! # Ok::<(), wasmnode_client::Error>(())
//! ```

mod connect;
mod error;
mod greeting;
mod key;

pub use error::{Error, SocketError};
pub use key::{InvalidKey, Key, KeyPair};

use std::convert::Infallible;
use std::time::{Duration, Instant};
/// Reply to a request, as [`Client::receive`] returns it.
pub use wasmnode_protocol::message::Reply;
use wasmnode_protocol::message::{self, Dialect, native};
pub use wasmnode_protocol::{Body, Code, Failure, Frame};
use zmq::SocketEvent::{
    DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL, HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_SUCCEEDED,
};

/// Timeout of establishing the connection, after which the node counts as unreachable.
const CONNECT: Duration = Duration::from_secs(2);

/// Number of connections that the node ends during the handshake before its greeting is checked for a key mechanism.
///
/// More than one, because a node that stops or is killed also ends connections, whether it requires keys or not.
const HANDSHAKE_ATTEMPTS: u32 = 2;

const NO_KEY: &str = "no key was presented, and the node requires one; \
                      present yours with --keys FOLDER --to NAME@ENDPOINT";

const UNTRUSTED_KEY: &str = "it does not trust this client's key; on the node: wasmnode trust NAME KEY";

const UNNEEDED_KEY: &str = "a key was presented, and the node requires none; omit --keys and NAME@";

const OTHER_KEY: &str = "it ends the connection, because its key is not the one that is trusted here under its name";

/// In-process endpoint of the socket monitor, which reports the state of the connection.
const MONITOR: &str = "inproc://connected";

/// Interval of the heartbeats that a client sends, in milliseconds.
const HEARTBEAT: i32 = 1_000;

/// Longest time without incoming data, in milliseconds, before either side closes the connection.
///
/// Heartbeats carry the value as their time to live. A frame of `limits.message` has to arrive within it.
const TIME_TO_LIVE: i32 = 20_000;

/// Time for which only the message socket is polled, before the monitor is polled as well.
///
/// Most answers arrive within this time, and one socket is faster to poll than two.
const SOON: Duration = Duration::from_millis(20);

/// Time after a request's deadline during which [`Client::call`] still waits for its answer.
const GRACE: Duration = Duration::from_secs(1);

/// Connection to a node, which carries any number of concurrent requests.
pub struct Client {
    socket: zmq::Socket,
    /// Becomes readable when the connection is established, rejected or lost.
    events: zmq::Socket,
    is_connected: bool,
    /// Number of connections that the node ended during the handshake.
    failed_handshakes: u32,
    /// Number of requests without an answer; set to 0 when the connection is lost, because none of them is answered.
    pending: usize,
    /// Whether the connection was lost with requests pending, and `receive` has not reported it yet.
    is_lost: bool,
    endpoint: String,
    has_key: bool,
    next_id: u64,
}

/// Keys for a connection to a node that requires them (CURVE, ZeroMQ RFC 26; `tcp` endpoints only).
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Keys of the client.
    pub own: KeyPair,
    /// Public key of the node.
    pub node: Key,
}

/// Request to a service.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use wasmnode_client::Request;
///
/// let request = Request::new("afficher@paris").body(["bonjour"]).deadline(Duration::from_secs(2)).wait(true);
/// # let _ = request;
/// ```
#[derive(Debug, Clone)]
pub struct Request(message::Request);

impl Request {
    /// Creates a request with an empty body. `service` is an address ([`wasmnode_protocol::Address`]).
    ///
    /// The address is checked when the request is sent.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self(message::Request {
            id: 0,
            service: Frame::copy_from_slice(service.as_bytes()),
            deadline_ms: None,
            wait: false,
            trace: false,
            traceparent: None,
            idempotency_key: None,
            body: Vec::new(),
        })
    }

    /// Sets the body, frame by frame.
    #[must_use]
    pub fn body<F: Into<Frame>>(mut self, frames: impl IntoIterator<Item = F>) -> Self {
        self.0.body = frames.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the deadline, in whole milliseconds from 1 to `u32::MAX`; without one, that of the service applies.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline_ms = Some(u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Sets whether to wait for a service that is not offered yet, instead of failing immediately.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.0.wait = wait;
        self
    }

    /// Traces the request instead of running it.
    ///
    /// A partial reply carries the records of the nodes on the path ([`message::trace`]). The answer is an empty reply
    /// if the request would be served, or else the failure.
    #[must_use]
    pub fn trace(mut self) -> Self {
        self.0.trace = true;
        self
    }

    /// Sets the `traceparent` (W3C Trace Context): ASCII, at most 65,535 bytes.
    #[must_use]
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.0.traceparent = Some(Frame::copy_from_slice(traceparent.as_bytes()));
        self
    }

    /// Sets the idempotency key, 1 to 255 bytes, by which a node recognises repetitions of a request.
    #[must_use]
    pub fn idempotency_key(mut self, key: &[u8]) -> Self {
        self.0.idempotency_key = Some(Frame::copy_from_slice(key));
        self
    }
}

impl Client {
    /// Prepares a connection to a node without keys. An absent node is reported by the first request.
    ///
    /// # Examples
    /// ```
    /// use wasmnode_client::{Client, Error};
    ///
    /// let client = Client::connect("tcp://127.0.0.1:5555")?;
    /// assert_eq!(client.endpoint(), "tcp://127.0.0.1:5555");
    /// assert!(matches!(Client::connect("127.0.0.1:5555"), Err(Error::Socket { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Socket`] if the endpoint is not one of ZeroMQ's (`tcp://127.0.0.1:5555`, `ipc://node1.ipc`).
    pub fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::prepare(endpoint, None)
    }

    /// Prepares a connection to a node that requires keys (CURVE, ZeroMQ RFC 26).
    ///
    /// # Examples
    /// ```no_run
    /// use wasmnode_client::{Client, Credentials, Key, KeyPair};
    ///
    /// let node: Key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".parse()?;
    /// let credentials = Credentials { own: KeyPair::random()?, node };
    /// let client = Client::connect_with("tcp://node1.example.org:5555", &credentials)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Socket`] if the endpoint is not one of ZeroMQ's.
    pub fn connect_with(endpoint: &str, credentials: &Credentials) -> Result<Self, Error> {
        Self::prepare(endpoint, Some(credentials))
    }

    fn prepare(endpoint: &str, credentials: Option<&Credentials>) -> Result<Self, Error> {
        let failed = |error: zmq::Error| Error::Socket { endpoint: endpoint.to_owned(), source: SocketError(error) };
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER).map_err(failed)?;
        let connect = || {
            // ZMQ_IMMEDIATE would report an absent node too, but makes libzmq discard received and unread answers
            // when the connection ends.
            let events = [
                HANDSHAKE_SUCCEEDED,
                HANDSHAKE_FAILED_AUTH,
                HANDSHAKE_FAILED_PROTOCOL,
                HANDSHAKE_FAILED_NO_DETAIL,
                DISCONNECTED,
            ];
            socket.monitor(MONITOR, events.iter().fold(0, |all, event| all | i32::from(event.to_raw())))?;
            if let Some(credentials) = credentials {
                socket.set_curve_publickey(credentials.own.public.as_bytes())?;
                socket.set_curve_secretkey(credentials.own.secret.as_bytes())?;
                socket.set_curve_serverkey(credentials.node.as_bytes())?;
            }
            let events = context.socket(zmq::PAIR)?;
            // No limit, because libzmq's thread would block until the events are read.
            events.set_rcvhwm(0)?;
            events.connect(MONITOR)?;
            socket.set_heartbeat_ivl(HEARTBEAT)?;
            socket.set_heartbeat_timeout(TIME_TO_LIVE)?;
            socket.set_heartbeat_ttl(TIME_TO_LIVE)?;
            socket.set_sndtimeo(i32::try_from(CONNECT.as_millis()).unwrap_or(i32::MAX))?;
            socket.set_linger(500)?;
            connect::connect(&socket, endpoint)?;
            Ok(events)
        };
        let (events, endpoint, has_key) = (connect().map_err(failed)?, endpoint.to_owned(), credentials.is_some());
        Ok(Self {
            socket,
            events,
            is_connected: false,
            failed_handshakes: 0,
            pending: 0,
            is_lost: false,
            endpoint,
            has_key,
            next_id: 1,
        })
    }

    /// Sends a request and returns its final reply; `partial` receives each partial reply as it arrives.
    ///
    /// Waits until one second after the request's deadline; without a deadline, without limit.
    ///
    /// # Examples
    /// ```no_run
    /// use wasmnode_client::{Client, Request};
    ///
    /// let mut client = Client::connect("tcp://127.0.0.1:5555")?;
    /// let mut parts = 0;
    /// let reply = client.call(Request::new("compter").wait(true), |_part| parts += 1)?;
    /// println!("{parts} partial replies, then {} frames", reply.len());
    /// # Ok::<(), wasmnode_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Failure`] is the answer of the node or the service. [`Error::may_have_run`] reports for every error
    /// whether the request may have run.
    pub fn call(&mut self, request: Request, mut partial: impl FnMut(Body)) -> Result<Body, Error> {
        let Ok(reply) = self.call_while::<Infallible>(request, |body| {
            partial(body);
            Ok(())
        })?;
        Ok(reply)
    }

    /// Sends a request like [`Self::call`], but lets `partial` end it.
    ///
    /// If `partial` returns an error, the request is withdrawn, and the result is `Ok(Err(_))` with that error.
    ///
    /// # Examples
    /// ```no_run
    /// use wasmnode_client::{Client, Request};
    ///
    /// let mut client = Client::connect("tcp://127.0.0.1:5555")?;
    /// let reply = client.call_while(Request::new("compter"), |_first| Err("one partial reply is enough"))?;
    /// assert_eq!(reply, Err("one partial reply is enough"));
    /// # Ok::<(), wasmnode_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Self::call`].
    pub fn call_while<E>(
        &mut self,
        request: Request,
        mut partial: impl FnMut(Body) -> Result<(), E>,
    ) -> Result<Result<Body, E>, Error> {
        let limit = request.0.deadline_ms.map(|ms| Duration::from_millis(ms.into()) + GRACE);
        let began = Instant::now();
        let id = self.send(request)?;
        loop {
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            match self.receive(left)? {
                (answered, Reply::Partial(body)) if answered == id => {
                    if let Err(ended) = partial(body) {
                        self.cancel(id)?;
                        return Ok(Err(ended));
                    }
                }
                (answered, Reply::Final(body)) if answered == id => return Ok(Ok(body)),
                (answered, Reply::Failure(failure)) if answered == id => return Err(Error::Failure(failure)),
                // A reply to another request, which an earlier call abandoned.
                _ => {}
            }
        }
    }

    /// Sends a request and returns its number, which each of its replies has too.
    ///
    /// # Examples
    /// ```no_run
    /// use wasmnode_client::{Client, Request};
    ///
    /// let mut client = Client::connect("tcp://127.0.0.1:5555")?;
    /// let first = client.send(Request::new("afficher").body(["un"]))?;
    /// let second = client.send(Request::new("afficher").body(["deux"]))?;
    /// let (id, reply) = client.receive(None)?;
    /// assert!(id == first || id == second);
    /// # Ok::<(), wasmnode_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Failure`] with code 400 if the address, the traceparent or the idempotency key breaks a rule; nothing
    /// is sent then. [`Error::Unreachable`] if no connection is established within two seconds. [`Error::Refused`] if
    /// the node rejects this client.
    pub fn send(&mut self, request: Request) -> Result<u64, Error> {
        native::check(&request.0)?;
        let id = self.next_id;
        let frames = native::encode_request(Dialect::NativeCompact, &message::Request { id, ..request.0 })?;
        self.next_id += 1;
        self.send_frames(&frames)?;
        self.pending += 1;
        Ok(id)
    }

    /// Withdraws a request. Its answer is failure 499, unless the node has already sent another.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no connection is established within two seconds. [`Error::Refused`] if the node
    /// rejects this client.
    pub fn cancel(&mut self, id: u64) -> Result<(), Error> {
        self.send_frames(&native::encode_cancel(id))
    }

    /// Waits for the next reply to any request, and returns it with the request's number.
    ///
    /// A `timeout` of `None` waits without limit.
    ///
    /// # Errors
    /// [`Error::Timeout`] if no reply arrived in time, [`Error::Refused`] if the node rejects this client,
    /// [`Error::Malformed`] if the message breaks the protocol. [`Error::Lost`] once after the connection was lost with
    /// requests pending: none of the requests sent before is answered.
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<(u64, Reply), Error> {
        if !self.wait(timeout)? {
            return Err(Error::Timeout { waited: timeout.unwrap_or_default() });
        }
        let frames = self.socket.recv_multipart(0).map_err(|error| self.failed(error))?;
        let reply = native::decode_reply(frames.into_iter().map(Into::into).collect());
        if !matches!(reply, Ok((_, Reply::Partial(_)))) {
            self.pending = self.pending.saturating_sub(1);
        }
        reply.map_err(Error::Malformed)
    }

    /// Waits for a message; returns `false` if none arrived in time.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let soon = timeout.map_or(SOON, |timeout| timeout.min(SOON));
        if self.socket.poll(zmq::POLLIN, milliseconds(soon)).map_err(|error| self.failed(error))? > 0 {
            return Ok(true);
        }
        loop {
            // At this point, all messages that arrived before the connection ended have been received.
            self.read_events()?;
            if std::mem::take(&mut self.is_lost) {
                return Err(Error::Lost { endpoint: self.endpoint.clone() });
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let mut items = [&self.socket, &self.events].map(|socket| socket.as_poll_item(zmq::POLLIN));
            let ready = zmq::poll(&mut items, left.map_or(-1, milliseconds)).map_err(|error| self.failed(error))?;
            if items[0].is_readable() || ready == 0 {
                return Ok(ready > 0);
            }
        }
    }

    /// Reads the monitor's events, and updates the state of the connection.
    ///
    /// # Errors
    /// [`Error::Refused`] if the node rejects this client.
    fn read_events(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.recv_multipart(zmq::DONTWAIT) {
            match kind(&event) {
                Some(HANDSHAKE_SUCCEEDED) => self.is_connected = true,
                Some(DISCONNECTED) if self.pending > 0 => (self.pending, self.is_lost) = (0, true),
                event if !self.is_connected => self.count_failed_handshake(event)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts a connection that ended during its handshake, and returns the error if the reason is known.
    fn count_failed_handshake(&mut self, event: Option<zmq::SocketEvent>) -> Result<(), Error> {
        self.failed_handshakes += 1;
        let why = match (event, self.has_key) {
            (Some(HANDSHAKE_FAILED_AUTH), _) => UNTRUSTED_KEY,
            (Some(HANDSHAKE_FAILED_PROTOCOL), true) => UNNEEDED_KEY,
            (Some(HANDSHAKE_FAILED_PROTOCOL), false) => NO_KEY,
            _ if self.failed_handshakes < HANDSHAKE_ATTEMPTS => return Ok(()),
            (_, has_key) => {
                self.failed_handshakes = 0;
                match (greeting::requires_key(&self.endpoint), has_key) {
                    (Some(true), true) => OTHER_KEY,
                    (Some(true), false) => NO_KEY,
                    (Some(false), true) => UNNEEDED_KEY,
                    _ => return Ok(()),
                }
            }
        };
        Err(Error::Refused { endpoint: self.endpoint.clone(), why })
    }

    /// Returns the endpoint of the node, as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits until the connection is established, as the first request would.
    ///
    /// Measurements of requests call it first, to exclude the handshake.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no connection is established within two seconds, [`Error::Refused`] if the node
    /// rejects this client.
    pub fn wait_for_connection(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while !self.is_connected {
            let left = i64::try_from(CONNECT.saturating_sub(began.elapsed()).as_millis()).unwrap_or(i64::MAX);
            if self.events.poll(zmq::POLLIN, left).map_err(|error| self.failed(error))? == 0 {
                return Err(self.failed(zmq::Error::EAGAIN));
            }
            self.read_events()?;
        }
        Ok(())
    }

    fn send_frames(&mut self, frames: &[Frame]) -> Result<(), Error> {
        self.wait_for_connection()?;
        // A loss before this point concerns earlier requests, not this one.
        self.read_events()?;
        let sent = self.socket.send_multipart(frames.iter().map(AsRef::<[u8]>::as_ref), 0);
        sent.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: zmq::Error) -> Error {
        let endpoint = self.endpoint.clone();
        match error {
            zmq::Error::EAGAIN => Error::Unreachable { endpoint },
            error => Error::Socket { endpoint, source: SocketError(error) },
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the kind of a monitor's event (libzmq's `zmq_socket_monitor`).
fn kind(event: &[Vec<u8>]) -> Option<zmq::SocketEvent> {
    let event = event.first()?;
    Some(zmq::SocketEvent::from_raw(u16::from_ne_bytes([*event.first()?, *event.get(1)?])))
}
