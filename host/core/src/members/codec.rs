//! Encoding of datagrams.
//!
//! Numbers are big-endian. A member is MEMBER of [`crate::message::peer`]: its name (1 byte of length), boot (8),
//! renewal (2), role (1) and endpoint (2 bytes of length). A datagram is the sender, its incarnation (2), the receiver,
//! the kind of message (1), the fields of that kind (the number of a probe, and the third member that it concerns),
//! and, if the kind carries updates, their number (2) and the updates: a member, its incarnation (2), its state (1).

use super::identity::{Identity, NameHash};
use crate::message::Frame;
use crate::message::peer::{Member, MemberKind};
use crate::text;
use bytes::{Buf, BufMut};
use foca::{Header, Message, State};
use std::fmt;

/// Rule that a datagram of the membership protocol breaks. The message is a sentence about "the datagram".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedGossip(pub &'static str);

impl fmt::Display for MalformedGossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the datagram {}", self.0)
    }
}

impl std::error::Error for MalformedGossip {}

type Read<T> = Result<T, MalformedGossip>;

const SHORT: MalformedGossip = MalformedGossip("ends early");
const UNKNOWN_KIND: MalformedGossip = MalformedGossip("is of an unknown kind");
const NO_ROOM: MalformedGossip = MalformedGossip("has no room left");

/// Datagram of valid structure, read in place.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) sender: MemberView<'a>,
    pub(super) receiver: MemberView<'a>,
    header: &'a [u8],
    updates: &'a [u8],
    count: u16,
}

/// Member, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberView<'a> {
    pub(super) name: &'a str,
    boot: u64,
    renewal: u16,
    role: MemberKind,
    endpoint: &'a str,
}

/// Update on a member, read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberUpdate<'a> {
    pub(super) member: MemberView<'a>,
    pub(super) state: State,
    incarnation: u16,
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Read<Self> {
        let mut rest = data;
        let sender = MemberView::read(&mut rest)?;
        number::<2>(&mut rest)?;
        let receiver = MemberView::read(&mut rest)?;
        if Kind::read(&mut rest)?.third == Some(sender) {
            // Forwarding it would produce a datagram that its receiver has to reject.
            return Err(MalformedGossip("is to be forwarded to its sender"));
        }
        let header = &data[..data.len() - rest.len()];
        let count = if rest.is_empty() { 0 } else { u16::from_be_bytes(number(&mut rest)?) };
        let updates = rest;
        for _ in 0..count {
            MemberUpdate::read(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(Self { sender, receiver, header, updates, count })
        } else {
            Err(MalformedGossip("has bytes after its end"))
        }
    }

    pub(super) fn updates(&self) -> impl Iterator<Item = MemberUpdate<'a>> {
        let mut rest = self.updates;
        std::iter::from_fn(move || MemberUpdate::read(&mut rest).ok())
    }

    pub(super) fn count(&self) -> usize {
        self.count.into()
    }

    /// Returns the datagram with only the updates for which `keep` returns `true`.
    pub(super) fn filtered(&self, mut keep: impl FnMut(&MemberUpdate<'_>) -> bool) -> Vec<u8> {
        let mut data = self.header.to_vec();
        let position = data.len();
        data.put_u16(0);
        let mut count = 0_u16;
        for update in self.updates().filter(|update| keep(update)) {
            data.put_slice(update.bytes);
            count += 1;
        }
        data[position..position + 2].copy_from_slice(&count.to_be_bytes());
        data
    }
}

impl<'a> MemberView<'a> {
    fn read(rest: &mut &'a [u8]) -> Read<Self> {
        let [length] = number(rest)?;
        let name = text(rest, length.into())?;
        let boot = u64::from_be_bytes(number(rest)?);
        let renewal = u16::from_be_bytes(number(rest)?);
        let [role] = number(rest)?;
        let role = MemberKind::from_number(role).ok_or(MalformedGossip("has an unknown role"))?;
        let length = u16::from_be_bytes(number(rest)?);
        let endpoint = text(rest, length.into())?;
        Ok(Self { name, boot, renewal, role, endpoint })
    }

