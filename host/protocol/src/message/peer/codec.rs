//! Encoding and decoding of messages between nodes, as documented in [the parent module](super).

use super::{
    Advert, Forward, MAGIC, MAX_ALLOWED, MAX_CALLER, MAX_CHAIN, MAX_CROSSED, MAX_ENDPOINT, MAX_NAMED, Member,
    MemberKind, OLDEST_VERSION, Offer, PeerMessage, Traits, VERSION,
};
use crate::failure::Failure;
use crate::message::codec::{
    self, CANCEL, FAILURE, FIELD_IDEMPOTENCY_KEY, FIELD_TRACEPARENT, FINAL, PARTIAL, REQUEST, Reader, put_field,
    put_long, put_name,
};
use crate::message::{Body, Frame, Malformed, Reply, Sender};
use crate::name::{Address, Label, Location, Pattern, ServiceName};
use crate::text;
use bytes::{Buf, BufMut};
use std::mem;
use std::time::Duration;

const HELLO: u8 = 6;
const WELCOME: u8 = 7;
const REFUSED: u8 = 8;
const GOSSIP: u8 = 9;
const ADVERT: u8 = 10;
const PULL: u8 = 11;
const PING: u8 = 12;
const PONG: u8 = 13;
const OPEN: u8 = 14;
const PATHS: u8 = 15;

const WHOLE: u8 = 1;
const CHANGE: u8 = 2;
const STILL: u8 = 3;

/// Value of the time left that encodes the absence of a deadline.
const NO_DEADLINE: u64 = u64::MAX;

const OVER: &str = "counts more names than it has";

const FLAG_TRACE: u8 = 1;
const FLAG_ALTERNATIVE: u8 = 2;

/// Least size of an offer, in bytes.
const OFFER_LEAST: usize = 8;

const FIELD_CHAIN: u8 = 3;
const FIELD_CALLER: u8 = 4;
const FIELD_ZONE: u8 = 5;
const FIELD_NODE: u8 = 6;
const FIELD_CROSSED: u8 = 7;
const FIELD_ALLOWED: u8 = 8;

/// Encodes a message. The frames of a body are moved, not copied.
///
/// Lists of more than [`MAX_NAMED`] requests or [`MAX_ALLOWED`] patterns are cut, and so are reasons of more than
/// [`Failure::MAX_REASON`] bytes. Other values over their limits are encoded, and rejected by the receiver.
///
/// # Examples
/// ```
/// use wasmnode_protocol::message::peer::{PeerMessage, decode, encode};
///
/// let message = PeerMessage::Ping { outstanding: vec![7, 9] };
/// assert_eq!(decode(encode(message.clone())), Ok(message));
/// ```
#[must_use]
pub fn encode(message: PeerMessage) -> Vec<Frame> {
    let header = match message {
        PeerMessage::Request(forward) => return codec::with_body(request(&forward), forward.body),
        PeerMessage::Reply { id, reply } => return codec::encode_reply(MAGIC, id, reply),
        PeerMessage::Cancel { id } => codec::numbered(MAGIC, CANCEL, id, 0),
        PeerMessage::Hello { zone, member } => introduction(HELLO, &zone, &member),
        PeerMessage::Welcome { zone, member } => introduction(WELCOME, &zone, &member),
        PeerMessage::Refused(reason) => opaque(REFUSED, text::line(&reason, Failure::MAX_REASON).as_bytes()),
        PeerMessage::Gossip(datagram) => opaque(GOSSIP, &datagram),
        PeerMessage::Advert(advert) => put_advert(&advert),
        PeerMessage::Pull => opaque(PULL, &[]),
        PeerMessage::Open { epoch } => opaque(OPEN, &epoch.to_be_bytes()),
        PeerMessage::Paths { epoch, update } => {
            let mut header = codec::numbered(MAGIC, PATHS, epoch, update.len());
            header.put_slice(&update);
            header
        }
        PeerMessage::Ping { outstanding } => numbers(PING, &outstanding),
        PeerMessage::Pong { unknown } => numbers(PONG, &unknown),
    };
    vec![header.into()]
}

