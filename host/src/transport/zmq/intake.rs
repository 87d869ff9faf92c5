//! Limits on what a connection may send before its message is complete. `libzmq.patch` of the crate
//! `host/third-party/zeromq-src` enforces them where memory is allocated, before the sender is authenticated.
//!
//! A handshake has at most 4 KiB. A message over a configured limit is answered (413) as long as it stays within twice
//! the limit; beyond that its connection ends, because the rest of it would have to be read. libzmq reports the limit
//! in a monitor event.

use super::ffi;
use wasmnode_core::message::native;
use zmq::SocketEvent;

/// Flag in the value of a HANDSHAKE_FAILED_PROTOCOL event: a limit was exceeded, and its number is in the low bits.
const OVER_LIMIT: u32 = 0x4000_0000;

/// Frames of a message besides those of its body: addresses, header and delimiters.
const ENVELOPE: usize = 16;

/// The configured limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake {
    /// Bytes of one body: `limits.message`.
    pub(super) message: usize,
    /// Frames of one body: `limits.frames`.
    pub(super) frames: usize,
    /// Bytes of the unfinished messages of all connections: `limits.unfinished-bytes`.
    pub(super) unfinished: usize,
}

impl Intake {
    /// Sets the limits of the connections that a socket makes or accepts afterwards.
    pub(super) fn apply(self, socket: &mut zmq::Socket) -> Result<(), zmq::Error> {
        // A compact message also has a header in its frame, which matters if the limit is small.
        let message = self.message.saturating_mul(2).max(2 * native::MAX_COMPACT);
        let frames = self.frames.saturating_mul(2).saturating_add(ENVELOPE);
        let longest = i64::try_from(message).unwrap_or(i64::MAX);
        socket.set_maxmsgsize(longest)?;
        let frames = i32::try_from(frames).unwrap_or(i32::MAX);
        ffi::set(socket, ffi::MAX_FRAMES, &frames.to_ne_bytes())?;
        // One message always fits.
        let unfinished = i64::try_from(self.unfinished).unwrap_or(i64::MAX).max(longest);
        ffi::set(socket, ffi::MAX_UNFINISHED, &unfinished.to_ne_bytes())
    }
}

/// Limit that ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The size of its handshake.
    Handshake,
    /// Twice `limits.message`.
    Message,
    /// Twice `limits.frames`.
    Frames,
    /// `limits.unfinished-bytes`.
    Unfinished,
}

impl Exceeded {
    /// Reads the first part of a monitor event: its kind (2 bytes) and its value (4).
    pub(super) fn of_event(event: &[u8]) -> Option<Self> {
        let &[a, b, c, d, e, f] = event else { return None };
        let is_failure = SocketEvent::from_raw(u16::from_ne_bytes([a, b])) == SocketEvent::HANDSHAKE_FAILED_PROTOCOL;
        match u32::from_ne_bytes([c, d, e, f]).checked_sub(OVER_LIMIT).filter(|_| is_failure)? {
            1 => Some(Self::Handshake),
            2 => Some(Self::Message),
            3 => Some(Self::Frames),
            4 => Some(Self::Unfinished),
            _ => None,
        }
    }

    /// Describes how the other side exceeded the limit, with the configured value.
    pub(super) fn why(self, limits: Intake) -> String {
        let Intake { message, frames, unfinished } = limits;
        match self {
            Self::Handshake => "its handshake was longer than 4 KiB".into(),
            Self::Message => format!("a message was longer than twice limits.message = {message}"),
            Self::Frames => format!("a message had more than twice limits.frames = {frames}"),
            Self::Unfinished => {
                format!("the unfinished messages of all connections reached limits.unfinished-bytes = {unfinished}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_the_patch_name_a_limit() {
        let event = |kind: SocketEvent, value: u32| {
            Exceeded::of_event(&[&kind.to_raw().to_ne_bytes()[..], &value.to_ne_bytes()].concat())
        };
        let failed = SocketEvent::HANDSHAKE_FAILED_PROTOCOL;
        assert_eq!(event(failed, 0x4000_0001), Some(Exceeded::Handshake));
        assert_eq!(event(failed, 0x4000_0004), Some(Exceeded::Unfinished));
        assert_eq!([event(failed, 0x1000_0001), event(SocketEvent::DISCONNECTED, 0x4000_0001)], [None; 2]);
        assert_eq!(Exceeded::of_event(b""), None);
    }
}
