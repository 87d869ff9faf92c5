//! Tests of the checker: each gives it an output that breaks a rule, beside those of a correct node.

use crate::checker::Checker;
use crate::machine::{Clock, ProcessId};
use crate::scenario::{Scenario, Size, frame, name};
use std::time::Duration;
use wasmnode_core::message::peer::{self, Forward, PeerMessage};
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::paths::{Filter, Policy};
use wasmnode_core::{
    Code, ConnectionId, Failure, Input, Label, Neighbour, Node, NodeSettings, Output, RequestId, RouterSettings, Time,
};

const HOME: ProcessId = ProcessId(0);
const START: Time = Time::from_micros(1_000_000);
const CLOCK: Clock = Clock { started: Time::ZERO, ticks: 10_000 };

/// A correct node, and a checker that may get false outputs.
struct Trial {
    node: Node,
    checker: Checker,
}

impl Trial {
    /// Creates a trial in which a client sends a request to a node that offers the service.
    fn with_request() -> Self {
        let mut checker = Checker::new(0, &Scenario::draw(0, Size::Small));
        let settings = NodeSettings::default();
        checker.at(START);
        checker.started(HOME, &settings, CLOCK);
        let mut trial = Self { node: Node::new(settings), checker };
        trial.happens(Input::Offered(name("add")));
        trial.checker.asks(client(), &ask(), HOME);
        trial.happens(asks());
        trial
    }

    fn happens(&mut self, input: Input) -> Vec<Output> {
        self.checker.input(HOME, &input);
        self.node.handle(input, START);
        let outputs: Vec<_> = std::iter::from_fn(|| self.node.next_output()).collect();
        outputs.iter().for_each(|output| self.checker.output(HOME, output));
        outputs
    }

    fn ends(&mut self) -> Vec<Output> {
        let request = RequestId(1);
        let mark = self.checker.mark_of((HOME, request));
        self.happens(Input::Finished { request, result: Ok(vec![frame(format!("{mark} done"))]) })
    }

    fn tells(&mut self, reply: Reply) {
        let output = Output::Send { to: client(), frames: native::encode_reply(Dialect::Native, 7, reply) };
        self.checker.output(HOME, &output);
    }
}

fn client() -> ConnectionId {
    ConnectionId::new("client0")
}

fn ask() -> Request {
    let (deadline_ms, traceparent, idempotency_key) = (None, None, None);
    let (body, service) = (vec![frame("q7")], frame("add"));
    Request { id: 7, service, deadline_ms, wait: false, trace: false, traceparent, idempotency_key, body }
}

fn asks() -> Input {
    Input::Message { from: client(), frames: native::encode_request(Dialect::Native, &ask()).unwrap() }
}

#[test]
fn an_honest_node_passes() {
    assert_eq!(Trial::with_request().ends().len(), 1);
}

#[test]
#[should_panic(expected = "gets an answer that is not due")]
fn a_second_answer_is_noticed() {
    let mut trial = Trial::with_request();
    trial.ends().iter().for_each(|output| trial.checker.output(HOME, output));
}

#[test]
#[should_panic(expected = "has no answer although its time is over")]
fn an_answer_that_never_comes_is_noticed() {
    let mut trial = Trial::with_request();
    trial.checker.at(Time::from_micros(4_000_000));
}

#[test]
#[should_panic(expected = "runs a second time")]
fn a_second_run_at_another_node_is_noticed() {
    let mut trial = Trial::with_request();
    let mut other = Node::new(NodeSettings::default());
    trial.checker.started(ProcessId(1), &NodeSettings::default(), CLOCK);
    other.handle(Input::Offered(name("add")), START);
    other.handle(asks(), START);
    std::iter::from_fn(|| other.next_output()).for_each(|output| trial.checker.output(ProcessId(1), &output));
}

#[test]
#[should_panic(expected = "its failure says that it has not")]
fn a_failure_that_denies_a_run_is_noticed() {
    Trial::with_request().tells(Reply::Failure(Failure::new(Code::Unreachable, "nobody there")));
}