fn request(forward: &Forward) -> Vec<u8> {
    let caller = forward.caller.as_bytes();
    let fields = || {
        let traceparent = forward.traceparent.iter().map(|value| (FIELD_TRACEPARENT, value.as_ref()));
        let key = forward.idempotency_key.iter().map(|value| (FIELD_IDEMPOTENCY_KEY, value.as_ref()));
        let chain = forward.chain.iter().map(|service| (FIELD_CHAIN, service.as_str().as_bytes()));
        let caller = (!caller.is_empty()).then_some((FIELD_CALLER, caller));
        let zone = forward.zone.iter().map(|zone| (FIELD_ZONE, zone.as_str().as_bytes()));
        let node = forward.node.iter().map(|node| (FIELD_NODE, node.as_str().as_bytes()));
        let crossed = forward.crossed.iter().map(|zone| (FIELD_CROSSED, zone.as_str().as_bytes()));
        let allowed = forward.allowed.iter().flat_map(|allowed| {
            let patterns = allowed.iter().take(MAX_ALLOWED).map(Pattern::as_str);
            patterns.chain(allowed.is_empty().then_some("")).map(|pattern| (FIELD_ALLOWED, pattern.as_bytes()))
        });
        traceparent.chain(key).chain(chain).chain(caller).chain(zone).chain(node).chain(crossed).chain(allowed)
    };
    let length = 11 + forward.service.as_str().len() + fields().map(|(_, value)| 3 + value.len()).sum::<usize>();
    let mut header = codec::numbered(MAGIC, REQUEST, forward.id, length);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(NO_DEADLINE);
    header.put_u64(forward.remaining.map_or(NO_DEADLINE, micros));
    header.put_u8(forward.hops);
    let alternative = if forward.has_alternative { FLAG_ALTERNATIVE } else { 0 };
    header.put_u8(alternative | if forward.is_trace { FLAG_TRACE } else { 0 });
    put_name(&mut header, Some(&forward.service));
    fields().for_each(|(kind, value)| put_field(&mut header, kind, value));
    header
}

fn introduction(command: u8, zone: &Label, member: &Member) -> Vec<u8> {
    let mut header = codec::header(MAGIC, command, 2 + zone.as_str().len() + member_len(member));
    header.put_u8(VERSION);
    put_name(&mut header, Some(zone));
    encode_member(member, &mut header);
    header
}

/// Encodes a member, also for messages of the membership protocol. The bytes delimit themselves.
///
/// Receivers reject an endpoint of more than [`MAX_ENDPOINT`] bytes.
///
/// # Panics
/// If `out` has no room for [`member_len`] bytes, as every method of [`BufMut`].
pub fn encode_member(member: &Member, out: &mut impl BufMut) {
    put_name(out, Some(&member.name));
    out.put_u64(member.boot);
    out.put_u16(member.renewal);
    out.put_u8(member.role.number());
    put_long(out, member.endpoint.as_bytes());
}

/// Returns the number of bytes that [`encode_member`] writes: at most 1,101 if the endpoint is within its limit.
#[must_use]
pub fn member_len(member: &Member) -> usize {
    14 + member.name.as_str().len() + member.endpoint.len().min(usize::from(u16::MAX))
}

fn put_advert(advert: &Advert) -> Vec<u8> {
    let address_len =
        |address: &Address| 2 + address.service.as_str().len() + zone_of(address).map_or(0, |zone| zone.as_str().len());
    let offer = |offer: &Offer| 5 + address_len(&offer.service);
    let (kind, version, offers, withdrawn): (_, _, &[Offer], &[Address]) = match advert {
        Advert::Whole { version, offers } => (WHOLE, *version, offers, &[]),
        Advert::Change { version, offers, withdrawn } => (CHANGE, *version, offers, withdrawn),
        Advert::Still { version } => (STILL, *version, &[], &[]),
    };
    let names = offers.iter().map(offer).chain(withdrawn.iter().map(address_len));
    let mut header = codec::header(MAGIC, ADVERT, 17 + names.sum::<usize>());
    header.put_u8(kind);
    header.put_u64(version);
    if kind != STILL {
        header.put_u32(count(offers.len()));
        for offer in offers {
            header.put_u8(offer.traits.to_flags());
            put_address(&mut header, &offer.service);
            header.put_u32(offer.cost);
        }
    }
    if kind == CHANGE {
        header.put_u32(count(withdrawn.len()));
        withdrawn.iter().for_each(|address| put_address(&mut header, address));
    }
    header
}

fn put_address(out: &mut Vec<u8>, address: &Address) {
    put_name(out, Some(&address.service));
    put_name(out, zone_of(address));
}

/// Returns the zone of an address; adverts have services and zones, never nodes.
fn zone_of(address: &Address) -> Option<&Label> {
    match &address.location {
        Location::Nearest => None,
        Location::Named(zone) | Location::Node { zone, .. } => Some(zone),
    }
}

/// Returns a number of names in 4 bytes. No process holds so many that it could be wrong.
fn count(names: usize) -> u32 {
    u32::try_from(names).unwrap_or(u32::MAX)
}

fn numbers(command: u8, ids: &[u64]) -> Vec<u8> {
    let ids = &ids[..ids.len().min(MAX_NAMED)];
    let mut header = codec::header(MAGIC, command, 2 + 8 * ids.len());
    header.put_u16(u16::try_from(ids.len()).unwrap_or(u16::MAX));
    ids.iter().for_each(|id| header.put_u64(*id));
    header
}

