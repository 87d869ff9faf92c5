//! Failures: answers to requests that have no reply.

use crate::text;
use std::fmt;

/// Class of a failure.
///
/// The numbers are sent on the wire. They follow HTTP (RFC 9110) where HTTP has the same class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Code {
    /// The message cannot be read, or breaks the protocol's rules.
    Malformed = 400,
    /// The caller may not do this.
    Forbidden = 403,
    /// No plugin and no worker offers the service.
    UnknownService = 404,
    /// A body is over the size limit.
    TooLarge = 413,
    /// The service reports that the request itself is wrong.
    Rejected = 422,
    /// A queue or table is full. Nothing was started: trying again later is safe.
    Overloaded = 429,
    /// The client withdrew the request.
    Cancelled = 499,
    /// The service reports that it could not serve this request.
    Failed = 500,
    /// The instance trapped, panicked or broke the contract.
    Crashed = 502,
    /// The node is shutting down. Nothing was started.
    Draining = 503,
    /// The deadline has passed; the request may have run in part.
    Deadline = 504,
    /// The instance exceeded its service's limit on memory, tables or instances.
    Exhausted = 507,
    /// A call from service to service would close a cycle, or exceeds the depth limit.
    Loop = 508,
    /// The worker or the node that had the request is gone; the request may have run.
    Lost = 520,
    /// The node that offers the service cannot be reached. Nothing was started.
    Unreachable = 523,
}

impl Code {
    /// All codes, in ascending order.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Forbidden,
        Self::UnknownService,
        Self::TooLarge,
        Self::Rejected,
        Self::Overloaded,
        Self::Cancelled,
        Self::Failed,
        Self::Crashed,
        Self::Draining,
        Self::Deadline,
        Self::Exhausted,
        Self::Loop,
        Self::Lost,
        Self::Unreachable,
    ];

    /// Returns the number that is sent on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Returns the code with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Returns `true` if the request certainly was not started, so that it may be sent elsewhere.
    #[must_use]
    pub const fn was_not_started(self) -> bool {
        matches!(self, Self::UnknownService | Self::Overloaded | Self::Draining | Self::Unreachable)
    }

    /// Returns the code's name in logs and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forbidden => "forbidden",
            Self::UnknownService => "unknown service",
            Self::TooLarge => "too large",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::Draining => "draining",
            Self::Deadline => "deadline",
            Self::Exhausted => "exhausted",
            Self::Loop => "loop",
            Self::Lost => "lost",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// Failure of a request: a class for programs, and a reason for people.
///
/// # Examples
/// ```
/// use wasmnode_protocol::{Code, Failure};
///
/// let failure = Failure::new(Code::Overloaded, "the queue of print is full;\ntry again later");
/// assert_eq!(failure.to_string(), "429 overloaded: the queue of print is full; try again later");
/// assert!(failure.code.was_not_started());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub code: Code,
    /// What happened, where, and the remedy if there is one.
    pub reason: String,
}

impl Failure {
    /// Largest reason, in bytes; a longer one is cut.
    pub const MAX_REASON: usize = 4096;

    /// Creates a failure. Its reason becomes one line of at most [`Self::MAX_REASON`] bytes ([`text::line`]).
    #[must_use]
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: text::into_line(reason.into(), Self::MAX_REASON) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert!(Code::ALL.is_sorted(), "the list is in ascending order");
        assert_eq!(Code::from_number(200), None);
    }

    #[test]
    fn a_long_reason_is_cut_and_marked() {
        let failure = Failure::new(Code::Failed, "é".repeat(Failure::MAX_REASON));
        assert!(failure.reason.len() <= Failure::MAX_REASON && failure.reason.ends_with("é… [cut]"));
    }

    #[test]
    fn a_reason_is_one_line_without_control_characters() {
        let failure = Failure::new(Code::Failed, "no\nINFO forged\u{1b}[2J\u{202e}\n");
        assert_eq!(failure.to_string(), r"500 failed: no INFO forged\u{1b}[2J\u{202e}");
    }
}
