//! Logs of simulators: lines for a person who replays one seed, and transcripts, by which two commits are compared.
//!
//! A transcript holds all inputs and outputs of the machines under test, in the notation of [`crate::notation`]. It is
//! digested as it is written. With `WASMNODE_TRANSCRIPT=FOLDER`, the transcripts of the first `WASMNODE_SEEDS` seeds
//! are listed in `FOLDER/SIMULATOR.txt`, one line each: seed, lines, digest. With `WASMNODE_SEED=n` too, the transcript
//! of that seed is written in full to `FOLDER/SIMULATOR-n.txt`. `sameness.sh` compares two commits in this way.

use crate::notation::Notation;
use crate::seeds::number_from;
use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use wasmnode_core::Time;

/// Number of seeds that are run twice if no transcript is requested.
const SEEDS: u64 = 6;

/// Destination of the events of a seed. Most seeds have none, because writing takes longer than deciding.
#[derive(Default)]
pub(crate) enum Log {
    #[default]
    None,
    /// Printed immediately, so that the output of a failing seed ends at its failure.
    Printed,
    /// Digested, without remarks.
    Kept(Transcript),
}

impl Log {
    /// Writes a remark for a person, which is not part of a transcript.
    pub(crate) fn note(&self, now: Time, remark: impl FnOnce() -> String) {
        if let Self::Printed = self {
            println!("{:>12} {}", now.as_micros(), remark());
        }
    }

    /// Writes an input or an output of a machine, which `who` names.
    pub(crate) fn write<W: Display>(&mut self, now: Time, who: impl FnOnce() -> W, what: &impl Notation) {
        match self {
            Self::None => {}
            Self::Printed => {
                let mut line = format!("{:>12} {}", now.as_micros(), who());
                what.write(&mut line);
                println!("{line}");
            }
            Self::Kept(transcript) => transcript.add(now, &who(), what),
        }
    }

    /// Returns the transcript.
    fn into_transcript(self) -> Transcript {
        match self {
            Self::Kept(transcript) => transcript,
            Self::None | Self::Printed => panic!("the simulator lost the log that it was given"),
        }
    }
}

/// Inputs and outputs of the machines in one seed, in full or as a digest.
pub(crate) struct Transcript {
    lines: u64,
    digest: u128,
    line: String,
    file: Option<BufWriter<File>>,
}

impl Transcript {
    /// Creates a transcript that digests all lines, and writes them to `file` if there is one.
    fn new(file: Option<&Path>) -> Self {
        let create = |path: &Path| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { lines: 0, digest: OFFSET, line: String::new(), file: file.map(|path| BufWriter::new(create(path))) }
    }

    fn add(&mut self, now: Time, who: &impl Display, what: &impl Notation) {
        self.line.clear();
        write!(self.line, "{} {who}", now.as_micros()).unwrap();
        what.write(&mut self.line);
        self.line.push('\n');
        self.digest = digest(self.digest, self.line.as_bytes());
        self.lines += 1;
        if let Some(file) = &mut self.file {
            file.write_all(self.line.as_bytes()).unwrap();
        }
    }

    /// Returns the entry of the list of transcripts.
    fn summary(&self) -> String {
        format!("{} {:032x}", self.lines, self.digest)
    }
}

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = (1 << 88) + 0x13b;

/// FNV-1a of 128 bits, because `std` has no digest that stays the same over its versions.
fn digest(begin: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(begin, |digest, byte| (digest ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// Runs one seed, and returns the digest of its transcript.
pub(crate) fn summary(seed: u64, run: &impl Fn(u64, Log) -> Log) -> String {
    run(seed, Log::Kept(Transcript::new(None))).into_transcript().summary()
}

/// Writes the transcripts that the environment requests. If it requests none, runs a few seeds twice, and checks that
/// the transcripts are equal. Only one of `every` seeds is run if they take long.
pub(crate) fn transcripts(simulator: &str, every: u64, run: impl Fn(u64, Log) -> Log) {
    let seeds = |all: u64| 0..all.div_ceil(every);
    let Some(folder) = std::env::var_os("WASMNODE_TRANSCRIPT").map(PathBuf::from) else {
        let summaries = seeds(SEEDS).map(|seed| {
            let summary = || summary(seed, &run);
            let (one, other) = (summary(), summary());
            assert_eq!(one, other, "seed {seed} of {simulator} went two ways");
            one
        });
        let differ = summaries.collect::<BTreeSet<_>>().len();
        return assert_eq!(differ, seeds(SEEDS).count(), "seeds of {simulator} have the same transcript");
    };
    std::fs::create_dir_all(&folder).unwrap();
    if let Some(seed) = number_from("WASMNODE_SEED") {
        let file = folder.join(format!("{simulator}-{seed}.txt"));
        let transcript = run(seed, Log::Kept(Transcript::new(Some(&file)))).into_transcript();
        return println!("{simulator} {seed} {}", transcript.summary());
    }
    let seeds = seeds(number_from("WASMNODE_SEEDS").unwrap_or(SEEDS));
    let lines: String = seeds.map(|seed| format!("{seed} {}\n", summary(seed, &run))).collect();
    std::fs::write(folder.join(format!("{simulator}.txt")), lines).unwrap();
}
