//! Echo through a node and its alternatives, measured in turns: `cargo bench -- --help`.
//!
//! `bare` is a ROUTER of libzmq in a separate process that sends messages back: the cost of ZeroMQ itself. `core` is a
//! request that a node answers without a plugin (`mmi.service`). `reused` and `fresh` run a plugin that returns the
//! body, in an instance that is kept, and in a new one for each request. `peer` sends the same to a second node, which
//! is linked with the first over ipc; `zones` sends it to another zone, through two routers over tcp. Nodes with `1,000
//! services` take part only if they are named: each request calls another of them, or, with `one`, always the same. In
//! each round, all contenders take their turns cell by cell, so that other load on the machine affects all of them
//! alike; the figures are medians over the rounds. Left to the scheduler, a wake-up may cross cores, which costs more
//! than most of what is measured: pinned figures show the work.

mod calls;
#[path = "suite.rs"]
mod suite;

fn main() -> suite::Result<()> {
    suite::run(&[calls::contenders], &[])
}
