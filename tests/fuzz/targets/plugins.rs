//! Loads arbitrary bytes; after an `m` or a `c`, a valid module or component that wasm-smith generates from them. The
//! corpus keeps the generated file of such a finding, so that it can be replayed without wasm-smith.

#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use wasm_smith::{Component, Module};

fn generate(input: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = input.split_first()?;
    let mut rest = Unstructured::new(rest);
    match kind {
        b'm' => Module::arbitrary(&mut rest).ok().map(|module| module.to_bytes()),
        b'c' => Component::arbitrary(&mut rest).ok().map(|component| component.to_bytes()),
        _ => None,
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| wasmnode_fuzz::host::plugins(generate(input).as_deref().unwrap_or(input)));
