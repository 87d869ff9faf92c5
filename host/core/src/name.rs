//! Names of services, and patterns over them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a service: 1 to 255 bytes of UTF-8 without white space, control characters or `@`.
///
/// Cheap to clone. `@` is kept for addresses (`afficher@paris`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The longest name, in bytes.
    pub const MAX: usize = 255;

    /// Checks a name as it came in a frame.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidName> {
        std::str::from_utf8(bytes).map_err(|_| InvalidName("is not UTF-8"))?.parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the node answers this name itself, so that neither a plugin nor a worker may offer it: `mmi.*` (RFC 8),
    /// `node.*`, and `titanic.*` (RFC 9).
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        ["mmi.", "node.", "titanic."].iter().any(|prefix| self.0.starts_with(prefix))
    }
}

impl std::str::FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        match name {
            "" => Err(InvalidName("is empty")),
            _ if name.len() > Self::MAX => Err(InvalidName("is longer than 255 bytes")),
            _ if name.contains('@') => Err(InvalidName("contains '@', which is kept for addresses")),
            _ if name.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                Err(InvalidName("contains white space or a control character"))
            }
            _ => Ok(Self(name.into())),
        }
    }
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

/// Which rule a service name breaks; reads on from "the service name ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName(&'static str);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service name {}", self.0)
    }
}

impl std::error::Error for InvalidName {}

/// Service names by pattern: a name, or a beginning followed by `*` (`storage.*`, `*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the pattern stands for this name.
    #[must_use]
    pub fn matches(&self, name: &ServiceName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => name.as_str() == self.0,
        }
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
    fn names_that_could_confuse_a_terminal_or_an_address_are_refused() {
        for bad in ["", "a b", "a\n", "a\u{1b}", "a@paris", &"x".repeat(256)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!(ServiceName::from_bytes(b"\xff").is_err());
        assert_eq!(name("impôts.calcul").as_str(), "impôts.calcul");
    }

    #[test]
    fn the_nodes_own_names_are_reserved() {
        assert!(name("mmi.service").is_reserved());
        assert!(name("node.services").is_reserved());
        assert!(!name("mmi").is_reserved());
        assert!(!name("nodes").is_reserved());
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        assert!(pattern("print").matches(&name("print")));
        assert!(!pattern("print").matches(&name("printer")));
        assert!(pattern("storage.*").matches(&name("storage.read")));
        assert!(!pattern("storage.*").matches(&name("storage")));
        assert!(pattern("*").matches(&name("anything")));
        assert!("a*b".parse::<Pattern>().is_err());
        assert!("".parse::<Pattern>().is_err());
    }
}
