//! The versions of one plugin: which serves, and which it could go back to.

use super::instance::Plugin;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Versions that are kept, the serving one included; each takes the memory of its compiled code.
const KEPT: usize = 4;

/// One service's plugin, in all versions that are kept.
#[derive(Default)]
pub(super) struct Generations {
    /// Oldest first.
    kept: Vec<Generation>,
    serving: usize,
    next_number: u64,
    refused: Option<Refusal>,
}

/// A file that lies in the folder and cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// SHA-256 of the file, hexadecimal; empty if it could not be read.
    pub digest: String,
    /// Why it cannot serve.
    pub why: String,
    /// When that was found (RFC 3339, UTC, to the microsecond).
    pub at: String,
}

struct Generation {
    number: u64,
    plugin: Arc<Plugin>,
    is_rolled_back: bool,
}

/// What a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// Requests go to it.
    Serving,
    /// It served before, and may again.
    Previous,
    /// It was found wanting, by a person or by its crashes.
    RolledBack,
}

impl Generations {
    /// The version that serves.
    pub(super) fn serving(&self) -> Option<&Arc<Plugin>> {
        self.kept.get(self.serving).map(|generation| &generation.plugin)
    }

    /// Why the newest file does not serve, if it does not.
    pub(super) fn refused(&self) -> Option<&Refusal> {
        self.refused.as_ref()
    }

    /// Notes that the newest file cannot serve; returns `false` if that was known.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> bool {
        let is_same = |known: &Refusal| (&known.digest, &known.why) == (&refusal.digest, &refusal.why);
        let is_known = self.refused.as_ref().is_some_and(is_same);
        self.refused = Some(refusal);
        !is_known
    }

    /// Notes that the newest file is in order: it holds what was loaded last.
    pub(super) fn accept(&mut self) {
        self.refused = None;
    }

    /// All versions, newest first: number, state, plugin.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, GenerationState, &Arc<Plugin>)> {
        self.kept.iter().enumerate().rev().map(|(index, generation)| {
            let state = match generation {
                _ if index == self.serving => GenerationState::Serving,
                Generation { is_rolled_back: true, .. } => GenerationState::RolledBack,
                _ => GenerationState::Previous,
            };
            (generation.number, state, &generation.plugin)
        })
    }

    /// Makes a new version serve, and returns its number; `None` if it is the serving one over again.
    pub(super) fn install(&mut self, plugin: Plugin) -> Option<u64> {
        self.refused = None;
        if self.serving().is_some_and(|serving| serving.digest() == plugin.digest()) {
            return None;
        }
        if self.kept.len() == KEPT {
            // The oldest goes, unless it is the one that serves after a rollback.
            self.kept.remove(usize::from(self.serving == 0));
        }
        self.next_number += 1;
        self.kept.push(Generation { number: self.next_number, plugin: Arc::new(plugin), is_rolled_back: false });
        self.serving = self.kept.len() - 1;
        Some(self.next_number)
    }

    /// Makes the version before the serving one serve; returns the numbers of both, from and to.
    pub(super) fn roll_back(&mut self) -> Option<(u64, u64)> {
        let previous = self.serving.checked_sub(1)?;
        let from = self.kept.get_mut(self.serving)?;
        from.is_rolled_back = true;
        let from = from.number;
        self.serving = previous;
        Some((from, self.kept.get(previous)?.number))
    }
}
