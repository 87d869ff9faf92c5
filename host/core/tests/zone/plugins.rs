//! Plugins: runs that take their time, answer in parts, fail, call other services, and end once, stopped or not.

use crate::machine::ProcessId;
use crate::scenario::{SERVICES, Weather, chance, frame, name, pick, up_to};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::{Body, CallId, Code, Failure, Input, RequestId, ServiceName};

/// A run of any process.
pub(crate) type RunId = (ProcessId, RequestId);

/// The plugins of all machines.
#[derive(Default)]
pub(crate) struct Plugins {
    runs: BTreeMap<RunId, PluginRun>,
    calls: BTreeMap<CallId, RunId>,
}

struct PluginRun {
    /// Mark in its replies: the request, and the index of the run.
    mark: String,
    plan: VecDeque<Deed>,
    /// Number of the scheduled step that is valid.
    turn: u64,
    waits_for: Option<CallId>,
}

enum Deed {
    Partial,
    Call,
    Finish,
    Fail(Code),
}

/// Next step of a run.
pub(crate) enum Step {
    Say(Input),
    Call(ServiceName),
    End(Input),
}

impl Plugins {
    /// Starts a run. Returns the time until its first step, and the number of that step.
    pub(crate) fn start(&mut self, id: RunId, mark: String, weather: &Weather, rng: &mut Rng) -> (Duration, u64) {
        let mut plan = VecDeque::new();
        while chance(rng, weather.parts) && plan.len() < 4 {
            plan.push_back(Deed::Partial);
        }
        if chance(rng, weather.calls) {
            plan.push_back(Deed::Call);
        }
        let codes = [Code::Rejected, Code::Failed, Code::Crashed, Code::Exhausted];
        plan.push_back(if chance(rng, weather.bad_plugins) { Deed::Fail(pick(rng, &codes)) } else { Deed::Finish });
        self.runs.insert(id, PluginRun { mark, plan, turn: 0, waits_for: None });
        (up_to(rng, weather.run), 0)
    }

    /// Stops a run: it still ends by itself, a little later, in one way or another.
    pub(crate) fn stop(&mut self, id: RunId, rng: &mut Rng) -> Option<(Duration, u64)> {
        let run = self.runs.get_mut(&id)?;
        run.waits_for = None;
        run.plan = if rng.bool() { [Deed::Finish].into() } else { [Deed::Fail(Code::Failed)].into() };
        run.turn += 1;
        Some((up_to(rng, Duration::from_millis(20)), run.turn))
    }

    pub(crate) fn called(&mut self, id: RunId, call: CallId) {
        self.calls.insert(call, id);
        self.runs.get_mut(&id).into_iter().for_each(|run| run.waits_for = Some(call));
    }

    /// Handles the answer to a call: the run continues.
    pub(crate) fn answered(&mut self, call: CallId) -> Option<(RunId, u64)> {
        let id = self.calls.remove(&call)?;
        let run = self.runs.get_mut(&id).filter(|run| run.waits_for == Some(call))?;
        run.waits_for = None;
        run.turn += 1;
        Some((id, run.turn))
    }

    /// Executes the next step of a run. Returns it with the number of the step after it.
    pub(crate) fn act(&mut self, id: RunId, turn: u64, rng: &mut Rng) -> Option<(Step, u64)> {
        let run = self.runs.get_mut(&id).filter(|run| run.turn == turn)?;
        run.turn += 1;
        let (request, next) = (id.1, run.turn);
        let body = |word: &str| -> Body { vec![frame(format!("{} {word}", run.mark))] };
        let result = match run.plan.pop_front() {
            Some(Deed::Partial) => {
                let input = Input::Partial { request, body: body(&format!("part {turn}")) };
                return Some((Step::Say(input), next));
            }
            Some(Deed::Call) => return Some((Step::Call(name(pick(rng, &SERVICES))), next)),
            Some(Deed::Finish) | None => Ok(body("done")),
            Some(Deed::Fail(code)) => Err(Failure::new(code, format!("{} went wrong", run.mark))),
        };
        self.runs.remove(&id);
        Some((Step::End(Input::Finished { request, result }), next))
    }

    /// Removes the runs of a process that ended.
    pub(crate) fn ended(&mut self, process: ProcessId) {
        self.runs.retain(|(of, _), _| *of != process);
        self.calls.retain(|_, (of, _)| *of != process);
    }
}
