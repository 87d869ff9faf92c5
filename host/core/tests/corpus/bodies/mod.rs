//! Bodies of the fuzzers, which run once for each input. `tests/fuzz` has a target for each; the test beside this
//! folder replays the inputs of the corpus.
//!
//! A body panics if and only if an invariant is broken.

pub mod dialects;
pub mod node;
pub mod paths;
pub mod reader;
pub mod routes;
mod words;

use wasmnode_core::{DirectoryEffect, Input, Output, PathEffect, Time};

/// Event while a body runs, for a log.
pub enum Seen<'a> {
    /// An input of a node.
    Given(&'a Input),
    /// An output of a node.
    Done(&'a Output),
    /// An effect of the paths of a router.
    Path(&'a PathEffect),
    /// An effect of the directory of a zone.
    Route(&'a DirectoryEffect),
}

/// Receiver of the events.
pub type Watch<'a> = dyn FnMut(Time, Seen<'_>) + 'a;
