//! Neighbouring routers, and a node and its peer, connected only by their frames.

use super::*;
use crate::broker::RequestId;
use crate::message::path::{self, Update, UpdateContent};
use crate::message::peer::{Forward, Member, MemberKind};
use crate::name::Label;
use crate::paths::Policy;
use crate::settings::{Neighbour, RouterSettings, RunningSettings, ServiceSettings};

const BOOT: u64 = 1_000;

/// A router called `gate`, of one zone, that is joined with the `gate` of another.
fn gate(zone: &str, other: &str) -> Node {
    let neighbour = Neighbour {
        name: "b".parse().unwrap(),
        zone: other.parse().unwrap(),
        endpoint: format!("tcp://{other}"),
        cost: 1,
        import: Policy::everything(),
        export: Policy::everything(),
    };
    Node::new(NodeSettings {
        name: "gate".parse().unwrap(),
        zone: zone.parse().unwrap(),
        boot: BOOT,
        endpoint: format!("tcp://{zone}"),
        router: Some(RouterSettings { neighbours: vec![neighbour], ..RouterSettings::default() }),
        ..NodeSettings::default()
    })
}

/// Returns the outputs of a node.
fn outputs(node: &mut Node) -> Vec<Output> {
    std::iter::from_fn(|| node.next_output()).collect()
}

/// Delivers the messages of two routers until neither sends any; each has dialled the other under its zone's name.
fn talk(nodes: &mut [Node; 2], now: Time) -> Vec<ZoneEvent> {
    let names = [ConnectionId::new("paris"), ConnectionId::new("lyon")];
    let (mut links, mut events) = ([LinkId(0); 2], Vec::new());
    nodes.iter_mut().for_each(|node| node.handle(Input::Tick, now));
    loop {
        let said: Vec<_> = nodes.iter_mut().map(outputs).collect();
        if said.iter().all(Vec::is_empty) {
            return events;
        }
        for (at, output) in said.into_iter().enumerate().flat_map(|(at, all)| all.into_iter().map(move |o| (at, o))) {
            match output {
                Output::Dial { link, .. } => links[at] = link,
                Output::Post { frames, .. } => {
                    nodes[1 - at].handle(Input::Message { from: names[at].clone(), frames }, now);
                }
                Output::Send { frames, .. } => {
                    nodes[1 - at].handle(Input::LinkMessage { link: links[1 - at], frames }, now);
                }
                Output::Zone(event) => events.push(event),
                _ => {}
            }
        }
    }
}

fn paris_and_lyon() -> ([Node; 2], Vec<ZoneEvent>) {
    let mut nodes = [gate("paris", "lyon"), gate("lyon", "paris")];
    let events = talk(&mut nodes, Time::ZERO);
    (nodes, events)
}

/// An update from lyon, as paris receives it.
fn paths(epoch: u64, number: u64) -> Input {
    let update = path::encode(&Update { number, content: UpdateContent::BeginRefresh });
    let frames = peer::encode(PeerMessage::Paths { epoch, update });
    Input::Message { from: ConnectionId::new("lyon"), frames }
}

fn asks_for_everything(node: &mut Node) -> bool {
    let is_ask = |output: &Output| match output {
        Output::Post { frames, .. } => match peer::decode(frames.clone()) {
            Ok(PeerMessage::Paths { update, .. }) => {
                path::decode(update).unwrap().content == UpdateContent::RequestRefresh
            }
            _ => false,
        },
        _ => false,
    };
    outputs(node).iter().any(is_ask)
}

#[test]
fn routers_of_two_zones_may_have_one_name_and_start_at_one_instant() {
    let (_, events) = paris_and_lyon();
    let up = events.iter().filter(|event| matches!(event, ZoneEvent::SessionUp { .. })).count();
    assert_eq!(up, 2, "{events:?}");
}

#[test]
fn an_update_of_an_earlier_session_is_dropped() {
    let ([mut paris, _], _) = paris_and_lyon();
    paris.handle(paths(BOOT, 7), Time::ZERO);
    assert!(!asks_for_everything(&mut paris), "the number counts in its own session only");
    paris.handle(paths(BOOT + 1, 7), Time::ZERO);
    assert!(asks_for_everything(&mut paris), "six updates are missing");
}

