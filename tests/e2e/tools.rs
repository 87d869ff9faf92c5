//! Programs that not every machine has. A test without its program prints a message and passes, unless
//! WASMNODE_TEST_REQUIRED, a list of words, names the program.

use std::process::{Command, Stdio};

/// Returns `true` if a tool is installed: `probe` must run and succeed.
pub(crate) fn has(tool: &str, probe: &[&str]) -> bool {
    let mut command = Command::new(probe[0]);
    has_for(tool, command.args(&probe[1..]))
}

/// Returns `true` if a tool can do what a test needs: the command must run and succeed.
pub(crate) fn has_for(tool: &str, command: &mut Command) -> bool {
    if command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var("WASMNODE_TEST_REQUIRED").unwrap_or_default();
    assert!(!required.split_whitespace().any(|word| word == tool), "{tool} is required and not here: {command:?}");
    println!("not tested, because {tool} is not here: {command:?}");
    false
}
