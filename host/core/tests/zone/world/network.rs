//! Connections between machines: frames in order in each direction, until the connection breaks.
//!
//! Messages on a connection across a cut wait until the cut heals, as TCP retransmits; or the connection breaks, and
//! one or both ends detect it, sooner or later.

use super::{Happening, World};
use crate::machine::ProcessId;
use crate::scenario::{ALIAS, chance, up_to};
use std::time::Duration;
use wasmnode_core::{ConnectionId, Frame, Input, LinkId, Time};

/// Direction: from the dialling end, or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    Back,
}

/// A connection, or an attempt at one.
pub(crate) struct Conn {
    pub(super) host: (usize, ProcessId),
    pub(super) link: LinkId,
    /// The machine that it leads to, if there is one.
    pub(super) target: Option<usize>,
    pub(super) guest_of: Option<ProcessId>,
    pub(super) peer: ConnectionId,
    /// Messages sent before it was established.
    waiting: Vec<Vec<Frame>>,
    /// Messages held by a cut, in each direction.
    held: [Vec<Vec<Frame>>; 2],
    /// Arrival of the last frames, in each direction.
    last: [Time; 2],
    pub(super) is_open: bool,
    /// Whether it is broken, so that nothing passes.
    pub(super) is_broken: bool,
    /// Whether messages in transit when it broke still arrive, in each direction.
    pub(super) lingers: [bool; 2],
    /// Whether the driver that dialled has detected the break.
    is_noticed: bool,
    /// Whether the node that dialled was notified, or closed it itself.
    pub(super) is_notified: bool,
    /// Whether the driver that was dialled has detected the break.
    pub(super) guest_is_gone: bool,
}

impl World {
    pub(super) fn dial(&mut self, machine: usize, id: ProcessId, link: LinkId, endpoint: &str) {
        let place = endpoint.trim_end_matches(ALIAS);
        let target = self.places.get(place).copied();
        let conn = self.conns.len();
        self.conns.push(Conn {
            host: (machine, id),
            link,
            target,
            guest_of: None,
            peer: ConnectionId::new(format!("peer{conn}")),
            waiting: Vec::new(),
            held: [Vec::new(), Vec::new()],
            last: [Time::ZERO; 2],
            is_open: false,
            is_broken: false,
            lingers: [false; 2],
            is_noticed: false,
            is_notified: false,
            guest_is_gone: false,
        });
        if let Some(process) = self.process(machine, id) {
            process.links.insert(link, conn);
        }
        let time = self.now + self.latency(machine, target.unwrap_or(machine));
        self.note(time, Happening::Connects { conn });
    }

    /// Handles a dial that reaches its endpoint: with a listener, without one, or across a cut.
    pub(super) fn connects(&mut self, number: usize) {
        let conn = &self.conns[number];
        if conn.is_broken || conn.is_notified {
            return;
        }
        let machine = conn.host.0;
        let listening = conn.target.and_then(|target| Some((target, self.machines[target].process.as_ref()?.id)));
        let Some((target, process)) = listening else { return self.breaks(number, Duration::ZERO, Duration::ZERO) };
        if self.is_blocked(machine, target) || self.is_blocked(target, machine) {
            self.checker.coverage.count("dialled across a cut");
            if self.rng.bool() {
                // The dial is repeated until it succeeds or is abandoned.
                return self.note(self.now + Duration::from_millis(500), Happening::Connects { conn: number });
            }
            return self.breaks(number, Duration::ZERO, Duration::ZERO);
        }
        let conn = &mut self.conns[number];
        (conn.guest_of, conn.is_open) = (Some(process), true);
        let (peer, waiting) = (conn.peer.clone(), std::mem::take(&mut conn.waiting));
        if let Some(process) = self.process(target, process) {
            process.guests.insert(peer, number);
        }
        waiting.into_iter().for_each(|frames| self.transmit(number, Way::Out, frames));
    }

    pub(super) fn post(&mut self, machine: usize, id: ProcessId, link: LinkId, frames: Vec<Frame>) -> Option<Input> {
        let number = self.process(machine, id).and_then(|process| process.links.get(&link).copied());
        let Some(number) = number.filter(|number| !self.conns[*number].is_notified) else {
            self.checker.fail(&format!("{id:?} posts on {link}, which it was notified is gone"));
        };
        let conn = &mut self.conns[number];
        if conn.is_noticed {
            return Some(Input::Unsent { link, frames });
        }
        if conn.is_open || conn.is_broken {
            let to = conn.guest_of;
            let frames = self.tampered(machine, number, frames);
            self.checker.posts(id, to, &frames);
            self.transmit(number, Way::Out, frames);
        } else {
            conn.waiting.push(frames);
        }
        None
    }

    pub(super) fn send(
        &mut self,
        machine: usize,
        id: ProcessId,
        to: ConnectionId,
        frames: Vec<Frame>,
    ) -> Option<Input> {
        if to.as_bytes().starts_with(b"client") {
            // The checker has recorded it.
            return None;
        }
        let number = self.process(machine, id).and_then(|process| process.guests.get(&to).copied());
        match number {
            Some(number) if !self.conns[number].guest_is_gone => self.transmit(number, Way::Back, frames),
            _ => return Some(Input::Undeliverable { to, frames }),
        }
        None
    }

    pub(super) fn hang_up(&mut self, machine: usize, id: ProcessId, link: LinkId) {
        let Some(number) = self.process(machine, id).and_then(|process| process.links.remove(&link)) else {
            self.checker.fail(&format!("{id:?} hangs up {link}, which it does not have"));
        };
        let lingers = self.rng.bool();
        let conn = &mut self.conns[number];
        (conn.is_notified, conn.is_noticed) = (true, true);
        conn.waiting.clear();
        if !conn.is_broken {
            conn.is_broken = true;
            conn.lingers[0] = lingers;
            let time = self.now + self.far_end_latency(number);
            self.note(time, Happening::GuestIsGone { conn: number });
        }
    }

