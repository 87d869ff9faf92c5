//! Checks of outputs: each answer is due, each start is valid, each worker is registered.

use super::clock::Kind;
use super::model::{Place, RequestModel, RequestNumber, Requester};
use super::truth::is_same;
use super::{Checker, Execution, HEARTBEATS, Held, MAX_RETRIES, Registered};
use std::collections::BTreeSet;
use wasmnode_core::message::majordomo::FAILURE_MARK;
use wasmnode_core::message::{Dialect, Reply, native};
use wasmnode_core::{
    Body, Caller, Code, ConnectionId, Event, Failure, Frame, OnFailure, Output, Run, ServiceName, Time,
};

/// Start of a request at a plugin or worker.
struct Start<'a> {
    body: &'a [Frame],
    /// Dialect of the worker.
    dialect: Option<Dialect>,
    /// Frame by which the worker names the request.
    token: Option<&'a Frame>,
    /// The client whose request it is, if the provider gets its name.
    caller: Option<&'a ConnectionId>,
}

impl Checker {
    /// Checks an output, before it is carried out.
    pub(crate) fn output(&mut self, output: &Output) {
        match output {
            Output::Send { to, frames } => self.sent(to, frames),
            Output::Run(request) => self.started(request),
            Output::Stop(request) => {
                self.coverage.count("run stopped");
                let ask = match self.runs.get_mut(request) {
                    Some(run) if !run.stopped => {
                        run.stopped = true;
                        run.ask
                    }
                    None if self.moment.finished.contains(request) => return,
                    _ => self.fail(&format!("stops {request:?}, which does not run")),
                };
                self.moment.must_be_closed.push(ask);
            }
            Output::Answer { call, result } => {
                let what = if result.is_ok() { "call answered" } else { "call failed" };
                self.coverage.count(what);
                let reply = result.clone().map_or_else(Reply::Failure, Reply::Final);
                self.answered(&Requester::Call(*call), None, reply);
            }
            Output::Event(event) => self.event(event),
            Output::Reply { .. } => self.fail(&format!("clients here are sent frames: {output:?}")),
            Output::Dial { .. } | Output::Post { .. } | Output::HangUp(_) | Output::Disconnect(_) | Output::Zone(_) => {
                self.fail(&format!("sends messages to peers, although it has none: {output:?}"));
            }
        }
    }

    fn sent(&mut self, to: &ConnectionId, frames: &[Frame]) {
        let enveloped = frames.first().is_some_and(Frame::is_empty);
        let version_02 = if enveloped { Dialect::Majordomo02Enveloped } else { Dialect::Majordomo02 };
        let rest = &frames[usize::from(enveloped)..];
        match rest.first().map(AsRef::as_ref) {
            Some(b"MDPC01") => {
                let [_, service, body @ ..] = rest else { self.fail(&format!("sends half a reply: {frames:?}")) };
                self.sent_to_client(to, Dialect::Majordomo01, service, Reply::Final(body.to_vec()));
            }
            Some(b"MDPC02") => {
                let [_, command, service, body @ ..] = rest else {
                    self.fail(&format!("sends half a reply: {frames:?}"));
                };
                let reply = if command.as_ref() == [2] { Reply::Partial } else { Reply::Final };
                self.sent_to_client(to, version_02, service, reply(body.to_vec()));
            }
            Some(b"MDPW01") => self.sent_to_worker(to, Dialect::Majordomo01, &rest[1..]),
            Some(b"MDPW02") => self.sent_to_worker(to, version_02, &rest[1..]),
            _ => match native::decode_reply(frames.to_vec()) {
                Ok((id, reply)) => {
                    let is_compact = frames[0][native::MAGIC.len()] > 5;
                    self.require(!is_compact || self.compact.contains(to), || {
                        format!("{to} gets a message in another dialect: {frames:?}")
                    });
                    self.answered(&Requester::Native(to.clone(), id), Some(Dialect::Native), reply);
                }
                Err(malformed) => self.fail(&format!("sends a message that {malformed}: {frames:?}")),
            },
        }
    }

    fn sent_to_client(&mut self, to: &ConnectionId, dialect: Dialect, service: &Frame, reply: Reply) {
        let requester = Requester::Majordomo(to.clone(), service.clone());
        let reply = match reply {
            Reply::Final(body) => match status(&body) {
                Some(failure) => {
                    let told = self.settings.majordomo.on_failure == OnFailure::Status;
                    self.require(told, || format!("sends {to} a failure, which the configuration forbids"));
                    self.coverage.count("failure sent as status");
                    Reply::Failure(failure)
                }
                None => Reply::Final(body),
            },
            reply => reply,
        };
        self.answered(&requester, Some(dialect), reply);
    }

