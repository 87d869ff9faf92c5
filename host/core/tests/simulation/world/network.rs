//! The network: messages to the node, connections that begin and end, pipes that fill; and the loading of plugins.

use super::{Happening, Outcome, World};
use crate::actors::{Act, Actor, Cue};
use crate::fuzz_peers::mutated;
use crate::plugins::Appointment;
use crate::scenario::{chance, up_to};
use std::time::Duration;
use wasmnode_core::{Frame, Input, ServiceName, Time};

/// Number of recent messages that fuzz peers can repeat.
const OVERHEARD: usize = 12;

impl World {
    pub(super) fn note(&mut self, time: Time, happening: Happening) {
        self.noted += 1;
        self.agenda.insert((time, self.noted), happening);
    }

    pub(super) fn appoint(&mut self, appointment: Appointment) {
        if let Some((time, turn)) = appointment {
            self.note(self.now + time, Happening::Runs(turn));
        }
    }

    /// Lets a peer act, and carries out its actions.
    pub(super) fn cue(&mut self, peer: usize, turn: impl FnOnce(&mut Actor, &mut Cue<'_>)) {
        let (calm, bad_workers) = (self.calm, self.weather.bad_workers);
        let mut cue = Cue { rng: &mut self.rng, calm, bad_workers, overheard: &self.overheard, acts: Vec::new() };
        turn(&mut self.peers[peer].1, &mut cue);
        for act in cue.acts {
            match act {
                Act::Send(frames) => self.say(peer, frames),
                Act::WakeIn(time, errand) => self.note(self.now + time, Happening::Wakes { peer, errand }),
                Act::HangUp(pause) => self.hang_up(peer, pause),
            }
        }
    }

    fn say(&mut self, peer: usize, frames: Vec<Frame>) {
        if !self.peers[peer].0.up {
            return;
        }
        if !self.calm {
            self.overheard.truncate(OVERHEARD - 1);
            self.overheard.push_front(frames.clone());
        }
        if chance(&mut self.rng, self.weather.garbling) {
            self.checker.coverage.count("message garbled");
            let garbled = mutated(&frames, &mut self.rng);
            self.carry(peer, garbled);
        }
        if chance(&mut self.rng, self.weather.doubling) {
            self.checker.coverage.count("message doubled");
            self.carry(peer, frames.clone());
        }
        if chance(&mut self.rng, self.weather.loss) {
            return self.checker.coverage.count("message lost");
        }
        self.carry(peer, frames);
    }

    fn carry(&mut self, peer: usize, frames: Vec<Frame>) {
        let link = &mut self.peers[peer].0;
        let time = link.reaches_node(self.now, self.weather.delay, &mut self.rng);
        let (from, connection) = (link.id.clone(), link.connection);
        self.note(time, Happening::Arrives { peer, from, connection, frames });
    }

    /// Breaks a connection, perhaps several times in a row.
    pub(super) fn break_off(&mut self, peer: usize) {
        let flaps = chance(&mut self.rng, self.weather.flapping);
        let pause = up_to(&mut self.rng, Duration::from_millis(if flaps { 100 } else { 1_000 }));
        self.hang_up(peer, pause);
        if flaps {
            let again = self.now + pause + up_to(&mut self.rng, Duration::from_millis(300));
            self.note(again, Happening::BreaksAgain { peer });
        }
    }

    pub(super) fn hang_up(&mut self, peer: usize, pause: Duration) {
        let link = &mut self.peers[peer].0;
        if !link.up {
            return;
        }
        let ended = link.hang_up(self.now);
        self.checker.coverage.count("connection lost");
        // A machine that lost its power closes no connection: the node detects it by messages that it cannot send.
        if let Some((connection, after)) = ended.filter(|_| chance(&mut self.rng, 700)) {
            let time = after + up_to(&mut self.rng, Duration::from_millis(50));
            self.note(time, Happening::Ends(connection));
        }
        self.note(self.now + pause, Happening::Connects { peer });
    }

    pub(super) fn connect(&mut self, peer: usize) {
        let link = &mut self.peers[peer].0;
        let old = link.id.clone();
        link.connect();
        let new = link.id.clone();
        if old != new {
            self.addresses.remove(&old);
        }
        self.addresses.insert(new, peer);
        self.cue(peer, Actor::connected);
    }

    /// Sends the messages that waited for a full pipe; they are undeliverable if the connection is gone.
    pub(super) fn clear_pipe(&mut self, peer: usize) {
        let link = &mut self.peers[peer].0;
        let mut waiting = link.waiting.take().unwrap_or_default();
        let (id, to) = (link.id.clone(), link.waiting_for.clone());
        let lost = if !link.up || id != to {
            waiting.len()
        } else if link.was_lost_since_waiting() {
            // The peer reconnects with the same routing id while the node tries one message after the other.
            self.rng.usize(..=waiting.len())
        } else {
            0
        };
        for frames in waiting.split_off(lost) {
            self.deliver(peer, frames);
        }
        for frames in waiting {
            self.feed(Input::Undeliverable { to: to.clone(), frames });
        }
    }

    pub(super) fn load(&mut self, service: ServiceName) {
        self.loaded.insert(service.clone());
        self.feed(Input::Offered(service));
    }

    /// Loads or removes a plugin.
    pub(super) fn reload(&mut self) {
        if self.loadable.is_empty() {
            return;
        }
        let service = self.loadable[self.rng.usize(..self.loadable.len())].clone();
        if self.loaded.remove(&service) {
            self.feed(Input::Withdrawn(service));
        } else {
            self.load(service);
        }
    }

    /// Ends the seed: everything must be settled.
    pub(super) fn finish(mut self) -> Outcome {
        let peers = &self.peers;
        self.checker.at_end(&self.node, |id| {
            peers.iter().any(|(link, actor)| link.id == *id && link.up && matches!(actor, Actor::Worker(_)))
        });
        let steps = self.checker.steps();
        self.log.write(self.now, || "", &(&self.node, self.now));
        Outcome { steps, coverage: self.checker.coverage, log: self.log }
    }
}
