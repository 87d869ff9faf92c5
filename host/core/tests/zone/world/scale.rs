//! Measurements of many zones: the time and the updates until all nodes agree.

use super::World;
use crate::scenario::{frame, name};
use std::collections::BTreeSet;
use std::time::Duration;
use wasmnode_core::message::Request;
use wasmnode_core::paths::PathSizes;
use wasmnode_core::{Address, ConnectionId, Input, Time};

/// Interval of the checks whether all nodes agree.
const INTERVAL: Duration = Duration::from_millis(5);

/// Cost of a change until all nodes agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) settled: Duration,
    /// Path updates of all routers, and their bytes.
    pub(crate) updates: u64,
    pub(crate) bytes: u64,
}

impl World {
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end);
        self.now = end;
    }

    /// Waits until all views are correct. Returns the time that it took.
    pub(crate) fn agree(&mut self, longest: Duration) -> Duration {
        let begin = self.now;
        loop {
            let living: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
            let reach = self.checker.reach(&living);
            let Some(text) = self.checker.disagreement(&living, &reach) else { return self.now.since(begin) };
            if self.now.since(begin) > longest {
                self.checker.fail(&text);
            }
            self.run_for(Duration::from_millis(250));
        }
    }

    /// Offers or withdraws a service of a node. Returns the cost until one node of each zone that policies allow has
    /// the change.
    pub(crate) fn measure_offer(&mut self, machine: usize, service: &str, is_offered: bool) -> Cost {
        let (begin, service) = (self.now, name(service));
        let before = self.checker.path_updates();
        let address = Address::in_zone(service.clone(), self.machines[machine].settings.zone.clone());
        let id = self.machines[machine].process.as_ref().map(|process| process.id);
        let input = if is_offered { Input::Offered(service) } else { Input::Withdrawn(service) };
        self.deliver(machine, id.unwrap(), input);
        let zones = self.scenario.joined.map_or(1, |joined| joined.zones);
        let mut unsettled: Vec<usize> = (0..zones).filter(|zone| *zone != machine % zones).collect();
        let mut settled = self.now;
        while self.now.since(begin) < Duration::from_secs(4) {
            self.run_for(INTERVAL);
            let left = unsettled.len();
            let now = self.now;
            unsettled.retain(|first| self.knows(*first, &address, now) != is_offered);
            if unsettled.len() < left {
                settled = now;
            }
        }
        let after = self.checker.path_updates();
        Cost { settled: settled.since(begin), updates: after.0 - before.0, bytes: after.1 - before.1 }
    }

    fn knows(&self, machine: usize, address: &Address, now: Time) -> bool {
        let process = self.machines[machine].process.as_ref().unwrap();
        !process.node.explain(address, process.clock.shows(now)).candidates.is_empty()
    }

    /// Sends requests from one node of every nth zone for each exported service; all that are reachable must be
    /// answered.
    pub(crate) fn ask_from_everywhere(&mut self, step: usize) -> usize {
        let living: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
        let reach = self.checker.reach(&living);
        let keys: Vec<_> = reach.keys().filter(|key| key.service.as_str() == "add").cloned().collect();
        let mut asked = Vec::new();
        let zones = self.scenario.joined.map_or(1, |joined| joined.zones);
        for machine in (0..self.nodes.len()).step_by(step) {
            let key = &keys[asked.len() % keys.len()];
            let home = &self.machines[machine % zones].settings.zone;
            let is_served = reach.is_served(home, &key.service, Some(&key.zone));
            let (number, id) = (self.next_ask, self.machines[machine].process.as_ref().unwrap().id);
            self.next_ask += 1;
            let service = frame(format!("{}@{}", key.service, key.zone));
            let (deadline_ms, traceparent, idempotency_key) = (None, None, None);
            let body = vec![frame(format!("q{number}"))];
            let request = Request {
                id: number,
                service,
                deadline_ms,
                wait: false,
                trace: false,
                traceparent,
                idempotency_key,
                body,
            };
            let from = ConnectionId::new(format!("client of the end {number}"));
            self.checker.asks(from.clone(), &request, id);
            self.checker.must_succeed(number, is_served);
            self.put_request(machine, id, from, &request);
            asked.push(number);
        }
        self.run_for(Duration::from_secs(4));
        assert!(asked.iter().all(|number| self.checker.is_answered(*number)));
        asked.len()
    }

    /// Returns the pairs of zones that are joined.
    pub(crate) fn edges(&self) -> BTreeSet<(usize, usize)> {
        let routers = self.machines.iter().filter_map(|machine| Some((machine, machine.settings.router.as_ref()?)));
        let joined = routers.flat_map(|(machine, router)| {
            let others = router.neighbours.iter().map(|neighbour| self.places[&neighbour.endpoint]);
            others.map(|other| (machine.zone, self.machines[other].zone))
        });
        joined.filter(|(a, b)| a < b).collect()
    }

    /// Returns the sizes of the tables of each router.
    pub(crate) fn tables(&self) -> Vec<PathSizes> {
        self.machines.iter().filter_map(|machine| machine.process.as_ref()?.node.path_sizes()).collect()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.checker.steps()
    }
}
