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
    /// The key as libzmq takes it.
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
        // Z85 has spellings for numbers that no four bytes can hold.
        if key.to_string() == text { Ok(key) } else { Err(InvalidKey) }
    }
}

/// Says what a key looks like; reads on from the text that is none.
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

/// Never shown: it may be a secret one.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A process's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPair {
    /// What others know it by.
    pub public: Key,
    /// What it proves that with.
    pub secret: Key,
}

impl KeyPair {
    /// Makes a new pair. On a command line, a public key that begins with a hyphen would look like an option, so none
    /// does.
    ///
    /// # Errors
    /// If libzmq was built without CURVE.
    pub fn random() -> Result<Self, SocketError> {
        loop {
            let pair = zmq::CurveKeyPair::new()?;
            let pair = Self { public: Key(pair.public_key), secret: Key(pair.secret_key) };
            if !pair.public.to_string().starts_with('-') {
                return Ok(pair);
            }
        }
    }
}
