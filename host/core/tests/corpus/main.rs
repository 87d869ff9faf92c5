//! Replays the corpus of the fuzzers in `tests/fuzz`, initial inputs and findings: each file of
//! `tests/fuzz/corpus/NAME` is an input of the body of that name.
//!
//! Seeds of inputs that derive from those follow ([`mutants`]); `WASMNODE_SEED=n` replays one, with its log.
//!
//! One file is replayed by `WASMNODE_INPUT=file cargo test -p wasmnode-core --test corpus`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(unreachable_pub, reason = "the targets of the fuzzer use it as a library")]
mod bodies;
#[path = "../common/log.rs"]
mod log;
mod mutants;
#[path = "../common/notation/mod.rs"]
mod notation;
#[path = "../common/seeds.rs"]
mod seeds;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if let Some(only) = std::env::var_os("WASMNODE_INPUT") {
        files.retain(|file| file.ends_with(&only));
    }
    files
}

/// Replays all files of a target, and fails with the list of all that fail.
fn replay(target: &str, body: fn(&[u8])) {
    let files = files(target);
    assert!(!files.is_empty(), "{target} has no inputs");
    let fails = |file: &&PathBuf| {
        let input = std::fs::read(file).unwrap();
        catch_unwind(|| body(&input)).is_err()
    };
    let failed: Vec<&PathBuf> = files.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{} of {} inputs fail: {failed:#?}", failed.len(), files.len());
}

#[test]
fn no_input_breaks_a_decoder() {
    replay("dialects", bodies::dialects::run);
}

#[test]
fn no_input_breaks_a_node() {
    replay("node", bodies::node::run);
}

#[test]
fn no_input_breaks_the_paths_of_a_router() {
    replay("paths", bodies::paths::run);
}

#[test]
fn no_input_breaks_the_directory_of_a_zone() {
    replay("routes", bodies::routes::run);
}
