//! What the fuzzers run, once for each input. `tests/fuzz` makes a target of each; the test beside this folder replays
//! the inputs that are kept.
//!
//! A body panics if a promise is broken, and only then.

pub mod dialects;
pub mod node;
pub mod paths;
pub mod reader;
pub mod routes;
mod words;

use wasmnode_core::{DirectoryEffect, Input, Output, PathEffect, Time};

/// What happens while a body runs, for one who logs it.
pub enum Seen<'a> {
    /// A node was given an input.
    Given(&'a Input),
    /// A node decided something.
    Done(&'a Output),
    /// The paths of a router decided something.
    Path(&'a PathEffect),
    /// The directory of a zone decided something.
    Route(&'a DirectoryEffect),
}

/// Who is shown all that happens.
pub type Watch<'a> = dyn FnMut(Time, Seen<'_>) + 'a;
