//! Encodings that the dialects [`native`](super::native) and [`peer`](super::peer) share: numbers of commands and
//! fields, integers, names, fields and failures.
//!
//! Lengths are checked against the bytes present before anything is allocated.

use super::{Body, Frame, Reply};
use crate::failure::{Code, Failure};
use crate::name::{Label, ServiceName};
use crate::text;
use bytes::{Buf, BufMut};

pub(super) const REQUEST: u8 = 1;
pub(super) const PARTIAL: u8 = 2;
pub(super) const FINAL: u8 = 3;
pub(super) const FAILURE: u8 = 4;
pub(super) const CANCEL: u8 = 5;

pub(super) const FIELD_TRACEPARENT: u8 = 1;
pub(super) const FIELD_IDEMPOTENCY_KEY: u8 = 2;

/// Largest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Largest value of a field, in bytes, because its length has two bytes.
pub(super) const MAX_FIELD: usize = u16::MAX as usize;

const SHORT: &str = "has a header that ends too early";

/// Begins a header frame, with room for `more` bytes: if `more` is exact, the frame costs one allocation.
pub(super) fn header(magic: &[u8], command: u8, more: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(magic.len() + 1 + more);
    header.put_slice(magic);
    header.put_u8(command);
    header
}

/// Begins the header frame of a message about a request.
pub(super) fn numbered(magic: &[u8], command: u8, id: u64, more: usize) -> Vec<u8> {
    let mut header = header(magic, command, 8 + more);
    header.put_u64(id);
    header
}

/// Puts the header before the body. The body of a received message has room for it.
pub(super) fn with_body(header: Vec<u8>, mut body: Body) -> Vec<Frame> {
    body.insert(0, header.into());
    body
}

pub(super) fn encode_reply(magic: &[u8], id: u64, reply: Reply) -> Vec<Frame> {
    match reply {
        Reply::Partial(body) => with_body(numbered(magic, PARTIAL, id, 0), body),
        Reply::Final(body) => with_body(numbered(magic, FINAL, id, 0), body),
        Reply::Failure(failure) => {
            let mut header = numbered(magic, FAILURE, id, 2 + failure.reason.len());
            header.put_u16(failure.code.number());
            header.put_slice(failure.reason.as_bytes());
            vec![header.into()]
        }
    }
}

/// Name whose type bounds it to 255 bytes, so that its length fits into one byte.
pub(super) trait Name {
    fn text(&self) -> &str;
}

const _: () = assert!(Label::MAX <= u8::MAX as usize);
const _: () = assert!(ServiceName::MAX <= u8::MAX as usize);

impl Name for Label {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Name for ServiceName {
    fn text(&self) -> &str {
        self.as_str()
    }
}

/// Writes the length of a name (1 byte) and the name; only the length 0 if there is none.
pub(super) fn put_name(out: &mut impl BufMut, name: Option<&impl Name>) {
    let name = name.map_or("", Name::text).as_bytes();
    out.put_u8(name.len() as u8);
    out.put_slice(name);
}

/// Writes the length of a service name (1 byte) and the name.
///
/// # Errors
/// If the name is over 255 bytes. Nothing is written then, because a name that is cut is the name of another service.
pub(super) fn put_short(out: &mut impl BufMut, bytes: &[u8]) -> Result<(), &'static str> {
    out.put_u8(u8::try_from(bytes.len()).map_err(|_| "has a service name of more than 255 bytes")?);
    out.put_slice(bytes);
    Ok(())
}

/// Writes the length of a value (2 bytes) and the value, cut to 65,535 bytes.
///
/// Only for values that are bounded below that, or whose receiver rejects them where they are not.
pub(super) fn put_long(out: &mut impl BufMut, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.put_slice(&bytes[..usize::from(length)]);
}

/// Writes a field: its type, and its value of at most [`MAX_FIELD`] bytes as [`put_long`] does.
pub(super) fn put_field(out: &mut impl BufMut, kind: u8, value: &[u8]) {
    out.put_u8(kind);
    put_long(out, value);
}

pub(super) fn traceparent(value: Frame) -> Result<Frame, &'static str> {
    if value.is_ascii() { Ok(value) } else { Err("has a traceparent that is not ASCII") }
}

pub(super) fn idempotency_key(value: Frame) -> Result<Frame, &'static str> {
    if (1..=MAX_IDEMPOTENCY_KEY).contains(&value.len()) {
        Ok(value)
    } else {
        Err("has an idempotency key that is not 1 to 255 bytes long")
    }
}

/// Takes integers and bytes from the front; a missing byte is an error, never a panic.
pub(super) trait Reader: Buf {
    fn u8(&mut self) -> Result<u8, &'static str> {
        self.try_get_u8().map_err(|_| SHORT)
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.try_get_u16().map_err(|_| SHORT)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.try_get_u32().map_err(|_| SHORT)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.try_get_u64().map_err(|_| SHORT)
    }

    /// Takes the next bytes; from a [`Frame`], without a copy.
    fn bytes(&mut self, length: usize) -> Result<Frame, &'static str> {
        if length > self.remaining() { Err(SHORT) } else { Ok(self.copy_to_bytes(length)) }
    }

    /// Passes the next bytes to `make`; they are copied only if they are not contiguous.
    fn view<T>(&mut self, length: usize, make: impl FnOnce(&[u8]) -> T) -> Result<T, &'static str> {
        if let Some(bytes) = self.chunk().get(..length) {
            let made = make(bytes);
            self.advance(length);
            return Ok(made);
        }
        self.bytes(length).map(|bytes| make(&bytes))
    }

    /// Takes the next field, as its type and value; `None` at the end.
    fn field(&mut self) -> Result<Option<(u8, Frame)>, &'static str> {
        if !self.has_remaining() {
            return Ok(None);
        }
        let kind = self.u8()?;
        let length = self.u16()?;
        Ok(Some((kind, self.bytes(length.into())?)))
    }

    /// Takes a count and that many entries, each of at least `least` bytes. Fails with `over` before anything is
    /// allocated if the bytes present cannot be so many.
    fn list<T>(
        &mut self,
        least: usize,
        over: &'static str,
        mut entry: impl FnMut(&mut Self) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, &'static str>
    where
        Self: Sized,
    {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > self.remaining() / least {
            return Err(over);
        }
        (0..count).map(|_| entry(self)).collect()
    }

    /// Takes the rest as a reason: one line of at most [`Failure::MAX_REASON`] bytes; invalid UTF-8 becomes U+FFFD.
    fn reason(&mut self) -> String {
        let length = self.remaining();
        self.view(length, |bytes| text::line_of(bytes, Failure::MAX_REASON)).unwrap_or_default()
    }

    /// Takes the rest as a failure.
    fn failure(&mut self) -> Result<Failure, &'static str> {
        let code = Code::from_number(self.u16()?).ok_or("has an unknown code")?;
        Ok(Failure::new(code, self.reason()))
    }
}

impl<B: Buf> Reader for B {}
