//! Effects of inputs on the model: requests, runs and workers.

use super::clock::{Clock, Kind};
use super::model::{Place, RequestModel, RequestNumber, Requester};
use super::{Checker, LONGEST_PAUSE, Own, ServiceModel};
use std::time::Duration;
use wasmnode_core::message::{self, Dialect, Message, Sender, WorkerCommand};
use wasmnode_core::{Body, CallId, ConnectionId, Failure, Frame, Input, RequestId, ServiceName, Time};

impl Checker {
    /// Records an input, before the node gets it.
    pub(crate) fn input(&mut self, input: &Input, now: Time) {
        self.now = now;
        match input {
            Input::Message { from, frames } => self.message(from, frames.clone()),
            Input::Undeliverable { to, frames } => self.undeliverable(to, frames),
            Input::Offered(service) => self.update_service(service, |service_model| service_model.offered = true),
            Input::Withdrawn(service) => self.update_service(service, |service_model| service_model.offered = false),
            Input::Partial { request, body } => self.partial_of_run(*request, body),
            Input::Finished { request, result } => self.finished(*request, result),
            Input::Call { call, parent, service, body } => self.call(*call, *parent, service, body),
            Input::LinkMessage { .. } | Input::Unsent { .. } | Input::LinkDown { .. } => {
                self.fail(&format!("a lone node has no links: {input:?}"));
            }
            Input::Gone(connection) => self.gone(connection),
            Input::Request { .. } | Input::Cancel { .. } => {
                self.fail(&format!("clients here send frames: {input:?}"));
            }
            Input::Quarantine { .. } => self.fail("no plugin crashes here"),
            Input::Trust(_) => self.fail("no keys are required here"),
            Input::Reconfigure(_) => self.fail("the settings stay the same here"),
            Input::Tick => self.woken(),
            Input::Drain => self.draining = true,
            Input::Stop => (self.draining, self.stopped) = (true, true),
        }
    }

    fn woken(&mut self) {
        let count = if self.woken.0 == self.now { self.woken.1 + 1 } else { 1 };
        self.woken = (self.now, count);
        self.require(count <= 3, || "requests wake-ups repeatedly at the same instant".to_owned());
    }

    fn message(&mut self, from: &ConnectionId, frames: Vec<Frame>) {
        match message::decode(frames) {
            Ok(Message::Request { dialect, request }) => self.request(from, dialect, request),
            Ok(Message::Cancel { id }) => {
                let asks = self.model.of(&Requester::Native(from.clone(), id)).to_vec();
                for ask in asks {
                    self.moment.must_be_closed.push(ask);
                    self.model.get_mut(ask).into_iter().for_each(|ask| ask.cancelled = true);
                }
            }
            Ok(Message::Worker { dialect, command }) => self.worker_sent(from, dialect, command),
            Ok(Message::Peer(_)) => {}
            Err(malformed) => {
                self.malformed(from, malformed.sender);
            }
        }
    }

    fn malformed(&mut self, from: &ConnectionId, sender: Sender) {
        match sender {
            Sender::NativeClient(id) => {
                let requester = Requester::Native(from.clone(), id);
                self.moment.own = Some(Own { requester, dialect: Dialect::Native, body: None, record_due: false });
            }
            Sender::Worker(_) => self.expect_farewell(from),
            Sender::Client | Sender::Peer { .. } | Sender::Stranger => {}
        }
    }

    /// Handles a peer that breaks a rule for workers: its registration ends, if it had one, and it gets DISCONNECT.
    fn expect_farewell(&mut self, peer: &ConnectionId) {
        self.moment.must_leave.insert(peer.clone());
        self.moment.must_be_disconnected.insert(peer.clone());
    }

