//! What the fuzzers run, once for each input. `tests/fuzz` makes a target of each; the test beside this folder replays the
//! inputs that are kept.
//!
//! A body panics if a promise is broken, and only then.

pub mod dialects;
pub mod node;
pub mod paths;
pub mod reader;
pub mod routes;
mod words;
