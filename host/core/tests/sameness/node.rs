//! Inputs, outputs and reports of a node.

use crate::{all_differ, frame, frames, members, results, variations};
use std::collections::BTreeMap;
use std::time::Duration;
use wasmnode_core::broker::{Candidate, Destination, Eligibility, Via};
use wasmnode_core::{
    Access, CallId, Caller, Code, ConnectionId, Counters, Event, Explanation, Failure, Grant, Input, Label, LinkId,
    MemberStatus, Output, PeerStatus, Quota, RequestId, Role, Run, ServiceName, ServiceStatus, Time, Verdict,
    ZoneEvent,
};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn peers() -> [ConnectionId; 5] {
    [
        ConnectionId::new("a"),
        ConnectionId::new([0, 1]),
        ConnectionId::unproven("a"),
        ConnectionId::authenticated("a", "k".parse().unwrap()),
        ConnectionId::authenticated("a", "l".parse().unwrap()),
    ]
}

fn connection() -> ConnectionId {
    ConnectionId::new("a")
}

fn quota() -> Quota {
    Quota { requests_per_second: Some(1), bytes_per_second: Some(1), outstanding: Some(1) }
}

fn grants() -> Vec<Grant> {
    let (allow, work) = (Vec::new(), Vec::new());
    variations(
        &Grant { role: Role::Owner, allow, work, is_admin: false, quota: quota() },
        &[
            |grant| grant.role = Role::Client,
            |grant| grant.role = Role::Peer { offer: Vec::new() },
            |grant| grant.role = Role::Peer { offer: vec!["a".parse().unwrap()] },
            |grant| grant.role = Role::Router { zone: "a".parse().unwrap() },
            |grant| grant.role = Role::Router { zone: "b".parse().unwrap() },
            |grant| grant.allow = vec!["a".parse().unwrap()],
            |grant| grant.work = vec!["a".parse().unwrap()],
            |grant| grant.is_admin = true,
            |grant| grant.quota.requests_per_second = Some(2),
            |grant| grant.quota.bytes_per_second = None,
            |grant| grant.quota.outstanding = Some(2),
        ],
    )
}

#[test]
fn no_two_inputs_are_written_alike() {
    let (link, request) = (LinkId(1), RequestId(1));
    let mut inputs = vec![Input::Tick, Input::Drain, Input::Stop];
    for frames in frames() {
        inputs.push(Input::Message { from: connection(), frames: frames.clone() });
        inputs.push(Input::Undeliverable { to: connection(), frames: frames.clone() });
        inputs.push(Input::LinkMessage { link, frames: frames.clone() });
        inputs.push(Input::Unsent { link, frames: frames.clone() });
        inputs.push(Input::Partial { request, body: frames });
    }
    for peer in &peers()[1..] {
        inputs.push(Input::Message { from: peer.clone(), frames: vec![] });
        inputs.push(Input::Undeliverable { to: peer.clone(), frames: vec![] });
    }
    inputs.push(Input::LinkMessage { link: LinkId(2), frames: vec![] });
    inputs.push(Input::Unsent { link: LinkId(2), frames: vec![] });
    inputs.push(Input::Partial { request: RequestId(2), body: vec![] });
    for (link, why) in [(1, "a"), (1, "b"), (2, "a")] {
        inputs.push(Input::LinkDown { link: LinkId(link), why: why.into() });
    }
    inputs.extend(["a", "b"].map(|service| Input::Offered(name(service))));
    inputs.extend(["a", "b"].map(|service| Input::Withdrawn(name(service))));
    for (service, lasts) in [("a", 1), ("a", 1_000), ("b", 1)] {
        inputs.push(Input::Quarantine { service: name(service), lasts: Duration::from_nanos(lasts) });
    }
    inputs.extend(results().into_iter().map(|result| Input::Finished { request, result }));
    inputs.push(Input::Finished { request: RequestId(2), result: Ok(vec![]) });
    for (call, parent, service, body) in
        [(1, 1, "a", ""), (2, 1, "a", ""), (1, 2, "a", ""), (1, 1, "b", ""), (1, 1, "a", "b")]
    {
        let (call, parent, service) = (CallId(call), RequestId(parent), name(service));
        inputs.push(Input::Call { call, parent, service, body: vec![frame(body)] });
    }
    inputs.push(Input::Trust(Access::default()));
    for (user, grant) in grants().into_iter().map(|grant| ("a", grant)).chain([("b", grants().remove(0))]) {
        inputs.push(Input::Trust(Access { grants: BTreeMap::from([(user.parse().unwrap(), grant)]) }));
    }
    all_differ(&inputs);
}

