//! Native client dialect: the features that Majordomo lacks, in as few frames as possible, because each frame costs.
//!
//! A client uses a DEALER socket. A message is one header frame, followed by the frames of the body; or, if it is
//! compact, one frame with the body in its header. Integers are unsigned, in network byte order.
//!
//! ```text
//! offset size
//!      0    6  "WNODC1": the dialect and its version
//!      6    1  command: 1 REQUEST, 2 PARTIAL, 3 FINAL, 4 FAILURE, 5 CANCEL; compact: 6 REQUEST, 7 PARTIAL, 8 FINAL
//!      7    8  request id: chosen by the client, unique among its requests without an answer
//!
//! REQUEST  client to node
//!     15    4  deadline in milliseconds; 0: the deadline of the service applies, if it has one
//!     19    1  flags: bit 0 = wait, until the deadline, for a service that is not offered yet; bit 1 = trace the
//!              request instead of running it; the others are 0
//!     20    1  n, the length of the service name
//!     21    n  service name
//!   21+n    …  fields, each: type (1), length (2), value. 1 = W3C traceparent, 2 = idempotency key (1 to 255 bytes),
//!              3 in a compact message = a frame of the body, in order; receivers ignore unknown types
//! CANCEL   client to node: nothing more, no body. Without effect if the answer is already in transit
//! PARTIAL  node to client: nothing more; body. Compact: fields of type 3
//! FINAL    node to client: nothing more; body. Compact: fields of type 3
//! FAILURE  node to client
//!     15    2  code (`Code::number`)
//!     17    …  reason, UTF-8, at most 4096 bytes; no body
//! ```
//!
//! Each REQUEST gets any number of PARTIAL, then exactly one FINAL or FAILURE; a cancelled one gets FAILURE 499.
//! Answers come in the order in which they are ready, so one connection carries many requests at a time.
//!
//! A client that sends a compact request gets compact replies if their fields take at most [`MAX_COMPACT`] bytes. No
//! other client gets them.
//!
//! A trace gets at most one PARTIAL, whose frames are the records of the nodes that it passed ([`super::trace`]), then
//! FINAL without a body if the request would be served, or the FAILURE that the request would get. Its idempotency key
//! is ignored.

use super::codec::{
    self, CANCEL, FAILURE, FIELD_IDEMPOTENCY_KEY, FIELD_TRACEPARENT, FINAL, MAX_FIELD, PARTIAL, REQUEST, Reader,
    numbered, put_field, put_short, with_body,
};
use super::{Body, Dialect, Frame, Malformed, Message, Reply, Request, Sender};
use crate::failure::{Code, Failure};
use crate::name::Address;
use bytes::{Buf, BufMut};

pub use super::codec::MAX_IDEMPOTENCY_KEY;

/// First bytes of every header frame.
pub const MAGIC: &[u8] = b"WNODC1";

/// Largest body of a compact message, in bytes of its fields: copying more costs as much as another frame.
pub const MAX_COMPACT: usize = 2_048;

const COMPACT_REQUEST: u8 = 6;
const COMPACT_PARTIAL: u8 = 7;
const COMPACT_FINAL: u8 = 8;

const FIELD_BODY: u8 = 3;

const FLAG_WAIT: u8 = 1;
const FLAG_TRACE: u8 = 2;

/// Offset of the service name in the header of a request.
const NAME: usize = 21;

/// Returns `true` if the header of a request has a service name of the node itself (`node.*`).
pub(super) fn names_the_node(header: &[u8]) -> bool {
    header.get(NAME..).is_some_and(|name| name.starts_with(crate::name::OF_THE_NODE.as_bytes()))
}

/// Decodes a message of a client. The caller has checked [`MAGIC`].
pub(super) fn decode(mut frames: Vec<Frame>) -> Result<Message, Malformed> {
    let mut header = frames.remove(0);
    header.advance(MAGIC.len());
    let (Ok(command), Ok(id)) = (header.u8(), header.u64()) else {
        return Err(Malformed { sender: Sender::Client, reason: "has a header of fewer than 15 bytes" });
    };
    let malformed = |reason| Malformed { sender: Sender::NativeClient(id), reason };
    match command {
        REQUEST => decode_request(Dialect::Native, id, &mut header, frames).map_err(malformed),
        COMPACT_REQUEST => {
            let request = alone(frames).and_then(|body| decode_request(Dialect::NativeCompact, id, &mut header, body));
            request.map_err(malformed)
        }
        CANCEL => Ok(Message::Cancel { id }),
        PARTIAL | FINAL | FAILURE | COMPACT_PARTIAL | COMPACT_FINAL => {
            Err(malformed("is a command that only a node sends"))
        }
        _ => Err(malformed("has an unknown command")),
    }
}

