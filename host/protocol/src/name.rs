//! Names of services, nodes and zones, the addresses made of them, and patterns over services.

use crate::text;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Name of a service: 1 to 255 bytes of printable UTF-8 without white space and `@`.
///
/// Control, bidi and invisible characters are not printable ([`text::is_shown`]). `@` is reserved for addresses
/// (`afficher@paris`). Cheap to clone.
///
/// # Examples
/// ```
/// use wasmnode_protocol::ServiceName;
///
/// let name: ServiceName = "impôts.calcul".parse()?;
/// assert_eq!(ServiceName::from_bytes(name.as_str().as_bytes()), Ok(name));
/// assert!("two words".parse::<ServiceName>().is_err());
/// # Ok::<(), wasmnode_protocol::name::InvalidName>(())
/// ```
#[derive(Debug, Clone, Eq, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

impl PartialEq for ServiceName {
    /// Compares the pointers first, because most compared names are clones of each other.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// Prefix of the services that the node serves itself, besides `mmi.*`.
pub(crate) const OF_THE_NODE: &str = "node.";

impl ServiceName {
    /// Largest name, in bytes.
    pub const MAX: usize = 255;

    /// Parses a name as a frame contains it.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidName> {
        std::str::from_utf8(bytes).map_err(|_| InvalidName("is not UTF-8"))?.parse()
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if the node serves this name itself: `mmi.*` (RFC 8) and `node.*`.
    ///
    /// Neither a plugin nor a worker may offer such a name. `titanic.*` (RFC 9) is open to workers, because the node
    /// does not serve it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        ["mmi.", OF_THE_NODE].iter().any(|prefix| self.0.starts_with(prefix))
    }
}

impl std::str::FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        match name {
            "" => Err(InvalidName("is empty")),
            _ if name.len() > Self::MAX => Err(InvalidName("is longer than 255 bytes")),
            _ if name.contains('@') => Err(InvalidName("contains '@', which is kept for addresses")),
            _ if !is_printable(name) => Err(InvalidName("contains white space, or a character that is not shown")),
            _ => Ok(Self(name.into())),
        }
    }
}

/// Returns `true` if each character is shown and not white space; ASCII, which most names are, is checked first.
fn is_printable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic()) || name.chars().all(|c| !c.is_whitespace() && text::is_shown(c))
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rule that a service name breaks. The message is a sentence about "the service name".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName(&'static str);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service name {}", self.0)
    }
}

impl std::error::Error for InvalidName {}

/// Name of a node or a zone: 1 to 63 characters of A-Z, a-z, 0-9, `_` and `-`.
///
/// Dots are reserved for addresses (`afficher@node2.paris`). Cheap to clone.
///
/// # Examples
/// ```
/// use wasmnode_protocol::Label;
///
/// assert_eq!("node2".parse(), Ok(Label::from_static("node2")));
/// assert!("node2.paris".parse::<Label>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(Arc<str>);

impl Label {
    /// Largest name, in bytes.
    pub const MAX: usize = 63;

    /// Wraps a literal.
    ///
    /// # Panics
    /// If the literal is not a label, which is a mistake in the program.
    #[must_use]
    pub fn from_static(name: &'static str) -> Self {
        assert!(is_label(name), "{name:?} is not a label");
        Self(name.into())
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(name: &str) -> Result<Self, InvalidLabel> {
        if is_label(name) { Ok(Self(name.into())) } else { Err(InvalidLabel) }
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn is_label(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=Label::MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Error of a text that is not a [`Label`]. The message continues a sentence after the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidLabel;

impl fmt::Display for InvalidLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not a name; write 1 to {} letters of A-Z, a-z, 0-9, '_' and '-'", Label::MAX)
    }
}

impl std::error::Error for InvalidLabel {}

/// Service, and where a request for it is to be served: `print`, `print@paris`, `print@node2.paris`.
///
/// # Examples
/// ```
/// use wasmnode_protocol::{Address, Label, Location};
///
/// let address: Address = "print@node2.paris".parse()?;
/// let (node, zone) = (Label::from_static("node2"), Label::from_static("paris"));
/// assert_eq!(address.location, Location::Node { node, zone });
/// # Ok::<(), wasmnode_protocol::name::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The service.
    pub service: ServiceName,
    /// The location.
    pub location: Location,
}

/// Part of an address after the `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// The nearest node that offers the service: the address has no `@`.
    Nearest,
    /// A node of the receiver's zone, or a zone; the receiver decides which.
    Named(Label),
    /// One node of one zone.
    Node {
        /// The node.
        node: Label,
        /// Its zone.
        zone: Label,
    },
}

