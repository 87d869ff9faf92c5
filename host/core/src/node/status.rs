//! What a node tells of its zone.

use super::Node;
use crate::broker::{Candidate, Destination, Via};
use crate::failure::Failure;
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
    /// Whether it gives no sign of life, although it owes an answer.
    pub is_silent: bool,
    /// How many services it offers.
    pub offers: usize,
}

/// Why a request for an address would go where it would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// How the address is understood.
    pub meaning: String,
    /// Who could serve it, and what speaks for or against each.
    pub candidates: Vec<Candidate>,
    /// What would happen to a request that came now.
    pub verdict: String,
    /// The failure that it would get although somebody offers the service, if it would.
    pub failure: Option<Failure>,
}

impl Node {
    /// Whether any other node is in the zone.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.zone.members.alive().next().is_some()
    }

    /// Who is in the zone: this node first, then the others by name.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let zone = &self.zone;
        let me = MemberStatus {
            member: zone.members.me().clone(),
            is_me: true,
            is_linked: true,
            is_silent: false,
            offers: zone.routes.own().count(),
        };
        let others = zone.members.alive().map(|member| {
            let link = zone.links.to(&member.name);
            MemberStatus {
                member: member.clone(),
                is_me: false,
                is_linked: link.is_some(),
                is_silent: link.is_some_and(|link| zone.links.is_silent(link)),
                offers: zone.routes.offers_of(&member.name).count(),
            }
        });
        std::iter::once(me).chain(others).collect()
    }

    /// How large the tables of paths are, if the node is a router.
    #[must_use]
    pub fn path_sizes(&self) -> Option<PathSizes> {
        self.router.as_ref().map(|router| router.paths.sizes())
    }

    /// Why a request for this address would go where it would go.
    #[must_use]
    pub fn explain(&self, address: &Address, now: Time) -> Explanation {
        let Address { service, location: place } = address;
        let (me, zone) = (&self.zone.members.me().name, &self.zone.zone);
        let located = self.locate(place);
        let meaning = match (&located, place) {
            (Destination::Anywhere, Location::Nearest) => {
                format!(
                    "{service}, wherever is nearest: node {me}, then the peers of zone {zone}, then other zones by cost"
                )
            }
            (Destination::Anywhere | Destination::Home, _) => format!("{service} in this zone, {zone}"),
            (Destination::Zone(zone), _) => format!("{service} in zone {zone}"),
            (Destination::NodeIn { zone, node }, _) => format!("{service} on node {node} of zone {zone}"),
            (Destination::Here, _) => format!("{service} on this node, {me}"),
            (Destination::Node(node), _) => format!("{service} on node {node} of this zone, {zone}"),
        };
        let candidates = self.broker.explain(service, &located, now);
        let full = self.broker.full_queue(service).filter(|_| !candidates.is_empty());
        let goes_to_peer = candidates.iter().any(|candidate| candidate.is_ready && candidate.via == Via::Peer);
        let is_refused = located.may_be_here() && !goes_to_peer;
        let quarantined = || self.broker.quarantined(service, now).filter(|_| is_refused);
        let failure = full.or_else(quarantined);
        let verdict = failure.as_ref().map_or_else(|| verdict(&candidates), ToString::to_string);
        Explanation { meaning, candidates, verdict, failure }
    }
}

/// What would happen to a request for which these are the candidates.
fn verdict(candidates: &[Candidate]) -> String {
    let ready = || candidates.iter().filter(|candidate| candidate.is_ready);
    match ready().next() {
        Some(Candidate { node, what, via: Via::Peer, .. }) => match ready().filter(|rival| rival.what == *what).count()
        {
            1 => format!("goes to node {node}"),
            rivals => {
                format!("goes to one of {rivals} peers: of two drawn at random, the one that promises to be sooner")
            }
        },
        Some(Candidate { node, what, via: Via::RemoteZone, .. }) => format!("goes through router {node}: {what}"),
        Some(Candidate { what, .. }) => format!("runs here: {what}"),
        None if candidates.is_empty() => "404: nobody offers it".into(),
        None => "waits until one of them has room, at most until its deadline".into(),
    }
}
