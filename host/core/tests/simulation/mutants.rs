//! Tests of the checker: each gives it a node that breaks one rule, by changing the outputs or the settings of a
//! correct node.

use crate::checker::Checker;
use crate::scenario::{frame, name};
use std::time::Duration;
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::{
    Body, Code, ConnectionId, Failure, Frame, Input, Limits, Node, NodeSettings, Output, RequestId, ServiceSettings,
    Time,
};

const START: Time = Time::from_micros(1_000_000);

/// A correct node, and a checker that gets outputs that may be changed.
struct Trial {
    node: Node,
    checker: Checker,
}

impl Trial {
    /// Creates a node with a plugin, and a checker with other settings than those of the node.
    fn with(settings: NodeSettings) -> Self {
        let (node, checker) = (Node::new(NodeSettings::default()), Checker::new(0, settings));
        let mut trial = Self { node, checker };
        trial.handle(Input::Offered(name("add")));
        trial
    }

    fn new() -> Self {
        Self::with(NodeSettings::default())
    }

    fn handle(&mut self, input: Input) {
        self.tampered(input, |output| vec![output]);
    }

    /// Handles an input; the checker gets the result of `change` in place of each output.
    fn tampered(&mut self, input: Input, mut change: impl FnMut(Output) -> Vec<Output>) {
        self.checker.input(&input, START);
        self.node.handle(input, START);
        while let Some(output) = self.node.next_output() {
            change(output).iter().for_each(|output| self.checker.output(output));
        }
        self.checker.at_rest(&self.node);
    }
}

fn peer(name: &'static str) -> ConnectionId {
    ConnectionId::new(Frame::from_static(name.as_bytes()))
}

fn from_peer(from: &'static str, frames: Vec<Frame>) -> Input {
    Input::Message { from: peer(from), frames }
}

fn request_of(id: u64, body: &str) -> Input {
    let body = vec![frame(body)];
    let (deadline_ms, service) = (None, frame("add"));
    let ask =
        Request { id, service, deadline_ms, wait: true, trace: false, traceparent: None, idempotency_key: None, body };
    from_peer("client", native::encode_request(Dialect::Native, &ask).unwrap_or_else(|failure| panic!("{failure}")))
}

fn finished(run: u64, body: &str) -> Input {
    Input::Finished { request: RequestId(run), result: Ok(vec![frame(body)]) }
}

fn ready_of(worker: &'static str) -> Input {
    from_peer(worker, vec![frame("MDPW02"), Frame::from_static(&[1]), frame("add")])
}

fn twice(output: Output) -> Vec<Output> {
    vec![output.clone(), output]
}

fn never(_: Output) -> Vec<Output> {
    Vec::new()
}

fn replies(id: u64, reply: Reply) -> Output {
    Output::Send { to: peer("client"), frames: native::encode_reply(Dialect::Native, id, reply) }
}

fn body(text: &str) -> Body {
    vec![frame(text)]
}

#[test]
fn an_honest_node_passes() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.handle(finished(1, "A"));
    trial.checker.at_end(&trial.node, |_| true);
}

#[test]
#[should_panic(expected = "an answer that is not due")]
fn a_second_answer_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.tampered(finished(1, "A"), twice);
}

#[test]
#[should_panic(expected = "has not answered what is finished")]
fn a_missing_answer_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.tampered(finished(1, "A"), never);
}

#[test]
#[should_panic(expected = "an answer that is not due")]
fn the_answer_to_another_request_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.handle(request_of(2, "b"));
    trial.tampered(finished(2, "B"), |_| vec![replies(1, Reply::Final(body("B")))]);
}

#[test]
#[should_panic(expected = "gets a message in another dialect")]
fn a_compact_reply_to_another_request_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    let frames = native::encode_reply(Dialect::NativeCompact, 1, Reply::Final(body("A")));
    trial.tampered(finished(1, "A"), |_| vec![Output::Send { to: peer("client"), frames: frames.clone() }]);
}

#[test]
#[should_panic(expected = "a failure that is not true")]
fn a_failure_without_a_cause_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    let late = Reply::Failure(Failure::new(Code::Deadline, "too late"));
    trial.tampered(finished(1, "A"), |_| vec![replies(1, late.clone())]);
}

#[test]
#[should_panic(expected = "a partial reply that is not due")]
fn a_repeated_partial_reply_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.tampered(Input::Partial { request: RequestId(1), body: body("half") }, twice);
}

#[test]
#[should_panic(expected = "answers a trace without a record of it")]
fn a_trace_that_is_not_recorded_is_noticed() {
    let (deadline_ms, service) = (None, frame("add"));
    let (traceparent, idempotency_key) = (None, None);
    let request = Request {
        id: 1,
        service,
        deadline_ms,
        wait: false,
        trace: true,
        traceparent,
        idempotency_key,
        body: body("a"),
    };
    let is_record = |output: &Output| match output {
        Output::Send { frames, .. } => matches!(native::decode_reply(frames.clone()), Ok((1, Reply::Partial(_)))),
        _ => false,
    };
    let mut trial = Trial::new();
    trial.tampered(
        from_peer(
            "client",
            native::encode_request(Dialect::Native, &request).unwrap_or_else(|failure| panic!("{failure}")),
        ),
        |output| {
            if is_record(&output) { Vec::new() } else { vec![output] }
        },
    );
}

#[test]
#[should_panic(expected = "no caller's next request")]
fn a_second_execution_is_noticed() {
    let mut trial = Trial::new();
    trial.tampered(request_of(1, "a"), twice);
}

#[test]
#[should_panic(expected = "hands worker 776f726b6572 a second request")]
fn a_second_request_for_a_busy_worker_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(Input::Withdrawn(name("add")));
    trial.handle(ready_of("worker"));
    trial.tampered(request_of(1, "a"), twice);
}

#[test]
#[should_panic(expected = "which it did not ask for")]
fn a_worker_that_never_registered_is_noticed() {
    let mut trial = Trial::new();
    trial.tampered(ready_of("worker"), twice);
}

#[test]
#[should_panic(expected = "would be woken only at")]
fn a_node_that_would_oversleep_is_noticed() {
    let impatient = ServiceSettings { deadline: Some(Duration::from_millis(1)), ..ServiceSettings::default() };
    let mut trial = Trial::with(NodeSettings { defaults: impatient, ..NodeSettings::default() });
    trial.handle(Input::Withdrawn(name("add")));
    trial.handle(request_of(1, "a"));
}

#[test]
#[should_panic(expected = "runs too many")]
fn too_many_runs_at_once_are_noticed() {
    let narrow = ServiceSettings { concurrency: 1, ..ServiceSettings::default() };
    let mut trial = Trial::with(NodeSettings { defaults: narrow, ..NodeSettings::default() });
    trial.handle(request_of(1, "a"));
    trial.handle(request_of(2, "b"));
}

#[test]
#[should_panic(expected = "exceeds a limit")]
fn too_many_requests_are_noticed() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let mut trial = Trial::with(NodeSettings { limits, ..NodeSettings::default() });
    trial.handle(request_of(1, "a"));
    trial.handle(request_of(2, "b"));
}

#[test]
#[should_panic(expected = "requests never get an answer")]
fn a_request_left_over_at_the_end_is_noticed() {
    let mut trial = Trial::new();
    trial.handle(request_of(1, "a"));
    trial.checker.at_end(&trial.node, |_| true);
}
