//! Keys of CURVE (ZeroMQ RFC 26): 32 bytes, written in Z85 (ZeroMQ RFC 32).

use crate::SocketError;
use std::fmt;
use std::str::FromStr;

/// A public or secret key of CURVE.
///
/// ```
/// use wasmnode_client::Key;
///
/// let key: Key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".parse()?;
/// assert_eq!(key.to_string(), "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
/// assert!("short".parse::<Key>().is_err());
/// # Ok::<(), wasmnode_client::InvalidKey>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns the 32 bytes of the key, as libzmq expects them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let is_z85 = |byte: u8| byte.is_ascii_alphanumeric() || b".-:+=^!/*?&<>()[]{}@%$#".contains(&byte);
        if text.len() != 40 || !text.bytes().all(is_z85) {
            return Err(InvalidKey);
        }
        let bytes = zmq::z85_decode(text).map_err(|_| InvalidKey)?;
        let key = Self(bytes.try_into().map_err(|_| InvalidKey)?);
        // Z85 can also spell numbers that do not fit into four bytes.
        if key.to_string() == text { Ok(key) } else { Err(InvalidKey) }
    }
}

/// Error of a text that is not a key. The message describes the format, and continues a sentence after the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a key: 40 characters of Z85, as `wasmnode keygen` prints them")
    }
}

impl std::error::Error for InvalidKey {}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&zmq::z85_encode(&self.0).map_err(|_| fmt::Error)?)
    }
}

/// Hides the bytes, because the key may be a secret one.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Keys of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPair {
    /// The public key, by which others identify the process.
    pub public: Key,
    /// The secret key, which proves that identity.
    pub secret: Key,
}

impl KeyPair {
    /// Generates a new pair.
    ///
    /// The public key never begins with a hyphen, because it would look like an option on a command line.
    ///
    /// # Examples
    /// ```
    /// use wasmnode_client::{Key, KeyPair};
    ///
    /// let pair = KeyPair::random()?;
    /// assert_eq!(pair.public.to_string().parse(), Ok(pair.public));
    /// # Ok::<(), wasmnode_client::SocketError>(())
    /// ```
    ///
    /// # Errors
    /// If libzmq was built without CURVE.
    pub fn random() -> Result<Self, SocketError> {
        loop {
            let pair = zmq::CurveKeyPair::new().map_err(SocketError)?;
            let pair = Self { public: Key(pair.public_key), secret: Key(pair.secret_key) };
            if !pair.public.to_string().starts_with('-') {
                return Ok(pair);
            }
        }
    }
}
