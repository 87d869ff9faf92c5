//! End of a seed: the faults stop, all nodes must agree within a stated time, and then every service is reachable from
//! everywhere.

use super::{Happening, World};
use crate::checker::Reach;
use crate::clients;
use crate::scenario::{SERVICES, frame, name, up_to};
use std::collections::BTreeSet;
use std::time::Duration;
use wasmnode_core::message::Request;
use wasmnode_core::{ConnectionId, Label};

/// Interval of the checks whether all nodes agree.
const INTERVAL: Duration = Duration::from_millis(500);

/// Largest deadline of a service, after which all requests from before the calm are answered.
const LONGEST: Duration = Duration::from_millis(4_100);

/// Number of nodes from which every service is tried at the end.
const SAMPLE: usize = 12;

/// A request that tests reachability.
pub(crate) struct Trial {
    machine: usize,
    address: String,
    /// Whether it must be answered or refused.
    is_served: Option<bool>,
}

impl World {
    pub(super) fn calm_down(&mut self) {
        self.log.note(self.now, || "the faults stop".into());
        self.report();
        self.is_calm = true;
        self.weather.clear_up();
        self.machines.iter_mut().for_each(|machine| machine.slow = Duration::ZERO);
        self.blocked.clear();
        self.release();
        for conn in 0..self.conns.len() {
            if self.conns[conn].is_broken {
                let (host, guest) = (up_to(&mut self.rng, INTERVAL), up_to(&mut self.rng, INTERVAL));
                self.note(self.now + host, Happening::Notices { conn });
                self.note(self.now + guest, Happening::GuestIsGone { conn });
            }
        }
        if let Some(byzantine) = self.scenario.joined.and_then(|joined| joined.byzantine) {
            self.crash_for_good(byzantine);
        }
        for machine in 0..self.machines.len() {
            let is_twin = self.machines[machine].is_twin();
            let Some(process) = &self.machines[machine].process else { continue };
            let id = process.id;
            if process.is_draining {
                // The shutdown completes, as it would have.
                self.end_in_order_now(machine);
            } else if is_twin || self.checker.has_lost_its_name(id) {
                self.end_in_order_now(machine);
                if !is_twin {
                    self.note(self.now + INTERVAL, Happening::Starts { machine });
                }
            } else {
                self.thaw(machine, id);
            }
        }
        for machine in 0..self.machines.len() {
            if self.machines[machine].is_seed && self.machines[machine].process.is_none() {
                self.note(self.now, Happening::Starts { machine });
            }
        }
        // Starts that were scheduled for later happen now.
        let late: Vec<_> = self.agenda.iter().filter(|(_, what)| matches!(what, Happening::Starts { .. })).collect();
        let late: Vec<_> = late.into_iter().map(|(key, _)| *key).collect();
        for key in late {
            if let Some(start) = self.agenda.remove(&key) {
                self.note(self.now + INTERVAL, start);
            }
        }
        self.note(self.now + 2 * INTERVAL, Happening::LooksAround);
    }

    fn end_in_order_now(&mut self, machine: usize) {
        if let Some(id) = self.machines[machine].process.as_ref().map(|process| process.id) {
            self.thaw(machine, id);
            self.end_in_order(machine, id);
        }
    }

    pub(super) fn look_around(&mut self) {
        let calm_for = self.now.since(self.scenario.calm);
        let mut restarted = None;
        for machine in 0..self.machines.len() {
            let id = self.machines[machine].process.as_ref().map(|process| process.id);
            if id.is_some_and(|id| self.checker.has_lost_its_name(id)) {
                // The node was notified late of a process of its name, which is gone.
                self.end_in_order_now(machine);
                self.note(self.now, Happening::Starts { machine });
                restarted = Some("a node that has lost its name restarts".to_owned());
            }
        }
        let living: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
        let reach = self.checker.reach(&living);
        // The others may already agree that it is gone.
        match restarted.or_else(|| self.checker.disagreement(&living, &reach)) {
            None => {
                self.log.note(self.now, || format!("all agree after {calm_for:?}"));
                self.checker.agreed_after(calm_for);
                self.try_everything(&reach);
            }
            Some(text) => {
                self.checker.may_disagree(calm_for, &text);
                self.note(self.now + INTERVAL, Happening::LooksAround);
            }
        }
    }

    /// Tests that every service is reachable from every node, and from every zone that policies allow. The requests are
    /// sent one after another, so that no limit is reached.
    fn try_everything(&mut self, reach: &Reach) {
        let every = self.machines.len().div_ceil(SAMPLE);
        let zones: BTreeSet<&Label> = self.machines.iter().map(|machine| &machine.settings.zone).collect();
        for machine in (0..self.machines.len()).step_by(every) {
            let home = &self.machines[machine].settings.zone;
            for service in SERVICES {
                let is_served = reach.is_served(home, &name(service), None);
                self.to_try.push_back(Trial { machine, address: service.to_owned(), is_served });
                if self.scenario.joined.is_some() {
                    self.to_try.extend(zones.iter().map(|zone| Trial {
                        machine,
                        address: format!("{service}@{zone}"),
                        is_served: reach.is_served(home, &name(service), Some(zone)),
                    }));
                }
            }
        }
        let time = self.now.max(self.scenario.calm + LONGEST);
        self.note(time, Happening::Tries { last: None });
    }

    pub(super) fn try_next(&mut self, last: Option<u64>) {
        if last.is_some_and(|ask| !self.checker.is_answered(ask)) {
            return self.note(self.now + Duration::from_millis(20), Happening::Tries { last });
        }
        let Some(Trial { machine, address, is_served }) = self.to_try.pop_front() else {
            return self.note(self.now + Duration::from_secs(1), Happening::Closes);
        };
        let number = self.next_ask;
        let Some(id) = self.machines[machine].process.as_ref().map(|process| process.id) else {
            return self.note(self.now, Happening::Tries { last: None });
        };
        let service = frame(address);
        let home = &self.nodes[machine % self.nodes.len()];
        let ask = clients::ask(number, home, &self.nodes, true, &mut self.rng);
        let request = Request { service, deadline_ms: None, wait: false, ..ask };
        self.next_ask += 1;
        let from = ConnectionId::new(format!("client of the end {number}"));
        self.checker.asks(from.clone(), &request, id);
        self.checker.must_succeed(number, is_served);
        self.put_request(machine, id, from, &request);
        self.note(self.now, Happening::Tries { last: Some(number) });
    }

    pub(super) fn close(&mut self) {
        let living: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
        let reach = self.checker.reach(&living);
        if let Some(text) = self.checker.disagreement(&living, &reach) {
            self.checker.fail(&format!("all agreed, and then disagreed: {text}"));
        }
        self.checker.at_end(&living);
        self.report();
        self.is_over = true;
    }

    /// Logs the reports of each node.
    fn report(&mut self) {
        for machine in &self.machines {
            if let Some(process) = &machine.process {
                self.log.write(self.now, || machine.title(), &(&process.node, process.clock.shows(self.now)));
            }
        }
    }
}