#[test]
#[should_panic(expected = "gets what was not made for it")]
fn the_answer_to_another_request_is_noticed() {
    Trial::with_request().tells(Reply::Final(vec![frame("q8/0 done")]));
}

#[test]
#[should_panic(expected = "again and again in the same instant")]
fn a_node_that_spins_is_noticed() {
    let mut trial = Trial::with_request();
    (0..4).for_each(|_| trial.checker.woken(HOME));
}

const GATE: ProcessId = ProcessId(1);
const LYON: ProcessId = ProcessId(2);
const ROME: ProcessId = ProcessId(3);

/// Returns routers of three zones in a row: local, lyon and rome; lyon exports to local the services that match
/// `export`.
fn routers(export: &str) -> Trial {
    let mut trial = Trial::with_request();
    let neighbour = |zone: &str, export: &str| {
        let export = Policy { allow: vec![export.parse::<Filter>().unwrap()], deny: Vec::new() };
        let (zone, endpoint): (Label, String) = (zone.parse().unwrap(), format!("tcp://{zone}"));
        Neighbour { name: zone.clone(), zone, endpoint, cost: 1, import: Policy::everything(), export }
    };
    let neighbours = [
        (GATE, "local", vec![neighbour("lyon", "*")]),
        (LYON, "lyon", vec![neighbour("local", export), neighbour("rome", "*")]),
        (ROME, "rome", vec![neighbour("lyon", "*")]),
    ];
    for (id, zone, neighbours) in neighbours {
        let router = Some(RouterSettings { neighbours, ..RouterSettings::default() });
        let (zone, endpoint) = (zone.parse().unwrap(), format!("tcp://{zone}"));
        trial.checker.started(id, &NodeSettings { zone, endpoint, router, ..NodeSettings::default() }, CLOCK);
    }
    trial
}

impl Trial {
    /// Forwards a request for rome, as having crossed these zones.
    fn passes(&mut self, from: ProcessId, to: ProcessId, crossed: &[&str]) {
        let forward = Forward {
            id: 1,
            remaining: Some(Duration::from_secs(1)),
            hops: 9,
            is_trace: false,
            has_alternative: false,
            service: name("add"),
            caller: String::new(),
            allowed: None,
            traceparent: None,
            idempotency_key: None,
            chain: Vec::new(),
            zone: Some("rome".parse().unwrap()),
            node: None,
            crossed: crossed.iter().map(|zone| zone.parse().unwrap()).collect(),
            body: vec![frame("q7")],
        };
        self.checker.posts(from, Some(to), &peer::encode(PeerMessage::Request(forward.into())));
    }
}

#[test]
fn a_request_that_goes_from_zone_to_zone_passes() {
    let mut trial = routers("*");
    trial.passes(HOME, GATE, &["local"]);
    trial.passes(GATE, LYON, &["local"]);
    trial.passes(LYON, ROME, &["local", "lyon"]);
}

#[test]
#[should_panic(expected = "into local again")]
fn a_request_that_enters_a_zone_again_is_noticed() {
    let mut trial = routers("*");
    trial.passes(HOME, GATE, &["local"]);
    trial.passes(GATE, LYON, &["local"]);
    trial.passes(LYON, GATE, &["local", "lyon"]);
}

#[test]
#[should_panic(expected = "reports zones of request 7 where it was not")]
fn a_router_that_forgets_where_a_request_was_is_noticed() {
    let mut trial = routers("*");
    trial.passes(HOME, GATE, &["local"]);
    trial.passes(GATE, LYON, &["local"]);
    trial.passes(LYON, ROME, &["lyon"]);
}

#[test]
#[should_panic(expected = "which it does not export")]
fn a_request_that_passes_a_rule_is_noticed() {
    let mut trial = routers("print");
    trial.passes(HOME, GATE, &["local"]);
    trial.passes(GATE, LYON, &["local"]);
    trial.passes(LYON, ROME, &["local", "lyon"]);
}
