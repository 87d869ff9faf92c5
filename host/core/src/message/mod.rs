//! What can be said: frames to messages, and back.
//!
//! One socket hears every dialect; the first frames tell them apart. A peer is answered in the dialect it spoke. Decoding
//! never panics and never guesses: what breaks a rule is [`Malformed`], with the rule.

mod codec;
pub mod majordomo;
pub mod native;
pub mod path;
pub mod peer;
pub mod trace;

use crate::failure::Failure;
use crate::name::{InvalidName, Label};
use crate::text;
use peer::PeerMessage;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// One frame: opaque bytes, cheap to clone.
pub type Frame = bytes::Bytes;

/// The frames of a request or reply after the protocol's own. Never joined, split or read by a node.
pub type Body = Vec<Frame>;

/// Bytes of all frames of a body together.
#[must_use]
pub fn size(body: &[Frame]) -> usize {
    body.iter().map(Frame::len).sum()
}

/// The routing id of a connection: opaque bytes that the driver chose (libzmq's own begin with a zero byte).
///
/// It is one principal's: who comes with the same routing id and another principal is another peer.
#[derive(Clone)]
pub struct ConnectionId {
    id: Arc<[u8]>,
    /// Bytes of the id that its sender chose, or was given; what follows them says whose it is.
    chosen: usize,
    principal: Option<Label>,
    /// Whether it may be any user of this machine; no part of what tells peers apart, because it is known only of messages
    /// for which it matters.
    is_unproven: bool,
}

impl PartialEq for ConnectionId {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.principal) == (&other.id, &other.principal)
    }
}

impl Eq for ConnectionId {}

impl PartialOrd for ConnectionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ConnectionId {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.id, &self.principal).cmp(&(&other.id, &other.principal))
    }
}

impl ConnectionId {
    /// Wraps the routing id of somebody who need not say who it is.
    #[must_use]
    pub fn new(id: impl AsRef<[u8]>) -> Self {
        let id = id.as_ref();
        Self { id: id.into(), chosen: id.len(), principal: None, is_unproven: false }
    }

    /// Wraps the routing id of a sender that may be any user of this machine, because nobody has to show a key: for messages
    /// that [ask for more than a call](asks_for_more_than_a_call).
    #[must_use]
    pub fn unproven(id: impl AsRef<[u8]>) -> Self {
        Self { is_unproven: true, ..Self::new(id) }
    }

    /// Whether the sender of a message may be any user of this machine. `false` means nothing in messages that ask for no
    /// more than a call.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// Wraps the routing id of somebody who has proved who it is.
    #[must_use]
    pub fn authenticated(id: impl AsRef<[u8]>, principal: Label) -> Self {
        Self { principal: Some(principal), ..Self::new(id) }
    }

    /// The same where the transport appends the user to routing ids that users choose, so that no two can choose the same:
    /// [`Self::shown`] and `Display` leave that part out.
    #[must_use]
    pub fn of_user(id: impl AsRef<[u8]>, user: &str, principal: Label) -> Self {
        let id = id.as_ref();
        let chosen = id.strip_suffix(user.as_bytes()).map_or(id.len(), <[u8]>::len);
        Self { chosen, ..Self::authenticated(id, principal) }
    }

    /// The name under which the key of this connection is trusted, where keys are asked for.
    #[must_use]
    pub fn principal(&self) -> Option<&Label> {
        self.principal.as_ref()
    }

