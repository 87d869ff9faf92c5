//! Traces: requests that are forwarded like any other, wait nowhere, run nowhere, and report each node's decisions.
//!
//! A trace is admitted, forwarded, refused and retried by the same rules as a request, and fails with the same text.
//! The statistics of peers ignore traces, because these do not measure how long a peer takes to serve.

use super::balancer::Selection;
use super::next_hop::NextHop;
use super::sentences;
use super::status::{Candidate, Via};
use super::{Broker, Destination, Effect, MAX_HOPS, Pending, RequestContext, RequestId};
use crate::failure::{Code, Failure};
use crate::message::peer::MemberKind;
use crate::message::trace::{self, MAX_DECISION, MAX_RECORD, MAX_RECORDS, Record};
use crate::message::{Body, Frame, Reply};
use crate::name::{Label, ServiceName};
use crate::time::Time;
use std::time::Duration;

/// State of a trace at this node.
#[derive(Debug)]
pub(super) struct Trace {
    since: Time,
    /// Decisions of this node so far: a few steps for each hop that was tried.
    steps: Vec<Step>,
    /// Records of the nodes further on.
    beyond: Body,
}

impl Trace {
    pub(super) fn new(now: Time) -> Box<Self> {
        Box::new(Self { since: now, steps: Vec::new(), beyond: Vec::new() })
    }

    /// Adds the records that came back from a hop, except those over a limit of length or number.
    pub(super) fn collect(&mut self, records: Body) {
        let room = MAX_RECORDS.saturating_sub(1 + self.beyond.len());
        self.beyond.extend(records.into_iter().filter(|record| record.len() <= MAX_RECORD).take(room));
    }
}

/// One decision about a trace. `None` stands for details that clients of other zones do not get.
#[derive(Debug)]
pub(crate) enum Step {
    /// The node answers the service itself.
    Itself,
    /// The node itself would serve the request.
    Here {
        /// Whether its plugin refuses requests.
        is_refused: bool,
        /// Its providers, and how many requests wait.
        details: Option<(Vec<Candidate>, usize)>,
    },
    /// The trace goes to another node.
    NextHop {
        /// The node.
        node: String,
        /// Kind of the provider there.
        via: Via,
        /// Whether the address names only the service.
        is_nearest: bool,
        /// All providers that could serve it.
        candidates: Option<Vec<Candidate>>,
    },
    /// A request would wait.
    Waits {
        /// All providers that could serve it.
        candidates: Option<Vec<Candidate>>,
    },
    /// The trace came back from a hop.
    ComesBack(Code),
    /// The trace fails.
    Fails(Code),
    /// The trace is refused where it enters the node.
    Refuses(Code),
}

impl Broker {
    /// Takes a trace one step further: ends it here, or forwards it to the next hop.
    pub(super) fn trace_on(&mut self, id: RequestId, now: Time) {
        let Some(pending) = self.requests.get(&id) else { return };
        let shows_details = self.shows_details(&pending.context.crossed);
        if let Some(hop) = self.hop_around_quarantine(id, now) {
            self.note(id, |broker, pending| broker.next_hop_step(&hop, pending, shows_details, now));
            return self.forward(id, hop, now);
        }
        let Some(pending) = self.requests.get(&id) else { return };
        if let Some(step) = self.local_step(pending, shows_details, now) {
            let refused = self.quarantined(&pending.context.service, now);
            self.note(id, |_, _| step);
            return self.answer(id, refused.map_or(Ok(Vec::new()), Err), now);
        }
        match self.choose_next_hop(id, now) {
            (Selection::Peer(link), zone) => {
                let hop = (link, zone);
                self.note(id, |broker, pending| broker.next_hop_step(&hop, pending, shows_details, now));
                self.forward(id, hop, now);
            }
            (Selection::Unresponsive, _)
                if self.requests.get(&id).is_some_and(|pending| pending.context.has_alternative) =>
            {
                self.note(id, |broker, pending| broker.waiting_step(pending, shows_details, now));
                self.give_up_if_stuck(id, now);
            }
            (Selection::Full | Selection::Unresponsive, _) => {
                self.note(id, |broker, pending| broker.waiting_step(pending, shows_details, now));
                let limit = self.requests.get(&id).map(|pending| self.limit_of(pending)).unwrap_or_default();
                let reason = format!(
                    "a request would wait at node {} until another node has room or responds, at most until its deadline: {limit}",
                    self.settings.name
                );
                self.answer(id, Err(Failure::new(Code::Deadline, reason)), now);
            }
            (Selection::NoPeer, _) => {
                let Some(pending) = self.requests.get(&id) else { return };
                let unknown = || self.unknown(&pending.context.service, &pending.context.destination);
                let failure = pending.last_failure.clone().unwrap_or_else(unknown);
                self.answer(id, Err(failure), now);
            }
        }
    }

