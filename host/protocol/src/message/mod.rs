//! What can be said: frames to messages, and back.
//!
//! One socket hears every dialect; the first frames tell them apart. A peer is answered in the dialect it spoke.
//! Decoding never panics and never guesses: what breaks a rule is [`Malformed`], with the rule.

mod codec;
pub mod majordomo;
pub mod native;
pub mod path;
pub mod peer;
pub mod trace;

use crate::failure::Failure;
use crate::name::InvalidName;
use peer::PeerMessage;
use std::fmt;

/// One frame: opaque bytes, cheap to clone.
pub type Frame = bytes::Bytes;

/// The frames of a request or reply after the protocol's own. Never joined, split or read by a node.
pub type Body = Vec<Frame>;

/// Bytes of all frames of a body together.
#[must_use]
pub fn size(body: &[Frame]) -> usize {
    body.iter().map(Frame::len).sum()
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

impl std::error::Error for Malformed {}

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
