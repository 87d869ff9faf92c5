//! The ROUTER that connects to other nodes and listens to none. A link is one attempt to connect and at most one
//! connection: libzmq never reconnects; the core dials again.
//!
//! A socket monitor reports what happens to connections. The last events of each case, in libzmq 4.3.5:
//!
//! | case | events |
//! |---|---|
//! | refused; no such socket file; no answer in time | CLOSED, CONNECT_RETRIED |
//! | no file descriptor left | CONNECT_RETRIED |
//! | silence, or an end, in the handshake | CONNECTED, HANDSHAKE_FAILED_NO_DETAIL, DISCONNECTED, CONNECT_RETRIED |
//! | another protocol or security | CONNECTED, HANDSHAKE_FAILED_PROTOCOL or _AUTH, DISCONNECTED |
//! | lost, or no heartbeat | CONNECTED, HANDSHAKE_SUCCEEDED, DISCONNECTED, CONNECT_RETRIED |
//! | a message that breaks ZMTP | CONNECTED, HANDSHAKE_SUCCEEDED, DISCONNECTED |
//! | a message over a limit (`intake`) | CONNECTED, HANDSHAKE_SUCCEEDED, HANDSHAKE_FAILED_PROTOCOL, DISCONNECTED |
//! | hung up while connecting | CLOSED |
//! | hung up later | none |
//!
//! So the first of CLOSED, DISCONNECTED and CONNECT_RETRIED ends a link.
//!
//! With ZMQ_RECONNECT_IVL = -1 libzmq would discard a lost connection by itself, and with it the messages that have
//! arrived on it and are not read yet: a node's last answers before it stops. So libzmq is set to reconnect, but only
//! after weeks; a link that has ended is disconnected as soon as its messages are read.

use super::error::DialError;
use super::event::Reports;
use super::intake::{Exceeded, Intake};
use super::polled::Polled;
use super::resolve::{self, DialAddress, DialTarget, Lookup};
use super::unread::Token;
use super::{LINGER, ffi, milliseconds, receive, router, send, uninterrupted};
use crate::keys::Keys;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_client::Key;
use wasmnode_core::{Frame, Label, LinkId};
use zmq::SocketEvent::{
    CLOSED, CONNECT_RETRIED, CONNECTED, DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_PROTOCOL,
    HANDSHAKE_SUCCEEDED,
};

/// Messages that libzmq holds for one link, in each direction. Never reached in practice, because the core bounds what
/// is outstanding on a link: over it, libzmq stops reading from the connection.
const HIGH_WATER_MARK: i32 = 20_000;

/// Interval of libzmq's own heartbeats, in milliseconds. Peers with ZMTP 3.0 get none, because it has no PING.
const HEARTBEAT: i32 = 1_000;

/// Largest time to live of a heartbeat, in milliseconds: libzmq 4.3.5 counts it in 16 bits when it arrives.
const LONGEST_TTL: i32 = 65_500;

/// Value of ZMQ_RECONNECT_IVL that stands for "never", in milliseconds: 24 days.
const WEEKS: i32 = i32::MAX;

/// Largest number of concurrent lookups, each in a thread.
const MAX_LOOKUPS: usize = 32;

/// First byte of the routing ids of links: libzmq reserves ids that begin with a zero byte.
const LINK: u8 = b'L';

/// Time limits of the steps of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct DialTimeouts {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
    /// Time without a whole message, not even a heartbeat of libzmq, after which a connection is closed.
    pub(super) silence: Duration,
}

impl Default for DialTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), handshake: Duration::from_secs(5), silence: Duration::from_secs(10) }
    }
}

pub(super) struct Dialer {
    router: Polled,
    monitor: Polled,
    intake: Intake,
    timeouts: DialTimeouts,
    keys: Option<Keys>,
    links: BTreeMap<LinkId, Link>,
    /// Links that have not ended, by their endpoints in libzmq's spelling.
    names: BTreeMap<String, LinkId>,
    /// Links that have ended, and why; some of their messages may not have been read yet.
    ended: VecDeque<(LinkId, String)>,
    /// Receives the results of lookups.
    reports: Reports,
    lookups: usize,
    dials: u64,
}