    /// Tries another hop for a trace that came back from one.
    pub(super) fn trace_elsewhere(&mut self, id: RequestId, code: Code, now: Time) {
        self.note(id, |_, _| Step::ComesBack(code));
        self.trace_on(id, now);
    }

    /// Sends a trace's requester the records of this node and of those further on; the answer follows.
    pub(super) fn answer_trace(&mut self, pending: &mut Pending, answer: &Reply, now: Time) {
        let Some(mut trace) = pending.trace.take() else { return };
        if let Reply::Failure(failure) = answer {
            trace.steps.push(Step::Fails(failure.code));
        }
        let (hops, elapsed) = (pending.context.hops, now.since(trace.since));
        let own = self.record(hops, &trace.steps, &pending.context.service, elapsed);
        let records = std::iter::once(own).chain(trace.beyond).collect();
        let (requester, service) = (pending.context.requester.clone(), pending.context.service.clone());
        self.effects.push_back(Effect::Reply { requester, service, reply: Reply::Partial(records) });
    }

    /// Refuses a request that was not accepted; the requester of a trace also gets a record of the refusal.
    pub(super) fn refuse_submission(&mut self, context: RequestContext, failure: Failure) {
        let RequestContext { requester, service, is_trace, hops, .. } = context;
        if is_trace {
            let (requester, service) = (requester.clone(), service.clone());
            let step = Step::Refuses(failure.code);
            let reply = Reply::Partial(vec![self.record(hops, &[step], &service, Duration::ZERO)]);
            self.effects.push_back(Effect::Reply { requester, service, reply });
        }
        self.refuse(requester, service, failure);
    }

    /// Returns the record of a trace of a service that this node answers itself.
    #[must_use]
    pub fn record_of_own(&self, service: &ServiceName) -> Frame {
        self.record(MAX_HOPS, &[Step::Itself], service, Duration::ZERO)
    }

    /// Returns the record of a trace that is refused where it enters the node, with `hops` remaining.
    #[must_use]
    pub fn record_of_refusal(&self, hops: u8, service: &ServiceName, code: Code) -> Frame {
        self.record(hops, &[Step::Refuses(code)], service, Duration::ZERO)
    }

    fn record(&self, hops: u8, steps: &[Step], service: &ServiceName, elapsed: Duration) -> Frame {
        let mut decision = String::new();
        for step in steps {
            let separator = if decision.is_empty() { "" } else { "; " };
            if decision.len() < MAX_DECISION {
                decision = decision + separator + &sentences::step(step, service, &self.settings.zone);
            }
        }
        trace::encode(&Record {
            distance: MAX_HOPS.saturating_sub(hops),
            node: self.settings.name.clone(),
            zone: self.settings.zone.clone(),
            role: if self.settings.is_router() { MemberKind::Router } else { MemberKind::Node },
            elapsed,
            decision,
        })
    }

    /// Returns `true` if the requester is in this zone; requesters of other zones get only the path.
    fn shows_details(&self, crossed: &[Label]) -> bool {
        crossed.first().is_none_or(|first| *first == self.settings.zone)
    }

