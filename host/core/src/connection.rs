//! Identities of connections, which others made to this node, and of links, which the node made itself.

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

/// Identity of a connection: its transport, and a token of opaque bytes that the transport chose.
///
/// The token of ZeroMQ is the routing id; those that libzmq generates begin with a zero byte. A connection belongs to
/// one principal: the same token with another principal is another connection.
#[derive(Clone)]
pub struct ConnectionId {
    transport: Transport,
    token: Arc<[u8]>,
    /// Number of bytes of the token that its sender chose, or was given; the bytes after them identify its user.
    chosen: usize,
    principal: Option<Label>,
    /// Whether the sender may be any user of this machine.
    ///
    /// Not compared, because it is known only for messages for which it matters.
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
    /// Wraps the routing id of a sender that need not authenticate.
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

    /// Returns the transport of the connection.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Wraps the routing id of a sender that may be any user of this machine, because no keys are required.
    ///
    /// Used for messages that [need more rights than a call](crate::message::asks_for_more_than_a_call).
    #[must_use]
    pub fn unproven(id: impl AsRef<[u8]>) -> Self {
        Self { is_unproven: true, ..Self::new(id) }
    }

    /// Returns `true` if the sender of a message may be any user of this machine.
    ///
    /// Without meaning in messages that need no more rights than a call, where it is `false`.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// Wraps the routing id of an authenticated sender.
    #[must_use]
    pub fn authenticated(id: impl AsRef<[u8]>, principal: Label) -> Self {
        Self { principal: Some(principal), ..Self::new(id) }
    }

    /// Wraps the routing id of an authenticated sender, to which the transport has appended the user.
    ///
    /// The suffix keeps users from choosing the routing id of another. [`Self::shown`] and `Display` omit it.
    #[must_use]
    pub fn of_user(id: impl AsRef<[u8]>, user: &str, principal: Label) -> Self {
        let id = id.as_ref();
        let chosen = id.strip_suffix(user.as_bytes()).map_or(id.len(), <[u8]>::len);
        Self { chosen, ..Self::authenticated(id, principal) }
    }

    /// Returns `true` if the client chose the identity, so that it can reconnect with it.
    ///
    /// Identities that libzmq generates begin with a zero byte, which no client can choose.
    #[must_use]
    pub fn has_own_identity(&self) -> bool {
        self.transport == Transport::Zmq && self.token.first().is_some_and(|first| *first != 0)
    }

    /// Returns the name under which the key of the connection is trusted, if keys are required.
    #[must_use]
    pub fn principal(&self) -> Option<&Label> {
        self.principal.as_ref()
    }

    /// Returns the routing id for people: in quotes if it is text, which workers may choose, else as `Display`.
    ///
    /// # Examples
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

    /// Returns the token, as the transport chose it.
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
        // By hand, in blocks, because each request that a plugin serves or a peer receives contains its caller.
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

/// Identity of a connection that this node has made to another: a number of the node, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}