    fn request(&mut self, from: &ConnectionId, dialect: Dialect, ask: message::Request) {
        let native = dialect.is_native();
        if dialect == Dialect::NativeCompact {
            self.compact.insert(from.clone());
        }
        // Its replies are those of the native dialect, whether or not they fit into one frame.
        let dialect = if native { Dialect::Native } else { dialect };
        let requester = match dialect {
            Dialect::Native => Requester::Native(from.clone(), ask.id),
            _ => Requester::Majordomo(from.clone(), ask.service.clone()),
        };
        let Ok(service) = ServiceName::from_bytes(&ask.service) else {
            self.moment.own = Some(Own { requester, dialect, body: None, record_due: false });
            return;
        };
        if service.as_str().starts_with("mmi.") {
            let code = self.management(&service, &ask.body);
            let body = if ask.trace { Vec::new() } else { vec![Frame::from_static(code)] };
            self.moment.own = Some(Own { requester, dialect, body: Some(body), record_due: ask.trace });
            return;
        }
        let patience = if ask.trace {
            None
        } else if native {
            ask.wait.then_some(Duration::MAX)
        } else {
            Some(self.settings.majordomo.wait)
        };
        let clock = Clock {
            asked: ask.deadline_ms.map_or(Time::NEVER, |ms| self.now + Duration::from_millis(ms.into())),
            is_open: ask.deadline_ms.is_none() && patience == Some(Duration::MAX),
            kind: if ask.trace { Kind::Plugin } else { self.kind(&service) },
            since: self.now,
        };
        let id = self.open(RequestModel {
            dialect: Some(dialect),
            due: self.due(&clock, &service),
            clock,
            patience,
            traceparent: ask.traceparent,
            idempotency_key: ask.idempotency_key,
            record_due: ask.trace,
            outcome: (ask.trace && self.is_reachable(&service)).then(|| Ok(Vec::new())),
            ..self.blank(requester, service, &ask.body)
        });
        if ask.trace {
            self.moment.must_be_closed.push(id);
        }
    }

