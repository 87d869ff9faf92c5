//! What the peers have in common: they are woken, they hear, and they want things done; the world does them.

use crate::clients::Client;
use crate::fuzz_peers::Stranger;
use crate::workers::Worker;
use fastrand::Rng;
use std::collections::VecDeque;
use std::time::Duration;
use wasmnode_core::Frame;

/// A peer of the node.
pub(crate) enum Actor {
    Client(Client),
    Worker(Worker),
    Stranger(Stranger),
}

/// What an actor wants to be woken for. The numbers tell a current errand from one that is obsolete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Ask,
    Cancel(u64),
    GiveUp(u64),
    Register(u64),
    Beat(u64),
    Speak(u64),
    Harass,
}

/// What an actor wants done.
pub(crate) enum Act {
    Say(Vec<Frame>),
    WakeIn(Duration, Errand),
    /// Its connection is lost; it has a new one after this time.
    HangUp(Duration),
}

/// What an actor sees of the world.
pub(crate) struct Cue<'a> {
    pub(crate) rng: &'a mut Rng,
    /// Faults have ended, and nobody asks any more.
    pub(crate) calm: bool,
    pub(crate) bad_workers: u32,
    /// What others said to the node lately.
    pub(crate) overheard: &'a VecDeque<Vec<Frame>>,
    pub(crate) acts: Vec<Act>,
}

impl Cue<'_> {
    pub(crate) fn send(&mut self, frames: Vec<Frame>) {
        self.acts.push(Act::Say(frames));
    }

    pub(crate) fn wake_in(&mut self, time: Duration, errand: Errand) {
        self.acts.push(Act::WakeIn(time, errand));
    }
}

impl Actor {
    /// Its connection stands: at the beginning, and after each loss.
    pub(crate) fn connected(&mut self, cue: &mut Cue<'_>) {
        match self {
            Self::Client(client) => client.connected(cue),
            Self::Worker(worker) => worker.connected(cue),
            Self::Stranger(_) => Stranger::connected(cue),
        }
    }

    pub(crate) fn woken(&mut self, errand: Errand, cue: &mut Cue<'_>) {
        match self {
            Self::Client(client) => client.woken(errand, cue),
            Self::Worker(worker) => worker.woken(errand, cue),
            Self::Stranger(stranger) => stranger.woken(cue),
        }
    }

    pub(crate) fn receive(&mut self, frames: &[Frame], cue: &mut Cue<'_>) {
        match self {
            Self::Client(client) => client.receive(frames),
            Self::Worker(worker) => worker.receive(frames, cue),
            Self::Stranger(stranger) => stranger.receive(frames),
        }
    }
}
