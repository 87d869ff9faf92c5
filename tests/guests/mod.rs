//! Small plugins in WebAssembly text, compiled into components of `wit/service.wit` when a test needs them:
//! well-behaved ones for measurements, and hostile ones.

#![allow(clippy::expect_used, reason = "only tests and benchmarks use it, and they fail by panicking")]

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const PRELUDE: &str = include_str!("prelude.wat");

/// Compiles the text of a guest, which may use all definitions of `prelude.wat`, into a component.
pub(crate) fn component(guest: &str) -> Vec<u8> {
    // WebAssembly requires all imports first.
    let (imports, rest): (Vec<&str>, Vec<&str>) = guest.lines().partition(|line| line.starts_with("  (import"));
    let text = format!("(module\n{}\n{PRELUDE}\n{})", imports.join("\n"), rest.join("\n"));
    let mut module = wat::parse_str(text).expect("the text of a module");
    let mut resolve = Resolve::default();
    let mut package = resolve.push_str("service.wit", include_str!("../../wit/service.wit")).expect("wit/service.wit");
    if guest.contains("wasi:") {
        package = resolve.push_str("probe.wit", include_str!("probe.wit")).expect("tests/guests/probe.wit");
    }
    let world = resolve.select_world(&[package], None).expect("one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("room for the world");
    let encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module of the world");
    { encoder }.encode().expect("a component")
}
