//! The bodies of the targets, which `cargo test` replays the corpus with, too.

#[path = "../../../host/core/tests/corpus/bodies/mod.rs"]
pub mod bodies;
#[cfg(feature = "host")]
#[path = "../../e2e/corpus/bodies.rs"]
pub mod host;
