//! Bodies of the fuzzers, run once per input. A body panics if and only if a guarantee is broken.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use wasmnode::config::{Config, LoadConfig};
use wasmnode::keys::{self, Keys};

/// The first byte selects the kind of text: a node's configuration, a traffic plan, or a trusted key. Each mistake
/// takes one line, which begins with the file; those of a trusted key are joined in one line.
pub fn texts(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else { return };
    let file = Path::new("etc/node.toml");
    match (kind % 3, std::str::from_utf8(text)) {
        (0, Ok(text)) => assert_placed(Config::parse(text, file).map(drop), "etc/node.toml:"),
        (1, Ok(text)) => assert_placed(LoadConfig::parse(text, file).map(drop), "etc/node.toml:"),
        (2, _) => trusted(text),
        _ => {}
    }
}

fn trusted(text: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    keys::generate(folder.path()).unwrap();
    let file = folder.path().join("trusted/shop.toml");
    fs::create_dir(folder.path().join("trusted")).unwrap();
    fs::write(&file, text).unwrap();
    let (keys, mistakes) = (Keys::load(folder.path()).unwrap(), Keys::mistakes(folder.path()));
    assert_eq!(keys.trusted.len() + mistakes.len(), 1, "trusted, or not for a reason");
    assert_placed(mistakes.first().map_or(Ok(()), Err), &format!("{}:", file.display()));
}

fn assert_placed(read: Result<(), impl Display>, place: &str) {
    let Err(mistakes) = read else { return };
    let text = mistakes.to_string();
    assert!(!text.is_empty());
    for line in text.split('\n') {
        let is_placed = line.strip_prefix(place).is_some_and(|rest| rest.len() > 1);
        assert!(is_placed && !line.contains(char::is_control), "{line:?} of {text:?}");
    }
}

/// Returns the compiling program: the tests' own build, and for a fuzzer the one that `WASMNODE_PROGRAM` names.
fn program() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_wasmnode").map(PathBuf::from);
    built
        .or_else(|| std::env::var_os("WASMNODE_PROGRAM").map(PathBuf::from))
        .expect("WASMNODE_PROGRAM names the binary")
}

/// A plugin file is accepted, or refused with a reason, and the report can be printed.
pub fn plugins(bytes: &[u8]) {
    let mut config = Config::embedded();
    config.compile.program = program();
    match wasmnode_sandbox::inspect(bytes, &config.sandbox()) {
        Ok(inspection) => assert!(inspection.to_string().contains("digest")),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}
