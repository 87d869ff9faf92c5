//! Reports of a node on its zone.

use super::Node;
use crate::broker::{Explanation, Verdict, Via};
use crate::message::peer::Member;
use crate::name::{Address, Location};
use crate::paths::PathSizes;
use crate::time::Time;

/// One member of the zone, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// The member.
    pub member: Member,
    /// Whether it is this node.
    pub is_me: bool,
    /// Whether requests can be forwarded to it now.
    pub is_linked: bool,
    /// Whether it is unresponsive, although it has requests without an answer.
    pub is_unresponsive: bool,
    /// Number of services that it offers.
    pub offers: usize,
}

impl Node {
    /// Returns `true` if another node is in the zone.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.zone.members.alive().next().is_some()
    }

    /// Returns the members of the zone: this node first, then the others by name.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let zone = &self.zone;
        let me = MemberStatus {
            member: zone.members.me().clone(),
            is_me: true,
            is_linked: true,
            is_unresponsive: false,
            offers: zone.routes.own().count(),
        };
        let others = zone.members.alive().map(|member| {
            let link = zone.links.to(&member.name);
            MemberStatus {
                member: member.clone(),
                is_me: false,
                is_linked: link.is_some(),
                is_unresponsive: link.is_some_and(|link| zone.links.is_unresponsive(link)),
                offers: zone.routes.offers_of(&member.name).count(),
            }
        });
        std::iter::once(me).chain(others).collect()
    }

    /// Returns the sizes of the path tables, if the node is a router.
    #[must_use]
    pub fn path_sizes(&self) -> Option<PathSizes> {
        self.router.as_ref().map(|router| router.paths.sizes())
    }

    /// Explains where a request for this address would go.
    #[must_use]
    pub fn explain(&self, address: &Address, now: Time) -> Explanation {
        let Address { service, location } = address;
        let destination = self.locate(location);
        let candidates = self.broker.explain(service, &destination, now);
        let full = self.broker.full_queue(service).filter(|_| !candidates.is_empty());
        let goes_to_peer = candidates.iter().any(|candidate| candidate.is_ready() && candidate.via == Via::Peer);
        let is_refused = destination.may_be_here() && !goes_to_peer;
        let quarantined = || self.broker.quarantined(service, now).filter(|_| is_refused);
        let verdict = full.or_else(quarantined).map_or_else(|| Verdict::of(&candidates), Verdict::Refused);
        let is_nearest = *location == Location::Nearest;
        let (node, zone) = (self.zone.members.me().name.clone(), self.zone.zone.clone());
        Explanation { node, zone, service: service.clone(), destination, is_nearest, candidates, verdict }
    }
}