    fn note(&mut self, id: RequestId, decide: impl FnOnce(&Self, &Pending) -> Step) {
        let Some(step) = self.requests.get(&id).map(|pending| decide(self, pending)) else { return };
        if let Some(trace) = self.requests.get_mut(&id).and_then(|pending| pending.trace.as_mut()) {
            trace.steps.push(step);
        }
    }

    fn waiting_step(&self, pending: &Pending, shows_details: bool, now: Time) -> Step {
        let RequestContext { service, destination, .. } = &pending.context;
        Step::Waits { candidates: shows_details.then(|| self.explain(service, destination, now)) }
    }

    /// Returns how this node would serve the request, if it would.
    fn local_step(&self, pending: &Pending, shows_details: bool, now: Time) -> Option<Step> {
        let RequestContext { service: name, destination, .. } = &pending.context;
        let service = self.services.get(name).filter(|service| destination.may_be_here() && service.is_local())?;
        let is_refused = service.is_quarantined(now);
        let details = shows_details.then(|| (self.explain(name, &Destination::Here, now), service.queued()));
        Some(Step::Here { is_refused, details })
    }

    /// Returns the step of forwarding the trace to the next hop.
    fn next_hop_step(&self, (link, zone): &NextHop, pending: &Pending, shows_details: bool, now: Time) -> Step {
        let RequestContext { service, destination, .. } = &pending.context;
        let via = zone.as_ref().map_or(Via::Peer, |zone| {
            let remote = self.services.get(service).and_then(|service| service.remote_zones.get(zone));
            Via::RemoteZone { zone: zone.clone(), cost: remote.map_or(u32::MAX, |remote| remote.cost_of(*link)) }
        });
        Step::NextHop {
            node: self.balancer.name(*link),
            via,
            is_nearest: *destination == Destination::Anywhere,
            candidates: shows_details.then(|| self.explain(service, destination, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Requester;
    use crate::connection::{ConnectionId, LinkId};
    use crate::message::Dialect;
    use crate::message::peer::Traits;
    use crate::name::Address;
    use crate::settings::NodeSettings;

    const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

    /// A node of zone `local` with two routers that lead to `print` in zone lyon.
    fn broker() -> Broker {
        let mut broker = Broker::new(NodeSettings::default());
        for (link, name) in LINKS.into_iter().zip(["r1", "r2"]) {
            broker.peer_up(link, &name.parse().unwrap(), None, true, Time::ZERO);
            broker.peer_offers(link, &"print@lyon".parse::<Address>().unwrap(), Traits::default(), 10, Time::ZERO);
        }
        broker
    }

    fn submit(broker: &mut Broker, crossed: &[&str], now: Time) {
        let requester =
            Requester::Client { connection: ConnectionId::new("c"), dialect: Dialect::Native, id: 1, asked: None };
        let context = RequestContext {
            crossed: crossed.iter().map(|zone| zone.parse().unwrap()).collect(),
            hops: MAX_HOPS - 1,
            is_trace: true,
            ..RequestContext::new(requester, "print".parse().unwrap(), Destination::Anywhere)
        };
        broker.submit(context, now);
    }

    /// The link that the trace was sent on, and its number there.
    fn sent(broker: &mut Broker) -> (LinkId, u64) {
        match broker.next_effect() {
            Some(Effect::Forward { link, forward }) if forward.is_trace => (link, forward.id),
            other => panic!("{other:?}"),
        }
    }

    fn answer_of(broker: &mut Broker) -> (Body, Reply) {
        match [broker.next_effect(), broker.next_effect(), broker.next_effect()] {
            [Some(Effect::Reply { reply: Reply::Partial(records), .. }), Some(Effect::Reply { reply, .. }), None] => {
                (records, reply)
            }
            other => panic!("{other:?}"),
        }
    }

    fn failure() -> Failure {
        Failure::new(Code::UnknownService, "not here")
    }

    #[test]
    fn the_record_of_a_failed_hop_precedes_that_of_the_next_and_neither_affects_statistics() {
        let (mut broker, mut now) = (broker(), Time::ZERO);
        submit(&mut broker, &[], now);
        let (first, id) = sent(&mut broker);
        now = now + Duration::from_millis(2);
        broker.peer_replied(first, id, Reply::Partial(vec!["of the first".into()]), now);
        broker.peer_replied(first, id, Reply::Failure(failure()), now);
        let (second, id) = sent(&mut broker);
        assert_ne!(first, second);
        now = now + Duration::from_millis(3);
        broker.peer_replied(second, id, Reply::Partial(vec!["of the second".into(), "further on".into()]), now);
        broker.peer_replied(second, id, Reply::Final(Vec::new()), now);
        let (records, reply) = answer_of(&mut broker);
        assert_eq!(
            (&records[1..], reply),
            (&["of the first", "of the second", "further on"].map(Frame::from)[..], Reply::Final(Vec::new()))
        );
        let own = trace::decode(records[0].clone()).unwrap();
        assert_eq!((own.distance, own.elapsed), (1, Duration::from_millis(5)));
        let [r1, r2] = if first == LINKS[0] { ["r1", "r2"] } else { ["r2", "r1"] };
        let why = |router| {
            format!(
                "no node offers it in zone local; goes through router {router}: zone lyon, cost 10; one of 2 that are equal but for their load"
            )
        };
        assert_eq!(own.decision, format!("{}; comes back: 404 unknown service; {}", why(r1), why(r2)));
        let status = broker.services(now).next().unwrap();
        assert!(
            status.peers.iter().all(|peer| (peer.latency_us, peer.outstanding, peer.consecutive_failures) == (0, 0, 0))
        );
        assert_eq!((status.replied, broker.counters().replied), (0, 1));
    }

    #[test]
    fn candidates_left_out_are_named_with_the_reason_but_not_to_another_zone() {
        let now = Time::ZERO;
        for (crossed, expected) in [
            (
                &["local"][..],
                "no node offers it in zone local; goes through router r2: zone lyon, cost 10; not r1: it is unresponsive",
            ),
            (&["paris", "local"], "goes through router r2: zone lyon"),
        ] {
            let mut broker = broker();
            broker.peer_unresponsive(LINKS[0], true, now);
            submit(&mut broker, crossed, now);
            let (link, id) = sent(&mut broker);
            broker.peer_replied(link, id, Reply::Final(Vec::new()), now);
            assert_eq!(trace::decode(answer_of(&mut broker).0[0].clone()).unwrap().decision, expected);
        }
    }

    #[test]
    fn a_trace_without_an_open_hop_fails_immediately() {
        let (mut broker, now) = (broker(), Time::ZERO);
        LINKS.into_iter().for_each(|link| broker.peer_unresponsive(link, true, now));
        submit(&mut broker, &[], now);
        let (records, reply) = answer_of(&mut broker);
        let own = trace::decode(records[0].clone()).unwrap();
        assert!(own.decision.starts_with("waits here; not r1: it is unresponsive; not r2: "), "{own:?}");
        assert!(matches!(reply, Reply::Failure(Failure { code: Code::Deadline, .. })), "{reply:?}");
        assert_eq!(broker.outstanding(), 0);
    }

    #[test]
    fn records_beyond_a_limit_are_left_out() {
        let (mut broker, now) = (broker(), Time::ZERO);
        submit(&mut broker, &[], now);
        let (link, id) = sent(&mut broker);
        let long = Frame::from(vec![0; MAX_RECORD + 1]);
        for _ in 0..2 {
            let records = (0..50).flat_map(|_| [long.clone(), Frame::from_static(b"short")]).collect();
            broker.peer_replied(link, id, Reply::Partial(records), now);
        }
        broker.peer_down(link, "it was cut", now);
        let (records, reply) = answer_of(&mut broker);
        assert!(records.len() == MAX_RECORDS && !records.contains(&long), "{}", records.len());
        assert!(matches!(reply, Reply::Failure(Failure { code: Code::Lost, .. })), "{reply:?}");
    }
}