fn decode_request(dialect: Dialect, id: u64, header: &mut Frame, body: Body) -> Result<Message, &'static str> {
    let deadline_ms = header.u32()?;
    let flags = header.u8()?;
    if flags & !(FLAG_WAIT | FLAG_TRACE) != 0 {
        return Err("has unknown flags");
    }
    let length = header.u8()?;
    let service = header.bytes(length.into())?;
    let mut request = Request {
        id,
        service,
        deadline_ms: (deadline_ms > 0).then_some(deadline_ms),
        wait: flags & FLAG_WAIT != 0,
        trace: flags & FLAG_TRACE != 0,
        traceparent: None,
        idempotency_key: None,
        body,
    };
    while let Some((kind, value)) = header.field()? {
        match kind {
            FIELD_TRACEPARENT => request.traceparent = Some(codec::traceparent(value)?),
            FIELD_IDEMPOTENCY_KEY => request.idempotency_key = Some(codec::idempotency_key(value)?),
            FIELD_BODY if dialect == Dialect::NativeCompact => request.body.push(value),
            _ => {}
        }
    }
    Ok(Message::Request { dialect, request })
}

/// Returns `true` if a body is sent in a compact message.
fn is_compact(dialect: Dialect, body: &[Frame]) -> bool {
    dialect == Dialect::NativeCompact && size_of_fields(body) <= MAX_COMPACT
}

fn size_of_fields(body: &[Frame]) -> usize {
    body.iter().map(|frame| 3 + frame.len()).sum()
}

fn put_body(header: &mut Vec<u8>, body: &[Frame]) {
    body.iter().for_each(|frame| put_field(header, FIELD_BODY, frame));
}

/// Checks a request by the rules of every node, before it is sent.
///
/// # Errors
/// Failure 400, as the node would answer, if the address, the traceparent or the idempotency key breaks a rule.
pub fn check(request: &Request) -> Result<(), Failure> {
    Address::from_bytes(&request.service)?;
    let traceparent = request.traceparent.clone().map_or(Ok(()), |value| codec::traceparent(value).map(drop));
    let key = request.idempotency_key.clone().map_or(Ok(()), |value| codec::idempotency_key(value).map(drop));
    traceparent.and(key).map_err(|reason| Failure::new(Code::Malformed, format!("the message {reason}")))
}

/// Encodes a request; in [`Dialect::NativeCompact`] it is compact if its body takes at most [`MAX_COMPACT`] bytes.
///
/// # Errors
/// Failure 400, as the node would answer, if the service name is over 255 bytes or a field over 65,535. Neither is cut,
/// because the result would be another request.
pub fn encode_request(dialect: Dialect, request: &Request) -> Result<Vec<Frame>, Failure> {
    let malformed = |reason| Failure::new(Code::Malformed, format!("the message {reason}"));
    let is_compact = is_compact(dialect, &request.body);
    let (command, more) = if is_compact { (COMPACT_REQUEST, size_of_fields(&request.body)) } else { (REQUEST, 0) };
    let mut header = numbered(MAGIC, command, request.id, 64 + request.service.len() + more);
    header.put_u32(request.deadline_ms.unwrap_or(0));
    header.put_u8(if request.wait { FLAG_WAIT } else { 0 } | if request.trace { FLAG_TRACE } else { 0 });
    put_short(&mut header, &request.service).map_err(malformed)?;
    for (kind, value) in [(FIELD_TRACEPARENT, &request.traceparent), (FIELD_IDEMPOTENCY_KEY, &request.idempotency_key)]
    {
        if let Some(value) = value {
            if value.len() > MAX_FIELD {
                return Err(malformed("has a field of more than 65,535 bytes"));
            }
            put_field(&mut header, kind, value);
        }
    }
    if is_compact {
        put_body(&mut header, &request.body);
        return Ok(vec![header.into()]);
    }
    Ok(with_body(header, request.body.clone()))
}

/// Encodes the withdrawal of a request.
#[must_use]
pub fn encode_cancel(id: u64) -> Vec<Frame> {
    vec![numbered(MAGIC, CANCEL, id, 0).into()]
}

/// Encodes a reply; in [`Dialect::NativeCompact`] it is compact if its body takes at most [`MAX_COMPACT`] bytes.
#[must_use]
pub fn encode_reply(dialect: Dialect, id: u64, reply: Reply) -> Vec<Frame> {
    let (command, mut body) = match reply {
        Reply::Partial(body) if is_compact(dialect, &body) => (COMPACT_PARTIAL, body),
        Reply::Final(body) if is_compact(dialect, &body) => (COMPACT_FINAL, body),
        reply => return codec::encode_reply(MAGIC, id, reply),
    };
    let mut header = numbered(MAGIC, command, id, size_of_fields(&body));
    put_body(&mut header, &body);
    body.clear();
    with_body(header, body)
}

