//! The service `compter` (French: to count) as a plain program: counts the lines, words and bytes of its standard
//! input.
//!
//! ```console
//! $ rustc -O --target wasm32-wasip2 examples/compter/compter.rs -o compter.wasm
//! $ wasmnode deploy compter.wasm
//! $ wasmnode call compter "two words"
//! 0 2 9
//! ```

use std::io::{self, Read};

fn main() -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()).count();
    println!("{lines} {words} {}", text.len());
    Ok(())
}
