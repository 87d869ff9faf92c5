//! A client of a node, in our own dialect ([`wasmnode_protocol::message::native`]): blocking, and pipelining where
//! wanted.
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
/// What a client hears.
pub use wasmnode_protocol::message::Reply;
use wasmnode_protocol::message::{self, Dialect, native};
pub use wasmnode_protocol::{Body, Code, Failure, Frame};
use zmq::SocketEvent::{
    DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL, HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_SUCCEEDED,
};

/// How long a request waits for the connection before the node counts as absent.
const CONNECT: Duration = Duration::from_secs(2);

/// Connections that a node ends within the handshake before it is asked whether it wants keys. One that is ending, or
/// was killed, ends connections too, and wants none.
const SHUT_OUT: u32 = 2;

const NO_KEY: &str = "no key was shown, and it ends the connection, as a node does that asks for one; \
                      show yours with --keys FOLDER --to NAME@ENDPOINT";

const UNTRUSTED_KEY: &str = "it does not trust this client's key; there: wasmnode trust NAME KEY";

const NEEDLESS_KEY: &str = "a key was shown, and it asks for none; leave --keys and the name out";

const OTHER_KEY: &str = "it ends the connection: it has another key than the one that is trusted here under its name";

/// Where the context of each client tells whether the connection stands.
const MONITOR: &str = "inproc://connected";

/// Interval of the heartbeats that a client sends, in milliseconds.
const HEARTBEAT: i32 = 1_000;

/// How long a connection may bring nothing, in milliseconds, before this side gives it up, or the other: the time to
/// live that heartbeats contain. A frame of `limits.message` has to pass within it.
const TIME_TO_LIVE: i32 = 20_000;

/// How long an answer is waited for before the state of the connection is watched as well.
const SOON: Duration = Duration::from_millis(20);

/// How much longer than a request's deadline its answer is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// One connection to a node. It carries any number of requests at a time.
pub struct Client {
    socket: zmq::Socket,
    /// Becomes readable when the connection is made, refused or lost.
    events: zmq::Socket,
    is_connected: bool,
    /// Connections that the node has ended within the handshake.
    shut_out: u32,
    /// Requests that have no answer yet; none of those from before a lost connection get one.
    pending: usize,
    /// Whether the connection was lost with requests pending, which is not reported yet.
    is_lost: bool,
    endpoint: String,
    shows_key: bool,
    next_id: u64,
}

/// What a client proves itself with, and whose proof it wants, on tcp.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its own keys.
    pub own: KeyPair,
    /// The node's key.
    pub node: Key,
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct Request(message::Request);

impl Request {
    /// Asks a service, with an empty body.
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

    /// Sets how long to wait for the answer, in whole milliseconds, at least one; without it, the service decides.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline_ms = Some(u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Waits for a service that nobody offers yet, instead of failing at once.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.0.wait = wait;
        self
    }

    /// Runs nothing: what comes, as a partial reply, are the records of the nodes on the way ([`message::trace`]), and
    /// then the answer: an empty reply where the request would be served, or the failure that it would get.
    #[must_use]
    pub fn trace(mut self) -> Self {
        self.0.trace = true;
        self
    }

    /// Passes on a W3C `traceparent`.
    #[must_use]
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.0.traceparent = Some(Frame::copy_from_slice(traceparent.as_bytes()));
        self
    }

    /// Says that requests with this key, 1 to 255 bytes, ask for the same effect, once.
    #[must_use]
    pub fn idempotency_key(mut self, key: &[u8]) -> Self {
        self.0.idempotency_key = Some(Frame::copy_from_slice(key));
        self
    }
}

