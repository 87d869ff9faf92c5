//! Explanations of routing decisions.

use super::sentences;
use super::service::Service;
use super::status::{Candidate, Eligibility, PeerStatus, Via};
use super::{Broker, Destination};
use crate::failure::{Code, Failure};
use crate::name::{Address, Label, ServiceName};
use crate::time::Time;
use std::time::Duration;

/// Explanation of where a request for an address would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The node that explains.
    pub node: Label,
    /// Its zone.
    pub zone: Label,
    /// The requested service.
    pub service: ServiceName,
    /// Where it is to be served.
    pub destination: Destination,
    /// Whether the address names only the service.
    pub is_nearest: bool,
    /// The providers that could serve it.
    pub candidates: Vec<Candidate>,
    /// Expected outcome of a request that arrived now.
    pub verdict: Verdict,
}

/// Expected outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request would fail, although the service is offered.
    Refused(Failure),
    /// The node itself would serve the request.
    Here(Via),
    /// The request would go to this peer.
    Peer(Label),
    /// The request would go to one of this number of peers.
    OneOfPeers(usize),
    /// The request would go to another zone.
    RemoteZone {
        /// The router that leads there.
        router: Label,
        /// The zone, with the cost of the route.
        via: Via,
    },
    /// The service is not offered.
    NoProvider,
    /// The request would wait.
    Waits,
}

impl Verdict {
    /// Returns the expected outcome of a request with these candidates.
    pub(crate) fn of(candidates: &[Candidate]) -> Self {
        let ready = || candidates.iter().filter(|candidate| candidate.is_ready());
        match ready().next() {
            Some(Candidate { node, via: Via::Peer, .. }) => {
                match ready().filter(|rival| rival.via == Via::Peer).count() {
                    1 => Self::Peer(node.clone()),
                    peers => Self::OneOfPeers(peers),
                }
            }
            Some(Candidate { node, via: via @ Via::RemoteZone { .. }, .. }) => {
                Self::RemoteZone { router: node.clone(), via: via.clone() }
            }
            Some(Candidate { via, .. }) => Self::Here(via.clone()),
            None if candidates.is_empty() => Self::NoProvider,
            None => Self::Waits,
        }
    }
}

impl Broker {
    /// Returns all providers that could serve a request at a destination, each with its eligibility. The best come
    /// first, as far as their order is fixed.
    #[must_use]
    pub fn explain(&self, service: &ServiceName, place: &Destination, now: Time) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        if place.may_be_here() {
            candidates.extend(self.explain_here(service, now));
        }
        if !matches!(place, Destination::Here) {
            candidates.extend(self.explain_peers(service, place, now));
        }
        candidates
    }

    /// Returns the failure of requests for a plugin in quarantine, unless a worker is idle.
    pub(crate) fn quarantined(&self, service: &ServiceName, now: Time) -> Option<Failure> {
        let entry = self.services.get(service)?;
        let quarantine = Eligibility::Quarantined(entry.quarantined_until.since(now));
        let reason = || format!("{service} is {}", sentences::why(&quarantine, service));
        entry.is_quarantined(now).then(|| Failure::new(Code::Crashed, reason()))
    }

    fn explain_here(&self, service: &ServiceName, now: Time) -> Vec<Candidate> {
        let Some(entry) = self.services.get(service) else { return Vec::new() };
        let node = &self.settings.name;
        let mut candidates = Vec::new();
        if entry.plugin {
            let (running, limit) = (entry.running, entry.settings.concurrency);
            let eligibility = match entry.quarantined_until.since(now) {
                Duration::ZERO => Eligibility::Running { running, limit },
                left => Eligibility::Quarantined(left),
            };
            candidates.push(Candidate { node: node.clone(), via: Via::Plugin, eligibility });
        }
        let (idle, busy) = (entry.idle.len(), entry.busy);
        if idle + busy > 0 {
            let eligibility = Eligibility::Registered { idle, busy };
            candidates.push(Candidate { node: node.clone(), via: Via::Workers, eligibility });
        }
        candidates
    }

    /// Returns the state of the peers that offer a service: those of this zone first, then those that lead to others.
    pub(super) fn peers_of(&self, name: &ServiceName, service: &Service, now: Time) -> Vec<PeerStatus> {
        let mut statuses = self.balancer.statuses(&name.clone().into(), &service.peers, now);
        for (zone, abroad) in &service.remote_zones {
            let address = Address::in_zone(name.clone(), zone.clone());
            for link in abroad.links() {
                let of_zone = |status| PeerStatus { zone: Some(zone.clone()), cost: abroad.cost_of(link), ..status };
                statuses.extend(self.balancer.statuses(&address, &[link], now).into_iter().map(of_zone));
            }
        }
        statuses
    }

    fn explain_peers(&self, service: &ServiceName, place: &Destination, now: Time) -> Vec<Candidate> {
        let is_meant = |status: &PeerStatus| match place {
            Destination::Node(node) => *node == status.node && status.zone.is_none(),
            Destination::Home => status.zone.is_none(),
            Destination::Zone(zone) | Destination::NodeIn { zone, .. } => status.zone.as_ref() == Some(zone),
            Destination::Here => false,
            Destination::Anywhere => true,
        };
        let Some(entry) = self.services.get(service) else { return Vec::new() };
        let mut statuses = self.peers_of(service, entry, now);
        statuses.retain(is_meant);
        let expected_wait =
            |status: &PeerStatus| (status.outstanding as u64 + 1).saturating_mul(status.latency_us.max(1));
        statuses.sort_by_key(|status| (status.cost, expected_wait(status)));
        statuses.iter().map(peer).collect()
    }
}

fn peer(status: &PeerStatus) -> Candidate {
    let (outstanding, latency_us) = (status.outstanding, status.latency_us);
    let eligibility = match status {
        PeerStatus { is_unresponsive: true, .. } => Eligibility::Unresponsive,
        PeerStatus { is_full: true, .. } => Eligibility::Full { outstanding },
        PeerStatus { paused_for: Duration::ZERO, .. } => Eligibility::Open { outstanding, latency_us },
        PeerStatus { paused_for, .. } => Eligibility::Paused(*paused_for),
    };
    let via = match &status.zone {
        Some(zone) => Via::RemoteZone { zone: zone.clone(), cost: status.cost },
        None => Via::Peer,
    };
    Candidate { node: status.node.clone(), via, eligibility }
}