/// Decodes a reply of a node, and returns it with the id of the request.
///
/// # Examples
/// ```
/// use wasmnode_protocol::message::{Dialect, Reply, native};
///
/// let reply = Reply::Final(vec!["done".into()]);
/// let frames = native::encode_reply(Dialect::Native, 7, reply.clone());
/// assert_eq!(native::decode_reply(frames), Ok((7, reply)));
/// ```
///
/// # Errors
/// [`Malformed`] with the rule that the message breaks. An unknown failure code is malformed too.
pub fn decode_reply(mut frames: Vec<Frame>) -> Result<(u64, Reply), Malformed> {
    let malformed = |reason| Malformed { sender: Sender::Stranger, reason };
    if !frames.first().is_some_and(|first| first.starts_with(MAGIC)) {
        return Err(malformed("does not begin with WNODC1"));
    }
    let mut header = frames.remove(0);
    header.advance(MAGIC.len());
    let (Ok(command), Ok(id)) = (header.u8(), header.u64()) else {
        return Err(malformed("has a header of fewer than 15 bytes"));
    };
    let reply = match command {
        PARTIAL => Reply::Partial(frames),
        FINAL => Reply::Final(frames),
        COMPACT_PARTIAL => Reply::Partial(body_of(&mut header, frames).map_err(malformed)?),
        COMPACT_FINAL => Reply::Final(body_of(&mut header, frames).map_err(malformed)?),
        FAILURE => Reply::Failure(header.failure().map_err(malformed)?),
        _ => return Err(malformed("has a command that only a client sends")),
    };
    Ok((id, reply))
}

/// Checks that no frames follow the header of a compact message, and returns them as an empty body.
fn alone(frames: Vec<Frame>) -> Result<Body, &'static str> {
    if frames.is_empty() { Ok(frames) } else { Err("is compact and has more than one frame") }
}

