//! Backtrace of a guest whose run failed: the functions on its stack, by the names of its name section.
//!
//! wasmtime walks the stack by frame pointers, only when a run traps or the host ends it; other runs have no cost.

use std::fmt::Write;
use wasmnode_protocol::text;
use wasmtime::{FrameInfo, WasmBacktrace};

/// Largest number of functions in a backtrace, innermost first.
pub(crate) const MAX_FRAMES: usize = 20;

/// Longest name of a function, in bytes. Names of generic Rust functions can be longer, but the rest is of little use.
const MAX_NAME: usize = 160;

/// Returns the functions on the stack, innermost first, as one line; `None` if no guest was on it.
pub(crate) fn of(error: &wasmtime::Error) -> Option<Box<str>> {
    let frames = error.downcast_ref::<WasmBacktrace>()?.frames();
    let mut trace = String::new();
    for frame in frames.iter().take(MAX_FRAMES) {
        let separator = if trace.is_empty() { "" } else { " < " };
        let _writing_to_a_string_succeeds = write!(trace, "{separator}{}", name(frame));
    }
    (!trace.is_empty()).then(|| trace.into())
}

/// Name of a function, or its number if the file has no names, with the offset in the core module.
fn name(frame: &FrameInfo) -> String {
    let name = match frame.func_name() {
        Some(name) => text::line(&format!("{:#}", rustc_demangle::demangle(name)), MAX_NAME).into_owned(),
        None => format!("function {}", frame.func_index()),
    };
    match frame.module_offset() {
        Some(offset) => format!("{name} (at {offset:#x})"),
        None => name,
    }
}
