//! ZAP handler ([ZeroMQ RFC 27](https://rfc.zeromq.org/spec/27/)) of the node's sockets, in a separate thread. The
//! thread also reads libzmq's events of connections, and reports those that exceeded a limit; without keys it does
//! nothing else.
//!
//! libzmq sends the handler a request for each connection before it reads anything else from it, and attaches the reply
//! to every message: the key, or the user behind an ipc socket. Without a handler libzmq would accept every connection;
//! with ZMQ_ZAP_ENFORCE_DOMAIN, none. The name of a key is looked up for each message, so that trust can end.

use super::event::Reports;
use super::handshakes::Handshakes;
use super::intake::{Exceeded, Intake};
use super::{ffi, uninterrupted};
use crate::keys::{Credential, Keys};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;
use wasmnode_core::Label;
use zmq::SocketEvent;

/// Endpoint of the ZAP handler.
const ZAP: &str = "inproc://zeromq.zap.01";

/// ZAP domain of all of the node's sockets.
const DOMAIN: &str = "wasmnode";

/// Endpoint of libzmq's events of connections and failed handshakes.
const EVENTS: &str = "inproc://strangers";

/// Endpoint of the message that ends the thread.
const END: &str = "inproc://zap-end";

/// Message property that holds the sender's user.
pub(super) const USER_ID: &str = "User-Id";

/// Names of the trusted keys and users.
#[derive(Debug, Clone, Default)]
struct Names(Arc<RwLock<BTreeMap<String, Label>>>);

impl Names {
    /// Replaces the names; returns whether a key or user lost its trust.
    fn set(&self, keys: &Keys, me: &Label) -> bool {
        let users = keys.trusted.iter().map(|(name, trusted)| match trusted.credential {
            Credential::Key(key) => (key.to_string(), name.clone()),
            Credential::Uid(uid) => (user(uid), name.clone()),
        });
        let mut names: BTreeMap<String, Label> = users.collect();
        for own in [keys.own.public.to_string(), user(rustix::process::geteuid().as_raw()), user(0)] {
            names.entry(own).or_insert_with(|| me.clone());
        }
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, names);
        before.keys().any(|user| !current.contains_key(user))
    }

    fn get(&self, user: &str) -> Option<Label> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }
}

pub(super) struct Authenticator {
    names: Names,
    /// The node's own name; `None` without keys.
    me: Option<Label>,
    end: zmq::Socket,
    thread: JoinHandle<()>,
}

impl Authenticator {
    /// Guards a socket that nothing is bound to yet; with keys, only trusted users are accepted. Rejected connections
    /// are reported.
    pub(super) fn open(
        context: &zmq::Context,
        guarded: &mut zmq::Socket,
        intake: Intake,
        keys: Option<&(Keys, Label)>,
        reports: Reports,
    ) -> Result<Self, zmq::Error> {
        let (names, mut zap) = (Names::default(), None);
        if let Some((keys, me)) = keys {
            guarded.set_zap_domain(DOMAIN)?;
            ffi::set(guarded, ffi::ZAP_ENFORCE_DOMAIN, &1_i32.to_ne_bytes())?;
            names.set(keys, me);
            let handler = context.socket(zmq::ROUTER)?;
            handler.set_linger(0)?;
            handler.bind(ZAP)?;
            zap = Some(handler);
        }
        let failures = SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw().into();
        ffi::monitor(guarded, EVENTS, if keys.is_some() { Handshakes::events() } else { failures })?;
        let events = context.socket(zmq::PAIR)?;
        events.connect(EVENTS)?;
        let (end, ended) = (context.socket(zmq::PAIR)?, context.socket(zmq::PAIR)?);
        end.set_linger(0)?;
        end.bind(END)?;
        ended.connect(END)?;
        let zap_thread =
            ZapThread { intake, zap, events, ended, handshakes: Handshakes::default(), names: names.clone(), reports };
        let thread = std::thread::Builder::new().name("zap".into()).spawn(move || zap_thread.serve());
        Ok(Self { names, me: keys.map(|(_, me)| me.clone()), end, thread: thread.map_err(|_| zmq::Error::EAGAIN)? })
    }

    /// Replaces the trusted keys; returns whether a key or user lost its trust.
    pub(super) fn trust(&self, keys: &Keys) -> bool {
        self.me.as_ref().is_some_and(|me| self.names.set(keys, me))
    }

    /// Returns the name under which a user is trusted, if it is.
    pub(super) fn name_of(&self, user: &str) -> Option<Label> {
        self.names.get(user)
    }

    /// Stops the thread; with keys, every later connection is rejected. The context ends only after the thread.
    pub(super) fn close(self) {
        if self.end.send("", 0).is_ok() {
            let _it_panicked_then = self.thread.join();
        }
    }
}

/// State of the thread.
struct ZapThread {
    /// Limits of the guarded socket.
    intake: Intake,
    /// Socket of the ZAP handler; `None` without keys, where every connection is accepted.
    zap: Option<zmq::Socket>,
    events: zmq::Socket,
    ended: zmq::Socket,
    handshakes: Handshakes,
    names: Names,
    reports: Reports,
}

/// Converts an event of the second version to the form of the first, but with the remote address in place of the local
/// one.
fn with_other_end(event: &[Vec<u8>]) -> Option<[Vec<u8>; 2]> {
    let [kind, _count, value, .., remote] = event else { return None };
    let number = |frame: &[u8]| Some(u64::from_ne_bytes(frame.try_into().ok()?));
    let (kind, value) = (u16::try_from(number(kind)?).ok()?, number(value)? as u32);
    Some([[&kind.to_ne_bytes()[..], &value.to_ne_bytes()].concat(), remote.clone()])
}