#[test]
fn a_router_that_sends_paths_of_an_unknown_session_is_refused() {
    let ([mut paris, _], _) = paris_and_lyon();
    paris.handle(paths(BOOT + 2, 1), Time::ZERO);
    let outputs = outputs(&mut paris);
    let [Output::Send { frames, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(matches!(peer::decode(frames.clone()), Ok(PeerMessage::Refused(_))));
}

/// A node that offers `print`.
fn printing() -> Node {
    let mut node = Node::new(NodeSettings::default());
    node.handle(Input::Offered("print".parse().unwrap()), Time::ZERO);
    node
}

/// A message of a peer that has dialled a node.
fn from_peer(guest: &str, message: PeerMessage) -> Input {
    Input::Message { from: ConnectionId::new(guest), frames: peer::encode(message) }
}

/// The HELLO of a peer called `b` that started at this time.
fn hello(boot: u64) -> PeerMessage {
    let name: Label = "b".parse().unwrap();
    let member = Member { name, boot, renewal: 0, role: MemberKind::Node, endpoint: "tcp://b".into() };
    PeerMessage::Hello { zone: NodeSettings::default().zone, member }
}

/// A request for `print`.
fn request() -> PeerMessage {
    PeerMessage::Request(Box::new(Forward {
        id: 1,
        remaining: Some(Duration::from_secs(1)),
        hops: 1,
        is_trace: false,
        has_alternative: false,
        service: "print".parse().unwrap(),
        caller: "client:00".into(),
        allowed: None,
        traceparent: None,
        idempotency_key: None,
        chain: Vec::new(),
        node: None,
        crossed: Vec::new(),
        zone: None,
        body: Vec::new(),
    }))
}

/// Returns the first run that a node starts.
fn run(node: &mut Node) -> Option<RequestId> {
    outputs(node).into_iter().find_map(|output| match output {
        Output::Run(request) => Some(request.id),
        _ => None,
    })
}

#[test]
fn messages_of_a_peer_are_answered_in_their_order() {
    let (now, mut node) = (Time::ZERO, printing());
    node.handle(from_peer("guest", hello(1)), now);
    node.handle(from_peer("guest", request()), now);
    // If the answer were not sent before it, the peer would consider the request lost.
    let finished = Input::Finished { request: run(&mut node).unwrap(), result: Ok(Vec::new()) };
    node.handle(finished, now);
    node.handle(from_peer("guest", PeerMessage::Ping { outstanding: vec![1] }), now);
    let told = outputs(&mut node).into_iter().filter_map(|output| match output {
        Output::Send { frames, .. } => peer::decode(frames).ok(),
        _ => None,
    });
    let reply = PeerMessage::Reply { id: 1, reply: Reply::Final(Vec::new()) };
    assert_eq!(told.collect::<Vec<_>>(), [reply, PeerMessage::Pong { unknown: vec![1] }]);
}

#[test]
fn a_connection_serves_until_another_of_its_node_is_used() {
    let (now, mut node) = (Time::ZERO, printing());
    // The same process may dial again by another name of the endpoint, with another identity, and use the first
    // connection.
    node.handle(from_peer("first", hello(1)), now);
    node.handle(from_peer("second", hello(2)), now);
    node.handle(from_peer("first", request()), now);
    assert!(run(&mut node).is_some());
    node.handle(from_peer("third", hello(3)), now);
    node.handle(from_peer("third", PeerMessage::Pull), now);
    outputs(&mut node);
    node.handle(from_peer("first", PeerMessage::Ping { outstanding: vec![1] }), now);
    let outputs = outputs(&mut node);
    let [Output::Send { frames, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(matches!(peer::decode(frames.clone()), Ok(PeerMessage::Refused(_))));
}

const REQUESTS: u64 = 5_000;

/// A node with [`REQUESTS`] requests of one client.
fn busy_node() -> Node {
    let defaults = ServiceSettings { queue: 10_000, ..ServiceSettings::default() };
    let mut node = Node::new(NodeSettings { defaults, ..NodeSettings::default() });
    let service: ServiceName = "slow".parse().unwrap();
    node.handle(Input::Offered(service), Time::ZERO);
    (0..REQUESTS).for_each(|id| send_request(&mut node, id));
    outputs(&mut node);
    node
}

fn send_request(node: &mut Node, id: u64) {
    let request = Request {
        id,
        service: "slow".into(),
        deadline_ms: Some(1_000),
        wait: false,
        trace: false,
        traceparent: None,
        idempotency_key: None,
        body: Vec::new(),
    };
    let frames = native::encode_request(Dialect::Native, &request).unwrap();
    node.handle(Input::Message { from: ConnectionId::new("client"), frames }, Time::ZERO);
}

#[test]
fn requests_of_a_client_that_is_gone_end_in_several_turns_and_those_that_it_sends_later_do_not() {
    let mut node = busy_node();
    let ended = |node: &Node| node.counters().failed.get(&Code::Cancelled).copied().unwrap_or_default();
    node.handle(Input::Undeliverable { to: ConnectionId::new("client"), frames: Vec::new() }, Time::ZERO);
    assert!(ended(&node) <= 2 * 1_024, "{} in one turn", ended(&node));
    send_request(&mut node, REQUESTS);
    while node.next_wake() == Some(Time::ZERO) {
        let before = ended(&node);
        node.handle(Input::Tick, Time::ZERO);
        assert!(ended(&node) - before <= 1_024);
    }
    assert_eq!(ended(&node), REQUESTS);
}

#[test]
fn requests_that_are_overdue_together_end_in_several_turns() {
    let mut node = busy_node();
    let late = Time::from_micros(1_000_000);
    let mut failed = 0;
    while node.next_wake().is_some_and(|due| due <= late) {
        node.handle(Input::Tick, late);
        let sent = outputs(&mut node).iter().filter(|output| matches!(output, Output::Send { .. })).count();
        assert!(sent <= 1_024, "{sent} in one turn");
        failed += sent as u64;
    }
    assert_eq!(failed, REQUESTS);
}

#[test]
fn settings_that_change_hold_for_what_waits_and_for_what_comes() {
    let mut node = busy_node();
    let runs = |node: &mut Node| outputs(node).iter().filter(|output| matches!(output, Output::Run(_))).count();
    let defaults = ServiceSettings { concurrency: 70, queue: 0, idempotent: true, ..ServiceSettings::default() };
    let mut settings = RunningSettings::of(&NodeSettings { defaults, ..NodeSettings::default() });
    node.handle(Input::Reconfigure(Box::new(settings.clone())), Time::ZERO);
    assert_eq!(runs(&mut node), 6, "64 run already");
    send_request(&mut node, REQUESTS);
    assert_eq!(node.counters().failed[&Code::Overloaded], 1, "the queue is over its new limit");
    settings.requests = 1;
    settings.defaults.queue = 10_000;
    node.handle(Input::Reconfigure(Box::new(settings)), Time::ZERO);
    send_request(&mut node, REQUESTS + 1);
    assert_eq!(node.counters().failed[&Code::Overloaded], 2, "limits.requests is reached");
}
