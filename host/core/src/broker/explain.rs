//! Why a request would go where it would go, for a person.

use super::service::Service;
use super::types::{Candidate, HopStatus, Way};
use super::{Broker, Where};
use crate::failure::{Code, Failure};
use crate::name::{Address, ServiceName};
use crate::text;
use crate::time::Time;
use std::time::Duration;

impl Broker {
    /// All who could serve a service at a place, best first as far as that is fixed, with what speaks for or against each.
    #[must_use]
    pub fn explain(&self, service: &ServiceName, place: &Where, now: Time) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        if place.may_be_here() {
            candidates.extend(self.explain_here(service, now));
        }
        if !matches!(place, Where::Here) {
            candidates.extend(self.explain_peers(service, place, now));
        }
        candidates
    }

    /// Why a request that this node's plugin would serve is refused, if that is so: it is in quarantine, and no worker is
    /// idle.
    pub(crate) fn quarantined(&self, service: &ServiceName, now: Time) -> Option<Failure> {
        let entry = self.services.get(service)?;
        let left = entry.quarantined_until.since(now);
        let is_refused = entry.plugin && entry.idle.is_empty() && !left.is_zero();
        is_refused.then(|| Failure::new(Code::Crashed, format!("{service} is {}", in_quarantine(left))))
    }

    fn explain_here(&self, service: &ServiceName, now: Time) -> Vec<Candidate> {
        let Some(entry) = self.services.get(service) else { return Vec::new() };
        let node = self.settings.name.to_string();
        let mut candidates = Vec::new();
        if entry.plugin {
            let (running, most) = (entry.running, entry.settings.concurrency);
            let left = entry.quarantined_until.since(now);
            let (is_ready, why) = match left.is_zero() {
                true => (running < most, format!("{running} of {most} running (service.{service}.concurrency)")),
                false => (false, in_quarantine(left)),
            };
            candidates.push(Candidate { node: node.clone(), way: Way::Here, what: "plugin".into(), is_ready, why });
        }
        let (idle, busy) = (entry.idle.len(), entry.busy);
        if idle + busy > 0 {
            let why = format!("{idle} idle, {busy} busy");
            candidates.push(Candidate { node, way: Way::Here, what: "workers".into(), is_ready: idle > 0, why });
        }
        candidates
    }

    /// How all do who offer a service elsewhere: the peers of this zone first, then those who lead to other zones.
    pub(super) fn peers_of(&self, name: &ServiceName, service: &Service, now: Time) -> Vec<HopStatus> {
        let mut statuses = self.hops.statuses(&name.clone().into(), &service.hops, now);
        for (zone, abroad) in &service.abroad {
            let address = Address::in_zone(name.clone(), zone.clone());
            for link in abroad.links() {
                let of_zone = |status| HopStatus { zone: Some(zone.clone()), cost: abroad.cost_of(link), ..status };
                statuses.extend(self.hops.statuses(&address, &[link], now).into_iter().map(of_zone));
            }
        }
        statuses
    }

    fn explain_peers(&self, service: &ServiceName, place: &Where, now: Time) -> Vec<Candidate> {
        let is_meant = |status: &HopStatus| match place {
            Where::Node(node) => *node == status.node && status.zone.is_none(),
            Where::Home => status.zone.is_none(),
            Where::Zone(zone) | Where::NodeIn { zone, .. } => status.zone.as_ref() == Some(zone),
            Where::Here => false,
            Where::Anywhere => true,
        };
        let Some(entry) = self.services.get(service) else { return Vec::new() };
        let mut statuses = self.peers_of(service, entry, now);
        statuses.retain(is_meant);
        let promise = |status: &HopStatus| (status.outstanding as u64 + 1).saturating_mul(status.latency_us.max(1));
        statuses.sort_by_key(|status| (status.cost, promise(status)));
        statuses.iter().map(peer).collect()
    }
}

fn in_quarantine(left: Duration) -> String {
    format!("in quarantine for {left:.1?} more: it crashed in its last requests")
}

fn peer(status: &HopStatus) -> Candidate {
    let (outstanding, latency) = (status.outstanding, status.latency_us);
    let (is_ready, why) = match status {
        HopStatus { is_silent: true, .. } => (false, "it gives no sign of life".into()),
        HopStatus { is_full: true, .. } => {
            (false, format!("it has {} of this node: limits.requests-per-peer", text::count(outstanding, "request")))
        }
        HopStatus { paused_for, .. } if !paused_for.is_zero() => {
            (false, format!("it only failed; it is left out for {paused_for:?} more, unless nobody else is there"))
        }
        _ => (true, format!("{outstanding} outstanding, {latency} µs lately")),
    };
    let (way, what) = match &status.zone {
        Some(zone) => (Way::Abroad, format!("zone {zone}, cost {}", status.cost)),
        None => (Way::Peer, "peer".into()),
    };
    Candidate { node: status.node.to_string(), way, what, is_ready, why }
}