struct Link {
    state: State,
    /// Endpoint in libzmq's spelling; empty before the link connects.
    name: String,
    /// Name of the node whose key is expected there.
    expected: Option<Label>,
    /// Key that libzmq was set to expect.
    key: Option<Key>,
    /// Error of the handshake.
    failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The host of its endpoint is being looked up.
    LookingUp,
    Connecting,
    /// Connected, but the ZMTP handshake is not complete.
    Handshaking,
    Open,
    Ended,
}

impl Dialer {
    pub(super) fn open(
        context: &zmq::Context,
        intake: Intake,
        timeouts: DialTimeouts,
        keys: Option<Keys>,
        reports: Reports,
    ) -> Result<Self, zmq::Error> {
        const EVENTS: &str = "inproc://links";
        let router = router(context, intake, HIGH_WATER_MARK)?;
        let silence = milliseconds(timeouts.silence);
        router.set_heartbeat_ivl(HEARTBEAT)?;
        router.set_heartbeat_timeout(silence)?;
        router.set_heartbeat_ttl(silence.min(LONGEST_TTL))?;
        router.set_reconnect_ivl(WEEKS)?;
        router.set_linger(0)?;
        router.set_connect_timeout(milliseconds(timeouts.connect))?;
        router.set_handshake_ivl(milliseconds(timeouts.handshake))?;
        let events = [
            CONNECTED,
            HANDSHAKE_SUCCEEDED,
            HANDSHAKE_FAILED_PROTOCOL,
            HANDSHAKE_FAILED_AUTH,
            DISCONNECTED,
            CLOSED,
            CONNECT_RETRIED,
        ];
        router.monitor(EVENTS, events.iter().fold(0, |all, event| all | i32::from(event.to_raw())))?;
        let monitor = context.socket(zmq::PAIR)?;
        // No limit: otherwise libzmq's I/O thread, and all connections with it, would wait for the node to read.
        monitor.set_rcvhwm(0)?;
        monitor.connect(EVENTS)?;
        let (router, monitor) = (Polled::new(router), Polled::new(monitor));
        let (links, names, ended) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Ok(Self { router, monitor, intake, timeouts, keys, links, names, ended, reports, lookups: 0, dials: 0 })
    }

    /// Returns `true` if there has never been a link, and so there is nothing to read. After the first link, the
    /// sockets are always polled, because libzmq completes the end of a connection in the thread that owns the socket.
    pub(super) fn is_unused(&self) -> bool {
        self.dials == 0 && self.links.is_empty()
    }

    /// Opens a link. Drain pending messages and monitor events first: libzmq identifies sessions by address, so a stale
    /// event could close a new session at a reused one.
    ///
    /// # Errors
    /// Why the link cannot connect; then there is no such link.
    pub(super) fn dial(&mut self, link: LinkId, endpoint: &str, name: Option<&Label>) -> Result<(), DialError> {
        if self.links.contains_key(&link) {
            return Err(DialError::InUse(link));
        }
        match resolve::read(endpoint)? {
            DialTarget::Known(place) => self.connect(link, &place, name),
            DialTarget::Named(address) => self.look_up(link, address, name),
        }
    }

    /// Connects a link whose endpoint had to be looked up.
    ///
    /// # Errors
    /// Why the link cannot connect; then it has ended.
    pub(super) fn resolved(&mut self, lookup: Lookup) -> Result<(), (LinkId, DialError)> {
        self.lookups -= 1;
        let link = lookup.link;
        if self.links.get(&link).is_none_or(|link| link.state != State::LookingUp) {
            return Ok(()); // Hung up.
        }
        let name = self.links.remove(&link).and_then(|link| link.expected);
        lookup
            .found
            .and_then(|address| self.connect(link, &DialAddress::Tcp(address), name.as_ref()))
            .map_err(|error| (link, error))
    }

