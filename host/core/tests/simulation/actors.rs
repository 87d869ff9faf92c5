//! Interface of the peers: they are woken, receive messages, and return actions, which the world carries out.

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

/// Reason of a wake-up of an actor. The numbers distinguish a current errand from an obsolete one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Ask,
    Cancel(u64),
    GiveUp(u64),
    Register(u64),
    Beat(u64),
    Send(u64),
    Fuzz,
}

/// Action of an actor.
pub(crate) enum Act {
    Send(Vec<Frame>),
    WakeIn(Duration, Errand),
    /// Its connection is lost; it has a new one after this time.
    HangUp(Duration),
}

/// View of the world that an actor gets.
pub(crate) struct Cue<'a> {
    pub(crate) rng: &'a mut Rng,
    /// Whether the faults have ended, so that clients send no further requests.
    pub(crate) calm: bool,
    pub(crate) bad_workers: u32,
    /// Recent messages of other peers to the node.
    pub(crate) overheard: &'a VecDeque<Vec<Frame>>,
    pub(crate) acts: Vec<Act>,
}

impl Cue<'_> {
    pub(crate) fn send(&mut self, frames: Vec<Frame>) {
        self.acts.push(Act::Send(frames));
    }

    pub(crate) fn wake_in(&mut self, time: Duration, errand: Errand) {
        self.acts.push(Act::WakeIn(time, errand));
    }
}

impl Actor {
    /// Handles the start of a connection: the first, and one after each loss.
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