    fn management(&mut self, service: &ServiceName, body: &Body) -> &'static [u8] {
        let asked = body.first().and_then(|name| ServiceName::from_bytes(name).ok());
        let (code, what): (&[u8], _) = match asked {
            _ if service.as_str() != "mmi.service" => (b"501", "mmi 501"),
            Some(name) if self.is_reachable(&name) => (b"200", "mmi 200"),
            _ => (b"404", "mmi 404"),
        };
        self.coverage.count(what);
        code
    }

    fn call(&mut self, call: CallId, parent: RequestId, service: &ServiceName, body: &Body) {
        let Some(run) = self.runs.get(&parent) else { self.fail("the simulation calls for a run that has ended") };
        let parent = run.ask;
        let mut ask = self.blank(Requester::Call(call), service.clone(), body);
        if let Some(caller) = self.model.get(parent) {
            ask.clock.asked = caller.due;
            ask.chain.clone_from(&caller.chain);
            ask.chain.push(caller.service.clone());
            ask.traceparent.clone_from(&caller.traceparent);
        }
        ask.due = self.due(&ask.clock, service);
        ask.parent = Some(parent);
        let id = self.open(ask);
        self.model.get_mut(parent).into_iter().for_each(|caller| caller.calls.push(id));
    }

    fn kind(&self, service: &ServiceName) -> Kind {
        self.services.get(service).map_or(Kind::Nobody, ServiceModel::kind)
    }

    fn blank(&self, requester: Requester, service: ServiceName, body: &Body) -> RequestModel {
        RequestModel {
            requester,
            dialect: None,
            bytes: message::size(body),
            body: body.clone(),
            traceparent: None,
            idempotency_key: None,
            arrived: (self.step, self.now),
            due: self.now,
            clock: Clock { asked: Time::NEVER, is_open: false, kind: self.kind(&service), since: self.now },
            patience: None,
            parent: None,
            calls: Vec::new(),
            chain: Vec::new(),
            place: Place::Waiting,
            starts: 0,
            in_vain: 0,
            last_in_vain: false,
            token: None,
            parts: Vec::new(),
            gathered: Vec::new(),
            record_due: false,
            outcome: None,
            oversized: false,
            cancelled: false,
            service,
        }
    }

    fn open(&mut self, ask: RequestModel) -> RequestNumber {
        let service = ask.service.clone();
        let id = self.model.open(ask);
        self.update_service(&service, |service_model| {
            service_model.waiting.insert(id);
        });
        id
    }

    /// Handles the end of a connection. The peers here have no identities of their own and use no keys, so none comes
    /// back for a reply.
    fn gone(&mut self, connection: &ConnectionId) {
        self.moment.gone.insert(connection.clone());
        self.farewells.remove(connection);
        self.moment.must_leave.insert(connection.clone());
        self.moment.must_be_closed.extend(self.model.all_of(connection));
    }

    fn undeliverable(&mut self, to: &ConnectionId, frames: &[Frame]) {
        self.gone(to);
        let rest = &frames[usize::from(frames.first().is_some_and(Frame::is_empty))..];
        let [_, command, token, ..] = rest else { return };
        if command.as_ref() == [2]
            && let Some(ask) = self.held_by(to, token).and_then(|id| self.model.get_mut(id))
        {
            ask.in_vain += 1;
            ask.last_in_vain = true;
            self.coverage.count("handed over in vain");
        }
    }

    fn partial_of_run(&mut self, request: RequestId, body: &Body) {
        if let Some(run) = self.runs.get(&request) {
            self.partial(run.ask, body.clone());
        }
    }

    fn partial(&mut self, id: RequestNumber, body: Body) {
        let fits = self.fits(&body);
        let Some(ask) = self.model.get_mut(id) else { return };
        if !fits {
            ask.oversized = true;
            self.moment.must_be_closed.push(id);
            return;
        }
        if ask.dialect.is_some_and(|dialect| dialect != Dialect::Majordomo01) {
            ask.parts.push(body);
            self.moment.parts_due.push(id);
            return;
        }
        // Calls and Majordomo 0.1 have no partial replies: their frames precede the answer.
        let whole = [ask.gathered.clone(), body.clone()].concat();
        let has_room = self.model.held_bytes + message::size(&body) <= self.settings.limits.held_bytes;
        if has_room && self.fits(&whole) {
            self.coverage.count("part kept");
            return self.model.gather(id, &body);
        }
        self.moment.must_be_closed.push(id);
        self.model.get_mut(id).into_iter().for_each(|ask| ask.oversized = true);
    }

    fn finished(&mut self, request: RequestId, result: &Result<Body, Failure>) {
        let Some(run) = self.runs.remove(&request) else { self.fail("the simulation ends a run twice") };
        self.moment.finished.insert(request);
        self.update_service(&run.service, |service_model| service_model.running -= 1);
        self.ended(run.ask, result.clone());
    }

    /// Records the result of a run or worker for a request, which may already have an answer.
    fn ended(&mut self, id: RequestNumber, result: Result<Body, Failure>) {
        let gathered = self.model.get(id).map(|ask| ask.gathered.clone()).unwrap_or_default();
        let result = result.map(|body| [gathered, body].concat());
        let fits = result.as_ref().map_or(true, |body| self.fits(body));
        let Some(ask) = self.model.get_mut(id) else { return };
        ask.oversized = !fits;
        ask.outcome = fits.then_some(result);
        self.moment.must_be_closed.push(id);
    }

    fn worker_sent(&mut self, from: &ConnectionId, dialect: Dialect, command: WorkerCommand) {
        if let Some(worker) = self.workers.get_mut(from) {
            worker.last_received = self.now;
        }
        let known = self.workers.get(from);
        let is_busy = known.is_some_and(|worker| worker.held.is_some());
        match command {
            WorkerCommand::Disconnect => drop(self.moment.must_leave.insert(from.clone())),
            WorkerCommand::Ready { service } if known.is_none() => {
                let free = !self.draining && self.workers.len() < self.settings.limits.workers;
                match ServiceName::from_bytes(&service).ok().filter(|name| free && !name.is_reserved()) {
                    Some(service) => {
                        self.farewells.remove(from);
                        self.moment.ready = Some((from.clone(), service, dialect));
                    }
                    None => {
                        self.farewells.entry(from.clone()).or_insert(self.now + LONGEST_PAUSE);
                    }
                }
            }
            WorkerCommand::Heartbeat if known.is_some() => self.count_heartbeat(from),
            _ if self.farewells.contains_key(from) => {}
            _ if !is_busy => self.expect_farewell(from),
            WorkerCommand::Ready { .. } => self.expect_farewell(from),
            WorkerCommand::Partial { client, body } => {
                if let Some(ask) = self.held_by(from, &client) {
                    self.partial(ask, body);
                }
            }
            WorkerCommand::Final { client, body } => self.final_of_worker(from, &client, body),
            WorkerCommand::Heartbeat => {}
        }
    }

    fn count_heartbeat(&mut self, worker: &ConnectionId) {
        let held = self.workers.get_mut(worker).and_then(|worker| worker.held.as_mut());
        held.into_iter().for_each(|held| held.heartbeats += 1);
    }

    /// Returns the request that a worker answers, if it names the one that it has.
    fn held_by(&self, worker: &ConnectionId, client: &Frame) -> Option<RequestNumber> {
        let held = self.workers.get(worker)?.held.as_ref()?;
        (held.token == client).then_some(held.ask)
    }

    fn final_of_worker(&mut self, from: &ConnectionId, client: &Frame, body: Body) {
        let Some(id) = self.held_by(from, client) else { return };
        let Some(worker) = self.workers.get_mut(from) else { return };
        worker.held = None;
        self.rests += 1;
        worker.idle_since = self.rests;
        let service = worker.service.clone();
        self.update_service(&service, |service_model| {
            (service_model.idle, service_model.busy) = (service_model.idle + 1, service_model.busy - 1);
        });
        self.ended(id, Ok(body));
    }
}
