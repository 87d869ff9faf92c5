//! Policies of sessions between routers: import and export filters.

use crate::message::path::RouteKey;
use crate::name::{InvalidLabel, InvalidName, Label, Pattern};
use std::fmt;

/// Policy of a session in one direction: routes pass if a filter allows them and none denies them.
///
/// Without filters, no routes pass (RFC 8212).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Filters of routes that may pass.
    pub allow: Vec<Filter>,
    /// Filters of routes that may not pass, even if allowed.
    pub deny: Vec<Filter>,
}

impl Policy {
    /// Returns the policy that lets all routes pass.
    #[must_use]
    pub fn everything() -> Self {
        Self { allow: vec![Filter { service: None, zone: None }], deny: Vec::new() }
    }

    /// Returns `true` if routes to a service of a zone may pass.
    #[must_use]
    pub fn lets_pass(&self, key: &RouteKey) -> bool {
        let any = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(key));
        any(&self.allow) && !any(&self.deny)
    }
}

/// Filter of services by name and zone: `print`, `storage.*`, `*@paris`, `storage.*@fr-*`.
///
/// Both halves are a name, or a prefix followed by `*`. Without the second half, the filter matches every zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    service: Option<Pattern>,
    zone: Option<ZonePattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ZonePattern {
    Is(Label),
    Begins(String),
}

impl Filter {
    /// Returns `true` if the filter matches a service of a zone.
    #[must_use]
    pub fn matches(&self, key: &RouteKey) -> bool {
        let zone = match &self.zone {
            None => true,
            Some(ZonePattern::Is(zone)) => *zone == key.zone,
            Some(ZonePattern::Begins(beginning)) => key.zone.as_str().starts_with(beginning.as_str()),
        };
        zone && self.service.as_ref().is_none_or(|service| service.matches(&key.service))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => service.fmt(f)?,
            None => f.write_str("*")?,
        }
        match &self.zone {
            Some(ZonePattern::Is(zone)) => write!(f, "@{zone}"),
            Some(ZonePattern::Begins(beginning)) => write!(f, "@{beginning}*"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let (service, zone) = text.split_once('@').unwrap_or((text, "*"));
        let service = if service == "*" { None } else { Some(service.parse().map_err(InvalidFilter::Service)?) };
        let zone = match zone.strip_suffix('*') {
            Some("") => None,
            Some(beginning) => {
                beginning.parse::<Label>().map_err(InvalidFilter::Zone)?;
                Some(ZonePattern::Begins(beginning.into()))
            }
            None => Some(ZonePattern::Is(zone.parse().map_err(InvalidFilter::Zone)?)),
        };
        Ok(Self { service, zone })
    }
}

/// Error of a text that is not a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidFilter {
    /// The half before the `@` is invalid.
    Service(InvalidName),
    /// The half after the `@` is invalid.
    Zone(InvalidLabel),
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(why) => why.fmt(f),
            Self::Zone(why) => write!(f, "the zone {why}"),
        }
    }
}

impl std::error::Error for InvalidFilter {}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    fn key(service: &str, zone: &str) -> RouteKey {
        RouteKey { zone: zone.parse().unwrap(), service: service.parse().unwrap() }
    }

    #[test]
    fn nothing_passes_without_an_explicit_allow() {
        assert!(!Policy::default().lets_pass(&key("print", "paris")));
        let policy = Policy { allow: Vec::new(), deny: vec![filter("secret")] };
        assert!(!policy.lets_pass(&key("print", "paris")));
        assert!(Policy::everything().lets_pass(&key("print", "paris")));
    }

    #[test]
    fn what_is_denied_does_not_pass_whatever_is_allowed() {
        let policy = Policy { allow: vec![filter("*")], deny: vec![filter("storage.*@paris"), filter("*@test-*")] };
        assert!(policy.lets_pass(&key("storage.read", "lyon")));
        assert!(!policy.lets_pass(&key("storage.read", "paris")));
        assert!(policy.lets_pass(&key("print", "paris")));
        assert!(!policy.lets_pass(&key("print", "test-1")));
    }

    #[test]
    fn a_filter_comes_back_as_it_was_written() {
        for text in ["*", "print", "storage.*", "*@paris", "storage.*@fr-*", "print@paris"] {
            assert_eq!(filter(text).to_string(), text);
        }
        assert_eq!(filter("*@*").to_string(), "*");
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        for bad in ["", "@paris", "a*b", "print@", "print@a b", "print@*a", "print@a@b"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
