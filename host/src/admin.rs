//! Answers of the node's own services: its state, its plugins, its zone.

use crate::transport::zmq::Sockets;
use serde::Serialize;
use std::time::{Duration, SystemTime};
use wasmnode_api::{
    CandidateReport, CounterReport, ExplainReport, FailureReport, MemberReport, PeerReport, Report, ServiceReport,
    ZoneReport,
};
use wasmnode_core::{Address, Code, Failure, Label, Node, PeerStatus, Time, Verdict, sentences};
use wasmnode_sandbox::Plugins;

/// Serializes an answer as JSON.
///
/// # Errors
/// Failure 500 if the answer cannot be serialized.
pub(crate) fn json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|error| Failure::new(Code::Failed, error.to_string()))
}

/// Returns the members of the zone.
pub(crate) fn members(node: &Node, zone: &Label) -> ZoneReport {
    let started = |boot| humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_micros(boot));
    let members = node.members().into_iter().map(|status| MemberReport {
        name: status.member.name.to_string(),
        endpoint: status.member.endpoint,
        started_at: started(status.member.boot).to_string(),
        is_me: status.is_me,
        is_linked: status.is_linked,
        is_unresponsive: status.is_unresponsive,
        offers: status.offers,
    });
    ZoneReport { zone: zone.to_string(), members: members.collect() }
}

/// Returns how a request for this address would be routed, and why.
pub(crate) fn explain(node: &Node, address: &Address, now: Time) -> ExplainReport {
    let explanation = node.explain(address, now);
    let candidates = explanation.candidates.iter().map(|candidate| CandidateReport {
        node: candidate.node.to_string(),
        what: sentences::what(&candidate.via),
        is_ready: candidate.is_ready(),
        why: sentences::why(&candidate.eligibility, &explanation.service),
    });
    let failure = match &explanation.verdict {
        Verdict::Refused(Failure { code, reason }) => {
            Some(FailureReport { code: code.number(), reason: reason.clone() })
        }
        _ => None,
    };
    ExplainReport {
        address: address.to_string(),
        meaning: sentences::meaning(&explanation),
        candidates: candidates.collect(),
        verdict: sentences::verdict(&explanation.verdict),
        failure,
    }
}

/// Returns the state of all services, with the node's counters.
///
/// `rejected` and `over_limit` are counters that the driver keeps.
pub(crate) fn services(
    node: &Node,
    plugins: &Plugins,
    sockets: &Sockets,
    [rejected, over_limit]: [u64; 2],
    now: Time,
) -> Report {
    let counters = node.counters();
    Report {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: now.since(Time::ZERO).as_secs(),
        endpoints: sockets.endpoints().to_vec(),
        services: node
            .services(now)
            .filter(|service| !service.name.is_reserved())
            .map(|service| ServiceReport {
                name: service.name.to_string(),
                plugin: plugins.status(&service.name),
                is_shared: service.is_shared,
                running: service.running,
                workers_idle: service.workers_idle,
                workers_busy: service.workers_busy,
                queued: service.queued,
                replied: service.replied,
                failed: service.failed,
                peers: service.peers.iter().map(peer).collect(),
            })
            .collect(),
        counters: CounterReport {
            accepted: counters.accepted,
            replied: counters.replied,
            failed: counters.failed.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            malformed: counters.malformed,
            unclaimed: counters.unclaimed,
            retried: counters.retried,
            forwarded: counters.forwarded,
            dropped: sockets.dropped(),
            forbidden: counters.forbidden,
            rejected,
            over_limit,
            plugins_refused: plugins.refused(),
        },
    }
}

fn peer(status: &PeerStatus) -> PeerReport {
    PeerReport {
        node: status.node.to_string(),
        zone: status.zone.as_ref().map(ToString::to_string),
        cost: status.cost,
        outstanding: status.outstanding,
        latency_us: status.latency_us,
        consecutive_failures: status.consecutive_failures,
        is_unresponsive: status.is_unresponsive,
        paused_ms: u64::try_from(status.paused_for.as_millis()).unwrap_or(u64::MAX),
    }
}
