//! Majordomo 0.1 (ZeroMQ RFC 7) and 0.2 (ZeroMQ RFC 18), clients and workers, exactly as specified.
//!
//! The two versions share a socket: messages of 0.1 always begin with an empty frame. Some senders of 0.2 begin with
//! one too; their [`Dialect`] records it, so that they are answered in the same form.

use super::{Body, Dialect, Frame, Malformed, Message, Reply, Request, Sender, WorkerCommand};

/// First frame of a failure's body, before code and reason, where failures are reported to Majordomo clients.
pub const FAILURE_MARK: &[u8] = b"wasmnode-failure";

/// First bytes of every worker's header.
pub(super) const WORKER: &[u8] = b"MDPW0";

const CLIENT_01: &[u8] = b"MDPC01";
const CLIENT_02: &[u8] = b"MDPC02";
const WORKER_01: &[u8] = b"MDPW01";
const WORKER_02: &[u8] = b"MDPW02";

const CLIENT_REQUEST: u8 = 1;
const CLIENT_PARTIAL: u8 = 2;
const CLIENT_FINAL: u8 = 3;

/// Command of the node to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// A request to serve.
    Request {
        /// The frame that the worker must send back with its replies.
        client: Frame,
        /// The client's frames.
        body: Body,
    },
    /// Heartbeat of the node.
    Heartbeat,
    /// End of the registration: the worker leaves, or registers again.
    Disconnect,
}

/// Decodes a Majordomo message. `frames` lacks the leading empty frame; `enveloped` is whether there was one.
pub(super) fn decode(mut frames: Vec<Frame>, enveloped: bool) -> Result<Message, Malformed> {
    let version_02 = if enveloped { Dialect::Majordomo02Enveloped } else { Dialect::Majordomo02 };
    let header = if frames.is_empty() { Frame::new() } else { frames.remove(0) };
    match (header.as_ref(), enveloped) {
        (CLIENT_01, true) => client(frames, Dialect::Majordomo01),
        (CLIENT_02, _) => {
            let command = take(&mut frames, Sender::Client, "lacks the command frame")?;
            match command.as_ref() {
                [CLIENT_REQUEST] => client(frames, version_02),
                _ => Err(Malformed { sender: Sender::Client, reason: "has a command that no client sends" }),
            }
        }
        (WORKER_01, true) => worker(frames, Dialect::Majordomo01),
        (WORKER_02, _) => worker(frames, version_02),
        (CLIENT_01 | WORKER_01, false) => {
            Err(Malformed { sender: Sender::Stranger, reason: "is Majordomo 0.1 without its leading empty frame" })
        }
        _ => Err(Malformed { sender: Sender::Stranger, reason: "has a header of no known protocol" }),
    }
}

fn client(mut frames: Vec<Frame>, dialect: Dialect) -> Result<Message, Malformed> {
    let service = take(&mut frames, Sender::Client, "lacks the service frame")?;
    if frames.is_empty() {
        return Err(Malformed { sender: Sender::Client, reason: "lacks a body frame" });
    }
    let request = Request {
        id: 0,
        service,
        deadline_ms: None,
        // RFC 7 and 18 let a request wait for its service; the node decides for how long.
        wait: true,
        trace: false,
        traceparent: None,
        idempotency_key: None,
        body: frames,
    };
    Ok(Message::Request { dialect, request })
}

fn worker(mut frames: Vec<Frame>, dialect: Dialect) -> Result<Message, Malformed> {
    let sender = Sender::Worker(dialect);
    let numbers = CommandNumbers::of(dialect);
    let command = take(&mut frames, sender, "lacks the command frame")?;
    let &[number] = command.as_ref() else {
        return Err(Malformed { sender, reason: "has a command frame that is not one byte long" });
    };
    let command = if number == numbers.ready {
        WorkerCommand::Ready { service: take(&mut frames, sender, "lacks the service frame")? }
    } else if number == numbers.final_reply {
        let client = envelope(&mut frames, sender)?;
        WorkerCommand::Final { client, body: frames }
    } else if Some(number) == numbers.partial {
        let client = envelope(&mut frames, sender)?;
        WorkerCommand::Partial { client, body: frames }
    } else if number == numbers.heartbeat {
        WorkerCommand::Heartbeat
    } else if number == numbers.disconnect {
        WorkerCommand::Disconnect
    } else {
        return Err(Malformed { sender, reason: "has a command that no worker sends" });
    };
    Ok(Message::Worker { dialect, command })
}

/// Removes `client | ""` from the front, and checks that at least one body frame is left.
fn envelope(frames: &mut Vec<Frame>, sender: Sender) -> Result<Frame, Malformed> {
    let client = take(frames, sender, "lacks the client frame")?;
    let empty = take(frames, sender, "lacks the empty frame after the client frame")?;
    if !empty.is_empty() {
        return Err(Malformed { sender, reason: "has no empty frame after the client frame" });
    }
    if frames.is_empty() {
        return Err(Malformed { sender, reason: "lacks a body frame" });
    }
    Ok(client)
}