    fn sent_to_worker(&mut self, to: &ConnectionId, dialect: Dialect, rest: &[Frame]) {
        let command = rest.first().and_then(|command| command.first().copied());
        let heartbeat = if dialect == Dialect::Majordomo01 { 4 } else { 5 };
        if command == Some(heartbeat + 1) && rest.len() == 1 {
            self.moment.disconnected.insert(to.clone());
            self.farewells.remove(to);
            return self.coverage.count("disconnected");
        }
        let now = self.now;
        let worker = self.workers.get_mut(to).filter(|worker| worker.dialect == dialect);
        let Some(worker) = worker else { self.fail(&format!("treats {to} as a worker in {dialect:?}")) };
        match (command, rest) {
            (Some(2), [_, token, empty, body @ ..]) if empty.is_empty() => self.handed_over(to, token, body),
            (Some(number), [_]) if number == heartbeat => {
                worker.last_heartbeat = now;
                self.coverage.count("heartbeat");
            }
            _ => self.fail(&format!("sends worker {to} an unknown command: {rest:?}")),
        }
    }

    /// Removes and returns the request of a service that is started: the oldest waiting one of its caller.
    fn take_waiting(&mut self, service: &ServiceName, start: &Start<'_>) -> RequestNumber {
        let fronts: Vec<(RequestNumber, &RequestModel)> =
            self.fronts(service).into_iter().filter_map(|id| Some((id, self.model.get(id)?))).collect();
        let known = fronts.iter().find(|(_, ask)| start.token.is_some() && ask.token.as_ref() == start.token);
        let fits = |ask: &RequestModel| {
            let is_new = start.token.is_none() || ask.token.is_none();
            let is_callers = start.caller.is_none() || ask.requester.peer() == start.caller;
            is_new && is_callers && is_same(&ask.body, start.body, start.dialect)
        };
        // If two look alike, the one whose client is known to be gone was not started.
        let is_gone = |ask: &RequestModel| ask.requester.peer().is_some_and(|peer| self.moment.gone.contains(peer));
        let fitting = || fronts.iter().filter(|(_, ask)| fits(ask)).min_by_key(|(id, ask)| (is_gone(ask), *id));
        let next = known.or_else(fitting).map(|(id, _)| *id);
        let Some(id) = next else {
            self.fail(&format!("{service} is started with {:?}, which is no caller's next request for it", start.body))
        };
        self.update_service(service, |service_model| {
            service_model.waiting.remove(&id);
        });
        id
    }

    /// Returns the oldest waiting request of each caller for a service, the oldest first; each call counts as a caller
    /// of its own.
    fn fronts(&self, service: &ServiceName) -> Vec<RequestNumber> {
        let (mut fronts, mut callers) = (Vec::new(), BTreeSet::new());
        for id in self.services.get(service).into_iter().flat_map(|service_model| service_model.waiting.iter().copied())
        {
            let caller = self.model.get(id).and_then(|ask| ask.requester.peer());
            // If connections are lost one after the other, earlier requests may have been sent to workers that are
            // gone.
            if !self.moment.gone.is_empty() || caller.is_none_or(|caller| callers.insert(caller)) {
                fronts.push(id);
            }
        }
        fronts
    }

    fn started(&mut self, request: &Run) {
        let service = &request.service;
        let offered = self.services.get(service).is_some_and(|service_model| service_model.offered);
        self.require(offered, || format!("runs {service}, which no plugin offers"));
        let caller = match &request.caller {
            Caller::Client(peer) => Some(peer),
            _ => None,
        };
        let start = Start { body: &request.body, dialect: None, token: None, caller };
        let id = self.take_waiting(service, &start);
        self.update_service(service, |service_model| service_model.running += 1);
        self.check_start(id, &start);
        self.coverage.count("run");
        let Some(ask) = self.model.get_mut(id) else { return };
        ask.place = Place::Plugin(request.id);
        let caller = match &ask.requester {
            Requester::Native(peer, _) | Requester::Majordomo(peer, _) => Some(Caller::Client(peer.clone())),
            Requester::Call(_) => ask.chain.last().cloned().map(Caller::Service),
        };
        let same = caller.as_ref() == Some(&request.caller)
            && ask.due == request.deadline
            && ask.traceparent == request.traceparent
            && ask.idempotency_key == request.idempotency_key;
        self.require(same, || format!("runs {request:?}, but {caller:?} asked otherwise"));
        let run = Execution { ask: id, service: service.clone(), stopped: false };
        let twice = self.runs.insert(request.id, run).is_some();
        self.require(!twice, || format!("gives two runs the number {:?}", request.id));
    }