fn requests() -> Vec<Run> {
    let request = Run {
        id: RequestId(1),
        service: name("a"),
        caller: Caller::Client(connection()),
        body: vec![],
        deadline: Time::ZERO,
        traceparent: None,
        idempotency_key: None,
    };
    variations(
        &request,
        &[
            |request| request.id = RequestId(2),
            |request| request.service = name("b"),
            |request| request.caller = Caller::Client(ConnectionId::new("b")),
            |request| request.caller = Caller::Service(name("a")),
            |request| request.caller = Caller::Service(name("b")),
            |request| request.caller = Caller::Remote { node: "a".parse().unwrap(), caller: "a".into() },
            |request| request.caller = Caller::Remote { node: "a".parse().unwrap(), caller: "b".into() },
            |request| request.caller = Caller::Remote { node: "b".parse().unwrap(), caller: "a".into() },
            |request| request.body = vec![frame("a")],
            |request| request.deadline = Time::NEVER,
            |request| request.traceparent = Some(frame("a")),
            |request| request.idempotency_key = Some(frame("a")),
        ],
    )
}

fn events() -> Vec<Event> {
    let mut events = Vec::new();
    for (peer, service) in [("a", "a"), ("a", "b"), ("b", "a")] {
        let (connection, service) = (ConnectionId::new(peer), name(service));
        events.push(Event::WorkerJoined { connection: connection.clone(), service: service.clone() });
        events.push(Event::WorkerLeft { connection: connection.clone(), service: service.clone(), why: "a" });
        events.push(Event::UnreportedFailure { connection, service, failure: Failure::new(Code::Failed, "a") });
    }
    events.push(Event::WorkerLeft { connection: connection(), service: name("a"), why: "b" });
    events.push(Event::UnreportedFailure {
        connection: connection(),
        service: name("a"),
        failure: Failure::new(Code::Failed, "b"),
    });
    events.push(Event::UnreportedFailure {
        connection: connection(),
        service: name("a"),
        failure: Failure::new(Code::Crashed, "a"),
    });
    events.extend(["a", "b"].map(|service| Event::Shared { service: name(service) }));
    for (peer, why) in [("a", "a"), ("a", "b"), ("b", "a")] {
        events.push(Event::Refused { connection: ConnectionId::new(peer), why: why.into() });
    }
    events
}

fn zone_events() -> Vec<ZoneEvent> {
    let mut events = Vec::new();
    for member in members() {
        events.push(ZoneEvent::MemberJoined(member.clone()));
        events.push(ZoneEvent::MemberLeft(member.clone()));
        events.push(ZoneEvent::Renewed(member.clone()));
        events.push(ZoneEvent::NameTaken(member));
    }
    for (one, other) in [("a", "a"), ("a", "b"), ("b", "a")] {
        events.push(ZoneEvent::LinkLost { node: one.parse().unwrap(), why: other.into() });
        events.push(ZoneEvent::DialFailed { endpoint: one.into(), why: other.into() });
        events.push(ZoneEvent::PeerRefused { node: one.into(), why: other.into() });
        events.push(ZoneEvent::SessionUp { zone: one.parse().unwrap(), router: other.parse().unwrap() });
    }
    for (node, is_unresponsive) in [("a", true), ("a", false), ("b", true)] {
        events.push(ZoneEvent::PeerUnresponsive { node: node.parse().unwrap(), is_unresponsive });
    }
    events.extend(["a", "b"].map(|router| ZoneEvent::SessionDown { router: router.parse().unwrap() }));
    events.extend([1, 2].map(|services| ZoneEvent::Unlisted { services }));
    events
}

#[test]
fn no_two_outputs_are_written_alike() {
    let mut outputs = Vec::new();
    for frames in frames() {
        outputs.push(Output::Send { to: connection(), frames: frames.clone() });
        outputs.push(Output::Post { link: LinkId(1), frames });
    }
    outputs.push(Output::Post { link: LinkId(2), frames: vec![] });
    for peer in peers() {
        outputs.push(Output::Disconnect(peer.clone()));
        outputs.push(Output::Send { to: peer, frames: vec![frame("c")] });
    }
    for (link, endpoint, name) in [(1, "a", None), (1, "a", Some("a")), (1, "b", None), (2, "a", None)] {
        let name = name.map(|name| name.parse().unwrap());
        outputs.push(Output::Dial { link: LinkId(link), endpoint: endpoint.into(), name });
    }
    outputs.extend([1, 2].map(|link| Output::HangUp(LinkId(link))));
    outputs.extend([1, 2].map(|request| Output::Stop(RequestId(request))));
    outputs.extend(requests().into_iter().map(|request| Output::Run(request.into())));
    outputs.extend(results().into_iter().map(|result| Output::Answer { call: CallId(1), result }));
    outputs.push(Output::Answer { call: CallId(2), result: Ok(vec![]) });
    outputs.extend(events().into_iter().map(Output::Event));
    outputs.extend(zone_events().into_iter().map(Output::Zone));
    all_differ(&outputs);
}

