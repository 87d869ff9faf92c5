//! The ROUTER that serves clients and workers, bound to all endpoints.
//!
//! ROUTER_HANDOVER lets a client or worker with a fixed routing id reconnect after a lost connection, and closes the
//! old connection. With keys it is off, and a routing id belongs to the user who chose it, so that no other user can
//! take over messages for it; a connection whose routing id is taken gets another (`libzmq.patch`).
//!
//! The listener sends no heartbeats of libzmq: peers with ZMTP 3.0 take them for data, and a peer that sends none of
//! its own needs none. A dead connection is detected by the system (`keepalive`), a frozen worker by Majordomo's
//! heartbeats, a frozen client of this crate by the time to live of the heartbeats that it sends. Other frozen clients
//! keep a connection, what libzmq queues for it, and their share of `limits.unread-bytes`, which includes that queue.

use super::error::BindError;
use super::event::Reports;
use super::intake::Intake;
use super::polled::Polled;
use super::unread::Token;
use super::zap::{Authenticator, USER_ID};
use super::{HANDSHAKE, LINGER, ffi, milliseconds, receive, resolve, router, send};
use crate::config::{Endpoint, Permissions};
use crate::keys::Keys;
use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tracing::info;
use wasmnode_core::{ConnectionId, Frame, Input, Label, message};

/// Messages that libzmq holds for one connection, in each direction; libzmq's default. A large message counts once more
/// for each 64 KiB (`libzmq.patch`).
const HIGH_WATER_MARK: i32 = 1_000;

/// Number of cached connection ids: usually more than the connections that send at the same time.
const RECENT: usize = 64;

/// Message property that holds the sender's address.
const PEER_ADDRESS: &str = "Peer-Address";

/// Prefix of the address of a sender on an ipc socket: its user, group and process follow.
const BY_IPC: &str = "localhost:";

pub(super) struct Listener {
    router: Polled,
    authenticator: Authenticator,
    keys: Option<Keys>,
    /// With keys: the users of all connections that have sent something, by routing id.
    users: HashMap<Vec<u8>, Option<Box<str>>>,
    /// Without keys: the ids of connections that have sent lately, by their last byte. Saves an allocation for each
    /// message.
    recent: [Option<ConnectionId>; RECENT],
    /// Receives reports of rejected connections.
    reports: Reports,
    ipc_files: Vec<PathBuf>,
    endpoints: Vec<String>,
}

impl Listener {
    /// Opens the socket; with keys, only for trusted users.
    pub(super) fn open(
        context: &zmq::Context,
        intake: Intake,
        keys: Option<(Keys, Label)>,
        reports: Reports,
    ) -> Result<Self, zmq::Error> {
        let mut router = router(context, intake, HIGH_WATER_MARK)?;
        router.set_router_handover(keys.is_none())?;
        router.set_linger(LINGER)?;
        router.set_handshake_ivl(milliseconds(HANDSHAKE))?;
        let notify = if keys.is_some() { ffi::NOTIFY_CONNECT_AND_DISCONNECT } else { ffi::NOTIFY_DISCONNECT };
        ffi::set(&mut router, ffi::ROUTER_NOTIFY, &notify.to_ne_bytes())?;
        let authenticator = Authenticator::open(context, &mut router, intake, keys.as_ref(), reports.clone())?;
        let keys = keys.map(|(keys, _)| keys);
        let router = Polled::new(router);
        let (users, recent) = (HashMap::new(), [const { None }; RECENT]);
        Ok(Self { router, authenticator, keys, users, recent, reports, ipc_files: Vec::new(), endpoints: Vec::new() })
    }

