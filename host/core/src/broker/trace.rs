//! Traces: requests that go the way of any other, wait nowhere and run nowhere, and tell what each node decided.
//!
//! A trace is admitted, passed on, refused and tried elsewhere by the same rules as a request, and fails with the same words.
//! It counts for nothing where peers are compared, for it says nothing of how long they take to serve.

use super::balancer::Selection;
use super::next_hop::NextHop;
use super::status::Candidate;
use super::{Broker, Destination, Effect, MAX_HOPS, Pending, RequestId, Submission};
use crate::failure::{Code, Failure};
use crate::message::peer::MemberKind;
use crate::message::trace::{self, MAX_DECISION, MAX_RECORD, MAX_RECORDS, Record};
use crate::message::{Body, Frame, Reply};
use crate::name::Label;
use crate::time::Time;
use std::fmt::Write;
use std::time::Duration;

/// Those left out that a decision names.
const MAX_NAMED: usize = 3;

/// What is known of a trace here.
#[derive(Debug)]
pub(super) struct Trace {
    since: Time,
    /// What this node has decided so far.
    decision: String,
    /// The records of those further on.
    beyond: Body,
}

impl Trace {
    pub(super) fn new(now: Time) -> Box<Self> {
        Box::new(Self { since: now, decision: String::new(), beyond: Vec::new() })
    }

    /// What came back from a hop. A record that is too long is left out, and so are those that are too many.
    pub(super) fn collect(&mut self, records: Body) {
        let room = MAX_RECORDS.saturating_sub(1 + self.beyond.len());
        self.beyond.extend(records.into_iter().filter(|record| record.len() <= MAX_RECORD).take(room));
    }

    pub(super) fn note(&mut self, decision: impl std::fmt::Display) {
        let separator = if self.decision.is_empty() { "" } else { "; " };
        if self.decision.len() < MAX_DECISION {
            let _writing_to_a_string_succeeds = write!(self.decision, "{separator}{decision}");
        }
    }
}

impl Broker {
    /// Takes a trace one step further: it ends here, or goes to the next hop.
    pub(super) fn trace_on(&mut self, id: RequestId, now: Time) {
        let Some(pending) = self.requests.get(&id) else { return };
        let is_told_all = self.shows_details(&pending.crossed);
        if let Some(hop) = self.way_around_quarantine(id, now) {
            self.note(id, |broker, pending| broker.why(&hop, pending, is_told_all, now));
            return self.forward(id, hop, now);
        }
        let Some(pending) = self.requests.get(&id) else { return };
        if let Some(decision) = self.how_it_is_served(pending, is_told_all, now) {
            let refused = self.quarantined(&pending.service, now);
            self.note(id, |_, _| decision);
            return self.answer(id, refused.map_or(Ok(Vec::new()), Err), now);
        }
        match self.choose_way(id, now) {
            (Selection::Peer(link), zone) => {
                let step = (link, zone);
                self.note(id, |broker, pending| broker.why(&step, pending, is_told_all, now));
                self.forward(id, step, now);
            }
            (Selection::Unresponsive, _) if self.requests.get(&id).is_some_and(|pending| pending.has_alternative) => {
                self.note(id, |broker, pending| broker.why_it_waits(pending, is_told_all, now));
                self.give_up_if_stuck(id, now);
            }
            (Selection::Full | Selection::Unresponsive, _) => {
                self.note(id, |broker, pending| broker.why_it_waits(pending, is_told_all, now));
                let limit = self.requests.get(&id).map(|pending| self.limit_of(pending)).unwrap_or_default();
                let reason = format!(
                    "a request would wait at node {} until another node has room or gives a sign of life, at most until its deadline: {limit}",
                    self.settings.name
                );
                self.answer(id, Err(Failure::new(Code::Deadline, reason)), now);
            }
            (Selection::Nobody, _) => {
                let Some(pending) = self.requests.get(&id) else { return };
                let unknown = || self.unknown(&pending.service, &pending.destination);
                let failure = pending.last_failure.clone().unwrap_or_else(unknown);
                self.answer(id, Err(failure), now);
            }
        }
    }

