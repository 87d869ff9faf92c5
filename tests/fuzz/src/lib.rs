//! The bodies of the targets, with which `cargo test` also replays the corpus.

#[path = "../../../host/core/tests/corpus/bodies/mod.rs"]
pub mod bodies;
#[cfg(feature = "host")]
#[path = "../../e2e/corpus/bodies.rs"]
pub mod host;