    pub(super) fn bind(&mut self, endpoint: &Endpoint, permissions: &Permissions) -> Result<(), BindError> {
        if let Endpoint::Ipc(path) = endpoint {
            remove_stale_socket(path)?;
        }
        self.secure(endpoint).map_err(BindError::Keys)?;
        let bind = || resolve::bind(self.router.socket(), endpoint);
        let bound = match endpoint {
            Endpoint::Ipc(path) => permissions.of_new_file(path, bind).map_err(BindError::Group)?,
            Endpoint::Tcp(_) => bind(),
        };
        bound.map_err(|error| match error {
            zmq::Error::EADDRINUSE => BindError::InUse,
            zmq::Error::ENOENT => BindError::NoFolder,
            error => BindError::Socket(error),
        })?;
        if let Endpoint::Ipc(path) = endpoint {
            self.ipc_files.push(path.clone());
        }
        let bound = self.router.socket().get_last_endpoint().ok().and_then(Result::ok);
        let bound = bound.unwrap_or_else(|| endpoint.to_string());
        info!("listening on {bound}");
        self.endpoints.push(bound);
        Ok(())
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Makes the next bound endpoint require keys if this node has keys and the endpoint is a tcp one. An ipc
    /// connection proves its user instead.
    fn secure(&self, endpoint: &Endpoint) -> Result<(), zmq::Error> {
        let router = self.router.socket();
        match (&self.keys, endpoint) {
            (Some(keys), Endpoint::Tcp(_)) => {
                router.set_curve_server(true)?;
                router.set_curve_secretkey(keys.own.secret.as_bytes())
            }
            _ => router.set_curve_server(false),
        }
    }

    /// Replaces the trusted keys. Connections of users that lost their trust end, and so do connections that have sent
    /// nothing yet: their users are not known, and they lose little.
    pub(super) fn trust(&mut self, keys: &Keys) {
        if !self.authenticator.trust(keys) {
            return;
        }
        let is_trusted =
            |user: &Option<Box<str>>| user.as_ref().is_some_and(|user| self.authenticator.name_of(user).is_some());
        let ended: Vec<Vec<u8>> =
            self.users.iter().filter(|(_, user)| !is_trusted(user)).map(|(id, _)| id.clone()).collect();
        ended.iter().for_each(|id| self.disconnect(id));
    }

    /// Returns the next input: a message, or the end of a connection.
    pub(super) fn receive(&mut self) -> Option<Input> {
        loop {
            let (users, authenticator, recent) = (&mut self.users, &self.authenticator, &mut self.recent);
            let has_keys = self.keys.is_some();
            let (sender, frames) = receive(&self.router, |id, frames| match has_keys {
                true => sender_with_key(id, users, authenticator),
                false => sender_without_key(id, frames, recent),
            })?;
            match sender {
                Sender::Known(from) => return Some(Input::Message { from, frames }),
                Sender::Gone(connection) => return Some(Input::Gone(connection)),
                Sender::Stranger(id) => {
                    self.reports.rejected("a message from a user that is not trusted");
                    self.disconnect(&id);
                }
                Sender::Libzmq => {}
            }
        }
    }

    /// Closes a connection: nothing more is received from it, and nothing that waits for it is sent.
    pub(super) fn disconnect(&mut self, routing_id: &[u8]) {
        self.users.remove(routing_id);
        let _it_has_ended_already = ffi::set(self.router.socket_mut(), ffi::END_CONNECTION, routing_id);
    }

    /// Sends a message. `token` creates the token that the message carries; it is called only if the message is sent.
    ///
    /// # Errors
    /// EAGAIN if the message has to wait, EHOSTUNREACH if the connection is gone.
    pub(super) fn send(
        &mut self,
        to: &ConnectionId,
        frames: &[Frame],
        token: impl FnOnce() -> Option<Token>,
    ) -> Result<(), zmq::Error> {
        send(&mut self.router, to.as_bytes(), frames, token)
    }

    /// Reports that a connection was ended because of a limit.
    pub(super) fn report_over_limit(&self, what: String) {
        self.reports.over_limit(what);
    }

    /// Returns the socket to wait for.
    pub(super) fn polled(&self) -> &Polled {
        &self.router
    }

    /// Releases the endpoints and removes the ipc files.
    pub(super) fn close(self) {
        self.authenticator.close();
        for file in &self.ipc_files {
            let _libzmq_may_have_removed_it = std::fs::remove_file(file);
        }
    }
}

/// Sender of a message.
enum Sender {
    /// Client, worker or node that may send.
    Known(ConnectionId),
    /// libzmq reports that this connection has ended.
    Gone(ConnectionId),
    /// Connection of a user that is not trusted.
    Stranger(Frame),
    /// libzmq reports that a connection was made, or that one ended before anything was received from it.
    Libzmq,
}

fn sender_with_key(
    id: &mut zmq::Message,
    users: &mut HashMap<Vec<u8>, Option<Box<str>>>,
    authenticator: &Authenticator,
) -> Sender {
    match id.gets(USER_ID).map(|user| authenticator.name_of(user)) {
        Some(Some(name)) => {
            if users.get(&**id).is_none_or(Option::is_none) {
                let user = id.gets(USER_ID).map(Into::into);
                users.insert(id.to_vec(), user);
            }
            let user = users.get(&**id).and_then(Option::as_deref).unwrap_or_default();
            Sender::Known(ConnectionId::of_user(&**id, user, name))
        }
        Some(None) => Sender::Stranger(Frame::copy_from_slice(id)),
        None => match users.remove(&**id) {
            Some(Some(user)) => match authenticator.name_of(&user) {
                Some(name) => Sender::Gone(ConnectionId::of_user(&**id, &user, name)),
                None => Sender::Libzmq,
            },
            Some(None) => Sender::Libzmq,
            None => {
                users.insert(id.to_vec(), None);
                Sender::Libzmq
            }
        },
    }
}

/// Returns the sender of a message where no keys are required. A sender by ipc has passed the permissions of the socket
/// file; one by tcp may be any user of this machine. The address is read only where the difference matters, because
/// that takes longer than reading a message.
fn sender_without_key(id: &mut zmq::Message, frames: &[Frame], recent: &mut [Option<ConnectionId>; RECENT]) -> Sender {
    // Messages of libzmq itself have no address.
    if let [only] = frames
        && only.is_empty()
        && id.gets(PEER_ADDRESS).is_none()
    {
        return Sender::Gone(ConnectionId::new(&**id));
    }
    let asks_for_more = message::asks_for_more_than_a_call(frames);
    if asks_for_more && !id.gets(PEER_ADDRESS).is_some_and(|address| address.starts_with(BY_IPC)) {
        return Sender::Known(ConnectionId::unproven(&**id));
    }
    Sender::Known(match &mut recent[id.last().map_or(0, |last| usize::from(*last) % RECENT)] {
        Some(sender) if sender.as_bytes() == &**id => sender.clone(),
        other => other.insert(ConnectionId::new(&**id)).clone(),
    })
}

/// Removes a stale socket file, and rejects a path that is in use. libzmq would remove any file at the path of an ipc
/// endpoint, even the socket of a running node. A socket that accepts no connection is stale; anything else stays.
fn remove_stale_socket(path: &Path) -> Result<(), BindError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket);
    }
    if UnixStream::connect(path).is_ok() {
        return Err(BindError::NodeListens);
    }
    info!("removing {}, left behind by a node that did not end properly", path.display());
    std::fs::remove_file(path).map_err(BindError::Stale)
}