    /// The routing id for a person: in quotes if it is text, as a worker may choose it, else as `Display` has it.
    ///
    /// ```
    /// use wasmnode_core::message::ConnectionId;
    ///
    /// assert_eq!(ConnectionId::new("worker 1").shown(), r#""worker 1""#);
    /// assert_eq!(ConnectionId::new("up\u{1b}[A").shown(), "75701b5b41");
    /// assert_eq!(ConnectionId::of_user("wKEY", "KEY", "lab".parse()?).shown(), r#"lab/"w""#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shown(&self) -> String {
        let text = std::str::from_utf8(self.chosen()).ok().filter(|text| !text.is_empty() && text::is_line(text));
        match (text, &self.principal) {
            (None, _) => self.to_string(),
            (Some(text), None) => format!("{text:?}"),
            (Some(text), Some(principal)) => format!("{principal}/{text:?}"),
        }
    }

    /// The routing id as the driver gave it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.id
    }

    fn chosen(&self) -> &[u8] {
        self.id.get(..self.chosen).unwrap_or(&self.id)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(principal) = &self.principal {
            write!(f, "{principal}/")?;
        }
        // By hand and in one piece: each request that a plugin serves, or that a peer gets, names its caller.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for bytes in self.chosen().chunks(16) {
            let mut text = [0; 32];
            for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
                digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            f.write_str(std::str::from_utf8(&text[..bytes.len() * 2]).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

/// A connection that this node has made to another; the node's own number for it, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// How a peer speaks, so that it is answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Majordomo 0.1 (RFC 7): a leading empty frame, no partial replies.
    Majordomo01,
    /// Majordomo 0.2 (RFC 18).
    Majordomo02,
    /// Majordomo 0.2 from a peer that leads with an empty frame all the same.
    Majordomo02Enveloped,
    /// Our own client dialect ([`native`]).
    Native,
    /// The same, in compact messages.
    NativeCompact,
    /// Another node ([`peer`]).
    Peer,
}

impl Dialect {
    /// Whether it is our own client dialect.
    #[must_use]
    pub const fn is_native(self) -> bool {
        matches!(self, Self::Native | Self::NativeCompact)
    }

    /// Whether requests have numbers, so that one connection carries many at a time.
    #[must_use]
    pub const fn has_ids(self) -> bool {
        self.is_native() || matches!(self, Self::Peer)
    }
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A client asks.
    Request {
        /// How to answer.
        dialect: Dialect,
        /// What is asked.
        request: Request,
    },
    /// A native client withdraws its request of this id.
    Cancel {
        /// The client's number for the request.
        id: u64,
    },
    /// A worker speaks.
    Worker {
        /// How to answer.
        dialect: Dialect,
        /// What it says.
        command: WorkerCommand,
    },
    /// Another node speaks.
    Peer(PeerMessage),
}

/// What a client asks for. Fields that its dialect lacks are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client's number for the request; 0 in dialects without one.
    pub id: u64,
    /// The service frame, unchecked.
    pub service: Frame,
    /// Milliseconds that the client is ready to wait; `None` leaves it to the service's deadline.
    pub deadline_ms: Option<u32>,
    /// Whether to wait for a service that nobody offers yet, until the deadline.
    pub wait: bool,
    /// Whether nothing is to be run, and only the way that the request would take be told ([`trace`]).
    pub trace: bool,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
    /// The client's frames.
    pub body: Body,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// It offers a service.
    Ready {
        /// The service frame, unchecked.
        service: Frame,
    },
    /// A partial reply.
    Partial {
        /// The address from the request that it answers.
        client: Frame,
        /// The worker's frames.
        body: Body,
    },
    /// The final reply.
    Final {
        /// The address from the request that it answers.
        client: Frame,
        /// The worker's frames.
        body: Body,
    },
    /// It is alive.
    Heartbeat,
    /// It leaves.
    Disconnect,
}

/// What a client gets: any number of partial replies, then one of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// More will follow.
    Partial(Body),
    /// The answer.
    Final(Body),
    /// The answer: there is no reply, and why.
    Failure(Failure),
}

/// A message that breaks a rule, and who sent it as far as that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Who sent it.
    pub sender: Sender,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// The sender of a malformed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Nothing tells who speaks.
    Stranger,
    /// A client that cannot be answered.
    Client,
    /// A native client whose request has this number.
    NativeClient(u64),
    /// A worker.
    Worker(Dialect),
    /// Another node.
    Peer {
        /// The number of its request, if the message is one that can be answered.
        request: Option<u64>,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl From<InvalidName> for Failure {
    fn from(invalid: InvalidName) -> Self {
        Self::new(crate::Code::Malformed, invalid.to_string())
    }
}

/// Whether a message may ask for more than a call does: to be a worker, or for something of the node itself
/// (`node.*`). Looks at few bytes, because each message is asked.
#[must_use]
pub fn asks_for_more_than_a_call(frames: &[Frame]) -> bool {
    let frames = match frames {
        [first, rest @ ..] if first.is_empty() => rest,
        frames => frames,
    };
    match frames {
        [header, ..] if header.starts_with(native::MAGIC) => native::names_the_node(header),
        [header, ..] if header.starts_with(majordomo::WORKER) => true,
        [_, rest @ ..] => rest.iter().take(2).any(|frame| frame.starts_with(crate::name::OF_THE_NODE.as_bytes())),
        [] => false,
    }
}

/// Reads one message, without the routing id.
///
/// # Errors
/// [`Malformed`] says which rule the message breaks.
pub fn decode(mut frames: Vec<Frame>) -> Result<Message, Malformed> {
    match frames.first() {
        None => Err(Malformed { sender: Sender::Stranger, reason: "has no frames" }),
        Some(first) if first.starts_with(native::MAGIC) => native::decode(frames),
        Some(first) if first.starts_with(peer::MAGIC) => peer::decode(frames).map(Message::Peer),
        Some(first) if first.is_empty() => {
            frames.remove(0);
            majordomo::decode(frames, true)
        }
        Some(_) => majordomo::decode(frames, false),
    }
}
