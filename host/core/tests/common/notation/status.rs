//! Notation of the reports of machines.

use super::{Notation, words};
use wasmnode_core::broker::{Candidate, Via};
use wasmnode_core::paths::{PathCounters, PathSizes, PathStatus};
use wasmnode_core::{
    Address, Counters, Directory, Explanation, MemberStatus, Members, Node, Paths, PeerStatus, ServiceName,
    ServiceStatus, Time, Verdict, sentences,
};

/// All reports of a node.
impl Notation for (&Node, Time) {
    fn write(&self, line: &mut String) {
        let (node, now) = *self;
        let services: Vec<ServiceStatus> = node.services(now).collect();
        words!(line, "reports", node.outstanding(), node.counters(), services, node.members(), node.path_sizes());
        for service in services {
            words!(line, node.explain(&Address::from(service.name), now));
        }
    }
}

impl Notation for Members {
    fn write(&self, line: &mut String) {
        words!(line, "reports", self.me(), self.alive().collect::<Vec<_>>());
    }
}

impl Notation for Directory {
    fn write(&self, line: &mut String) {
        words!(line, "reports", self.routes(), self.own().collect::<Vec<_>>());
    }
}

impl Notation for Paths {
    fn write(&self, line: &mut String) {
        let routes: Vec<PathStatus<'_>> = self.routes().collect();
        words!(line, "reports", self.epoch(), self.sizes(), self.counters(), routes);
    }
}

impl Notation for Counters {
    fn write(&self, line: &mut String) {
        let Self { accepted, replied, failed, malformed, forbidden, unclaimed, retried, forwarded } = self;
        let failed: Vec<_> = failed.iter().collect();
        words!(line, "accepted", accepted, "replied", replied, "failed", failed, "malformed", malformed);
        words!(line, "forbidden", forbidden, "unclaimed", unclaimed, "retried", retried, "forwarded", forwarded);
    }
}

impl Notation for ServiceStatus {
    fn write(&self, line: &mut String) {
        let Self { name, plugin, is_shared, running, workers_idle, workers_busy, queued, replied, failed, peers } =
            self;
        words!(line, name, "plugin", plugin, "shared", is_shared, "running", running);
        words!(line, "workers", workers_idle, workers_busy, "queued", queued, "replied", replied);
        words!(line, "failed", failed, "peers", peers);
    }
}

impl Notation for PeerStatus {
    fn write(&self, line: &mut String) {
        let Self {
            node,
            zone,
            cost,
            outstanding,
            latency_us,
            consecutive_failures,
            is_unresponsive,
            is_full,
            paused_for,
            idempotent,
        } = self;
        words!(line, node, zone, "cost", cost, "outstanding", outstanding, "latency", latency_us);
        words!(line, "failures", consecutive_failures, "silent", is_unresponsive, "full", is_full);
        words!(line, "paused", paused_for, "idempotent", idempotent);
    }
}

impl Notation for MemberStatus {
    fn write(&self, line: &mut String) {
        let Self { member, is_me, is_linked, is_unresponsive, offers } = self;
        words!(line, member, "me", is_me, "linked", is_linked, "silent", is_unresponsive, "offers", offers);
    }
}

impl Notation for Explanation {
    fn write(&self, line: &mut String) {
        let failure = match &self.verdict {
            Verdict::Refused(failure) => Some(failure.clone()),
            _ => None,
        };
        let meaning = sentences::meaning(self);
        let candidates: Vec<Shown<'_>> = self.candidates.iter().map(|one| Shown(one, &self.service)).collect();
        words!(line, "means", meaning, candidates, "so", sentences::verdict(&self.verdict), failure);
    }
}

/// A candidate for a service.
struct Shown<'a>(&'a Candidate, &'a ServiceName);

impl Notation for Shown<'_> {
    fn write(&self, line: &mut String) {
        let Self(Candidate { node, via, eligibility }, service) = self;
        let way = match via {
            Via::Plugin | Via::Workers => "here",
            Via::Peer => "peer",
            Via::RemoteZone { .. } => "abroad",
        };
        let why = sentences::why(eligibility, service);
        words!(line, node.to_string(), way, sentences::what(via), "ready", eligibility.is_ready(), why);
    }
}

impl Notation for PathSizes {
    fn write(&self, line: &mut String) {
        let Self { received, reachable, sent, causes, origins } = self;
        words!(line, "sizes", received, reachable, sent, causes, origins);
    }
}

impl Notation for PathCounters {
    fn write(&self, line: &mut String) {
        let Self { refused, over, refreshes } = self;
        words!(line, "refused", refused, "over", over, "asked", refreshes);
    }
}

impl Notation for PathStatus<'_> {
    fn write(&self, line: &mut String) {
        let Self { key, cost, traits, version, hops, path } = self;
        words!(line, key, cost, traits, version, hops, path);
    }
}
