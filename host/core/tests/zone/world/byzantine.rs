//! Tampering with messages: a router that sends false paths and false crossed zones, and routers that repeat old
//! updates.

use super::World;
use crate::byzantine::false_changes;
use crate::scenario::{SERVICES, chance, name, pick};
use wasmnode_core::Frame;
use wasmnode_core::message::path::{self, UpdateContent};
use wasmnode_core::message::peer::{self, PeerMessage};

impl World {
    /// Returns the frames that are sent in place of those of the node.
    pub(super) fn tampered(&mut self, machine: usize, conn: usize, frames: Vec<Frame>) -> Vec<Frame> {
        let Some(joined) = self.scenario.joined.filter(|_| !self.is_calm) else { return frames };
        let is_byzantine = joined.byzantine == Some(machine);
        if !is_byzantine && !joined.is_stale {
            return frames;
        }
        match peer::decode(frames.clone()) {
            Ok(PeerMessage::Paths { epoch, update }) => {
                let mut update = path::decode(update).unwrap();
                if is_byzantine && chance(&mut self.rng, 500) {
                    self.checker.coverage.count("a false path");
                    let (byzantine, service) = (self.machines[machine].zone, name(pick(&mut self.rng, &SERVICES)));
                    update.content =
                        UpdateContent::Changes(false_changes(&mut self.rng, byzantine, joined.zones, &service));
                } else if joined.is_stale {
                    self.tell_old(conn, &mut update.content);
                }
                peer::encode(PeerMessage::Paths { epoch, update: path::encode(&update) })
            }
            Ok(PeerMessage::Request(mut forward)) if is_byzantine && chance(&mut self.rng, 500) => {
                self.checker.coverage.count("false crossed zones");
                let zones = joined.zones;
                forward.crossed.clear();
                while self.rng.bool() {
                    forward.crossed.push(format!("z{}", self.rng.usize(..zones)).parse().unwrap());
                }
                forward.hops = self.rng.u8(..);
                if let Some(zone) = forward.zone.as_mut().filter(|_| self.rng.bool()) {
                    *zone = format!("z{}", self.rng.usize(..zones)).parse().unwrap();
                }
                peer::encode(PeerMessage::Request(forward))
            }
            _ => frames,
        }
    }

    /// Sometimes replaces an update by an old one.
    fn tell_old(&mut self, conn: usize, say: &mut UpdateContent) {
        if !matches!(say, UpdateContent::Changes(_)) {
            return;
        }
        let said = self.updates_sent.entry(conn).or_default();
        said.push(say.clone());
        if chance(&mut self.rng, 200) {
            self.checker.coverage.count("old news");
            *say = said[self.rng.usize(..said.len())].clone();
        }
    }
}
