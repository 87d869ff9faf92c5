//! Replays the seeds and findings of the fuzzers of `tests/fuzz`, as far as the host reads such input: each file of
//! `tests/fuzz/corpus/NAME` is an input of the body of that name.

#[expect(unreachable_pub, reason = "the targets of the fuzzer use it as a library")]
mod bodies;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Fails with the list of all failing files, not only the first.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{target} has no inputs");
    let fails = |file: &&PathBuf| {
        let input = std::fs::read(file).unwrap();
        catch_unwind(|| body(&input)).is_err()
    };
    let failed: Vec<&PathBuf> = files.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{} of {} inputs fail: {failed:#?}", failed.len(), files.len());
}

#[test]
fn no_text_breaks_the_reader_of_configurations_and_keys() {
    replay("texts", bodies::texts);
}

#[test]
fn no_file_breaks_the_inspection_of_plugins() {
    replay("plugins", bodies::plugins);
}