    fn handed_over(&mut self, to: &ConnectionId, token: &Frame, body: &[Frame]) {
        let Some(worker) = self.workers.get(to) else { return };
        self.require(worker.held.is_none(), || format!("hands worker {to} a second request"));
        let silence = self.now.since(worker.last_received);
        self.require(silence <= self.settings.majordomo.expiry, || format!("hands a request to {to}, silent so long"));
        let (service, dialect) = (worker.service.clone(), Some(worker.dialect));
        // The node has received the ends of connections before it reports that their workers left.
        let present = self.workers.iter().filter(|(peer, _)| *peer == to || !self.moment.gone.contains(*peer));
        let rested = present.filter(|(_, other)| other.held.is_none() && other.service == service);
        let longest = rested.map(|(_, other)| other.idle_since).min() == Some(worker.idle_since);
        self.require(longest, || format!("hands a request to {to}, though another worker is idle for longer"));
        let start = Start { body, dialect, token: Some(token), caller: None };
        let id = self.take_waiting(&service, &start);
        self.update_service(&service, |service_model| {
            (service_model.idle, service_model.busy) = (service_model.idle - 1, service_model.busy + 1);
        });
        if self.services.get(&service).is_some_and(|service_model| service_model.offered) {
            self.coverage.count("handed over although its plugin was there");
        }
        self.check_start(id, &start);
        let again = self.model.get(id).is_some_and(|ask| ask.starts > 1);
        self.coverage.count(if again { "handed to another worker" } else { "handed to a worker" });
        let until = self.patience_with_workers(&service).map_or(Time::NEVER, |time| self.now + time);
        let (Some(ask), Some(worker)) = (self.model.get_mut(id), self.workers.get_mut(to)) else { return };
        ask.place = Place::Worker(to.clone());
        worker.held = Some(Held { token: token.clone(), ask: id, until, heartbeats: 0 });
        let same = ask.token.get_or_insert_with(|| token.clone()) == token;
        self.require(same, || "a request changes its token".to_owned());
        self.turn(id, Kind::Workers);
    }

    /// Checks that a request may be started now and in this way.
    fn check_start(&mut self, id: RequestNumber, start: &Start<'_>) {
        let Some(ask) = self.model.get_mut(id) else { self.fail("starts a request that has its answer") };
        ask.starts += 1;
        if std::mem::take(&mut ask.last_in_vain) {
            self.coverage.count("handed over in vain, then elsewhere");
        }
        let Some(ask) = self.model.get(id) else { return };
        let idempotent = self.settings_of(&ask.service).idempotent;
        let most = 1 + ask.in_vain + if idempotent { MAX_RETRIES } else { 0 };
        self.require(ask.starts <= most, || format!("starts a request {} times: {ask:?}", ask.starts));
        self.require(is_same(&ask.body, start.body, start.dialect), || format!("starts {ask:?} with {:?}", start.body));
        self.require(ask.due > self.now, || format!("starts a request after its deadline: {ask:?}"));
        if ask.parent.is_some() {
            self.require(self.may_call(ask), || format!("starts a call that is not allowed: {ask:?}"));
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::WorkerJoined { connection, service } => {
                self.coverage.count("worker joined");
                let ready = self.moment.ready.take().filter(|(who, what, _)| (who, what) == (connection, service));
                let Some((_, _, dialect)) = ready else {
                    self.fail(&format!("registers {connection} for {service}, which it did not ask for"));
                };
                self.rests += 1;
                let (last_received, last_heartbeat, idle_since) = (self.now, self.now, self.rests);
                let worker = Registered {
                    service: service.clone(),
                    held: None,
                    dialect,
                    last_received,
                    last_heartbeat,
                    idle_since,
                };
                let twice = self.workers.insert(connection.clone(), worker).is_some();
                self.require(!twice, || format!("registers {connection} twice"));
                self.update_service(service, |service_model| service_model.idle += 1);
            }
            Event::WorkerLeft { connection, service, why } => {
                self.coverage.count(why);
                self.worker_left(connection, service, why);
            }
            Event::Shared { service } => {
                let is_true = self
                    .services
                    .get(service)
                    .is_some_and(|service_model| service_model.offered && service_model.idle + service_model.busy > 0);
                self.require(is_true, || format!("reports that {service} is shared, which is false"));
                self.coverage.count("shared");
            }
            Event::Refused { connection, why } => {
                self.coverage.count_reason(None, why);
                if why.starts_with("sends an invalid request") {
                    self.failure_not_sent(connection, None, &Failure::new(Code::Malformed, why.clone()));
                }
            }
            Event::UnreportedFailure { connection, service, failure } => {
                self.failure_not_sent(connection, Some(service), failure);
            }
        }
    }

