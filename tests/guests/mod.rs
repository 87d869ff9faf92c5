//! Small plugins in WebAssembly text, made into components of `wit/service.wit` on the spot: well-behaved ones for
//! measurements, and those that do what no plugin should.

#![allow(clippy::expect_used, reason = "only tests and benchmarks use it, and they fail by panicking")]

use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const PRELUDE: &str = include_str!("prelude.wat");

/// Compiles the text of a guest, which may use all that `prelude.wat` defines, into a component.
pub(crate) fn component(guest: &str) -> Vec<u8> {
    let mut module = wat::parse_str(format!("(module\n{PRELUDE}\n{guest})")).expect("the text of a module");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).expect("wit/service.wit");
    let world = resolve.select_world(&[package], Some("service")).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("room for the world");
    let encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module of the world");
    { encoder }.encode().expect("a component")
}