impl Address {
    /// Returns the address of a service in a zone.
    #[must_use]
    pub fn in_zone(service: ServiceName, zone: Label) -> Self {
        Self { service, location: Location::Named(zone) }
    }

    /// Parses an address as a frame contains it.
    ///
    /// # Errors
    /// The rule that the address breaks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidName> {
        std::str::from_utf8(bytes).map_err(|_| InvalidName("is not UTF-8"))?.parse()
    }
}

impl From<ServiceName> for Address {
    fn from(service: ServiceName) -> Self {
        Self { service, location: Location::Nearest }
    }
}

impl std::str::FromStr for Address {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const PLACE: InvalidName = InvalidName("has an '@' that is not followed by ZONE, NODE or NODE.ZONE");
        let Some((service, place)) = text.split_once('@') else { return Ok(text.parse::<ServiceName>()?.into()) };
        let label = |text: &str| text.parse::<Label>().map_err(|_| PLACE);
        let place = match place.split_once('.') {
            Some((node, zone)) => Location::Node { node: label(node)?, zone: label(zone)? },
            None => Location::Named(label(place)?),
        };
        Ok(Self { service: service.parse()?, location: place })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Nearest => self.service.fmt(f),
            Location::Named(label) => write!(f, "{}@{label}", self.service),
            Location::Node { node, zone } => write!(f, "{}@{node}.{zone}", self.service),
        }
    }
}

/// Pattern of service names: a name, or a prefix followed by `*` (`storage.*`, `*`).
///
/// # Examples
/// ```
/// use wasmnode_protocol::{Pattern, ServiceName};
///
/// let pattern: Pattern = "storage.*".parse()?;
/// assert!(pattern.matches(&"storage.read".parse::<ServiceName>()?));
/// # Ok::<(), wasmnode_protocol::name::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Returns the pattern that matches every name.
    #[must_use]
    pub fn everything() -> Self {
        Self("*".into())
    }

    /// Returns `true` if the pattern matches a name.
    #[must_use]
    pub fn matches(&self, name: &ServiceName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => name.as_str() == self.0,
        }
    }
}

impl Pattern {
    /// Returns the pattern of the names that both patterns match, if there are any.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let is_within = |narrow: &str, wide: &str| match wide.strip_suffix('*') {
            Some(beginning) => narrow.starts_with(beginning),
            None => narrow == wide,
        };
        match () {
            () if is_within(&self.0, &other.0) => Some(self.clone()),
            () if is_within(&other.0, &self.0) => Some(other.clone()),
            () => None,
        }
    }

    /// Returns the pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Pattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.contains('*') {
            return Err(InvalidName("pattern has a '*' that is not at its end"));
        }
        if text != "*" {
            name.parse::<ServiceName>()?;
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn names_with_characters_of_terminals_or_addresses_are_refused() {
        for bad in ["", "a b", "a\n", "a\u{1b}", "a\u{202e}b", "a\u{200b}b", "a\u{feff}", "a@paris", &"x".repeat(256)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!(ServiceName::from_bytes(b"\xff").is_err());
        assert_eq!(name("impôts.calcul").as_str(), "impôts.calcul");
    }

    #[test]
    fn an_address_is_displayed_as_it_was_written() {
        for text in ["print", "print@paris", "print@node2.paris"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["@paris", "print@", "print@a@b", "print@a.b.c", "print@a b", &format!("print@{}", "x".repeat(64))] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_the_node_are_reserved() {
        assert!(name("mmi.service").is_reserved());
        assert!(name("node.services").is_reserved());
        assert!(!name("titanic.request").is_reserved());
        assert!(!name("mmi").is_reserved());
        assert!(!name("nodes").is_reserved());
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        assert!(pattern("print").matches(&name("print")));
        assert!(!pattern("print").matches(&name("printer")));
        assert!(pattern("storage.*").matches(&name("storage.read")));
        assert!(!pattern("storage.*").matches(&name("storage")));
        assert!(pattern("*").matches(&name("anything")));
        let both = |one, other| pattern(one).and(&pattern(other)).map(|both| both.to_string());
        for (one, other, expected) in [
            ("print", "print", Some("print")),
            ("print", "prin*", Some("print")),
            ("storage.*", "storage.read.*", Some("storage.read.*")),
            ("*", "print", Some("print")),
            ("print", "printer", None),
            ("a*", "b*", None),
        ] {
            assert_eq!((both(one, other).as_deref(), both(other, one).as_deref()), (expected, expected));
        }
        assert!("a*b".parse::<Pattern>().is_err());
        assert!("".parse::<Pattern>().is_err());
    }
}
