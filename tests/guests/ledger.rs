//! A WASI command that records each run in a ledger before it answers: one line, in one write. A body that ends with
//! "!" is recorded twice, as by a second run.

use std::io::{Read, Write};

fn main() {
    let mut body = String::new();
    std::io::stdin().read_to_string(&mut body).unwrap();
    let mut ledger = std::fs::OpenOptions::new().create(true).append(true).open("/ledger/book").unwrap();
    for _ in 0..1 + usize::from(body.ends_with('!')) {
        ledger.write_all(format!("{body}\n").as_bytes()).unwrap();
    }
    print!("{body}");
}
