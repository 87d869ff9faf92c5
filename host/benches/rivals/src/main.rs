//! The echo benchmark with contenders more: NATS with its official client.
//!
//! `cargo build --release && cargo run --release --manifest-path host/benches/rivals/Cargo.toml -- --help`

#[allow(dead_code, reason = "this program has a main function of its own")]
#[path = "../../echo/main.rs"]
mod echo;
mod nats;

fn main() -> echo::Result<()> {
    echo::run(&[nats::contenders], &[nats::RESPONDER])
}
