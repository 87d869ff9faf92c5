//! Faults, and the recovery from them.

use super::{Happening, World};
use crate::machine::ProcessId;
use crate::scenario::{Accident, chance, policies, up_to};
use std::time::Duration;
use wasmnode_core::Input;

/// Longest time until the end of a connection that no end closed is detected.
const LATEST: Duration = Duration::from_secs(6);

impl World {
    pub(super) fn accident(&mut self, accident: Accident) {
        self.log.note(self.now, || format!("{accident:?}"));
        match accident {
            Accident::Crash(machine) => self.crash(machine),
            Accident::Freeze(machine) => self.freeze(machine),
            Accident::Reload(machine) => self.reload(machine),
            Accident::Drain(machine) => self.drain(machine),
            Accident::Cut { from, to, both_ways } => {
                self.checker.coverage.count(if both_ways { "cut" } else { "asymmetric cut" });
                let pairs = if both_ways { vec![(from, to), (to, from)] } else { vec![(from, to)] };
                self.cut(pairs);
            }
            Accident::Partition => self.partition(),
            Accident::Break => {
                if let Some(conn) = (!self.conns.is_empty()).then(|| self.rng.usize(..self.conns.len())) {
                    self.checker.coverage.count("connection broken");
                    self.break_somehow(conn);
                }
            }
            Accident::Twin(machine) => self.start(machine),
            Accident::Policy(machine) => self.change_policy(machine),
        }
    }

    fn crash(&mut self, machine: usize) {
        let Some(process) = &self.machines[machine].process else { return };
        let id = process.id;
        self.checker.coverage.count("crashed");
        let is_silent = chance(&mut self.rng, 300);
        if is_silent {
            self.checker.coverage.count("crashed with the whole machine");
        }
        self.ended(machine, id, is_silent);
        if self.machines[machine].is_seed || chance(&mut self.rng, 700) {
            self.restart_after(machine, Duration::from_secs(6));
        }
    }

    /// Ends a process without a message, and starts no other.
    pub(super) fn crash_for_good(&mut self, machine: usize) {
        self.machines[machine].is_retired = true;
        if let Some(id) = self.machines[machine].process.as_ref().map(|process| process.id) {
            self.ended(machine, id, false);
        }
    }

    fn restart_after(&mut self, machine: usize, longest: Duration) {
        if self.machines[machine].is_twin() {
            // Two nodes of one name are a mistake of the operator, who corrects it.
            return;
        }
        let time = self.now + up_to(&mut self.rng, longest);
        self.checker.coverage.count("restarted");
        self.note(time, Happening::Starts { machine });
    }

    /// Ends a process; its connections break, and the other ends detect it immediately or late.
    fn ended(&mut self, machine: usize, id: ProcessId, is_silent: bool) {
        self.machines[machine].process = None;
        self.plugins.ended(id);
        self.checker.ended(id);
        for number in 0..self.conns.len() {
            let conn = &self.conns[number];
            if conn.is_broken || (conn.host != (machine, id) && conn.guest_of != Some(id)) {
                continue;
            }
            let after = if is_silent {
                Duration::from_secs(2) + up_to(&mut self.rng, LATEST - Duration::from_secs(2))
            } else {
                up_to(&mut self.rng, self.weather.latency)
            };
            self.breaks(number, after, after);
        }
    }

    fn freeze(&mut self, machine: usize) {
        let longest = Duration::from_secs(if self.scenario.is_gentle { 3 } else { 8 });
        let time = self.now + up_to(&mut self.rng, longest);
        let Some(process) = self.machines[machine].process.as_mut().filter(|process| !process.is_frozen) else {
            return;
        };
        process.is_frozen = true;
        let process = process.id;
        self.checker.coverage.count("frozen");
        self.checker.frozen(process, true);
        self.note(time, Happening::Thaws { machine, process });
    }

    pub(super) fn thaw(&mut self, machine: usize, id: ProcessId) {
        let Some(process) = self.process(machine, id).filter(|process| process.is_frozen) else { return };
        process.is_frozen = false;
        let backlog = std::mem::take(&mut process.backlog);
        self.log.note(self.now, || format!("process {} is thawed", id.0));
        self.checker.frozen(id, false);
        for input in backlog {
            self.deliver(machine, id, input);
        }
        self.deliver(machine, id, Input::Tick);
    }