    /// Replaces the trusted keys. Returns the links to close: those that were secured with a key that their name does
    /// not have in the new set.
    pub(super) fn trust(&mut self, keys: &Keys) -> Vec<LinkId> {
        let is_distrusted = |known: &Link| match (&known.expected, known.key) {
            (Some(name), Some(key)) => keys.key_of(name) != Some(key),
            _ => false,
        };
        self.keys = Some(keys.clone());
        self.links.iter().filter(|(_, known)| is_distrusted(known)).map(|(link, _)| *link).collect()
    }

    /// Returns `true` while the link's host name is looked up, so that its messages have to wait.
    pub(super) fn is_looking_up(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.state == State::LookingUp)
    }

    /// Sends a message on a link. `token` creates the token that the message carries; it is called only if the message
    /// is sent.
    ///
    /// # Errors
    /// EAGAIN if the message has to wait, EHOSTUNREACH if the link does not exist or has ended.
    pub(super) fn send(
        &mut self,
        link: LinkId,
        frames: &[Frame],
        token: impl FnOnce() -> Option<Token>,
    ) -> Result<(), zmq::Error> {
        match self.links.get(&link).map(|link| link.state) {
            None | Some(State::Ended) => Err(zmq::Error::EHOSTUNREACH),
            Some(State::LookingUp) => Err(zmq::Error::EAGAIN),
            Some(_) => send(&mut self.router, &routing_id(link), frames, token),
        }
    }

    /// Returns the next message that has arrived, if there is one.
    pub(super) fn receive(&self) -> Option<(LinkId, Vec<Frame>)> {
        loop {
            let (link, frames) = receive(&self.router, |id, _| link_of(id))?;
            // libzmq may have taken a message out of the pipe of a link that was closed meanwhile.
            if let Some(link) = link.filter(|link| self.links.contains_key(link)) {
                return Some((link, frames));
            }
        }
    }

    /// Reads libzmq's events of connections; returns whether links have ended. Messages that arrived on them can be
    /// read until [`Self::next_ended`] returns the link.
    pub(super) fn read_events(&mut self) -> bool {
        while let Some((event, exceeded, name)) = self.read_event() {
            let Some(&link) = self.names.get(&name) else { continue };
            let Some(known) = self.links.get_mut(&link) else { continue };
            match event {
                CONNECTED => known.state = State::Handshaking,
                HANDSHAKE_SUCCEEDED => known.state = State::Open,
                HANDSHAKE_FAILED_PROTOCOL => {
                    let other = || "the other side uses another protocol or version".into();
                    known.failure = Some(exceeded.map_or_else(other, |limit| limit.why(self.intake)));
                }
                HANDSHAKE_FAILED_AUTH => known.failure = Some("the other side does not trust this node".into()),
                DISCONNECTED | CLOSED | CONNECT_RETRIED => self.end(link),
                _ => {}
            }
        }
        self.has_ended()
    }

    /// Marks a link as ended. A failed send suffices as evidence.
    pub(super) fn end(&mut self, link: LinkId) {
        let Some(known) = self.links.get_mut(&link).filter(|known| known.state != State::Ended) else { return };
        let why = match (known.failure.take(), known.state) {
            (Some(failure), _) => failure,
            (None, State::Open) => "the connection is lost".to_owned(),
            (None, State::Handshaking) => {
                let limit = self.timeouts.handshake;
                format!("the other side accepts connections, but does not speak ZeroMQ within {limit:?}")
            }
            (None, _) => {
                let limit = self.timeouts.connect;
                format!("no process listens there, or it does not answer within {limit:?}")
            }
        };
        known.state = State::Ended;
        self.names.remove(&known.name);
        self.ended.push_back((link, why));
    }

    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Removes the next link that has ended, and returns it with the reason. Call it when there is no message to read.
    pub(super) fn next_ended(&mut self) -> Option<(LinkId, String)> {
        let (link, why) = self.ended.pop_front()?;
        self.hang_up(link);
        Some((link, why))
    }

    /// Closes a link and discards all that waits on it.
    pub(super) fn hang_up(&mut self, link: LinkId) {
        let Some(known) = self.links.remove(&link) else { return };
        self.ended.retain(|(ended, _)| *ended != link);
        self.names.remove(&known.name);
        if !known.name.is_empty() {
            let _libzmq_has_forgotten_it_already = uninterrupted(|| self.router.socket().disconnect(&known.name));
        }
    }

    /// Returns the sockets to wait for: messages, and events of connections.
    pub(super) fn polled(&self) -> [&Polled; 2] {
        [&self.router, &self.monitor]
    }

    /// Sets the linger time, within which queued messages may still leave when the node ends.
    pub(super) fn close(self) {
        let _else_it_is_dropped = self.router.socket().set_linger(LINGER);
    }

    fn look_up(&mut self, link: LinkId, address: String, expected: Option<&Label>) -> Result<(), DialError> {
        if self.lookups == MAX_LOOKUPS {
            return Err(DialError::Busy { address, limit: MAX_LOOKUPS });
        }
        resolve::look_up(link, address, self.reports.clone()).map_err(DialError::Thread)?;
        self.lookups += 1;
        let (name, expected) = (String::new(), expected.cloned());
        self.links.insert(link, Link { state: State::LookingUp, name, expected, key: None, failure: None });
        Ok(())
    }

    fn connect(&mut self, link: LinkId, place: &DialAddress, expected: Option<&Label>) -> Result<(), DialError> {
        let key = self.secure(place, expected)?;
        self.dials += 1;
        let is_free = |name: &str| !self.names.contains_key(name);
        let name = place.spell(self.dials, is_free).ok_or(DialError::NoSpelling)?;
        let router = self.router.socket_mut();
        let connected = ffi::set(router, ffi::CONNECT_ROUTING_ID, &routing_id(link))
            .and_then(|()| resolve::connect(router, &name, place.is_ipv6()));
        if let Err(source) = connected {
            return Err(DialError::Connect { endpoint: name, source });
        }
        self.names.insert(name.clone(), link);
        let expected = expected.cloned();
        self.links.insert(link, Link { state: State::Connecting, name, expected, key, failure: None });
        Ok(())
    }

    /// Sets the keys of the next connection: this node's own, and the one expected of the other side. An ipc connection
    /// needs none, because the permissions of the socket file protect it.
    fn secure(&self, place: &DialAddress, expected: Option<&Label>) -> Result<Option<Key>, DialError> {
        let Some(keys) = &self.keys else { return Ok(None) };
        if matches!(place, DialAddress::Ipc(_)) {
            return self.router.socket().set_curve_server(false).map(|()| None).map_err(DialError::Keys);
        }
        let name = expected.ok_or(DialError::Nameless)?;
        let key = keys.key_of(name).ok_or_else(|| DialError::NoKey(name.clone()))?;
        let (router, own) = (self.router.socket(), &keys.own);
        router
            .set_curve_publickey(own.public.as_bytes())
            .and_then(|()| router.set_curve_secretkey(own.secret.as_bytes()))
            .and_then(|()| router.set_curve_serverkey(key.as_bytes()))
            .map(|()| Some(key))
            .map_err(DialError::Keys)
    }

    /// Returns the next event, the limit that it reports, if any, and the endpoint that it is about.
    fn read_event(&self) -> Option<(zmq::SocketEvent, Option<Exceeded>, String)> {
        let read = |monitor: &zmq::Socket| uninterrupted(|| monitor.recv_msg(zmq::DONTWAIT)).ok();
        let event = self.monitor.read(read)?;
        let name = self.monitor.read(read)?;
        let kind = u16::from_ne_bytes([*event.first()?, *event.get(1)?]);
        let name = String::from_utf8_lossy(&name).into_owned();
        Some((zmq::SocketEvent::from_raw(kind), Exceeded::of_event(&event), name))
    }
}

fn routing_id(link: LinkId) -> [u8; 9] {
    let mut id = [LINK; 9];
    id[1..].copy_from_slice(&link.0.to_be_bytes());
    id
}

fn link_of(routing_id: &[u8]) -> Option<LinkId> {
    let number = routing_id.strip_prefix(&[LINK])?;
    Some(LinkId(u64::from_be_bytes(number.try_into().ok()?)))
}
