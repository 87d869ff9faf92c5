//! Sentences about decisions, for people: the text of `node.explain` and of trace records. No program parses them.

use super::explain::{Explanation, Verdict};
use super::request::Destination;
use super::status::{Candidate, Eligibility, Via};
use super::trace::Step;
use crate::name::{Label, ServiceName};
use crate::text;
use std::fmt::Write;

/// Largest number of candidates left out that a sentence names.
const MAX_NAMED: usize = 3;

/// Names a provider: `plugin`, `workers`, `peer`, or the zone and its cost.
#[must_use]
pub fn what(via: &Via) -> String {
    match via {
        Via::Plugin => "plugin".into(),
        Via::Workers => "workers".into(),
        Via::Peer => "peer".into(),
        Via::RemoteZone { zone, cost } => format!("zone {zone}, cost {cost}"),
    }
}

/// Describes why a provider of a service takes a request, or does not.
#[must_use]
pub fn why(eligibility: &Eligibility, service: &ServiceName) -> String {
    match eligibility {
        Eligibility::Running { running, limit } => {
            format!("{running} of {limit} running (service.{service}.concurrency)")
        }
        Eligibility::Quarantined(left) => format!("in quarantine for {left:.1?} more: it crashed in its last requests"),
        Eligibility::Registered { idle, busy } => format!("{idle} idle, {busy} busy"),
        Eligibility::Unresponsive => "it is unresponsive".into(),
        Eligibility::Full { outstanding } => {
            format!("it has {} of this node: limits.requests-per-peer", text::count(*outstanding, "request"))
        }
        Eligibility::Paused(left) => {
            format!("its last requests failed; it is skipped for {left:?} more, unless no other peer is left")
        }
        Eligibility::Open { outstanding, latency_us } => format!("{outstanding} outstanding, {latency_us} µs lately"),
    }
}

/// Describes how the address is understood.
#[must_use]
pub fn meaning(explanation: &Explanation) -> String {
    let Explanation { node: me, zone, service, destination, .. } = explanation;
    match destination {
        Destination::Anywhere if explanation.is_nearest => {
            format!("{service}, nearest first: node {me}, then the peers of zone {zone}, then other zones by cost")
        }
        Destination::Anywhere | Destination::Home => format!("{service} in this zone, {zone}"),
        Destination::Zone(zone) => format!("{service} in zone {zone}"),
        Destination::NodeIn { zone, node } => format!("{service} on node {node} of zone {zone}"),
        Destination::Here => format!("{service} on this node, {me}"),
        Destination::Node(node) => format!("{service} on node {node} of this zone, {zone}"),
    }
}

/// Describes what would happen to a request.
#[must_use]
pub fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refused(failure) => failure.to_string(),
        Verdict::Here(via) => format!("runs here: {}", what(via)),
        Verdict::Peer(node) => format!("goes to node {node}"),
        Verdict::OneOfPeers(peers) => {
            format!("goes to one of {peers} peers: the one of lower cost of two drawn at random")
        }
        Verdict::RemoteZone { router, via } => format!("goes through router {router}: {}", what(via)),
        Verdict::NoProvider => "404: no node offers it".into(),
        Verdict::Waits => "waits until one of them has room, at most until its deadline".into(),
    }
}

/// Describes what a node decided about a trace of a service.
#[must_use]
pub(crate) fn step(step: &Step, service: &ServiceName, own_zone: &Label) -> String {
    match step {
        Step::Itself => format!("answers {service} itself"),
        Step::Here { is_refused, details: None } => {
            if *is_refused {
                "is refused here".into()
            } else {
                "runs here".into()
            }
        }
        Step::Here { is_refused, details: Some((candidates, waiting)) } => {
            let verdict = match (is_refused, candidates.iter().any(Candidate::is_ready)) {
                (true, _) => "is refused here",
                (false, true) => "runs here",
                (false, false) => "waits here",
            };
            let offer = |offer: &Candidate| format!("{}: {}", what(&offer.via), why(&offer.eligibility, service));
            let offers: Vec<String> = candidates.iter().map(offer).collect();
            format!("{verdict}; {}; {waiting} in the queue", offers.join("; "))
        }
        Step::NextHop { node, via, is_nearest, candidates } => {
            let mut text = match via {
                Via::RemoteZone { zone, .. } => format!("goes through router {node}: zone {zone}"),
                _ => format!("goes to node {node}"),
            };
            let Some(candidates) = candidates else { return text };
            if let Via::RemoteZone { cost, .. } = via {
                let _writing_to_a_string_succeeds = write!(text, ", cost {cost}");
            }
            match candidates.iter().filter(|rival| rival.is_ready() && rival.via == *via).count() {
                0 | 1 => {}
                rivals => text = format!("{text}; one of {rivals} that are equal but for their load"),
            }
            if *is_nearest && !matches!(via, Via::Peer) {
                text = format!("no node offers it in zone {own_zone}; {text}");
            }
            text + &left_out(candidates, service)
        }
        Step::Waits { candidates } => {
            format!("waits here{}", candidates.as_ref().map(|all| left_out(all, service)).unwrap_or_default())
        }
        Step::ComesBack(code) => format!("comes back: {code}"),
        Step::Fails(code) => format!("fails: {code}"),
        Step::Refuses(code) => format!("refuses it: {code}"),
    }
}

/// Names the candidates that could serve, but take no request now.
fn left_out(candidates: &[Candidate], service: &ServiceName) -> String {
    let out: Vec<&Candidate> = candidates.iter().filter(|candidate| !candidate.is_ready()).collect();
    let mut text = String::new();
    for Candidate { node, eligibility, .. } in out.iter().take(MAX_NAMED) {
        let _writing_to_a_string_succeeds = write!(text, "; not {node}: {}", why(eligibility, service));
    }
    match out.len().saturating_sub(MAX_NAMED) {
        0 => text,
        more => format!("{text}; nor {more} others"),
    }
}
