//! Seeds of faults: processes crash, freeze, leave and restart while datagrams get lost and the zone is partitioned.
//! Once the faults stop, all views converge.

use crate::log::{Log, transcripts};
use crate::network::{Network, State};
use crate::seeds::number_from;
use std::time::Duration;

const SEEDS: u64 = 60;

/// Time after the last fault within which all views converge.
const MENDED: Duration = Duration::from_secs(120);

fn run(seed: u64, log: Log) -> Log {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut network = Network::new(seed);
    network.log = log;
    network.loss = [0.0, 2.0, 10.0][rng.usize(..3)];
    network.join(rng.usize(2..9), Duration::from_millis(rng.u64(1..2_000)));
    for _ in 0..rng.usize(5..25) {
        network.pass(Duration::from_millis(rng.u64(..4_000)));
        fault(&mut network, &mut rng);
    }
    network.log.note(network.now, || "the faults stop".into());
    network.report();
    (network.loss, network.cut) = (0.0, None);
    for process in 0..network.processes.len() {
        if network.processes[process].state == State::Frozen {
            network.thaw(process);
        }
    }
    assert!(network.wait(MENDED, Network::all_know_all).is_some(), "seed {seed}: not all know all");
    network.report();
    network.log
}

fn fault(network: &mut Network, rng: &mut fastrand::Rng) {
    let process = rng.usize(..network.processes.len());
    let (first, me) = (network.me(0), network.me(process));
    match (rng.u8(..10), network.processes[process].state) {
        (0..2, State::Running) if process > 0 => {
            network.crash(process);
            if rng.bool() {
                let boot = me.boot + 60_000_000 - rng.u64(..120_000_000);
                let anew = network.start_at(me.name.as_str(), me.endpoint, boot);
                network.announce(anew, &first);
            }
        }
        (2, State::Running) if process > 0 => network.leave(process),
        (3..5, State::Running) => network.freeze(process),
        (_, State::Frozen) => network.thaw(process),
        (5..7, _) => network.cut = rng.bool().then_some(process),
        (7, State::Running) => network.try_again(process),
        _ => {}
    }
}

#[test]
fn views_converge_after_the_faults() {
    if let Some(seed) = number_from("WASMNODE_SEED") {
        run(seed, Log::Printed);
        return println!("seed {seed}: all know all");
    }
    (0..number_from("WASMNODE_SEEDS").unwrap_or(SEEDS)).for_each(|seed| drop(run(seed, Log::None)));
}

#[test]
fn the_same_seed_has_the_same_transcript() {
    transcripts("members", 1, run);
}