/// Returns the body of a compact reply.
fn body_of(header: &mut Frame, frames: Vec<Frame>) -> Result<Body, &'static str> {
    let mut body = alone(frames)?;
    while let Some((kind, value)) = header.field()? {
        if kind == FIELD_BODY {
            body.push(value);
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    fn full_ask() -> Request {
        Request {
            id: 7,
            service: Frame::from_static(b"print"),
            deadline_ms: Some(250),
            wait: true,
            trace: false,
            traceparent: Some(Frame::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            idempotency_key: Some(Frame::from_static(b"order-1")),
            body: vec![Frame::from_static(b"a"), Frame::new()],
        }
    }

    #[test]
    fn a_request_survives_encoding_and_decoding() {
        let bare = Request { deadline_ms: None, wait: false, traceparent: None, idempotency_key: None, ..full_ask() };
        let trace = Request { wait: false, trace: true, ..full_ask() };
        for request in [full_ask(), bare, trace] {
            for (dialect, frames) in [(Dialect::Native, 3), (Dialect::NativeCompact, 1)] {
                let encoded = encode_request(dialect, &request).unwrap();
                assert_eq!(encoded.len(), frames);
                assert_eq!(decode(encoded).unwrap(), Message::Request { dialect, request: request.clone() });
            }
        }
    }

    #[test]
    fn a_value_too_long_for_its_length_field_is_refused_and_never_cut() {
        let (long, field) = ("a".repeat(255), "0".repeat(MAX_FIELD));
        let service = |name: String| Request { service: name.into(), ..full_ask() };
        let parent = |text: String| Request { traceparent: Some(text.into()), ..full_ask() };
        let key = |text: String| Request { idempotency_key: Some(text.into()), ..full_ask() };
        for dialect in [Dialect::Native, Dialect::NativeCompact] {
            for whole in [service(long.clone()), parent(field.clone())] {
                let encoded = encode_request(dialect, &whole).unwrap();
                assert_eq!(decode(encoded).unwrap(), Message::Request { dialect, request: whole });
            }
            let more = |text: &str| text.to_owned() + "-delete-everything";
            for over in [service(more(&long)), parent(more(&field)), key(more(&field))] {
                assert_eq!(encode_request(dialect, &over).unwrap_err().code, Code::Malformed);
            }
        }
    }

    #[test]
    fn a_request_that_a_node_would_refuse_fails_the_check() {
        let service = |name: &str| Request { service: Frame::copy_from_slice(name.as_bytes()), ..full_ask() };
        let key = |length| Request { idempotency_key: Some(vec![b'k'; length].into()), ..full_ask() };
        let parent = Request { traceparent: Some(Frame::from_static(b"\xff")), ..full_ask() };
        for good in [full_ask(), service("print@node2.paris"), key(255)] {
            assert_eq!(check(&good), Ok(()));
        }
        for bad in [service(""), service("print@"), service(&"a".repeat(256)), key(0), key(256), parent] {
            assert_eq!(check(&bad).unwrap_err().code, Code::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn a_long_body_is_not_compact() {
        let body = |length| vec![Frame::from(vec![b'x'; length - 3])];
        let frames = |length| {
            let reply = encode_reply(Dialect::NativeCompact, 1, Reply::Final(body(length)));
            assert_eq!(decode_reply(reply.clone()).unwrap(), (1, Reply::Final(body(length))));
            let request = Request { body: body(length), ..full_ask() };
            [encode_request(Dialect::NativeCompact, &request).unwrap().len(), reply.len()]
        };
        assert_eq!([frames(MAX_COMPACT), frames(MAX_COMPACT + 1)], [[1, 1], [2, 2]]);
    }

    #[test]
    fn a_compact_message_with_a_second_frame_is_malformed() {
        for (mut frames, is_reply) in [
            (encode_request(Dialect::NativeCompact, &full_ask()).unwrap(), false),
            (encode_reply(Dialect::NativeCompact, 7, Reply::Final(full_ask().body)), true),
        ] {
            frames.push(Frame::new());
            let malformed = if is_reply { decode_reply(frames).unwrap_err() } else { decode(frames).unwrap_err() };
            assert_eq!(malformed.reason, "is compact and has more than one frame");
        }
    }

    #[test]
    fn the_header_is_encoded_as_documented() {
        let frames = encode_request(Dialect::Native, &Request { traceparent: None, ..full_ask() }).unwrap();
        assert_eq!(
            frames[0].as_ref(),
            b"WNODC1\x01\0\0\0\0\0\0\0\x07\0\0\0\xfa\x01\x05print\x02\0\x07order-1".as_slice()
        );
        let failure = Reply::Failure(Failure::new(Code::Deadline, "late"));
        let failure = encode_reply(Dialect::Native, 7, failure);
        assert_eq!(failure[0].as_ref(), b"WNODC1\x04\0\0\0\0\0\0\0\x07\x01\xf8late".as_slice());
        let compact = encode_reply(Dialect::NativeCompact, 7, Reply::Final(full_ask().body));
        assert_eq!(compact[0].as_ref(), b"WNODC1\x08\0\0\0\0\0\0\0\x07\x03\0\x01a\x03\0\0".as_slice());
    }

    #[test]
    fn replies_survive_encoding_and_decoding() {
        let body = vec![Frame::from_static(b"x"), Frame::new()];
        let failure = Failure::new(Code::Overloaded, "the queue is full");
        for reply in [Reply::Partial(body.clone()), Reply::Final(body), Reply::Failure(failure)] {
            for dialect in [Dialect::Native, Dialect::NativeCompact] {
                assert_eq!(decode_reply(encode_reply(dialect, 9, reply.clone())).unwrap(), (9, reply.clone()));
            }
        }
    }

    #[test]
    fn every_truncated_header_is_malformed_and_identifies_its_sender() {
        let whole = encode_request(Dialect::Native, &full_ask()).unwrap()[0].clone();
        let name_end = MAGIC.len() + 9 + 6 + "print".len();
        let field_end = name_end + 3 + full_ask().traceparent.unwrap().len();
        for length in MAGIC.len()..whole.len() {
            let result = decode(vec![whole.slice(..length)]);
            if length == name_end || length == field_end {
                assert!(result.is_ok(), "a header may end between fields");
            } else if length < MAGIC.len() + 9 {
                assert_eq!(result.unwrap_err().sender, Sender::Client);
            } else {
                assert_eq!(result.unwrap_err().sender, Sender::NativeClient(7), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_field_of_an_unknown_type_is_ignored() {
        let mut header = encode_request(Dialect::Native, &full_ask()).unwrap()[0].to_vec();
        header.extend(b"\x63\0\x02hi");
        let mut frames = vec![Frame::from(header)];
        frames.extend(full_ask().body);
        assert_eq!(decode(frames).unwrap(), Message::Request { dialect: Dialect::Native, request: full_ask() });
    }

    #[test]
    fn a_command_of_a_node_is_refused_from_a_client() {
        for reply in [Reply::Partial(vec![]), Reply::Final(vec![]), Reply::Failure(Failure::new(Code::Lost, ""))] {
            for dialect in [Dialect::Native, Dialect::NativeCompact] {
                assert!(decode(encode_reply(dialect, 1, reply.clone())).is_err());
            }
        }
        assert_eq!(decode(encode_cancel(3)).unwrap(), Message::Cancel { id: 3 });
    }
}
