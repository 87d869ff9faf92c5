//! Seeds of inputs: each is an input of the corpus with some bytes changed and some appended.

use crate::bodies::{Seen, Watch, node, paths, routes};
use crate::files;
use crate::log::{Log, transcripts};
use crate::seeds::number_from;
use wasmnode_core::{Frame, Time};

const SEEDS: u64 = 100;

type Body = for<'a> fn(&[u8], &'a mut Watch<'a>);

fn input(target: &str, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let file = rng.choice(files(target)).unwrap();
    let mut input = std::fs::read(file).unwrap();
    for _ in 0..rng.usize(..8) {
        let place = rng.usize(..=input.len());
        match input.get_mut(place) {
            Some(byte) => *byte = rng.u8(..),
            None => input.push(rng.u8(..)),
        }
    }
    input.extend(std::iter::repeat_with(|| rng.u8(..)).take(300));
    input
}

fn run(target: &str, body: Body, seed: u64, mut log: Log) -> Log {
    let input = input(target, seed);
    log.note(Time::ZERO, || format!("{target}, seed {seed}"));
    log.write(Time::ZERO, || "", &Frame::copy_from_slice(&input));
    body(&input, &mut |now, seen| match seen {
        Seen::Given(input) => log.write(now, || "", input),
        Seen::Done(output) => log.write(now, || " ", output),
        Seen::Path(effect) => log.write(now, || " ", effect),
        Seen::Route(effect) => log.write(now, || " ", effect),
    });
    log
}

fn sweep(target: &str, body: Body) {
    if let Some(seed) = number_from("WASMNODE_SEED") {
        return drop(run(target, body, seed, Log::Printed));
    }
    for seed in 0..number_from("WASMNODE_SEEDS").unwrap_or(SEEDS) {
        let result = std::panic::catch_unwind(|| run(target, body, seed, Log::None));
        assert!(result.is_ok(), "seed {seed} breaks {target}");
    }
}

#[test]
fn no_mutant_breaks_a_node() {
    sweep("node", node::watch);
}

#[test]
fn no_mutant_breaks_the_paths_of_a_router() {
    sweep("paths", paths::watch);
}

#[test]
fn no_mutant_breaks_the_directory_of_a_zone() {
    sweep("routes", routes::watch);
}

#[test]
fn the_same_mutant_has_the_same_transcript_of_a_node() {
    transcripts("mutants-node", 1, |seed, log| run("node", node::watch, seed, log));
}

#[test]
fn the_same_mutant_has_the_same_transcript_of_the_paths_of_a_router() {
    transcripts("mutants-paths", 1, |seed, log| run("paths", paths::watch, seed, log));
}

#[test]
fn the_same_mutant_has_the_same_transcript_of_the_directory_of_a_zone() {
    transcripts("mutants-routes", 1, |seed, log| run("routes", routes::watch, seed, log));
}