impl Client {
    /// Prepares a connection; a node that is not there yet is noticed with the first request.
    ///
    /// # Errors
    /// If the endpoint is not one of ZeroMQ's (`tcp://127.0.0.1:5555`, `ipc://node1.ipc`).
    pub fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::prepare(endpoint, None)
    }

    /// Prepares a connection to a node that asks for keys (CURVE, ZeroMQ RFC 26).
    ///
    /// # Errors
    /// If the endpoint is not one of ZeroMQ's.
    pub fn connect_with(endpoint: &str, proof: &Credentials) -> Result<Self, Error> {
        Self::prepare(endpoint, Some(proof))
    }

    fn prepare(endpoint: &str, proof: Option<&Credentials>) -> Result<Self, Error> {
        let failed =
            |error: zmq::Error| Error::Socket { endpoint: endpoint.to_owned(), source: SocketError::from(error) };
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER).map_err(failed)?;
        let connect = || {
            // ZMQ_IMMEDIATE would tell as well that nobody is there, but with it libzmq throws away the answers that
            // have arrived and are not read yet when the connection ends.
            let events = [
                HANDSHAKE_SUCCEEDED,
                HANDSHAKE_FAILED_AUTH,
                HANDSHAKE_FAILED_PROTOCOL,
                HANDSHAKE_FAILED_NO_DETAIL,
                DISCONNECTED,
            ];
            socket.monitor(MONITOR, events.iter().fold(0, |all, event| all | i32::from(event.to_raw())))?;
            if let Some(proof) = proof {
                socket.set_curve_publickey(proof.own.public.as_bytes())?;
                socket.set_curve_secretkey(proof.own.secret.as_bytes())?;
                socket.set_curve_serverkey(proof.node.as_bytes())?;
            }
            let events = context.socket(zmq::PAIR)?;
            // No limit: libzmq's thread would wait until they are read.
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
        let (events, endpoint, shows_key) = (connect().map_err(failed)?, endpoint.to_owned(), proof.is_some());
        Ok(Self {
            socket,
            events,
            is_connected: false,
            shut_out: 0,
            pending: 0,
            is_lost: false,
            endpoint,
            shows_key,
            next_id: 1,
        })
    }

    /// Sends a request and waits for its answer; partial replies are passed on as they come.
    ///
    /// # Errors
    /// [`Error::Failure`] is the node's or service's answer; after any other error it is unknown whether the request
    /// ran.
    pub fn call(&mut self, ask: Request, mut partial: impl FnMut(Body)) -> Result<Body, Error> {
        let Ok(reply) = self.call_while::<Infallible>(ask, |body| {
            partial(body);
            Ok(())
        })?;
        Ok(reply)
    }

    /// The same, but that `partial` may end it: then the request is withdrawn, and the result is what `partial`
    /// returned.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_while<E>(
        &mut self,
        ask: Request,
        mut partial: impl FnMut(Body) -> Result<(), E>,
    ) -> Result<Result<Body, E>, Error> {
        let patience = ask.0.deadline_ms.map(|ms| Duration::from_millis(ms.into()) + GRACE);
        let began = Instant::now();
        let id = self.send(ask)?;
        loop {
            let left = patience.map(|patience| patience.saturating_sub(began.elapsed()));
            match self.receive(left)? {
                (answered, Reply::Partial(body)) if answered == id => {
                    if let Err(ended) = partial(body) {
                        self.cancel(id)?;
                        return Ok(Err(ended));
                    }
                }
                (answered, Reply::Final(body)) if answered == id => return Ok(Ok(body)),
                (answered, Reply::Failure(failure)) if answered == id => return Err(Error::Failure(failure)),
                // The late answer of a request that was given up.
                _ => {}
            }
        }
    }

    /// Sends a request; its number comes back with each of its replies.
    ///
    /// # Errors
    /// [`Error::Failure`] with code 400 if the address, the traceparent or the idempotency key breaks a rule: nothing
    /// is sent then. [`Error::Unreachable`] if no connection stands within two seconds.
    pub fn send(&mut self, ask: Request) -> Result<u64, Error> {
        native::check(&ask.0)?;
        let id = self.next_id;
        let frames = native::encode_request(Dialect::NativeCompact, &message::Request { id, ..ask.0 })?;
        self.next_id += 1;
        self.send_frames(&frames)?;
        self.pending += 1;
        Ok(id)
    }

    /// Withdraws a request; its answer will be failure 499, unless another is on its way already.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no connection stands within two seconds.
    pub fn cancel(&mut self, id: u64) -> Result<(), Error> {
        self.send_frames(&native::encode_cancel(id))
    }

    /// Waits for the next reply to any request, at most so long (`None`: however long it takes).
    ///
    /// # Errors
    /// [`Error::Timeout`] if none came in time, [`Error::Refused`] if the node does not let this client in,
    /// [`Error::Malformed`] if it is not of the protocol, [`Error::Lost`] once if the connection was lost with requests
    /// pending: none of those that were sent until then gets an answer.
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

    /// Waits for a message; `false` if none came in time.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        // Most answers come within this time, and one socket is faster to wait for than two.
        let soon = timeout.map_or(SOON, |timeout| timeout.min(SOON));
        if self.socket.poll(zmq::POLLIN, milliseconds(soon)).map_err(|error| self.failed(error))? > 0 {
            return Ok(true);
        }
        loop {
            // Whatever arrived before the connection ended has been received by now.
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

    /// Reads what has become of the connection.
    ///
    /// # Errors
    /// [`Error::Refused`] if the node has not let this client in.
    fn read_events(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.recv_multipart(zmq::DONTWAIT) {
            match kind(&event) {
                Some(HANDSHAKE_SUCCEEDED) => self.is_connected = true,
                Some(DISCONNECTED) if self.pending > 0 => (self.pending, self.is_lost) = (0, true),
                event if !self.is_connected => self.heed_refusal(event)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what ended a connection before it was made.
    fn heed_refusal(&mut self, event: Option<zmq::SocketEvent>) -> Result<(), Error> {
        self.shut_out += 1;
        let why = match (event, self.shows_key) {
            (Some(HANDSHAKE_FAILED_AUTH), _) => UNTRUSTED_KEY,
            (Some(HANDSHAKE_FAILED_PROTOCOL), true) => NEEDLESS_KEY,
            (Some(HANDSHAKE_FAILED_PROTOCOL), false) => NO_KEY,
            _ if self.shut_out < SHUT_OUT => return Ok(()),
            (_, shows_key) => {
                self.shut_out = 0;
                match (greeting::asks_for_key(&self.endpoint), shows_key) {
                    (Some(true), true) => OTHER_KEY,
                    (Some(true), false) => NO_KEY,
                    (Some(false), true) => NEEDLESS_KEY,
                    _ => return Ok(()),
                }
            }
        };
        Err(Error::Refused { endpoint: self.endpoint.clone(), why })
    }

    /// Where the node listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits until the connection stands, as the first message would: who measures a request does not measure that too.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no connection stands within two seconds, [`Error::Refused`] if the node does not let
    /// this client in.
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
        // A loss until now concerns the requests before, not this one.
        self.read_events()?;
        let sent = self.socket.send_multipart(frames.iter().map(AsRef::<[u8]>::as_ref), 0);
        sent.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: zmq::Error) -> Error {
        let endpoint = self.endpoint.clone();
        match error {
            zmq::Error::EAGAIN => Error::Unreachable { endpoint },
            error => Error::Socket { endpoint, source: error.into() },
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a monitor's event is about.
fn kind(event: &[Vec<u8>]) -> Option<zmq::SocketEvent> {
    let event = event.first()?;
    Some(zmq::SocketEvent::from_raw(u16::from_ne_bytes([*event.first()?, *event.get(1)?])))
}