    fn reload(&mut self, machine: usize) {
        let Some(id) = self.machines[machine].process.as_ref().map(|process| process.id) else { return };
        let loadable = self.machines[machine].loadable.clone();
        if loadable.is_empty() {
            return;
        }
        let service = loadable[self.rng.usize(..loadable.len())].clone();
        self.checker.coverage.count("reloaded");
        let input = if self.checker.offers(id, &service) { Input::Withdrawn(service) } else { Input::Offered(service) };
        self.deliver(machine, id, input);
    }

    fn drain(&mut self, machine: usize) {
        let time = self.now + up_to(&mut self.rng, Duration::from_secs(2));
        let Some(process) = &mut self.machines[machine].process else { return };
        if process.is_frozen || process.is_draining {
            return;
        }
        process.is_draining = true;
        let process = process.id;
        self.checker.coverage.count("drained");
        self.deliver(machine, process, Input::Drain);
        self.note(time, Happening::Ends { machine, process });
    }

    /// Shuts down in order: all sent messages arrive, then the connections end.
    pub(super) fn end_in_order(&mut self, machine: usize, id: ProcessId) {
        let Some(process) = self.process(machine, id) else { return };
        if process.is_frozen {
            return self.note(self.now + Duration::from_secs(1), Happening::Ends { machine, process: id });
        }
        self.checker.coverage.count("stopped");
        self.deliver(machine, id, Input::Stop);
        self.checker.stopped(id);
        for conn in &mut self.conns {
            if conn.host == (machine, id) {
                conn.lingers[0] = true;
            } else if conn.guest_of == Some(id) {
                conn.lingers[1] = true;
            }
        }
        self.ended(machine, id, false);
        if self.machines[machine].is_seed || chance(&mut self.rng, 700) {
            self.restart_after(machine, Duration::from_secs(3));
        }
    }

    /// Restarts a router with other policies.
    fn change_policy(&mut self, machine: usize) {
        let neighbours = self.machines[machine].settings.router.iter_mut().flat_map(|router| &mut router.neighbours);
        for neighbour in neighbours {
            (neighbour.import, neighbour.export) = policies(&mut self.rng, true);
        }
        self.checker.coverage.count("a policy changes");
        self.drain(machine);
    }

    fn partition(&mut self) {
        self.checker.coverage.count("partition");
        let left = self.rng.u64(..);
        // The partition follows the borders of zones, or cuts across them.
        let by_zone = self.scenario.joined.is_some() && self.rng.bool();
        let sides: Vec<bool> = (0..self.machines.len())
            .map(|machine| left >> (if by_zone { self.machines[machine].zone } else { machine } % 64) & 1 == 1)
            .collect();
        let count = self.machines.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        self.cut(pairs.filter(|(from, to)| sides[*from] != sides[*to]).collect());
    }

    fn cut(&mut self, pairs: Vec<(usize, usize)>) {
        for pair in &pairs {
            *self.blocked.entry(*pair).or_default() += 1;
        }
        for number in 0..self.conns.len() {
            let (host, target) = (self.conns[number].host.0, self.conns[number].target);
            let is_across = target.is_some_and(|target| self.is_blocked(host, target) || self.is_blocked(target, host));
            if is_across && chance(&mut self.rng, 600) {
                self.break_somehow(number);
            }
        }
        let time = self.now + up_to(&mut self.rng, Duration::from_secs(8));
        self.note(time, Happening::Heals(pairs));
    }

    pub(super) fn heal(&mut self, pairs: &[(usize, usize)]) {
        for pair in pairs {
            if let Some(count) = self.blocked.get_mut(pair) {
                *count -= 1;
                if *count == 0 {
                    self.blocked.remove(pair);
                }
            }
        }
        self.release();
    }

    fn break_somehow(&mut self, conn: usize) {
        let late = |world: &mut Self| if world.rng.bool() { LATEST } else { Duration::from_millis(100) };
        let (host, guest) = (late(self), late(self));
        let (host, guest) = (up_to(&mut self.rng, host), up_to(&mut self.rng, guest));
        self.breaks(conn, host, guest);
    }
}
