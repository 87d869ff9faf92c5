//! Echo through a node against what else there is, in turns: `cargo bench -- --help`.
//!
//! `bare` is a ROUTER of libzmq in a process of its own that sends back what it gets: what ZeroMQ itself costs. `core`
//! is a request that a node answers without a plugin (`mmi.service`); `reused` and `fresh` run a plugin that answers
//! with what it was asked, in an instance that is kept, and in a new one for each request. `peer` asks the same of a
//! second node, with which the first is linked over ipc, `zones` of another zone, through two routers over tcp. Nodes
//! with `1,000 services` take part only if they are named: each request asks another of them, or, with `one`, always
//! the same. In each round, all take their turns cell by cell, so that whatever else the machine does hits all of them
//! alike; the figures are medians over the rounds. Left to the scheduler, a wake-up may cross cores, which costs more
//! than most of what is measured: pinned figures show the work.

mod calls;
#[path = "suite.rs"]
mod suite;

fn main() -> suite::Result<()> {
    suite::run(&[calls::contenders], &[])
}
