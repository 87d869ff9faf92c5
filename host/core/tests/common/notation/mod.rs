//! Inputs and outputs of the machines as text, in a notation like that of dialogues (`dialogues/notation.txt`):
//! lower-case words, frames as text in quotes or pairs of hex digits, lists in parentheses, times in microseconds, `-`
//! for absent values.
//!
//! The words are independent of the names of types and fields, so that a renaming does not change transcripts. All
//! patterns are without `..`, so that a new variant or field is not forgotten.

mod node;
mod status;
mod zone;

use std::fmt::{Display, Write};
use std::time::Duration;
use wasmnode_core::message::path::RouterId;
use wasmnode_core::paths::Filter;
use wasmnode_core::{Address, CallId, Code, ConnectionId, Frame, Label, LinkId, Pattern, RequestId, ServiceName, Time};

/// Value that can be written to a transcript.
pub(crate) trait Notation {
    /// Appends the words of the value, each after a space.
    fn write(&self, line: &mut String);
}

/// Appends several values, one after the other.
macro_rules! words {
    ($line:ident, $($what:expr),+ $(,)?) => {{ $($crate::notation::Notation::write(&$what, $line);)+ }};
}
use words;

/// Text that is written in quotes; a `str` alone is a word of the notation.
struct Text<'a>(&'a str);

fn plain(what: impl Display, line: &mut String) {
    write!(line, " {what}").unwrap();
}

impl Notation for str {
    fn write(&self, line: &mut String) {
        plain(self, line);
    }
}

impl Notation for Text<'_> {
    fn write(&self, line: &mut String) {
        write!(line, " {:?}", self.0).unwrap();
    }
}

impl Notation for String {
    fn write(&self, line: &mut String) {
        Text(self).write(line);
    }
}

/// Numbers and names, which are written as `Display` has them.
macro_rules! as_displayed {
    ($($what:ty),+) => {
        $(impl Notation for $what {
            fn write(&self, line: &mut String) {
                plain(self, line);
            }
        })+
    };
}

as_displayed!(u8, u16, u32, u64, usize, Label, ServiceName, Address, Pattern, Filter, RouterId);

impl Notation for bool {
    fn write(&self, line: &mut String) {
        plain(if *self { "yes" } else { "no" }, line);
    }
}

impl Notation for RequestId {
    fn write(&self, line: &mut String) {
        plain(self.0, line);
    }
}

impl Notation for CallId {
    fn write(&self, line: &mut String) {
        plain(self.0, line);
    }
}

impl Notation for LinkId {
    fn write(&self, line: &mut String) {
        words!(line, "link", self.0);
    }
}

impl Notation for Code {
    fn write(&self, line: &mut String) {
        plain(self.number(), line);
    }
}

impl Notation for Duration {
    fn write(&self, line: &mut String) {
        match self.subsec_nanos() % 1_000 {
            0 => write!(line, " {}us", self.as_micros()).unwrap(),
            _ => write!(line, " {}ns", self.as_nanos()).unwrap(),
        }
    }
}

impl Notation for Time {
    fn write(&self, line: &mut String) {
        write!(line, " at {}us", self.as_micros()).unwrap();
    }
}

impl Notation for ConnectionId {
    fn write(&self, line: &mut String) {
        line.push(' ');
        if let Some(principal) = self.principal() {
            write!(line, "{principal}/").unwrap();
        }
        write_bytes(self.as_bytes(), line);
        if self.is_unproven() {
            line.push_str("/anybody");
        }
    }
}

impl Notation for Frame {
    fn write(&self, line: &mut String) {
        line.push(' ');
        write_bytes(self, line);
    }
}

fn write_bytes(bytes: &[u8], line: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => write!(line, "{text:?}").unwrap(),
        _ => bytes.iter().for_each(|byte| {
            // Without a formatter, because most of a transcript consists of frames.
            let digit = |value: u8| char::from_digit(value.into(), 16).unwrap();
            line.push(digit(byte >> 4));
            line.push(digit(byte & 15));
        }),
    }
}

impl<T: Notation> Notation for Option<T> {
    fn write(&self, line: &mut String) {
        match self {
            Some(what) => what.write(line),
            None => plain('-', line),
        }
    }
}

impl<T: Notation> Notation for [T] {
    fn write(&self, line: &mut String) {
        line.push_str(" (");
        self.iter().for_each(|what| what.write(line));
        line.push_str(" )");
    }
}

impl<T: Notation> Notation for Vec<T> {
    fn write(&self, line: &mut String) {
        self.as_slice().write(line);
    }
}

impl<T: Notation + ?Sized> Notation for &T {
    fn write(&self, line: &mut String) {
        (**self).write(line);
    }
}

/// Tuples are written as their values, one after the other.
macro_rules! tuples {
    ($(($($name:ident),+)),+) => {
        $(impl<$($name: Notation),+> Notation for ($($name,)+) {
            #[allow(non_snake_case, reason = "each value is named like its type")]
            fn write(&self, line: &mut String) {
                let ($($name,)+) = self;
                $($name.write(line);)+
            }
        })+
    };
}

tuples!((A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E), (A, B, C, D, E, F));
