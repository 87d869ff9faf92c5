//! Records of a trace, one from each node that it passes.
//!
//! A trace is a request that is forwarded but not run: the node that would serve the request answers instead. Each node
//! puts its record before those that it receives with the answer, so the records are in the order of the hops. If a
//! node has tried several hops, the records of the first precede those of the next.
//!
//! Each record is one frame. Integers are unsigned, in network byte order.
//!
//! ```text
//! offset size
//!      0    1  distance: number of nodes that the trace passed before this one
//!      1    1  role: 1 node, 2 router
//!      2    8  microseconds from the trace's arrival at this node to this node's answer, by its own clock
//!     10    1  n, the length of the name
//!     11    n  the node's name
//!   11+n    1  m, the length of the name of its zone
//!   12+n    m  zone
//! 12+n+m    2  k, the length of the decision, at most 1,024
//! 14+n+m    k  what the node decided and why: UTF-8 without control characters
//!      …    …  fields; none yet
//! ```
//!
//! A node of another zone than the client's records no names but that of the next hop, and no figures. Records are
//! unverified statements of their senders, so nothing is decided by them.

use super::Frame;
use super::codec::{Reader, put_long, put_name};
use super::peer::MemberKind;
use crate::name::Label;
use crate::text;
use bytes::BufMut;
use std::time::Duration;

/// Largest number of records in the answer to a trace; further ones are left out.
pub const MAX_RECORDS: usize = 64;

/// Largest decision, in bytes; a longer one is cut.
pub const MAX_DECISION: usize = 1024;

/// Largest record that a node passes on, in bytes.
pub const MAX_RECORD: usize = 2048;

/// Record of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of nodes that the trace passed before this one.
    pub distance: u8,
    /// The node.
    pub node: Label,
    /// Its zone.
    pub zone: Label,
    /// Its role.
    pub role: MemberKind,
    /// Time from the trace's arrival to the node's answer; encoded in whole microseconds.
    pub elapsed: Duration,
    /// The node's decision and its reason: one line.
    pub decision: String,
}

/// Encodes a record. Its decision becomes one line of at most [`MAX_DECISION`] bytes.
#[must_use]
pub fn encode(record: &Record) -> Frame {
    let mut out = Vec::with_capacity(256);
    out.put_u8(record.distance);
    out.put_u8(record.role.number());
    out.put_u64(u64::try_from(record.elapsed.as_micros()).unwrap_or(u64::MAX));
    put_name(&mut out, Some(&record.node));
    put_name(&mut out, Some(&record.zone));
    put_long(&mut out, text::line(&record.decision, MAX_DECISION).as_bytes());
    out.into()
}

/// Decodes a record.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use wasmnode_protocol::Label;
/// use wasmnode_protocol::message::peer::MemberKind;
/// use wasmnode_protocol::message::trace::{Record, decode, encode};
///
/// let record = Record {
///     distance: 0,
///     node: Label::from_static("node1"),
///     zone: Label::from_static("paris"),
///     role: MemberKind::Node,
///     elapsed: Duration::from_micros(120),
///     decision: "a plugin serves print here".into(),
/// };
/// assert_eq!(decode(encode(&record)), Ok(record));
/// ```
///
/// # Errors
/// The rule that the record breaks. The text continues a sentence that begins with "the record".
pub fn decode(mut frame: Frame) -> Result<Record, &'static str> {
    let distance = frame.u8()?;
    let role = MemberKind::from_number(frame.u8()?).ok_or("has an unknown role")?;
    let elapsed = Duration::from_micros(frame.u64()?);
    let (node, zone) = (label(&mut frame)?, label(&mut frame)?);
    let length = frame.u16()?;
    let decision = frame.view(length.into(), decision)??;
    while frame.field()?.is_some() {}
    Ok(Record { distance, node, zone, role, elapsed, decision })
}

fn label(from: &mut Frame) -> Result<Label, &'static str> {
    let length = from.u8()?;
    let parsed =
        from.view(length.into(), |bytes| std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()))?;
    parsed.ok_or("has an invalid name of a node or a zone")
}

fn decision(bytes: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(decision) if decision.len() <= MAX_DECISION && text::is_line(decision) => Ok(decision.to_owned()),
        _ => Err("has a decision that is not one line of at most 1,024 bytes of UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            distance: 1,
            node: "r1".parse().unwrap(),
            zone: "paris".parse().unwrap(),
            role: MemberKind::Router,
            elapsed: Duration::from_micros(258),
            decision: "goes to node é".into(),
        }
    }

    #[test]
    fn a_record_is_encoded_as_documented_and_decoded() {
        let documented = b"\x01\x02\0\0\0\0\0\0\x01\x02\x02r1\x05paris\0\x0fgoes to node \xc3\xa9";
        assert_eq!(encode(&record()), documented.as_slice());
        let with_a_field = [documented.as_slice(), b"\x63\0\x01x"].concat();
        for frame in [documented.to_vec(), with_a_field] {
            assert_eq!(decode(frame.into()), Ok(record()));
        }
    }

    #[test]
    fn a_truncated_record_or_one_with_control_characters_is_refused() {
        let whole = encode(&record());
        for length in 0..whole.len() {
            assert!(decode(whole.slice(..length)).is_err(), "cut at {length}");
        }
        let mut colourful = whole.to_vec();
        let end = colourful.len() - 3;
        colourful[end] = 0x1b;
        assert!(decode(colourful.into()).unwrap_err().contains("not one line"));
    }

    #[test]
    fn every_encoded_record_can_be_decoded_and_forwarded() {
        let label = "x".repeat(Label::MAX).parse::<Label>().unwrap();
        for decision in ["é".repeat(MAX_DECISION), "a\nb\u{85}".into()] {
            let frame = encode(&Record { node: label.clone(), zone: label.clone(), decision, ..record() });
            assert!(frame.len() <= MAX_RECORD);
            assert!(decode(frame).is_ok_and(|read| read.decision.len() >= 3 && !read.decision.contains('\n')));
        }
    }
}