    fn failure_not_sent(&mut self, peer: &ConnectionId, service: Option<&ServiceName>, failure: &Failure) {
        let silent = self.settings.majordomo.on_failure == OnFailure::Silence;
        self.require(silent, || format!("does not send {peer} the failure {failure}, against the configuration"));
        self.coverage.count("failure failure_not_sent");
        let requester = match (service, &self.moment.own) {
            (Some(service), _) => Requester::Majordomo(peer.clone(), Frame::from(service.to_string())),
            (None, Some(own)) if own.requester.peer() == Some(peer) => own.requester.clone(),
            _ => self.fail(&format!("refuses a valid message of {peer}")),
        };
        self.answered(&requester, None, Reply::Failure(failure.clone()));
    }

    /// Handles the end of a registration. The worker's request waits again if it may be started again; otherwise it
    /// must fail in this step.
    fn worker_left(&mut self, peer: &ConnectionId, service: &ServiceName, why: &str) {
        let Some(worker) = self.workers.remove(peer) else { self.fail(&format!("dismisses {peer}, no worker")) };
        self.require(worker.service == *service, || {
            format!("ends the registration of {peer} for {service}, which it did not serve")
        });
        let is_true = match why {
            "it sent nothing for too long" => {
                let is_expected = worker.held.as_ref().is_none_or(|held| held.heartbeats >= HEARTBEATS);
                is_expected && self.now.since(worker.last_received) > self.settings.majordomo.expiry
            }
            "it did not answer within the service's deadline" => {
                worker.held.as_ref().is_some_and(|held| held.until <= self.now)
            }
            "the node shuts down" => self.stopped,
            _ => self.moment.must_leave.contains(peer),
        };
        self.require(is_true, || format!("ends the registration of {peer} because {why}, which is false"));
        if !self.moment.must_leave.contains(peer) {
            // The worker did not send DISCONNECT itself.
            self.moment.must_be_disconnected.insert(peer.clone());
        }
        let idempotent = self.settings_of(service).idempotent;
        let step = self.step;
        let open = worker.held.as_ref().and_then(|held| Some((held.ask, self.model.get_mut(held.ask)?)));
        let given_back = open.and_then(|(id, ask)| {
            let may_wait = ask.last_in_vain || idempotent && ask.starts - ask.in_vain <= MAX_RETRIES;
            ask.place = if may_wait { Place::Waiting } else { Place::Adrift(step) };
            may_wait.then_some(id)
        });
        given_back.into_iter().for_each(|id| self.model.drop_gathered(id));
        if given_back.is_none() {
            self.moment.must_be_closed.extend(worker.held.as_ref().map(|held| held.ask));
        }
        self.update_service(service, |service_model| {
            *(if worker.held.is_some() { &mut service_model.busy } else { &mut service_model.idle }) -= 1;
            service_model.waiting.extend(given_back);
        });
    }

    /// Removes a request that ends, and takes it from the queue of its service.
    pub(super) fn close(&mut self, id: RequestNumber) -> Option<RequestModel> {
        let ask = self.model.close(id)?;
        self.require(!ask.record_due, || format!("answers a trace without a record of it: {ask:?}"));
        self.moment.must_be_closed.extend(&ask.calls);
        self.update_service(&ask.service, |service_model| {
            service_model.waiting.remove(&id);
        });
        Some(ask)
    }
}

/// Returns the failure in a status body.
fn status(body: &Body) -> Option<Failure> {
    let [mark, code, reason] = body.as_slice() else { return None };
    if mark != FAILURE_MARK {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok().and_then(Code::from_number)?;
    Some(Failure::new(code, String::from_utf8_lossy(reason)))
}