/// Describes the other end, as far as it is known: without the port, because that differs each time.
fn describe(remote: &[u8]) -> String {
    let address = std::str::from_utf8(remote).ok().and_then(|remote| remote.strip_prefix("tcp://")?.rsplit_once(':'));
    address.map_or_else(|| "connection".into(), |(host, _port)| format!("connection from {host}"))
}

/// Describes an accepted client by its address, if its transport has one.
fn client(remote: &[u8]) -> Cow<'_, str> {
    if remote.starts_with(b"ipc:") { "a client by ipc".into() } else { String::from_utf8_lossy(remote) }
}

impl ZapThread {
    fn serve(mut self) {
        loop {
            let sockets = [&self.ended, &self.events].into_iter().chain(&self.zap);
            let mut items: Vec<_> = sockets.map(|socket| socket.as_poll_item(zmq::POLLIN)).collect();
            match zmq::poll(&mut items, self.handshakes.timeout(Instant::now())) {
                Err(zmq::Error::EINTR) => continue,
                Err(_ended) => return,
                Ok(_) if items[0].is_readable() => return,
                Ok(_) => {}
            }
            while let Some(zap) = &self.zap
                && let Ok(request) = uninterrupted(|| zap.recv_multipart(zmq::DONTWAIT))
            {
                self.answer(zap, &request);
            }
            while let Ok(event) = uninterrupted(|| self.events.recv_multipart(zmq::DONTWAIT)) {
                if let Some(event) = with_other_end(&event) {
                    self.receive_event(&event);
                }
            }
            for _ in 0..self.handshakes.take_abandoned(Instant::now()) {
                self.reject("connection that does not speak ZeroMQ");
            }
        }
    }

    fn receive_event(&mut self, event: &[Vec<u8>]) {
        let exceeded = event.first().and_then(|event| Exceeded::of_event(event));
        // Any other limit applies only after the handshake.
        if matches!(exceeded, None | Some(Exceeded::Handshake)) && !self.handshakes.record(event, Instant::now()) {
            return;
        }
        let remote = event.get(1).map(Vec::as_slice).unwrap_or_default();
        let who = describe(remote);
        match exceeded.map(|limit| (limit, limit.why(self.intake))) {
            Some((Exceeded::Handshake, why)) => self.reject(&format!("{who}: {why}")),
            Some((_, why)) => {
                self.reports.over_limit(format!("the connection with {} is ended: {why}", client(remote)));
            }
            None if self.zap.is_none() => {}
            None => self.reject(&format!(
                "{who} shows no key, or does not speak ZeroMQ as this node does; a client shows its key with \
                 --keys FOLDER --to NODE@ENDPOINT, and is trusted with: wasmnode trust NAME KEY"
            )),
        }
    }

    fn reject(&self, why: &str) {
        self.reports.rejected(why);
    }

    /// Answers a ZAP request; reports a rejected user, and the command that would trust it.
    fn answer(&self, zap: &zmq::Socket, frames: &[Vec<u8>]) {
        let Some(request) = ZapRequest::read(frames) else { return };
        let user = request.user();
        let is_trusted = user.as_ref().is_some_and(|user| self.names.get(user).is_some());
        let user = user.unwrap_or_default();
        if !is_trusted {
            self.reject(&request.verdict(&user));
        }
        let (code, text) = if is_trusted { ("200", "") } else { ("400", "not trusted") };
        let fields: [&[u8]; 6] = [b"1.0", request.id, code.as_bytes(), text.as_bytes(), user.as_bytes(), b""];
        let frames = [request.session, b""].into_iter().chain(fields);
        // libzmq waits for the reply; a session that is gone needs none.
        let _gone = zap.send_multipart(frames, zmq::DONTWAIT);
    }
}

/// ZAP request, as RFC 27 defines it.
struct ZapRequest<'a> {
    session: &'a [u8],
    id: &'a [u8],
    address: &'a str,
    mechanism: &'a [u8],
    credentials: &'a [Vec<u8>],
}

impl<'a> ZapRequest<'a> {
    fn read(frames: &'a [Vec<u8>]) -> Option<Self> {
        let [session, _, _version, id, _domain, address, _identity, mechanism, credentials @ ..] = frames else {
            return None;
        };
        Some(Self { session, id, address: std::str::from_utf8(address).ok()?, mechanism, credentials })
    }

    /// Returns what the connection proves: a key, or on ipc a user of this machine (`localhost:UID:GID:PID`).
    fn user(&self) -> Option<String> {
        match (self.mechanism, self.credentials) {
            (b"CURVE", [key]) => zmq::z85_encode(key).ok(),
            (b"NULL", []) => {
                let uid = self.address.strip_prefix("localhost:")?.split(':').next()?;
                uid.parse().ok().map(user)
            }
            _ => None,
        }
    }

    fn verdict(&self, user: &str) -> String {
        match user.strip_prefix("uid:") {
            Some(uid) => {
                format!("user {uid} of this machine is not trusted; to trust it: wasmnode trust NAME --uid {uid}")
            }
            None if user.is_empty() => format!("connection from {} shows no key", self.address),
            None => format!("the key of {} is not trusted; to trust it: wasmnode trust NAME '{user}'", self.address),
        }
    }
}

fn user(uid: u32) -> String {
    format!("uid:{uid}")
}