#[test]
fn no_two_counters_are_written_alike() {
    all_differ(&variations(
        &Counters::default(),
        &[
            |counters| counters.accepted = 1,
            |counters| counters.replied = 1,
            |counters| counters.failed = BTreeMap::from([(Code::Failed, 1)]),
            |counters| counters.failed = BTreeMap::from([(Code::Failed, 2)]),
            |counters| counters.failed = BTreeMap::from([(Code::Crashed, 1)]),
            |counters| counters.malformed = 1,
            |counters| counters.forbidden = 1,
            |counters| counters.unclaimed = 1,
            |counters| counters.retried = 1,
            |counters| counters.forwarded = 1,
        ],
    ));
}

fn hops() -> Vec<PeerStatus> {
    let hop = PeerStatus {
        node: "a".parse().unwrap(),
        zone: None,
        cost: 0,
        outstanding: 0,
        latency_us: 0,
        consecutive_failures: 0,
        is_unresponsive: false,
        is_full: false,
        paused_for: Duration::ZERO,
        idempotent: false,
    };
    variations(
        &hop,
        &[
            |hop| hop.node = "b".parse().unwrap(),
            |hop| hop.zone = Some("a".parse().unwrap()),
            |hop| hop.cost = 1,
            |hop| hop.outstanding = 1,
            |hop| hop.latency_us = 1,
            |hop| hop.consecutive_failures = 1,
            |hop| hop.is_unresponsive = true,
            |hop| hop.is_full = true,
            |hop| hop.paused_for = Duration::from_nanos(1),
            |hop| hop.idempotent = true,
        ],
    )
}

#[test]
fn no_two_services_are_written_alike() {
    let service = ServiceStatus {
        name: name("a"),
        plugin: false,
        is_shared: false,
        running: 0,
        workers_idle: 0,
        workers_busy: 0,
        queued: 0,
        replied: 0,
        failed: 0,
        peers: Vec::new(),
    };
    all_differ(&variations(
        &service,
        &[
            |service| service.name = name("b"),
            |service| service.plugin = true,
            |service| service.is_shared = true,
            |service| service.running = 1,
            |service| service.workers_idle = 1,
            |service| service.workers_busy = 1,
            |service| service.queued = 1,
            |service| service.replied = 1,
            |service| service.failed = 1,
            |service| service.peers = hops(),
        ],
    ));
    all_differ(&hops());
}

#[test]
fn no_two_members_and_explanations_are_written_alike() {
    let member = members().remove(0);
    let member = MemberStatus { member, is_me: false, is_linked: false, is_unresponsive: false, offers: 0 };
    all_differ(&variations(
        &member,
        &[
            |status| status.member = members().remove(1),
            |status| status.is_me = true,
            |status| status.is_linked = true,
            |status| status.is_unresponsive = true,
            |status| status.offers = 1,
        ],
    ));
    let eligibility = Eligibility::Running { running: 1, limit: 1 };
    let candidate = Candidate { node: label("a"), via: Via::Plugin, eligibility };
    let explanation = Explanation {
        node: label("n"),
        zone: label("z"),
        service: "s".parse().unwrap(),
        destination: Destination::Anywhere,
        is_nearest: true,
        candidates: vec![candidate],
        verdict: Verdict::Waits,
    };
    all_differ(&variations(
        &explanation,
        &[
            |explanation| explanation.node = label("m"),
            |explanation| explanation.zone = label("y"),
            |explanation| explanation.service = "t".parse().unwrap(),
            |explanation| explanation.destination = Destination::Here,
            |explanation| explanation.is_nearest = false,
            |explanation| explanation.candidates.clear(),
            |explanation| explanation.candidates[0].node = label("b"),
            |explanation| explanation.candidates[0].via = Via::Workers,
            |explanation| explanation.candidates[0].via = Via::Peer,
            |explanation| explanation.candidates[0].via = remote(1),
            |explanation| explanation.candidates[0].via = remote(2),
            |explanation| explanation.candidates[0].eligibility = Eligibility::Running { running: 1, limit: 2 },
            |explanation| explanation.candidates[0].eligibility = Eligibility::Unresponsive,
            |explanation| explanation.verdict = Verdict::NoProvider,
            |explanation| explanation.verdict = Verdict::Refused(Failure::new(Code::Failed, "a")),
        ],
    ));
}

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn remote(cost: u32) -> Via {
    Via::RemoteZone { zone: label("y"), cost }
}