    /// A trace came back from a hop that could not go on, and may try another.
    pub(super) fn trace_elsewhere(&mut self, id: RequestId, code: Code, now: Time) {
        self.note(id, |_, _| format!("comes back: {code}"));
        self.trace_on(id, now);
    }

    /// Tells a trace's asker what was decided here and further on; its answer follows.
    pub(super) fn answer_trace(&mut self, pending: &mut Pending, answer: &Reply, now: Time) {
        let Some(mut trace) = pending.trace.take() else { return };
        if let Reply::Failure(failure) = answer {
            trace.note(format_args!("fails: {}", failure.code));
        }
        let own = self.record(pending.hops, trace.decision, now.since(trace.since));
        let records = std::iter::once(own).chain(trace.beyond).collect();
        let (asker, service) = (pending.requester.clone(), pending.service.clone());
        self.effects.push_back(Effect::Reply { requester: asker, service, reply: Reply::Partial(records) });
    }

    /// Refuses a submission that was not accepted; the asker of a trace is told by whom.
    pub(super) fn refuse_submission(&mut self, submission: Submission, failure: Failure) {
        let Submission { requester: asker, service, is_trace, hops, .. } = submission;
        if is_trace {
            let (asker, service) = (asker.clone(), service.clone());
            let reply = Reply::Partial(vec![self.record_at_once(hops, format!("refuses it: {}", failure.code))]);
            self.effects.push_back(Effect::Reply { requester: asker, service, reply });
        }
        self.refuse(asker, service, failure);
    }

    /// What this node records of a trace that it answers as it comes; it might have been passed on to so many nodes more.
    #[must_use]
    pub fn record_at_once(&self, hops: u8, decision: String) -> Frame {
        self.record(hops, decision, Duration::ZERO)
    }

    fn record(&self, hops: u8, decision: String, elapsed: Duration) -> Frame {
        trace::encode(&Record {
            distance: MAX_HOPS.saturating_sub(hops),
            node: self.settings.name.clone(),
            zone: self.settings.zone.clone(),
            role: if self.settings.is_router() { MemberKind::Router } else { MemberKind::Node },
            elapsed,
            decision,
        })
    }

    /// Whether the asker is of this zone. To others nothing is told but the way.
    fn shows_details(&self, crossed: &[Label]) -> bool {
        crossed.first().is_none_or(|first| *first == self.settings.zone)
    }

    fn note(&mut self, id: RequestId, decide: impl FnOnce(&Self, &Pending) -> String) {
        let Some(decision) = self.requests.get(&id).map(|pending| decide(self, pending)) else { return };
        if let Some(trace) = self.requests.get_mut(&id).and_then(|pending| pending.trace.as_mut()) {
            trace.note(decision);
        }
    }

    fn why_it_waits(&self, pending: &Pending, is_told_all: bool, now: Time) -> String {
        if !is_told_all {
            return "waits here".into();
        }
        format!("waits here{}", left_out(&self.explain(&pending.service, &pending.destination, now)))
    }

    /// How this node would serve the request, if it would.
    fn how_it_is_served(&self, pending: &Pending, is_told_all: bool, now: Time) -> Option<String> {
        let may_be_here = matches!(pending.destination, Destination::Here | Destination::Home | Destination::Anywhere);
        let service = self.services.get(&pending.service).filter(|service| may_be_here && service.is_local())?;
        let is_refused = self.quarantined(&pending.service, now).is_some();
        if !is_told_all {
            return Some(if is_refused { "is refused here".into() } else { "runs here".into() });
        }
        let offers = self.explain(&pending.service, &Destination::Here, now);
        let (is_ready, waiting) = (offers.iter().any(|offer| offer.is_ready), service.queued());
        let offers: Vec<String> = offers.iter().map(|offer| format!("{}: {}", offer.what, offer.why)).collect();
        let verdict = match (is_refused, is_ready) {
            (true, _) => "is refused here",
            (false, true) => "runs here",
            (false, false) => "waits here",
        };
        Some(format!("{verdict}; {}; {waiting} in the queue", offers.join("; ")))
    }

