//! The echo benchmark with additional contenders: NATS with its official client, and zenoh.
//!
//! `cargo build --release && cargo run --release --manifest-path host/benches/rivals/Cargo.toml -- --help`

#[path = "../../echo/suite.rs"]
mod echo;
mod nats;
mod zenoh_query;

fn main() -> echo::Result<()> {
    let [peer, client, router] = zenoh_query::ROLES;
    echo::run(&[nats::contenders, zenoh_query::contenders], &[nats::RESPONDER, peer, client, router])
}
