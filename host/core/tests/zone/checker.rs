//! Invariants of nodes, checked after every step against models of the checker.
//!
//! Each request is answered once, in time, and with the result of its own run; none runs twice unless it may; failures
//! are true; limits hold; no node spins. Invariants between nodes are in [`zone`].

mod crossing;
mod model;
mod reach;
mod zone;

pub(crate) use reach::Reach;

use crate::coverage::Coverage;
use crate::machine::{Clock, ProcessId};
use crate::plugins::RunId;
use crate::scenario::Scenario;
use crossing::Arrival;
use model::{Execution, Model, RequestModel, Requester};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::{self, Reply, native};
use wasmnode_core::{
    Body, CallId, Code, ConnectionId, Failure, Frame, Input, Limits, Node, NodeSettings, Output, PLUGIN_DEADLINE,
    RequestId, Run, ServiceName, Time,
};

/// Largest delay of an answer after its deadline: one step of a clock.
const GRACE: Duration = Duration::from_millis(1);

/// Number of steps of a node between checks of its tables.
const GLANCE: u64 = 8;

pub(crate) struct Checker {
    seed: u64,
    now: Time,
    steps: u64,
    is_gentle: bool,
    /// Whether frames are duplicated or reordered, and so may be partial replies.
    is_garbled: bool,
    /// Longest transit time of a message.
    under_way: Duration,
    requests: BTreeMap<u64, RequestModel>,
    due: BTreeSet<(Time, u64)>,
    models: BTreeMap<ProcessId, Model>,
    /// Active runs: the request, and the index of its run.
    runs: BTreeMap<RunId, (u64, usize)>,
    /// Time since which a dead or frozen node owes an answer to another.
    unanswered: BTreeMap<(ProcessId, ProcessId), Time>,
    /// Arrivals of the copies of a request at a process.
    arrivals: BTreeMap<(ProcessId, u64), Vec<Arrival>>,
    /// Endpoint of the Byzantine router.
    byzantine: Option<String>,
    /// Time for which routes may be wrong, until false statements expire or digests reveal lost updates.
    forgets_within: Duration,
    test: &'static str,
    pub(crate) coverage: Coverage,
}