fn opaque(command: u8, bytes: &[u8]) -> Vec<u8> {
    let mut header = codec::header(MAGIC, command, bytes.len());
    header.put_slice(bytes);
    header
}

/// Returns the id of an encoded [`PeerMessage::Request`] that could not be sent; `None` for every other message.
#[must_use]
pub fn request_id(frames: &[Frame]) -> Option<u64> {
    let (command, rest) = frames.first()?.strip_prefix(MAGIC)?.split_first()?;
    let id = rest.first_chunk().filter(|_| *command == REQUEST)?;
    Some(u64::from_be_bytes(*id))
}

/// Decodes a message.
///
/// # Errors
/// [`Malformed`] with the rule that the message breaks, and with the id of a request, which can then be answered with a
/// failure. The sender of a message of another dialect is [`Sender::Stranger`].
pub fn decode(mut frames: Vec<Frame>) -> Result<PeerMessage, Malformed> {
    if !frames.first().is_some_and(|first| first.starts_with(MAGIC)) {
        return Err(Malformed { sender: Sender::Stranger, reason: "does not begin with WNODP1" });
    }
    let mut header = frames.remove(0);
    header.advance(MAGIC.len());
    let mut request = None;
    message(header, frames, &mut request).map_err(|reason| Malformed { sender: Sender::Peer { request }, reason })
}

fn message(mut header: Frame, mut body: Body, request: &mut Option<u64>) -> Result<PeerMessage, &'static str> {
    let message = match header.u8()? {
        REQUEST => {
            let id = *request.insert(header.u64()?);
            PeerMessage::Request(Box::new(forward(id, &mut header, mem::take(&mut body))?))
        }
        PARTIAL => PeerMessage::Reply { id: header.u64()?, reply: Reply::Partial(mem::take(&mut body)) },
        FINAL => PeerMessage::Reply { id: header.u64()?, reply: Reply::Final(mem::take(&mut body)) },
        FAILURE => PeerMessage::Reply { id: header.u64()?, reply: Reply::Failure(header.failure()?) },
        CANCEL => PeerMessage::Cancel { id: header.u64()? },
        HELLO => introduced(&mut header).map(|(zone, member)| PeerMessage::Hello { zone, member })?,
        WELCOME => introduced(&mut header).map(|(zone, member)| PeerMessage::Welcome { zone, member })?,
        REFUSED => PeerMessage::Refused(header.reason()),
        GOSSIP => PeerMessage::Gossip(mem::take(&mut header)),
        ADVERT => PeerMessage::Advert(advert(&mut header)?),
        PULL => PeerMessage::Pull,
        OPEN => PeerMessage::Open { epoch: header.u64()? },
        PATHS => PeerMessage::Paths { epoch: header.u64()?, update: mem::take(&mut header) },
        PING => PeerMessage::Ping { outstanding: named(&mut header)? },
        PONG => PeerMessage::Pong { unknown: named(&mut header)? },
        _ => return Err("has an unknown command"),
    };
    match (header.is_empty(), body.is_empty()) {
        (false, _) => Err("has a header with bytes after its end"),
        (_, false) => Err("has a body that its command does not allow"),
        _ => Ok(message),
    }
}

fn forward(id: u64, header: &mut Frame, body: Body) -> Result<Forward, &'static str> {
    let remaining = Some(header.u64()?).filter(|micros| *micros != NO_DEADLINE).map(Duration::from_micros);
    let hops = header.u8()?;
    let flags = header.u8()?;
    if flags & !(FLAG_TRACE | FLAG_ALTERNATIVE) != 0 {
        return Err("has unknown flags");
    }
    let mut forward = Forward {
        id,
        remaining,
        hops,
        is_trace: flags & FLAG_TRACE != 0,
        has_alternative: flags & FLAG_ALTERNATIVE != 0,
        service: service(header)?,
        caller: String::new(),
        allowed: None,
        traceparent: None,
        idempotency_key: None,
        chain: Vec::new(),
        zone: None,
        node: None,
        crossed: Vec::new(),
        body,
    };
    while let Some((kind, value)) = header.field()? {
        match kind {
            FIELD_TRACEPARENT => forward.traceparent = Some(codec::traceparent(value)?),
            FIELD_IDEMPOTENCY_KEY => forward.idempotency_key = Some(codec::idempotency_key(value)?),
            FIELD_CHAIN if forward.chain.len() == MAX_CHAIN => return Err("has a chain of more than 255 services"),
            FIELD_CHAIN => forward.chain.push(service_name(&value)?),
            FIELD_CALLER => forward.caller = caller(&value)?,
            FIELD_ZONE => forward.zone = Some(label_of(&value)?),
            FIELD_NODE => forward.node = Some(label_of(&value)?),
            FIELD_CROSSED if forward.crossed.len() == MAX_CROSSED => return Err("has entered more than 32 zones"),
            FIELD_CROSSED => forward.crossed.push(label_of(&value)?),
            FIELD_ALLOWED => allow(forward.allowed.get_or_insert_default(), &value)?,
            _ => {}
        }
    }
    Ok(forward)
}

