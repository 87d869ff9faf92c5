//! Requests between zones: none enters a zone twice, and none passes against a policy.
//!
//! The checker follows each copy of a request from node to node. The zones that a Byzantine router reports as crossed
//! are taken over, because no receiver can verify them; those that other nodes report must be true.

use super::Checker;
use super::model::Model;
use crate::machine::ProcessId;
use wasmnode_core::message::path::RouteKey;
use wasmnode_core::message::peer::{self, Forward, PeerMessage};
use wasmnode_core::{Frame, Label, Neighbour};

/// Arrival of a copy of a request at a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The zones that it has entered.
    crossed: Vec<Label>,
    /// Endpoint of the router that sent it, if that is of another zone.
    from: Option<String>,
}

impl Checker {
    /// Records a request sent to a process, whether or not it arrives.
    pub(super) fn crosses(&mut self, from: ProcessId, to: ProcessId, number: u64, frames: &[Frame]) {
        let Ok(PeerMessage::Request(forward)) = peer::decode(frames.to_vec()) else {
            self.fail("a node sends a request that cannot be read");
        };
        if Some(self.models[&from].settings.endpoint.as_str()) != self.byzantine.as_deref() {
            self.is_allowed(from, to, number, &forward);
        }
        let (from, to_zone) = (&self.models[&from].settings, self.models[&to].settings.zone.clone());
        let is_abroad = from.zone != to_zone;
        let mut arrival = Arrival { crossed: forward.crossed, from: is_abroad.then(|| from.endpoint.clone()) };
        if is_abroad {
            let zones = [from.zone.clone(), to_zone];
            arrival.crossed.extend(zones);
            self.coverage.count("enters a zone");
        }
        let arrivals = self.arrivals.entry((to, number)).or_default();
        if !arrivals.contains(&arrival) {
            arrivals.push(arrival);
        }
    }

    /// Checks that an honest node may send a request there.
    fn is_allowed(&self, from: ProcessId, to: ProcessId, number: u64, forward: &Forward) {
        let (Model { settings: sender, .. }, Model { settings: receiver, .. }) =
            (&self.models[&from], &self.models[&to]);
        let (name, zone) = (&sender.name, &sender.zone);
        let key =
            RouteKey { zone: forward.zone.clone().unwrap_or_else(|| zone.clone()), service: forward.service.clone() };
        let is_abroad = receiver.zone != *zone;
        if is_abroad && forward.crossed.contains(&receiver.zone) {
            self.fail(&format!("{name} of {zone} sends request {number} into {} again: {forward:?}", receiver.zone));
        }
        let neighbour = |endpoint: &str| -> Option<&Neighbour> {
            sender.router.as_ref()?.neighbours.iter().find(|neighbour| neighbour.endpoint == endpoint)
        };
        if is_abroad && !neighbour(&receiver.endpoint).is_some_and(|it| it.import.lets_pass(&key)) {
            self.fail(&format!("{name} of {zone} sends request {number} for {key} where it imports none of it"));
        }
        if self.requests[&number].home == from && forward.crossed.iter().all(|crossed| crossed == zone) {
            return;
        }
        let arrivals = self.arrivals.get(&(from, number)).map(Vec::as_slice).unwrap_or_default();
        let is_exported = |endpoint: &str| neighbour(endpoint).is_some_and(|it| it.export.lets_pass(&key));
        let mut known = arrivals.iter().filter(|arrival| arrival.is(&forward.crossed)).peekable();
        if known.peek().is_none() {
            self.fail(&format!(
                "{name} of {zone} reports zones of request {number} where it was not: {forward:?}, {arrivals:?}"
            ));
        }
        if !known.any(|arrival| arrival.from.as_deref().is_none_or(is_exported)) {
            self.fail(&format!("{name} of {zone} passes request {number} for {key} on, which it does not export"));
        }
    }
}

impl Arrival {
    /// Returns `true` if these zones are the same, each counted once.
    fn is(&self, crossed: &[Label]) -> bool {
        crossed.iter().all(|zone| self.crossed.contains(zone)) && self.crossed.iter().all(|zone| crossed.contains(zone))
    }
}