    fn transmit(&mut self, number: usize, way: Way, frames: Vec<Frame>) {
        let Conn { host: (host, _), target: Some(target), is_broken: false, .. } = self.conns[number] else { return };
        let (from, to) = if way == Way::Out { (host, target) } else { (target, host) };
        if chance(&mut self.rng, self.weather.loss) {
            return self.checker.coverage.count("message lost");
        }
        if self.is_blocked(from, to) {
            self.checker.coverage.count("message held up by a cut");
            return self.conns[number].held[way as usize].push(frames);
        }
        let mut time = self.now + self.latency(from, to);
        if chance(&mut self.rng, self.weather.overtaking) {
            self.checker.coverage.count("message out of order");
            time = time + up_to(&mut self.rng, Duration::from_millis(400));
        } else {
            let last = &mut self.conns[number].last[way as usize];
            time = time.max(*last);
            *last = time;
        }
        if chance(&mut self.rng, self.weather.doubling) {
            self.checker.coverage.count("message doubled");
            let later = time + up_to(&mut self.rng, Duration::from_millis(100));
            self.note(later, Happening::Arrives { conn: number, way, frames: frames.clone() });
        }
        self.note(time, Happening::Arrives { conn: number, way, frames });
    }

    pub(super) fn arrives(&mut self, number: usize, way: Way, frames: Vec<Frame>) {
        let conn = &self.conns[number];
        if conn.is_broken && !conn.lingers[way as usize] {
            return;
        }
        match (way, conn.target, conn.guest_of) {
            (Way::Out, Some(target), Some(process)) => {
                let from = conn.peer.clone();
                self.deliver(target, process, Input::Message { from, frames });
            }
            (Way::Back, ..) if !conn.is_notified && !conn.is_noticed => {
                let (link, (machine, process)) = (conn.link, conn.host);
                self.deliver(machine, process, Input::LinkMessage { link, frames });
            }
            _ => {}
        }
    }

    /// Breaks a connection; each end detects it after some time.
    pub(super) fn breaks(&mut self, number: usize, host_after: Duration, guest_after: Duration) {
        let conn = &mut self.conns[number];
        if !conn.is_broken {
            conn.is_broken = true;
            conn.held = [Vec::new(), Vec::new()];
            let last = self.now.max(if conn.lingers[1] { conn.last[1] } else { self.now });
            self.note(last + host_after, Happening::Notices { conn: number });
            self.note(self.now + guest_after, Happening::GuestIsGone { conn: number });
        }
    }

    /// The driver that dialled detects a broken connection: waiting messages were not sent, new ones are not sent, and
    /// the node is notified shortly after.
    pub(super) fn notices(&mut self, number: usize) {
        let conn = &mut self.conns[number];
        if conn.is_noticed || conn.is_notified {
            return;
        }
        conn.is_noticed = true;
        let (link, (machine, process)) = (conn.link, conn.host);
        let waiting = std::mem::take(&mut conn.waiting);
        if self.rng.bool() {
            waiting.into_iter().for_each(|frames| self.deliver(machine, process, Input::Unsent { link, frames }));
        }
        let moment = if self.rng.bool() { Duration::ZERO } else { Duration::from_millis(self.rng.u64(..20)) };
        self.note(self.now + moment, Happening::Reports { conn: number });
    }

    pub(super) fn reports(&mut self, number: usize) {
        let conn = &self.conns[number];
        if conn.is_notified {
            return;
        }
        let (link, (machine, id), why) = (conn.link, conn.host, "the connection is gone".to_owned());
        self.deliver(machine, id, Input::LinkDown { link, why });
    }

    /// Notifies the node that a link is gone.
    pub(super) fn forget_link(&mut self, machine: usize, link: LinkId) {
        let number = self.machines[machine].process.as_mut().and_then(|process| process.links.remove(&link));
        if let Some(number) = number {
            self.conns[number].is_notified = true;
        }
    }

    /// A machine whose process restarted answers old connections with a reset.
    pub(super) fn tcp_answers_with_reset(&mut self, machine: usize) {
        for number in 0..self.conns.len() {
            let conn = &self.conns[number];
            if conn.is_broken
                && !conn.is_noticed
                && conn.target == Some(machine)
                && !self.is_blocked(conn.host.0, machine)
            {
                let time = self.now + self.far_end_latency(number);
                self.note(time, Happening::Notices { conn: number });
            }
        }
    }

    /// Delivers the messages that a cut has held.
    pub(super) fn release(&mut self) {
        for number in 0..self.conns.len() {
            for way in [Way::Out, Way::Back] {
                let held = std::mem::take(&mut self.conns[number].held[way as usize]);
                held.into_iter().for_each(|frames| self.transmit(number, way, frames));
            }
        }
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    fn far_end_latency(&mut self, number: usize) -> Duration {
        let Conn { host: (host, _), target, .. } = self.conns[number];
        self.latency(host, target.unwrap_or(host))
    }

    fn latency(&mut self, from: usize, to: usize) -> Duration {
        let (from, to) = (&self.machines[from], &self.machines[to]);
        let between = if from.zone == to.zone { Duration::ZERO } else { self.weather.between };
        let slow = from.slow + to.slow + between;
        Duration::from_micros(100) + slow + up_to(&mut self.rng, self.weather.latency)
    }
}