    pub(super) fn address(&self) -> NameHash {
        NameHash::of(self.name)
    }

    /// Returns `true` if the view is `member` with the same identity.
    pub(super) fn is(&self, member: &Member) -> bool {
        (self.name, self.boot, self.renewal, self.role, self.endpoint)
            == (member.name.as_str(), member.boot, member.renewal, member.role, member.endpoint.as_str())
    }

    pub(super) fn to_member(self) -> Read<Member> {
        Ok(Member {
            name: self.name.parse().map_err(|_| MalformedGossip("has an invalid name"))?,
            boot: self.boot,
            renewal: self.renewal,
            role: self.role,
            endpoint: self.endpoint.into(),
        })
    }
}

impl<'a> MemberUpdate<'a> {
    fn read(rest: &mut &'a [u8]) -> Read<Self> {
        let start = *rest;
        let member = MemberView::read(rest)?;
        let incarnation = u16::from_be_bytes(number(rest)?);
        let state = match number(rest)? {
            [0] => State::Alive,
            [1] => State::Suspect,
            [2] => State::Down,
            _ => return Err(MalformedGossip("has an unknown state")),
        };
        Ok(Self { member, state, incarnation, bytes: &start[..start.len() - rest.len()] })
    }
}

/// Kind of a datagram with its fields, read in place.
struct Kind<'a> {
    tag: u8,
    probe_number: u8,
    third: Option<MemberView<'a>>,
}

impl<'a> Kind<'a> {
    fn read(rest: &mut &'a [u8]) -> Read<Self> {
        let [tag] = number(rest)?;
        let [probe_number] = if tag <= FORWARDED_ACK { number(rest)? } else { [0] };
        let third = if (PING_REQ..=FORWARDED_ACK).contains(&tag) { Some(MemberView::read(rest)?) } else { None };
        if tag <= TURN_UNDEAD { Ok(Self { tag, probe_number, third }) } else { Err(UNKNOWN_KIND) }
    }

    fn to_message(&self) -> Read<Message<Identity>> {
        let probe_number = self.probe_number;
        let third = || Ok::<Identity, _>(self.third.ok_or(SHORT)?.to_member()?.into());
        Ok(match self.tag {
            PING => Message::Ping(probe_number),
            ACK => Message::Ack(probe_number),
            PING_REQ => Message::PingReq { target: third()?, probe_number },
            INDIRECT_PING => Message::IndirectPing { origin: third()?, probe_number },
            INDIRECT_ACK => Message::IndirectAck { target: third()?, probe_number },
            FORWARDED_ACK => Message::ForwardedAck { origin: third()?, probe_number },
            ANNOUNCE => Message::Announce,
            FEED => Message::Feed,
            GOSSIP => Message::Gossip,
            TURN_UNDEAD => Message::TurnUndead,
            _ => return Err(UNKNOWN_KIND),
        })
    }
}

const PING: u8 = 0;
const ACK: u8 = 1;
const PING_REQ: u8 = 2;
const INDIRECT_PING: u8 = 3;
const INDIRECT_ACK: u8 = 4;
const FORWARDED_ACK: u8 = 5;
const ANNOUNCE: u8 = 6;
const FEED: u8 = 7;
const GOSSIP: u8 = 8;
const TURN_UNDEAD: u8 = 9;

/// Returns a datagram that sends one update to `receiver`.
pub(super) fn tell(sender: &Identity, receiver: &Identity, member: &Identity, state: State) -> Read<Frame> {
    let (src, dst) = (sender.clone(), receiver.clone());
    let header = Header { src, src_incarnation: 0, dst, message: Message::Gossip };
    let mut data = Vec::new();
    foca::Codec::encode_header(&mut Codec, &header, &mut data)?;
    data.put_u16(1);
    foca::Codec::encode_member(&mut Codec, &foca::Member::new(member.clone(), 0, state), &mut data)?;
    Ok(data.into())
}