    /// Where the trace goes next, and why there.
    fn why(&self, (link, zone): &NextHop, pending: &Pending, is_told_all: bool, now: Time) -> String {
        let node = self.balancer.name(*link);
        let mut decision = match zone {
            Some(zone) => format!("goes through router {node}: zone {zone}"),
            None => format!("goes to node {node}"),
        };
        if !is_told_all {
            return decision;
        }
        let candidates = self.explain(&pending.service, &pending.destination, now);
        let what = match zone {
            Some(zone) => {
                let abroad = self.services.get(&pending.service).and_then(|service| service.remote_zones.get(zone));
                let cost = abroad.map_or(u32::MAX, |abroad| abroad.cost_of(*link));
                format!("zone {zone}, cost {cost}")
            }
            None => "peer".into(),
        };
        let is_rival = |other: &&Candidate| other.is_ready && other.what == what;
        if let Some((_, cost)) = what.split_once(", ") {
            decision = format!("{decision}, {cost}");
        }
        match candidates.iter().filter(is_rival).count() {
            0 | 1 => {}
            rivals => decision = format!("{decision}; one of {rivals} that are equal but for their load"),
        }
        if zone.is_some() && pending.destination == Destination::Anywhere {
            decision = format!("nobody offers it in zone {}; {decision}", self.settings.zone);
        }
        decision + &left_out(&candidates)
    }
}

/// Those who could serve, but get nothing now.
fn left_out(candidates: &[Candidate]) -> String {
    let out: Vec<&Candidate> = candidates.iter().filter(|candidate| !candidate.is_ready).collect();
    let mut text = String::new();
    for Candidate { node, why, .. } in out.iter().take(MAX_NAMED) {
        text = format!("{text}; not {node}: {why}");
    }
    match out.len().saturating_sub(MAX_NAMED) {
        0 => text,
        more => format!("{text}; nor {more} others"),
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
        let submission = Submission {
            requester: Requester::Client {
                connection: ConnectionId::new("c"),
                dialect: Dialect::Native,
                id: 1,
                asked: None,
            },
            service: "print".parse().unwrap(),
            destination: Destination::Anywhere,
            caller: None,
            allowed: None,
            chain: Vec::new(),
            crossed: crossed.iter().map(|zone| zone.parse().unwrap()).collect(),
            hops: MAX_HOPS - 1,
            is_outward: false,
            is_trace: true,
            has_alternative: false,
            body: Vec::new(),
            deadline: None,
            patience: None,
            traceparent: None,
            idempotency_key: None,
        };
        broker.submit(submission, now);
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
    fn a_hop_tried_in_vain_stands_before_the_next_one_and_neither_counts_as_slow_or_failing() {
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
                "nobody offers it in zone local; goes through router {router}: zone lyon, cost 10; one of 2 that are equal but for their load"
            )
        };
        assert_eq!(own.decision, format!("{}; comes back: 404 unknown service; {}", why(r1), why(r2)));
        let status = broker.services(now).next().unwrap();
        assert!(
            status.peers.iter().all(|peer| (peer.latency_us, peer.outstanding, peer.failures_in_a_row) == (0, 0, 0))
        );
        assert_eq!((status.replied, broker.counters().replied), (0, 1));
    }

    #[test]
    fn who_is_left_out_is_named_with_the_reason_but_not_to_another_zone() {
        let now = Time::ZERO;
        for (crossed, expected) in [
            (
                &["local"][..],
                "nobody offers it in zone local; goes through router r2: zone lyon, cost 10; not r1: it gives no sign of life",
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
    fn what_no_hop_has_room_for_fails_at_once() {
        let (mut broker, now) = (broker(), Time::ZERO);
        LINKS.into_iter().for_each(|link| broker.peer_unresponsive(link, true, now));
        submit(&mut broker, &[], now);
        let (records, reply) = answer_of(&mut broker);
        let own = trace::decode(records[0].clone()).unwrap();
        assert!(own.decision.starts_with("waits here; not r1: it gives no sign of life; not r2: "), "{own:?}");
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
