//! Connections by name: those that others made to this node, and links, which it made itself.

use crate::name::Label;
use crate::text;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Transport that a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// ZeroMQ: its messages are frames, which the core reads and writes.
    Zmq,
    /// A transport that reads its own protocol: [`crate::Input::Request`] and [`crate::Output::Reply`].
    Http,
}

/// Identity of a connection: its transport, and a token of opaque bytes that the transport chose. That of ZeroMQ is the
/// routing id (libzmq's own begin with a zero byte).
///
/// It is one principal's: the same token with another principal is another connection.
#[derive(Clone)]
pub struct ConnectionId {
    transport: Transport,
    token: Arc<[u8]>,
    /// Bytes of the token that its sender chose, or was given; the bytes after them say whose it is.
    chosen: usize,
    principal: Option<Label>,
    /// Whether it may be any user of this machine; no part of what tells peers apart, because it is known only of
    /// messages for which it matters.
    is_unproven: bool,
}

impl PartialEq for ConnectionId {
    fn eq(&self, other: &Self) -> bool {
        (&self.token, &self.principal, self.transport) == (&other.token, &other.principal, other.transport)
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
        (&self.token, &self.principal, self.transport).cmp(&(&other.token, &other.principal, other.transport))
    }
}

impl ConnectionId {
    /// Wraps the routing id of somebody who need not say who it is.
    #[must_use]
    pub fn new(id: impl AsRef<[u8]>) -> Self {
        let id = id.as_ref();
        Self { transport: Transport::Zmq, token: id.into(), chosen: id.len(), principal: None, is_unproven: false }
    }

    /// Creates the identity of a connection of another transport.
    #[must_use]
    pub fn of_transport(transport: Transport, token: impl AsRef<[u8]>, principal: Option<Label>) -> Self {
        Self { transport, principal, ..Self::new(token) }
    }

    /// Transport of the connection.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Wraps the routing id of a sender that may be any user of this machine, because nobody has to show a key: for
    /// messages that [ask for more than a call](crate::message::asks_for_more_than_a_call).
    #[must_use]
    pub fn unproven(id: impl AsRef<[u8]>) -> Self {
        Self { is_unproven: true, ..Self::new(id) }
    }

    /// Whether the sender of a message may be any user of this machine. `false` means nothing in messages that ask for
    /// no more than a call.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// Wraps the routing id of somebody who has proved who it is.
    #[must_use]
    pub fn authenticated(id: impl AsRef<[u8]>, principal: Label) -> Self {
        Self { principal: Some(principal), ..Self::new(id) }
    }

    /// The same where the transport appends the user to routing ids that users choose, so that no two can choose the
    /// same: [`Self::shown`] and `Display` leave that part out.
    #[must_use]
    pub fn of_user(id: impl AsRef<[u8]>, user: &str, principal: Label) -> Self {
        let id = id.as_ref();
        let chosen = id.strip_suffix(user.as_bytes()).map_or(id.len(), <[u8]>::len);
        Self { chosen, ..Self::authenticated(id, principal) }
    }

    /// Returns `true` if the client chose the identity, so that it can connect under it again. libzmq's own begin with
    /// a zero byte, and no client can choose such a one.
    #[must_use]
    pub fn has_own_identity(&self) -> bool {
        self.transport == Transport::Zmq && self.token.first().is_some_and(|first| *first != 0)
    }

    /// The name under which the key of this connection is trusted, where keys are asked for.
    #[must_use]
    pub fn principal(&self) -> Option<&Label> {
        self.principal.as_ref()
    }

    /// The routing id for a person: in quotes if it is text, as a worker may choose it, else as `Display` has it.
    ///
    /// ```
    /// use wasmnode_core::ConnectionId;
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

    /// The token, as the transport chose it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.token
    }

    fn chosen(&self) -> &[u8] {
        self.token.get(..self.chosen).unwrap_or(&self.token)
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
