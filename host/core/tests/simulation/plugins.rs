//! Plugins: runs that take their time, answer in parts, fail, call other services, and end once, stopped or not.

use crate::scenario::{SERVICES, Weather, chance, flood, frame, name, pick, up_to};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::{Body, CallId, Code, Failure, Input, RequestId, Run};

/// The plugins' side of the driver.
#[derive(Default)]
pub(crate) struct Plugins {
    runs: BTreeMap<RequestId, PluginRun>,
    /// Calls without an answer, and the runs that made them.
    calls: BTreeMap<CallId, RequestId>,
    next_call: u64,
}

/// A run, from its start to its confirmation.
struct PluginRun {
    asked: String,
    plan: VecDeque<Deed>,
    /// Number of the scheduled step that is valid.
    turn: u64,
    /// A call whose answer it waits for.
    waits_for: Option<CallId>,
}

enum Deed {
    Partial,
    Call {
        service: &'static str,
        wait: bool,
    },
    Finish,
    /// Sends a final or partial reply over every limit.
    Flood {
        partial: bool,
    },
    Fail(Code),
}

/// The next step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn(RequestId, u64);

/// Time of a run's next step.
pub(crate) type Appointment = Option<(Duration, Turn)>;

impl Plugins {
    /// Starts a run, or ends it immediately because it cannot be started.
    pub(crate) fn start(&mut self, request: &Run, weather: &Weather, rng: &mut Rng) -> Result<Appointment, Input> {
        if chance(rng, weather.bad_plugins / 4) {
            let failure = Failure::new(Code::Exhausted, format!("no instance for run {}", request.id.0));
            return Err(Input::Finished { request: request.id, result: Err(failure) });
        }
        let mut plan = VecDeque::new();
        while chance(rng, 250) {
            plan.push_back(Deed::Partial);
        }
        while chance(rng, weather.calls) && plan.len() < 6 {
            let service = if chance(rng, 100) { "nobody" } else { pick(rng, &SERVICES) };
            plan.push_back(Deed::Call { service, wait: chance(rng, 700) });
        }
        let codes = [Code::Rejected, Code::Failed, Code::Crashed, Code::Exhausted];
        if chance(rng, weather.bad_plugins / 10) {
            plan.push_back(Deed::Flood { partial: rng.bool() });
        }
        plan.push_back(if chance(rng, weather.bad_plugins) { Deed::Fail(pick(rng, &codes)) } else { Deed::Finish });
        let asked = request.body.first().map(|frame| String::from_utf8_lossy(frame).into_owned()).unwrap_or_default();
        let longest = Duration::from_millis(pick(rng, &[0, 10, 100, 1_000]));
        self.runs.insert(request.id, PluginRun { asked, plan, turn: 0, waits_for: None });
        Ok(self.next_turn(request.id, up_to(rng, longest)))
    }

    /// Stops a run: it still ends by itself, a little later, and may take one more step before.
    pub(crate) fn stop(&mut self, request: RequestId, rng: &mut Rng) -> Appointment {
        let run = self.runs.get_mut(&request)?;
        run.waits_for = None;
        let next = run.plan.pop_front().filter(|_| rng.bool());
        run.plan = next.into_iter().collect();
        self.next_turn(request, up_to(rng, Duration::from_millis(20)))
    }

    /// Handles the answer to a call; `None` if there was no such call.
    pub(crate) fn answered(&mut self, call: CallId, rng: &mut Rng) -> Appointment {
        let request = self.calls.remove(&call)?;
        let run = self.runs.get_mut(&request)?;
        if run.waits_for != Some(call) {
            return None;
        }
        run.waits_for = None;
        self.next_turn(request, up_to(rng, Duration::from_millis(5)))
    }

    /// Executes the next step of a run.
    pub(crate) fn act(&mut self, Turn(request, turn): Turn, rng: &mut Rng) -> Option<(Input, Appointment)> {
        let run = self.runs.get_mut(&request).filter(|run| run.turn == turn)?;
        let body = |word: &str| -> Body { vec![frame(format!("{word} {turn} of run {} on {}", request.0, run.asked))] };
        // A stopped run has no plan.
        let deed = run.plan.pop_front().unwrap_or(Deed::Fail(Code::Failed));
        let result = match deed {
            Deed::Partial => {
                let input = Input::Partial { request, body: body("part") };
                return Some((input, self.next_turn(request, up_to(rng, Duration::from_millis(30)))));
            }
            Deed::Call { service, wait } => {
                let body = body("call");
                let call = CallId(self.next_call);
                run.waits_for = wait.then_some(call);
                self.next_call += 1;
                self.calls.insert(call, request);
                let pause = Duration::from_millis(if wait { 10_000 } else { 3 });
                let input = Input::Call { call, parent: request, service: name(service), body };
                return Some((input, self.next_turn(request, pause)));
            }
            Deed::Flood { partial: true } => {
                let input = Input::Partial { request, body: flood() };
                return Some((input, self.next_turn(request, Duration::ZERO)));
            }
            Deed::Flood { partial: false } => Ok(flood()),
            Deed::Finish => Ok(body("done")),
            Deed::Fail(code) => Err(Failure::new(code, format!("run {} went wrong", request.0))),
        };
        self.runs.remove(&request);
        Some((Input::Finished { request, result }, None))
    }

    fn next_turn(&mut self, request: RequestId, time: Duration) -> Appointment {
        let run = self.runs.get_mut(&request)?;
        run.turn += 1;
        Some((time, Turn(request, run.turn)))
    }
}
