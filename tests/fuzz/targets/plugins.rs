//! Any bytes; and after an `m` or a `c`, a valid module or component that wasm-smith makes of them. What is found so is
//! kept as the file that was made, so that the corpus can be replayed without wasm-smith.

#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use wasm_smith::{Component, Module};

fn made(input: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = input.split_first()?;
    let mut rest = Unstructured::new(rest);
    match kind {
        b'm' => Module::arbitrary(&mut rest).ok().map(|module| module.to_bytes()),
        b'c' => Component::arbitrary(&mut rest).ok().map(|component| component.to_bytes()),
        _ => None,
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| wasmnode_fuzz::host::plugins(made(input).as_deref().unwrap_or(input)));
