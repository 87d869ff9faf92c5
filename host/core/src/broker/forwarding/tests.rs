use super::super::{RequestContext, Requester};
use super::*;
use crate::connection::ConnectionId;
use crate::message::peer::Traits;
use crate::message::{Dialect, Frame};
use crate::settings::{NodeSettings, RouterSettings, ServiceSettings};
use std::time::Duration;

const FIRST: LinkId = LinkId(1);
const SECOND: LinkId = LinkId(2);
const NOW: Time = Time::ZERO;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A broker with two links to routers that lead to zone b, where `often` may run twice and `once` may not.
fn broker(router: Option<RouterSettings>) -> Broker {
    let mut broker = Broker::new(NodeSettings { router, ..NodeSettings::default() });
    for (link, node) in [(FIRST, "r1"), (SECOND, "r2")] {
        broker.peer_up(link, &name(node), None, true, NOW);
        leads(&mut broker, link, 1);
    }
    broker
}

fn leads(broker: &mut Broker, link: LinkId, cost: u32) {
    broker.peer_offers(link, &name("once@b"), Traits::of_plugin(false), cost, NOW);
    broker.peer_offers(link, &name("often@b"), Traits::of_plugin(true), cost, NOW);
}

fn submit(broker: &mut Broker, id: u64, service: &str, has_alternative: bool) {
    broker.submit(context(id, service, has_alternative), NOW);
}

fn context(id: u64, service: &str, has_alternative: bool) -> RequestContext {
    let connection = ConnectionId::new(Frame::from(format!("requester {id}")));
    let requester = Requester::Client { connection, dialect: Dialect::Peer, id, asked: None };
    RequestContext { has_alternative, ..RequestContext::new(requester, name(service), Destination::Zone(name("b"))) }
}

/// A decision: a request that was forwarded, and whether it may come back; a cancellation; the end of a request.
#[derive(Debug, PartialEq)]
enum Said {
    Forward(LinkId, u64, bool),
    Cancel(LinkId, u64),
    Failure(u64, Code),
}

fn said(broker: &mut Broker) -> Vec<Said> {
    let said = |effect| match effect {
        Effect::Forward { link, forward } => Some(Said::Forward(link, forward.id, forward.has_alternative)),
        Effect::CancelForward { link, id } => Some(Said::Cancel(link, id)),
        Effect::Reply { requester: Requester::Client { id, .. }, reply: Reply::Failure(failure), .. } => {
            Some(Said::Failure(id, failure.code))
        }
        _ => None,
    };
    std::iter::from_fn(|| broker.next_effect()).filter_map(said).collect()
}

/// A router whose only next hop is the first link.
fn router() -> Broker {
    let mut broker = broker(Some(RouterSettings::default()));
    broker.peer_down(SECOND, "the test has one way", NOW);
    broker
}

#[test]
fn a_router_whose_next_hop_is_unresponsive_returns_requests_with_an_alternative() {
    let mut broker = router();
    for (id, service, has_alternative) in [(1, "often", true), (2, "often", false), (3, "once", true)] {
        submit(&mut broker, id, service, has_alternative);
        assert_eq!(said(&mut broker), [Said::Forward(FIRST, id, has_alternative)]);
    }
    broker.peer_unresponsive(FIRST, true, NOW);
    assert_eq!(said(&mut broker), [Said::Cancel(FIRST, 1), Said::Failure(1, Code::Lost)]);
    // Requests that arrive meanwhile were not started, so they may take another route even if not idempotent.
    submit(&mut broker, 4, "once", true);
    assert_eq!(said(&mut broker), [Said::Failure(4, Code::Unreachable)]);
    submit(&mut broker, 5, "once", false);
    assert_eq!(said(&mut broker), []);
    broker.peer_unresponsive(FIRST, false, NOW);
    assert_eq!(said(&mut broker), [Said::Forward(FIRST, 4, false)]);
}

#[test]
fn requests_waiting_at_a_router_are_returned_when_its_next_hop_is_unresponsive() {
    let mut settings = NodeSettings { router: Some(RouterSettings::default()), ..NodeSettings::default() };
    settings.limits.requests_per_peer = 1;
    let mut broker = Broker::new(settings);
    broker.peer_up(FIRST, &name("r1"), None, true, NOW);
    leads(&mut broker, FIRST, 1);
    (1..=3).for_each(|id| submit(&mut broker, id, "once", id < 3));
    assert_eq!(said(&mut broker), [Said::Forward(FIRST, 1, true)]);
    broker.peer_unresponsive(FIRST, true, NOW);
    assert_eq!(said(&mut broker), [Said::Failure(2, Code::Unreachable)]);
}