/// Codec of foca in this encoding.
#[derive(Debug)]
pub(super) struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = MalformedGossip;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Read<()> {
        write_member(header.src.member(), &mut buf, 2)?;
        buf.put_u16(header.src_incarnation);
        write_member(header.dst.member(), &mut buf, 2)?;
        write_message(&header.message, &mut buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Read<Header<Identity>> {
        let data = buf.chunk();
        let mut rest = data;
        let src = MemberView::read(&mut rest)?.to_member()?.into();
        let src_incarnation = u16::from_be_bytes(number(&mut rest)?);
        let dst = MemberView::read(&mut rest)?.to_member()?.into();
        let message = Kind::read(&mut rest)?.to_message()?;
        let length = data.len() - rest.len();
        buf.advance(length);
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &foca::Member<Identity>, mut buf: impl BufMut) -> Read<()> {
        write_member(member.id().member(), &mut buf, 3)?;
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Read<foca::Member<Identity>> {
        let mut rest = buf.chunk();
        let update = MemberUpdate::read(&mut rest)?;
        let member = foca::Member::new(update.member.to_member()?.into(), update.incarnation, update.state);
        let length = update.bytes.len();
        buf.advance(length);
        Ok(member)
    }
}

fn write_message(message: &Message<Identity>, buf: &mut impl BufMut) -> Read<()> {
    let (tag, probe_number, third) = match message {
        Message::Ping(number) => (PING, Some(number), None),
        Message::Ack(number) => (ACK, Some(number), None),
        Message::PingReq { target, probe_number } => (PING_REQ, Some(probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (INDIRECT_PING, Some(probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (INDIRECT_ACK, Some(probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (FORWARDED_ACK, Some(probe_number), Some(origin)),
        Message::Announce => (ANNOUNCE, None, None),
        Message::Feed => (FEED, None, None),
        Message::Gossip => (GOSSIP, None, None),
        Message::TurnUndead => (TURN_UNDEAD, None, None),
        Message::Broadcast => return Err(UNKNOWN_KIND),
    };
    if buf.remaining_mut() < 2 {
        return Err(NO_ROOM);
    }
    buf.put_u8(tag);
    if let Some(&number) = probe_number {
        buf.put_u8(number);
    }
    third.map_or(Ok(()), |third| write_member(third.member(), buf, 0))
}

/// Writes a member completely or not at all, if there is no room for it and `more` bytes after it.
///
/// foca ends a full datagram before the member that does not fit.
fn write_member(member: &Member, buf: &mut impl BufMut, more: usize) -> Read<()> {
    let name = member.name.as_str();
    let name_length = u8::try_from(name.len()).map_err(|_| NO_ROOM)?;
    let endpoint_length = u16::try_from(member.endpoint.len()).map_err(|_| NO_ROOM)?;
    if buf.remaining_mut() < 1 + name.len() + 8 + 2 + 1 + 2 + member.endpoint.len() + more {
        return Err(NO_ROOM);
    }
    buf.put_u8(name_length);
    buf.put_slice(name.as_bytes());
    buf.put_u64(member.boot);
    buf.put_u16(member.renewal);
    buf.put_u8(member.role.number());
    buf.put_u16(endpoint_length);
    buf.put_slice(member.endpoint.as_bytes());
    Ok(())
}

/// Takes the next `N` bytes.
fn number<const N: usize>(rest: &mut &[u8]) -> Read<[u8; N]> {
    let (number, after) = rest.split_first_chunk().ok_or(SHORT)?;
    *rest = after;
    Ok(*number)
}

fn text<'a>(rest: &mut &'a [u8], length: usize) -> Read<&'a str> {
    let (text, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    let text = std::str::from_utf8(text).map_err(|_| MalformedGossip("is not UTF-8"))?;
    if text::is_line(text) {
        Ok(text)
    } else {
        Err(MalformedGossip("has a text with characters that are not printable"))
    }
}