fn take(frames: &mut Vec<Frame>, sender: Sender, reason: &'static str) -> Result<Frame, Malformed> {
    if frames.is_empty() { Err(Malformed { sender, reason }) } else { Ok(frames.remove(0)) }
}

/// Encodes a reply to a Majordomo client; `None` if its version has no such message.
///
/// Version 0.1 has no partial replies, and neither version has failures. With `sends_failures`, a failure becomes a
/// final reply of [`FAILURE_MARK`], code and reason.
#[must_use]
pub fn encode_reply(dialect: Dialect, service: &[u8], reply: Reply, sends_failures: bool) -> Option<Vec<Frame>> {
    let (command, body) = match reply {
        Reply::Partial(_) if dialect == Dialect::Majordomo01 => return None,
        Reply::Partial(body) => (CLIENT_PARTIAL, body),
        Reply::Final(body) => (CLIENT_FINAL, body),
        Reply::Failure(_) if !sends_failures => return None,
        Reply::Failure(failure) => {
            let code = failure.code.number().to_string();
            (CLIENT_FINAL, vec![Frame::from_static(FAILURE_MARK), code.into(), failure.reason.into()])
        }
    };
    let mut frames = lead(dialect, CLIENT_01, CLIENT_02, 3 + body.len());
    if dialect != Dialect::Majordomo01 {
        frames.push(Frame::copy_from_slice(&[command]));
    }
    frames.push(Frame::copy_from_slice(service));
    push_body(&mut frames, body);
    Some(frames)
}

/// Encodes a command of the node to a worker.
///
/// # Examples
/// ```
/// use wasmnode_protocol::message::{Dialect, majordomo};
///
/// let command = majordomo::ToWorker::Request { client: "client 1".into(), body: vec!["hello".into()] };
/// let frames = majordomo::encode_to_worker(Dialect::Majordomo02, command);
/// assert_eq!(frames, ["MDPW02", "\x02", "client 1", "", "hello"]);
/// ```
#[must_use]
pub fn encode_to_worker(dialect: Dialect, command: ToWorker) -> Vec<Frame> {
    let numbers = CommandNumbers::of(dialect);
    let mut frames = lead(dialect, WORKER_01, WORKER_02, 6);
    match command {
        ToWorker::Request { client, body } => {
            frames.extend([Frame::copy_from_slice(&[CommandNumbers::REQUEST]), client, Frame::new()]);
            push_body(&mut frames, body);
        }
        ToWorker::Heartbeat => frames.push(Frame::copy_from_slice(&[numbers.heartbeat])),
        ToWorker::Disconnect => frames.push(Frame::copy_from_slice(&[numbers.disconnect])),
    }
    frames
}

/// Returns the client frame of an encoded [`ToWorker::Request`]; `None` for every other message.
#[must_use]
pub fn client_of_request(frames: &[Frame]) -> Option<&Frame> {
    let frames = match frames {
        [first, rest @ ..] if first.is_empty() => rest,
        all => all,
    };
    match frames {
        [header, command, client, ..]
            if [WORKER_01, WORKER_02].contains(&header.as_ref()) && command.as_ref() == [CommandNumbers::REQUEST] =>
        {
            Some(client)
        }
        _ => None,
    }
}

/// Returns the frames before the command: the empty one if the receiver expects it, and the header.
fn lead(dialect: Dialect, header_01: &'static [u8], header_02: &'static [u8], capacity: usize) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(2 + capacity);
    if dialect != Dialect::Majordomo02 {
        frames.push(Frame::new());
    }
    frames.push(Frame::from_static(if dialect == Dialect::Majordomo01 { header_01 } else { header_02 }));
    frames
}

/// Appends a body. An empty frame stands for no frames, because a Majordomo body has at least one.
fn push_body(frames: &mut Vec<Frame>, body: Body) {
    if body.is_empty() {
        frames.push(Frame::new());
    }
    frames.extend(body);
}

/// Numbers of the worker commands, which 0.2 shifted to make room for partial replies.
struct CommandNumbers {
    ready: u8,
    partial: Option<u8>,
    final_reply: u8,
    heartbeat: u8,
    disconnect: u8,
}

impl CommandNumbers {
    /// Number of REQUEST, equal in both versions.
    const REQUEST: u8 = 2;

    const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Majordomo01 => Self { ready: 1, partial: None, final_reply: 3, heartbeat: 4, disconnect: 5 },
            _ => Self { ready: 1, partial: Some(3), final_reply: 4, heartbeat: 5, disconnect: 6 },
        }
    }
}
