//! Why a request would go where it would go, for a person.

use super::types::{Candidate, HopStatus};
use super::{Broker, Where};
use crate::name::ServiceName;
use crate::time::Time;

impl Broker {
    /// All who could serve a service at a place, best first as far as that is fixed, with what speaks for or against each.
    #[must_use]
    pub fn explain(&self, service: &ServiceName, place: &Where, now: Time) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        if !matches!(place, Where::Node(_)) {
            candidates.extend(self.explain_here(service));
        }
        if !matches!(place, Where::Here) {
            candidates.extend(self.explain_peers(service, place, now));
        }
        candidates
    }

    fn explain_here(&self, service: &ServiceName) -> Vec<Candidate> {
        let Some(entry) = self.services.get(service) else { return Vec::new() };
        let node = self.settings.name.to_string();
        let mut candidates = Vec::new();
        if entry.plugin {
            let (running, most) = (entry.running, entry.settings.concurrency);
            candidates.push(Candidate {
                node: node.clone(),
                what: "plugin".into(),
                is_ready: running < most,
                why: format!("{running} of {most} running (service.{service}.concurrency)"),
            });
        }
        let (idle, busy) = (entry.idle.len(), entry.busy);
        if idle + busy > 0 {
            let why = format!("{idle} idle, {busy} busy");
            candidates.push(Candidate { node, what: "workers".into(), is_ready: idle > 0, why });
        }
        candidates
    }

    fn explain_peers(&self, service: &ServiceName, place: &Where, now: Time) -> Vec<Candidate> {
        let hops = self.services.get(service).map_or(&[][..], |entry| &entry.hops);
        let is_meant = |status: &HopStatus| !matches!(place, Where::Node(node) if *node != status.node);
        let mut statuses = self.hops.statuses(service, hops, now);
        statuses.retain(is_meant);
        statuses.sort_by_key(|status| (status.outstanding as u64 + 1).saturating_mul(status.latency_us.max(1)));
        statuses.iter().map(peer).collect()
    }
}

fn peer(status: &HopStatus) -> Candidate {
    let (outstanding, latency) = (status.outstanding, status.latency_us);
    let (is_ready, why) = match status {
        HopStatus { is_silent: true, .. } => (false, "it gives no sign of life".into()),
        HopStatus { is_full: true, .. } => {
            (false, format!("it has {outstanding} requests of this node: limits.requests-per-peer"))
        }
        HopStatus { paused_for, .. } if !paused_for.is_zero() => {
            (false, format!("it only failed; it is left out for {paused_for:?} more, unless nobody else is there"))
        }
        _ => (true, format!("{outstanding} outstanding, {latency} µs lately")),
    };
    Candidate { node: status.node.to_string(), what: "peer".into(), is_ready, why }
}
