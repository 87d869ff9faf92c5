//! The checker bites: each test shows it something that breaks a rule, beside an honest node.

use crate::checker::Checker;
use crate::machine::{Clock, ProcessId};
use crate::scenario::{Scenario, Size, frame, name};
use wasmnode_core::message::{Ask, Reply, native};
use wasmnode_core::{Code, Failure, Input, Node, NodeSettings, Output, PeerId, RequestId, Time};

const HOME: ProcessId = ProcessId(0);
const START: Time = Time::from_micros(1_000_000);
const CLOCK: Clock = Clock { started: Time::ZERO, ticks: 10_000 };

/// An honest node, and a checker that hears of it from somebody who may lie.
struct Trial {
    node: Node,
    checker: Checker,
}

impl Trial {
    /// A client asks a node that offers the service.
    fn asked() -> Self {
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
        let output = Output::Send { to: client(), frames: native::encode_reply(7, reply) };
        self.checker.output(HOME, &output);
    }
}

fn client() -> PeerId {
    PeerId::new("client0".to_owned())
}

fn ask() -> Ask {
    let (deadline_ms, traceparent, idempotency_key) = (None, None, None);
    let (body, service) = (vec![frame("q7")], frame("add"));
    Ask { id: 7, service, deadline_ms, wait: false, trace: false, traceparent, idempotency_key, body }
}

fn asks() -> Input {
    Input::Message { from: client(), frames: native::encode_request(&ask()) }
}

#[test]
fn an_honest_node_passes() {
    assert_eq!(Trial::asked().ends().len(), 1);
}

#[test]
#[should_panic(expected = "gets an answer that it is not owed")]
fn a_second_answer_is_noticed() {
    let mut trial = Trial::asked();
    trial.ends().iter().for_each(|output| trial.checker.output(HOME, output));
}

#[test]
#[should_panic(expected = "has no answer although its time is over")]
fn an_answer_that_never_comes_is_noticed() {
    let mut trial = Trial::asked();
    trial.checker.at(Time::from_micros(4_000_000));
}

#[test]
#[should_panic(expected = "runs a second time")]
fn a_second_run_at_another_node_is_noticed() {
    let mut trial = Trial::asked();
    let mut other = Node::new(NodeSettings::default());
    trial.checker.started(ProcessId(1), &NodeSettings::default(), CLOCK);
    other.handle(Input::Offered(name("add")), START);
    other.handle(asks(), START);
    std::iter::from_fn(|| other.next_output()).for_each(|output| trial.checker.output(ProcessId(1), &output));
}

#[test]
#[should_panic(expected = "its failure says that it has not")]
fn a_failure_that_denies_a_run_is_noticed() {
    Trial::asked().tells(Reply::Failure(Failure::new(Code::Unreachable, "nobody there")));
}

#[test]
#[should_panic(expected = "gets what was not made for it")]
fn the_answer_to_another_request_is_noticed() {
    Trial::asked().tells(Reply::Final(vec![frame("q8/0 done")]));
}

#[test]
#[should_panic(expected = "again and again in the same instant")]
fn a_node_that_spins_is_noticed() {
    let mut trial = Trial::asked();
    (0..4).for_each(|_| trial.checker.woken(HOME));
}
