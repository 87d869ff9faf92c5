//! Messages: decoding from frames, and encoding in each dialect.
//!
//! One socket receives every dialect; the first frames distinguish them. Each sender is answered in its own dialect.
//! Decoding never panics and never guesses: a message that breaks a rule is [`Malformed`], with the rule.

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

/// Frames of a request or reply after those of the protocol. A node never joins, splits or reads them.
pub type Body = Vec<Frame>;

/// Returns the size of a body: the bytes of all its frames.
#[must_use]
pub fn size(body: &[Frame]) -> usize {
    body.iter().map(Frame::len).sum()
}

/// Dialect of a sender, in which it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Majordomo 0.1 (RFC 7): a leading empty frame, no partial replies.
    Majordomo01,
    /// Majordomo 0.2 (RFC 18).
    Majordomo02,
    /// Majordomo 0.2 with a leading empty frame, which RFC 18 does not have.
    Majordomo02Enveloped,
    /// Native client dialect ([`native`]).
    Native,
    /// Native client dialect, in compact messages.
    NativeCompact,
    /// Another node ([`peer`]).
    Peer,
}

impl Dialect {
    /// Returns `true` for the native client dialect, compact or not.
    #[must_use]
    pub const fn is_native(self) -> bool {
        matches!(self, Self::Native | Self::NativeCompact)
    }

    /// Returns `true` if requests have numbers, so that one connection carries many at a time.
    #[must_use]
    pub const fn has_ids(self) -> bool {
        self.is_native() || matches!(self, Self::Peer)
    }
}

/// Message from a client, a worker or another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A client sends a request.
    Request {
        /// Dialect of the client.
        dialect: Dialect,
        /// The request.
        request: Request,
    },
    /// A native client withdraws its request of this id.
    Cancel {
        /// The client's number for the request.
        id: u64,
    },
    /// A worker sends a command.
    Worker {
        /// Dialect of the worker.
        dialect: Dialect,
        /// The command.
        command: WorkerCommand,
    },
    /// Another node sends a message.
    Peer(PeerMessage),
}

/// Request of a client. Fields that its dialect lacks are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client's number for the request; 0 in dialects without one.
    pub id: u64,
    /// The service frame, unchecked.
    pub service: Frame,
    /// Deadline in milliseconds after arrival; `None`: the deadline of the service applies.
    pub deadline_ms: Option<u32>,
    /// Whether to wait, until the deadline, for a service that is not offered yet.
    pub wait: bool,
    /// Whether to trace the request instead of running it ([`trace`]).
    pub trace: bool,
    /// W3C `traceparent`: ASCII, at most 65,535 bytes.
    pub traceparent: Option<Frame>,
    /// Idempotency key, 1 to 255 bytes, which identifies repetitions of one request.
    pub idempotency_key: Option<Frame>,
    /// The client's frames.
    pub body: Body,
}

/// Command of a worker (RFC 7, RFC 18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Registration of the worker for a service.
    Ready {
        /// The service frame, unchecked.
        service: Frame,
    },
    /// A partial reply.
    Partial {
        /// The client frame of the answered request.
        client: Frame,
        /// The worker's frames.
        body: Body,
    },
    /// The final reply.
    Final {
        /// The client frame of the answered request.
        client: Frame,
        /// The worker's frames.
        body: Body,
    },
    /// Heartbeat of the worker.
    Heartbeat,
    /// End of the registration.
    Disconnect,
}

/// Reply to a request: any number of partial replies, then one of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A partial reply; more replies follow.
    Partial(Body),
    /// The final reply, which is the answer.
    Final(Body),
    /// The failure, which is the answer.
    Failure(Failure),
}

/// Error of a message that breaks a rule of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The sender, as far as it is known.
    pub sender: Sender,
    /// The rule that the message breaks. The text continues a sentence that begins with "the message".
    pub reason: &'static str,
}

/// Sender of a malformed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Unknown: the message does not identify its sender.
    Stranger,
    /// A client that cannot be answered.
    Client,
    /// A native client whose request has this number.
    NativeClient(u64),
    /// A worker.
    Worker(Dialect),
    /// Another node.
    Peer {
        /// The number of its request, if the message is a request and can be answered.
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

/// Returns `true` if a message may need more rights than a call: to register a worker, or to request `node.*`.
///
/// Reads only a few bytes, because every message is checked.
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

/// Decodes one message; `frames` has no routing id.
///
/// # Examples
/// ```
/// use wasmnode_protocol::message::{Dialect, Message, Request, decode, native};
///
/// let request = Request {
///     id: 1,
///     service: "print".into(),
///     deadline_ms: Some(500),
///     wait: false,
///     trace: false,
///     traceparent: None,
///     idempotency_key: None,
///     body: vec!["hello".into()],
/// };
/// let frames = native::encode_request(Dialect::Native, &request)?;
/// assert_eq!(decode(frames)?, Message::Request { dialect: Dialect::Native, request });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Malformed`] with the rule that the message breaks.
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
