//! Who is let in: the ZAP handler (ZeroMQ RFC 27) of the node's sockets, in a thread of its own.
//!
//! libzmq asks it about each connection before anything else is heard on it, and marks every message with what it answered:
//! the key, or the user behind an ipc socket. Without a handler libzmq would let everybody in; with
//! ZMQ_ZAP_ENFORCE_DOMAIN, nobody. The name that belongs to a key is looked up for each message, so that trust can end.

use super::newcomers::Newcomers;
use super::{options, uninterrupted};
use crate::keys::{Credential, Keys};
use crate::mailbox::Sending;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;
use wasmnode_core::Label;

/// Where libzmq asks.
const ZAP: &str = "inproc://zeromq.zap.01";

/// The domain of all of the node's sockets.
const DOMAIN: &str = "wasmnode";

/// Where libzmq tells of connections, and of those that did not come to be.
const EVENTS: &str = "inproc://strangers";

/// Where the thread is told to end.
const END: &str = "inproc://doorkeeper";

/// The property of a message that holds who sent it.
pub(super) const USER_ID: &str = "User-Id";

/// The names under which keys and users are trusted.
#[derive(Debug, Clone, Default)]
struct Names(Arc<RwLock<BTreeMap<String, Label>>>);

impl Names {
    fn set(&self, keys: &Keys, me: &Label) {
        let users = keys.trusted.iter().map(|(name, trusted)| match trusted.credential {
            Credential::Key(key) => (key.to_string(), name.clone()),
            Credential::Uid(uid) => (user(uid), name.clone()),
        });
        let mut names: BTreeMap<String, Label> = users.collect();
        for own in [keys.own.public.to_string(), user(rustix::process::geteuid().as_raw()), user(0)] {
            names.entry(own).or_insert_with(|| me.clone());
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    fn get(&self, user: &str) -> Option<Label> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }
}

pub(super) struct Doorkeeper {
    names: Names,
    me: Label,
    end: zmq::Socket,
    thread: JoinHandle<()>,
}

impl Doorkeeper {
    /// Stands at a socket that nothing is bound to yet. Who is turned away is told to `tell`.
    pub(super) fn open(
        context: &zmq::Context,
        guarded: &mut zmq::Socket,
        keys: &Keys,
        me: Label,
        tell: Sending,
    ) -> Result<Self, zmq::Error> {
        guarded.set_zap_domain(DOMAIN)?;
        options::set(guarded, options::ZAP_ENFORCE_DOMAIN, &1_i32.to_ne_bytes())?;
        guarded.monitor(EVENTS, Newcomers::events())?;
        let events = context.socket(zmq::PAIR)?;
        events.connect(EVENTS)?;
        let zap = context.socket(zmq::ROUTER)?;
        zap.set_linger(0)?;
        zap.bind(ZAP)?;
        let (end, ended) = (context.socket(zmq::PAIR)?, context.socket(zmq::PAIR)?);
        end.set_linger(0)?;
        end.bind(END)?;
        ended.connect(END)?;
        let names = Names::default();
        names.set(keys, &me);
        let door = Door { zap, events, ended, newcomers: Newcomers::default(), names: names.clone(), tell };
        let thread = std::thread::Builder::new().name("doorkeeper".into()).spawn(move || door.keep());
        Ok(Self { names, me, end, thread: thread.map_err(|_| zmq::Error::EAGAIN)? })
    }

    /// Others are trusted from now on.
    pub(super) fn trust(&self, keys: &Keys) {
        self.names.set(keys, &self.me);
    }

    /// The name under which the sender of a message is trusted, if it is.
    pub(super) fn name_of(&self, message: &mut zmq::Message) -> Option<Label> {
        message.gets(USER_ID).and_then(|user| self.names.get(user))
    }

    /// Lets nobody in any more. The context cannot end before the thread has.
    pub(super) fn close(self) {
        if self.end.send("", 0).is_ok() {
            let _it_panicked_then = self.thread.join();
        }
    }
}

/// What the thread has.
struct Door {
    zap: zmq::Socket,
    events: zmq::Socket,
    ended: zmq::Socket,
    newcomers: Newcomers,
    names: Names,
    tell: Sending,
}

impl Door {
    fn keep(mut self) {
        loop {
            let sockets = [&self.zap, &self.events, &self.ended];
            let mut items = sockets.map(|socket| socket.as_poll_item(zmq::POLLIN));
            match zmq::poll(&mut items, self.newcomers.timeout(Instant::now())) {
                Err(zmq::Error::EINTR) => continue,
                Err(_ended) => return,
                Ok(_) if items[2].is_readable() => return,
                Ok(_) => {}
            }
            while let Ok(question) = uninterrupted(|| self.zap.recv_multipart(zmq::DONTWAIT)) {
                self.answer(&question);
            }
            while let Ok(event) = uninterrupted(|| self.events.recv_multipart(zmq::DONTWAIT)) {
                if self.newcomers.hear(&event, Instant::now()) {
                    self.turn_away("somebody connected who shows no key, or does not speak ZeroMQ as this node does");
                }
            }
            for _ in 0..self.newcomers.take_unheard(Instant::now()) {
                self.turn_away("somebody connected who does not speak ZeroMQ");
            }
        }
    }

    fn turn_away(&self, why: &str) {
        self.tell.turned_away(why);
    }

    /// Answers a question, and says who was turned away and what would let it in.
    fn answer(&self, frames: &[Vec<u8>]) {
        let Some(question) = Question::read(frames) else { return };
        let user = question.user();
        let is_trusted = user.as_ref().is_some_and(|user| self.names.get(user).is_some());
        let user = user.unwrap_or_default();
        if !is_trusted {
            self.turn_away(&question.verdict(&user));
        }
        let (code, text) = if is_trusted { ("200", "") } else { ("400", "not trusted") };
        let fields: [&[u8]; 6] = [b"1.0", question.id, code.as_bytes(), text.as_bytes(), user.as_bytes(), b""];
        let frames = [question.asker, b""].into_iter().chain(fields);
        // It waits for the answer; if it is gone, it needs none.
        let _gone = self.zap.send_multipart(frames, zmq::DONTWAIT);
    }
}

/// What libzmq asks, by the letter of RFC 27.
struct Question<'a> {
    asker: &'a [u8],
    id: &'a [u8],
    address: &'a str,
    mechanism: &'a [u8],
    credentials: &'a [Vec<u8>],
}

impl<'a> Question<'a> {
    fn read(frames: &'a [Vec<u8>]) -> Option<Self> {
        let [asker, _, _version, id, _domain, address, _identity, mechanism, credentials @ ..] = frames else {
            return None;
        };
        Some(Self { asker, id, address: std::str::from_utf8(address).ok()?, mechanism, credentials })
    }

    /// What the connection proves: a key, or on ipc a user of this machine (`localhost:UID:GID:PID`).
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
                format!("user {uid} of this machine is not trusted; to let it in: wasmnode trust NAME --uid {uid}")
            }
            None if user.is_empty() => format!("somebody at {} shows no key", self.address),
            None => format!("the key of {} is not trusted; to let it in: wasmnode trust NAME '{user}'", self.address),
        }
    }
}

fn user(uid: u32) -> String {
    format!("uid:{uid}")
}
