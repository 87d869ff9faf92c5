#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wasmnode_fuzz::host::texts(input));