#[test]
fn a_node_announces_an_alternative_router_and_uses_it_for_returned_requests() {
    let mut broker = broker(None);
    for (id, service, code) in [(1, "often", Code::Lost), (2, "once", Code::Unreachable), (3, "once", Code::Loop)] {
        submit(&mut broker, id, service, false);
        let [Said::Forward(link, first, true)] = said(&mut broker)[..] else { panic!("{id} went nowhere") };
        broker.peer_replied(link, first, Reply::Failure(Failure::new(code, "")), NOW);
        let other = if link == FIRST { SECOND } else { FIRST };
        // The last next hop is to keep the request in any case.
        assert_eq!(said(&mut broker), [Said::Forward(other, first + 1, false)], "{code:?}");
        broker.peer_replied(other, first + 1, Reply::Failure(Failure::new(code, "")), NOW);
        assert_eq!(said(&mut broker), [Said::Failure(id, code)]);
    }
    submit(&mut broker, 4, "once", false);
    let [Said::Forward(link, number, true)] = said(&mut broker)[..] else { panic!("it went nowhere") };
    broker.peer_replied(link, number, Reply::Failure(Failure::new(Code::Lost, "")), NOW);
    assert_eq!(said(&mut broker), [Said::Failure(4, Code::Lost)], "it may have run, and may not run twice");
}

#[test]
fn a_costlier_route_is_taken_while_the_cheaper_one_is_unresponsive() {
    let mut broker = broker(None);
    leads(&mut broker, SECOND, 7);
    submit(&mut broker, 1, "once", false);
    assert_eq!(said(&mut broker), [Said::Forward(FIRST, 1, true)]);
    broker.peer_unresponsive(FIRST, true, NOW);
    submit(&mut broker, 2, "once", false);
    assert_eq!(said(&mut broker), [Said::Forward(SECOND, 2, true)]);
}

#[test]
fn a_deadline_that_passes_at_a_peer_names_the_node_whose_setting_it_is() {
    let mut broker = broker(None);
    broker.peer_down(SECOND, "the test has one way", NOW);
    submit(&mut broker, 1, "once", false);
    assert_eq!(said(&mut broker), [Said::Forward(FIRST, 1, false)]);
    broker.wake(NOW + crate::settings::PLUGIN_DEADLINE);
    let failure = std::iter::from_fn(|| broker.next_effect()).find_map(|effect| match effect {
        Effect::Reply { reply: Reply::Failure(failure), .. } => Some(failure),
        _ => None,
    });
    let (failure, me) = (failure.unwrap(), broker.settings.name.clone());
    let named = format!("defaults.deadline = 2s at node {me}, as service.once.deadline is not set");
    assert!(failure.code == Code::Deadline && failure.reason.ends_with(&named), "{}", failure.reason);
}

/// A broker whose plugin for `print` is in quarantine, which a peer serves too.
fn quarantined() -> Broker {
    let mut broker = Broker::new(NodeSettings::default());
    broker.peer_up(FIRST, &name("node2"), None, false, NOW);
    broker.peer_offers(FIRST, &name("print"), Traits::of_plugin(false), 0, NOW);
    broker.offer(&name("print"), NOW);
    broker.quarantine(&name("print"), NOW + Duration::from_secs(1));
    broker
}

#[test]
fn requests_for_a_plugin_in_quarantine_go_to_a_peer_with_room() {
    let mut broker = quarantined();
    let request = |id| RequestContext { destination: Destination::Anywhere, ..context(id, "print", false) };
    broker.submit(request(1), NOW);
    assert!(matches!(broker.next_effect(), Some(Effect::Serves { .. })));
    assert_eq!(said(&mut broker), [Said::Forward(FIRST, 1, false)]);
    broker.submit(RequestContext { destination: Destination::Here, ..request(2) }, NOW);
    assert!(matches!(broker.next_effect(), Some(Effect::Run(run)) if run.id == RequestId(2)));
    broker.peer_unresponsive(FIRST, true, NOW);
    broker.submit(request(3), NOW);
    assert!(matches!(broker.next_effect(), Some(Effect::Run(run)) if run.id == RequestId(3)), "no peer has room");
    broker.peer_unresponsive(FIRST, false, NOW);
    broker.submit(request(4), NOW + Duration::from_secs(1));
    assert!(
        matches!(broker.next_effect(), Some(Effect::Run(run)) if run.id == RequestId(4)),
        "the quarantine has ended"
    );
}

#[test]
fn a_queue_of_zero_refuses_only_what_would_have_to_wait() {
    let own = ServiceSettings { queue: 0, concurrency: 1, ..ServiceSettings::default() };
    let settings = NodeSettings { services: [(name("print"), own)].into(), ..NodeSettings::default() };
    let mut broker = Broker::new(settings);
    broker.offer(&name("print"), NOW);
    for first in [1, 3] {
        for (id, ends) in [(first, vec![]), (first + 1, vec![Said::Failure(first + 1, Code::Overloaded)])] {
            broker.submit(RequestContext { destination: Destination::Here, ..context(id, "print", false) }, NOW);
            assert_eq!(said(&mut broker), ends);
        }
        broker.finish(RequestId(first.div_ceil(2)), Ok(Vec::new()), NOW);
    }
}