fn allow(allowed: &mut Vec<Pattern>, pattern: &[u8]) -> Result<(), &'static str> {
    const INVALID: &str = "has an invalid pattern of services";
    match std::str::from_utf8(pattern) {
        Ok("") => Ok(()),
        Ok(_) if allowed.len() == MAX_ALLOWED => Err("has more than 256 patterns of services"),
        Ok(pattern) => {
            allowed.push(pattern.parse().map_err(|_| INVALID)?);
            Ok(())
        }
        Err(_) => Err(INVALID),
    }
}

fn caller(bytes: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(caller) if caller.len() <= MAX_CALLER && text::is_line(caller) => Ok(caller.to_owned()),
        _ => Err("has a caller that is not one line of at most 1,024 bytes of UTF-8"),
    }
}

fn introduced(header: &mut Frame) -> Result<(Label, Member), &'static str> {
    // A later version is accepted, because its sender uses the lower version of the two.
    if header.u8()? < OLDEST_VERSION {
        return Err("has a version of this dialect that is not supported; update the node that sent it");
    }
    let introduced = (label(header)?, decode_member(header)?);
    while header.field()?.is_some() {}
    Ok(introduced)
}

/// Decodes a member from the front of `from`, and reads nothing after it.
///
/// # Errors
/// The rule that the bytes break. The text continues a sentence that begins with "the message".
pub fn decode_member(from: &mut impl Buf) -> Result<Member, &'static str> {
    let name = label(from)?;
    let (boot, renewal) = (from.u64()?, from.u16()?);
    let role = MemberKind::from_number(from.u8()?).ok_or("has an unknown role")?;
    let length = from.u16()?;
    Ok(Member { name, boot, renewal, role, endpoint: from.view(length.into(), endpoint)?? })
}

fn endpoint(bytes: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(endpoint) if endpoint.len() <= MAX_ENDPOINT && text::is_line(endpoint) => Ok(endpoint.to_owned()),
        _ => Err("has an endpoint that is not one line of at most 1,024 bytes of UTF-8"),
    }
}

fn label(from: &mut impl Buf) -> Result<Label, &'static str> {
    let length = from.u8()?;
    from.view(length.into(), label_of)?
}

fn label_of(bytes: &[u8]) -> Result<Label, &'static str> {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    parsed.ok_or("has an invalid name of a node or a zone")
}

fn address(from: &mut Frame) -> Result<Address, &'static str> {
    let service = service(from)?;
    let place = match from.u8()? {
        0 => Location::Nearest,
        length => Location::Named(from.view(length.into(), label_of)??),
    };
    Ok(Address { service, location: place })
}

fn service(from: &mut impl Buf) -> Result<ServiceName, &'static str> {
    let length = from.u8()?;
    from.view(length.into(), service_name)?
}

fn service_name(bytes: &[u8]) -> Result<ServiceName, &'static str> {
    ServiceName::from_bytes(bytes).map_err(|_| "has an invalid name of a service")
}

fn advert(header: &mut Frame) -> Result<Advert, &'static str> {
    let (kind, version) = (header.u8()?, header.u64()?);
    match kind {
        WHOLE => Ok(Advert::Whole { version, offers: header.list(OFFER_LEAST, OVER, offer)? }),
        CHANGE => {
            let (offers, withdrawn) = (header.list(OFFER_LEAST, OVER, offer)?, header.list(3, OVER, address)?);
            Ok(Advert::Change { version, offers, withdrawn })
        }
        STILL => Ok(Advert::Still { version }),
        _ => Err("has an advert of an unknown kind"),
    }
}

fn offer(header: &mut Frame) -> Result<Offer, &'static str> {
    let flags = header.u8()?;
    let service = address(header)?;
    Ok(Offer { service, cost: header.u32()?, traits: Traits::from_flags(flags) })
}

fn named(header: &mut Frame) -> Result<Vec<u64>, &'static str> {
    let count = usize::from(header.u16()?);
    if count > MAX_NAMED {
        return Err("names more than 1,024 requests");
    }
    if count > header.len() / 8 {
        return Err("counts more requests than it names");
    }
    (0..count).map(|_| header.u64()).collect()
}

#[cfg(test)]
mod tests;