impl Checker {
    pub(crate) fn new(seed: u64, scenario: &Scenario) -> Self {
        let weather = &scenario.weather;
        let byzantine = scenario.joined.and_then(|joined| joined.byzantine);
        let routers = scenario.nodes.iter().filter_map(|plan| plan.settings.router.as_ref());
        let paths = routers.map(|router| &router.paths).next().cloned().unwrap_or_default();
        let slow = scenario.nodes.iter().map(|plan| plan.slow).max().unwrap_or_default() + weather.between;
        Self {
            seed,
            now: Time::ZERO,
            steps: 0,
            is_gentle: scenario.is_gentle,
            is_garbled: weather.doubling + weather.overtaking > 0,
            under_way: weather.latency + 2 * slow + Duration::from_millis(1),
            requests: BTreeMap::new(),
            due: BTreeSet::new(),
            models: BTreeMap::new(),
            runs: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            byzantine: byzantine.map(|byzantine| scenario.nodes[byzantine].settings.endpoint.clone()),
            forgets_within: if scenario.is_gentle { Duration::ZERO } else { paths.lease + 2 * paths.still },
            test: scenario.test,
            coverage: Coverage::default(),
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Advances the time: due requests must be answered.
    pub(crate) fn at(&mut self, now: Time) {
        self.now = now;
        while let Some(&(due, number)) = self.due.first()
            && due + GRACE < now
        {
            self.due.pop_first();
            let ask = &self.requests[&number];
            let Some(home) = self.models.get_mut(&ask.home).filter(|_| !ask.is_answered) else { continue };
            if home.is_frozen {
                home.overdue.push(number);
            } else if home.is_alive {
                self.fail(&format!("request {number} of {} has no answer although its time is over", ask.service));
            }
        }
    }

    pub(crate) fn started(&mut self, id: ProcessId, settings: &NodeSettings, clock: Clock) {
        self.models.insert(id, Model::new(settings.clone(), clock, self.now));
    }

    /// Handles the end of a process: its clients do not wait, and its runs have no effect.
    pub(crate) fn ended(&mut self, id: ProcessId) {
        self.model(id).is_alive = false;
        self.model(id).troubled = self.now;
        self.runs.retain(|(process, _), _| *process != id);
    }

    /// Handles an orderly shutdown: no client of the process may be waiting.
    pub(crate) fn stopped(&mut self, id: ProcessId) {
        let left = self.requests.iter().find(|(_, ask)| ask.home == id && ask.is_open && !ask.is_answered);
        if let Some((number, _)) = left {
            self.fail(&format!("{} has stopped without an answer to request {number}", self.models[&id].name()));
        }
    }

    pub(crate) fn frozen(&mut self, id: ProcessId, is_frozen: bool) {
        let now = self.now;
        let model = self.model(id);
        (model.is_frozen, model.troubled) = (is_frozen, now);
        let overdue = std::mem::take(&mut model.overdue);
        self.due.extend(overdue.into_iter().map(|ask| (now, ask)));
        self.unanswered.retain(|(home, at), _| *home != id && *at != id);
    }

    /// Records a request of a client, before it is sent.
    pub(crate) fn asks(&mut self, from: ConnectionId, ask: &message::Request, home: ProcessId) {
        let address = String::from_utf8_lossy(&ask.service).into_owned();
        let (service, place) = address.split_once('@').unwrap_or((&address, ""));
        if !place.is_empty() {
            self.coverage.count(if place.starts_with('n') {
                "request to a named node"
            } else {
                "request to a named zone"
            });
        }
        let mut new = RequestModel::new(Requester::Client(from), service, home);
        let own_zone = self.models[&home].settings.zone.as_str();
        let (node, zone) =
            place.split_once('.').unwrap_or(if place.starts_with('n') { (place, own_zone) } else { ("", place) });
        new.node = (!node.is_empty()).then(|| node.to_owned());
        new.zone = (!zone.is_empty()).then(|| zone.to_owned());
        new.waits = ask.wait;
        new.deadline = ask.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        new.key.clone_from(&ask.idempotency_key);
        self.requests.insert(ask.id, new);
    }

    /// Records a call of a run, before the node gets it.
    pub(crate) fn calls(&mut self, call: CallId, (home, _): RunId, service: &ServiceName) {
        let mut new = RequestModel::new(Requester::Call, service.as_str(), home);
        new.is_open = true;
        self.requests.insert(call.0, new);
        self.accepts(call.0);
    }

    pub(crate) fn client_of(&self, ask: u64) -> ConnectionId {
        match &self.requests[&ask].requester {
            Requester::Client(peer) => peer.clone(),
            Requester::Call => self.fail("only clients withdraw"),
        }
    }

    /// Returns the mark that a run writes into its replies.
    pub(crate) fn mark_of(&self, run: RunId) -> String {
        let (ask, index) = self.runs[&run];
        format!("q{ask}/{index}")
    }

    pub(crate) fn offers(&self, id: ProcessId, service: &ServiceName) -> bool {
        self.models[&id].offers.contains_key(service)
    }

    pub(crate) fn woken(&mut self, id: ProcessId) {
        let now = self.now;
        let model = self.model(id);
        let count = if model.ticks.0 == now { model.ticks.1 + 1 } else { 1 };
        model.ticks = (now, count);
        if count > 3 {
            self.fail(&format!("{} requests wake-ups again and again in the same instant", self.models[&id].name()));
        }
    }

    /// Records an input, before the node gets it.
    pub(crate) fn input(&mut self, id: ProcessId, input: &Input) {
        self.steps += 1;
        match input {
            Input::Message { from, frames } if from.as_bytes().starts_with(b"client") => self.client_sent(frames),
            Input::Unsent { frames, .. } if message::peer::request_id(frames).is_some() => {
                self.coverage.count("request unsent");
            }
            Input::Undeliverable { .. } => self.coverage.count("undeliverable"),
            Input::LinkDown { .. } => self.coverage.count("link down"),
            Input::Offered(service) => {
                let now = self.now;
                self.model(id).offers.entry(service.clone()).or_insert(now);
            }
            Input::Withdrawn(service) => drop(self.model(id).offers.remove(service)),
            Input::Drain | Input::Stop => self.model(id).is_leaving = true,
            Input::Finished { request, result } => {
                if let Some((ask, index)) = self.runs.remove(&(id, *request)) {
                    let result = result.as_ref().map(|_| ()).map_err(|failure| failure.code);
                    self.run_mut(ask, index).result = Some(result);
                }
            }
            _ => {}
        }
    }

    fn client_sent(&mut self, frames: &[Frame]) {
        match message::decode(frames.to_vec()) {
            Ok(message::Message::Request { request, .. }) => {
                self.ask_mut(request.id).is_open = true;
                self.accepts(request.id);
            }
            Ok(message::Message::Cancel { id }) => self.ask_mut(id).is_cancelled = true,
            _ => self.fail("a client sends an invalid message"),
        }
    }

    /// Starts the deadline of a request.
    fn accepts(&mut self, number: u64) {
        let now = self.now;
        let ask = self.ask_mut(number);
        ask.opened = now;
        let ask = &self.requests[&number];
        let (home, service, asked) = (ask.home, ask.service.clone(), ask.deadline);
        let Model { settings, clock, .. } = &self.models[&home];
        let longest = service.parse().ok().and_then(|name: ServiceName| settings.services.get(&name)?.deadline);
        let longest = longest.or(settings.defaults.deadline).unwrap_or(PLUGIN_DEADLINE);
        let time = match asked {
            // The deadline of the service starts when it gets a provider.
            Some(asked) if ask.waits => asked,
            asked => asked.map_or(longest, |asked| asked.min(longest)),
        };
        let due = clock.when(clock.shows(now) + time);
        self.due.insert((due, number));
    }

    /// Checks an output, once it is carried out.
    pub(crate) fn output(&mut self, id: ProcessId, output: &Output) {
        match output {
            Output::Send { to, frames } if to.as_bytes().starts_with(b"client") => {
                match native::decode_reply(frames.clone()) {
                    Ok((number, reply)) => self.client_received(id, to, number, &reply),
                    Err(malformed) => self.fail(&format!("a client cannot decode a message to it: {malformed}")),
                }
            }
            Output::Answer { call, result } => {
                let reply = result.clone().map_or_else(Reply::Failure, Reply::Final);
                self.answered(id, call.0, &reply);
            }
            Output::Run(request) => self.runs(id, request),
            Output::Zone(event) => self.zone_event(id, event),
            _ => {}
        }
    }

    fn runs(&mut self, id: ProcessId, request: &Run) {
        let name = self.models[&id].name().to_owned();
        let number = request.body.first().and_then(|mark| number_in(mark)).map(|(number, _)| number);
        let Some(number) = number.filter(|number| self.requests.contains_key(number)) else {
            self.fail(&format!("{name} runs what no client requested: {request:?}"));
        };
        let is_idempotent = self.models[&id].settings_of(&request.service).idempotent;
        let ask = &self.requests[&number];
        if ask.service != request.service.as_str() || ask.key != request.idempotency_key {
            self.fail(&format!("{name} runs something else than request {number}: {request:?}"));
        }
        let (zone, home) = (&self.models[&id].settings.zone, &self.models[&ask.home].settings.zone);
        let is_meant = ask.node.as_ref().is_none_or(|node| *node == name)
            && ask.zone.as_ref().is_none_or(|asked| asked.as_str() == zone.as_str());
        if !is_meant && self.byzantine.is_none() {
            self.fail(&format!("{name} of {zone} runs request {number}, which was for {:?}@{:?}", ask.node, ask.zone));
        }
        let is_abroad = zone != home;
        // A request that runs once where a repetition is not safe may also run elsewhere, before or after.
        if !is_idempotent && ask.key.is_none() && ask.runs.iter().any(|run| !run.is_idempotent) {
            self.fail(&format!("request {number} runs a second time, at {name}, but may not"));
        }
        if let Some(code) = ask.failed_with.filter(|code| code.was_not_started()) {
            self.fail(&format!("request {number} runs at {name}, but was answered with {code}"));
        }
        if !ask.runs.is_empty() {
            self.coverage.count("ran a second time");
        }
        if ask.home != id {
            self.coverage.count("ran at a peer");
        }
        if is_abroad {
            self.coverage.count("ran in another zone");
        }
        let run = Execution { at: id, is_idempotent, result: None };
        let ask = self.ask_mut(number);
        ask.runs.push(run);
        let index = ask.runs.len() - 1;
        if self.runs.insert((id, request.id), (number, index)).is_some() {
            self.fail(&format!("{name} starts run {:?} twice", request.id));
        }
    }

    fn client_received(&mut self, id: ProcessId, to: &ConnectionId, number: u64, reply: &Reply) {
        match self.requests.get(&number) {
            Some(RequestModel { requester: Requester::Client(peer), home, .. }) if peer == to && *home == id => {}
            _ => self.fail(&format!("client {to} gets a reply to request {number}, which is not its own: {reply:?}")),
        }
        self.answered(id, number, reply);
    }

    /// Handles a partial reply or an answer.
    fn answered(&mut self, id: ProcessId, number: u64, reply: &Reply) {
        let ask = &self.requests[&number];
        if ask.is_answered || !ask.is_open {
            self.fail(&format!("request {number} gets an answer that is not due: {reply:?}"));
        }
        match reply {
            Reply::Partial(body) => {
                let index = self.made_by(number, body, false);
                let is_garbled = self.is_garbled;
                let ask = self.ask_mut(number);
                let is_other = ask.partial_by.replace(index).is_some_and(|other| other != index);
                let is_double = !ask.parts.insert(body[0].clone());
                if is_other || (is_double && !is_garbled) {
                    self.fail(&format!("request {number} gets parts of two runs, or one twice: {body:?}"));
                }
                self.coverage.count("partial reply");
            }
            Reply::Final(body) => {
                let index = self.made_by(number, body, true);
                if self.requests[&number].partial_by.is_some_and(|other| other != index) {
                    self.fail(&format!("request {number} gets its answer and its parts from two runs"));
                }
                self.ask_mut(number).is_answered = true;
                if self.requests[&number].must_succeed == Some(false) {
                    self.fail(&format!("in calm, request {number} is answered from where no policy lets it pass"));
                }
                self.coverage.count("final reply");
                if self.requests[&number].runs[index].at != id {
                    self.coverage.count("final reply of a peer");
                }
            }
            Reply::Failure(failure) => self.failed(id, number, failure),
        }
    }

    /// Returns the index of the run that made this reply.
    fn made_by(&self, number: u64, body: &Body, is_final: bool) -> usize {
        let ask = &self.requests[&number];
        match body.first().and_then(|mark| number_in(mark)) {
            Some((of, Some(index))) if of == number && index < ask.runs.len() => {
                if is_final && ask.runs[index].result.as_ref().is_none_or(Result::is_err) {
                    self.fail(&format!("request {number} is answered by a run that has made no answer"));
                }
                index
            }
            _ => self.fail(&format!("request {number} gets what was not made for it: {body:?}")),
        }
    }

    fn failed(&mut self, id: ProcessId, number: u64, failure: &Failure) {
        self.coverage.count(failure.code.name());
        self.coverage.count_reason(&failure.reason);
        let ask = &self.requests[&number];
        if ask.must_succeed == Some(true) {
            let (home, zone) = (self.models[&id].name(), &ask.zone);
            self.fail(&format!("in calm, request {number} of {}@{zone:?} fails at {home}: {failure}", ask.service));
        }
        if failure.code.was_not_started() && !ask.runs.is_empty() {
            self.fail(&format!("request {number} has run, and its failure says that it has not: {failure}"));
        }
        let is_notified = |run: &Execution| run.result == Some(Err(failure.code));
        let of_plugins = [Code::Rejected, Code::Failed, Code::Crashed, Code::Exhausted];
        if of_plugins.contains(&failure.code) && !ask.runs.iter().any(is_notified) {
            self.fail(&format!("no run of request {number} has failed like this: {failure}"));
        }
        if failure.code == Code::Cancelled && !ask.is_cancelled && !matches!(ask.requester, Requester::Call) {
            self.fail(&format!("no client has cancelled request {number}: {failure}"));
        }
        if failure.code == Code::Malformed && !failure.reason.contains("name") {
            self.fail(&format!("request {number} is well-formed: {failure}"));
        }
        self.may_fail(id, number, failure);
        let code = failure.code;
        let ask = self.ask_mut(number);
        (ask.is_answered, ask.failed_with) = (true, Some(code));
    }

    /// Checks a node once its outputs are carried out.
    pub(crate) fn at_rest(&mut self, id: ProcessId, node: &Node) {
        let now = self.now;
        let model = self.model(id);
        model.steps += 1;
        if !model.steps.is_multiple_of(GLANCE) {
            return;
        }
        let (settings, shows) = (&model.settings, model.clock.shows(now));
        let Limits { requests, requests_per_peer, .. } = settings.limits;
        let mut by_peer = BTreeMap::new();
        let (mut wrong, mut full) = (None, 0);
        for status in node.services(shows) {
            let limits = settings.services.get(&status.name).unwrap_or(&settings.defaults);
            // Requests that come back from a peer are not refused by a full queue.
            if status.running > limits.concurrency || status.queued > limits.queue + model.forwards {
                wrong = Some(format!("{status:?} is over {limits:?}"));
            }
            for peer in status.peers {
                full += u64::from(peer.is_full);
                if settings.is_router() {
                    // Its neighbours have the same names as the members of its own zone.
                    continue;
                }
                *by_peer.entry(peer.node).or_insert(0) += peer.outstanding;
            }
        }
        self.coverage.count_many("peer full", full);
        if let Some((peer, count)) = by_peer.iter().find(|(_, count)| **count > requests_per_peer) {
            wrong = Some(format!("{peer} has {count} requests, which is over {requests_per_peer}"));
        }
        let running = self.runs.range((id, RequestId(0))..=(id, RequestId(u64::MAX))).count();
        if node.outstanding() > requests + running {
            wrong = Some(format!("{} requests are outstanding", node.outstanding()));
        }
        if let Some(wrong) = wrong {
            self.fail(&format!("{} exceeds a limit: {wrong}", self.models[&id].name()));
        }
    }

    fn ask_mut(&mut self, number: u64) -> &mut RequestModel {
        self.requests.get_mut(&number).unwrap()
    }

    fn run_mut(&mut self, ask: u64, index: usize) -> &mut Execution {
        &mut self.requests.get_mut(&ask).unwrap().runs[index]
    }

    fn model(&mut self, id: ProcessId) -> &mut Model {
        self.models.get_mut(&id).unwrap()
    }

    pub(crate) fn fail(&self, text: &str) -> ! {
        let Self { seed, steps, now, test, .. } = self;
        panic!(
            "{text}\n  in step {steps} of seed {seed}, at {} us\n  \
             replay: WASMNODE_SEED={seed} cargo test -p wasmnode-core --test zone {test} -- --nocapture",
            now.as_micros()
        );
    }
}

/// Returns the request and the run in a mark: `q7` or `q7/0 done`.
fn number_in(mark: &[u8]) -> Option<(u64, Option<usize>)> {
    let text = std::str::from_utf8(mark).ok()?.strip_prefix('q')?;
    let text = text.split(' ').next()?;
    match text.split_once('/') {
        Some((number, run)) => Some((number.parse().ok()?, Some(run.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}
