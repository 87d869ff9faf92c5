//! What the outputs say: each answer is owed, each start is due, each worker is one.

use super::book::{Ask, AskId, Asker, Place};
use super::{Checker, MAX_RETRIES, Registered, Run};
use wasmnode_core::message::majordomo::FAILURE_MARK;
use wasmnode_core::message::{Dialect, Reply, native};
use wasmnode_core::{Body, Caller, Code, Event, Failure, Frame, OnFailure, Output, PeerId, Request, ServiceName};

impl Checker {
    /// To be told of every output before it is acted upon.
    pub(crate) fn output(&mut self, output: &Output) {
        match output {
            Output::Send { to, frames } => self.sent(to, frames),
            Output::Run(request) => self.started(request),
            Output::Stop(request) => {
                self.tally.count("run stopped");
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
                self.tally.count(what);
                let reply = result.clone().map_or_else(Reply::Failure, Reply::Final);
                self.answered(&Asker::Call(*call), None, reply);
            }
            Output::Event(event) => self.event(event),
        }
    }

    fn sent(&mut self, to: &PeerId, frames: &[Frame]) {
        let enveloped = frames.first().is_some_and(Frame::is_empty);
        let rest = &frames[usize::from(enveloped)..];
        match rest.first().map(AsRef::as_ref) {
            Some(b"MDPC01") => {
                let [_, service, body @ ..] = rest else { self.fail(&format!("sends half a reply: {frames:?}")) };
                self.told_majordomo(to, Dialect::Majordomo01, service, Reply::Final(body.to_vec()));
            }
            Some(b"MDPC02") => {
                let [_, command, service, body @ ..] = rest else {
                    self.fail(&format!("sends half a reply: {frames:?}"));
                };
                let dialect = if enveloped { Dialect::Majordomo02Enveloped } else { Dialect::Majordomo02 };
                let reply = if command.as_ref() == [2] { Reply::Partial } else { Reply::Final };
                self.told_majordomo(to, dialect, service, reply(body.to_vec()));
            }
            Some(header @ (b"MDPW01" | b"MDPW02")) => self.told_worker(to, header == b"MDPW01", &rest[1..]),
            _ => match native::decode_reply(frames.to_vec()) {
                Ok((id, reply)) => self.answered(&Asker::Native(to.clone(), id), Some(Dialect::Native), reply),
                Err(malformed) => self.fail(&format!("sends a message that {malformed}: {frames:?}")),
            },
        }
    }

    fn told_majordomo(&mut self, to: &PeerId, dialect: Dialect, service: &Frame, reply: Reply) {
        let asker = Asker::Majordomo(to.clone(), service.clone());
        let reply = match reply {
            Reply::Final(body) => match status(&body) {
                Some(failure) => {
                    let told = self.settings.majordomo.on_failure == OnFailure::Status;
                    self.require(told, || format!("tells {to} a failure, which the configuration forbids"));
                    self.tally.count("failure told as status");
                    Reply::Failure(failure)
                }
                None => Reply::Final(body),
            },
            reply => reply,
        };
        self.answered(&asker, Some(dialect), reply);
    }

    fn told_worker(&mut self, to: &PeerId, version_01: bool, rest: &[Frame]) {
        let command = rest.first().and_then(|command| command.first().copied());
        let heartbeat = if version_01 { 4 } else { 5 };
        match (command, rest) {
            (Some(2), [_, token, empty, body @ ..]) if empty.is_empty() => self.handed_over(to, token, body),
            (Some(number), [_]) if number == heartbeat => {
                self.tally.count("heartbeat");
                self.require(self.workers.contains_key(to), || format!("sends a heartbeat to {to}, no worker of its"));
            }
            (Some(number), [_]) if number == heartbeat + 1 => self.tally.count("told to go"),
            _ => self.fail(&format!("tells worker {to} what no worker knows: {rest:?}")),
        }
    }

    /// The next request of a service: nobody is served out of turn, and none is started that does not wait.
    fn take_waiting(&mut self, service: &ServiceName) -> AskId {
        let next = self.desks.get(service).and_then(|desk| desk.waiting.first().copied());
        let Some(id) = next else { self.fail(&format!("{service} is started, but no request waits for it")) };
        self.at_desk(service, |desk| {
            desk.waiting.remove(&id);
        });
        id
    }

    fn started(&mut self, request: &Request) {
        let service = &request.service;
        let offered = self.desks.get(service).is_some_and(|desk| desk.offered);
        self.require(offered, || format!("runs {service}, which no plugin offers"));
        let id = self.take_waiting(service);
        self.at_desk(service, |desk| desk.running += 1);
        self.check_start(id, &request.body);
        self.tally.count("run");
        let Some(ask) = self.book.get_mut(id) else { return };
        ask.place = Place::Plugin(request.id);
        let caller = match &ask.asker {
            Asker::Native(peer, _) | Asker::Majordomo(peer, _) => Some(Caller::Client(peer.clone())),
            Asker::Call(_) => ask.chain.last().cloned().map(Caller::Service),
        };
        let same = caller.as_ref() == Some(&request.caller)
            && ask.due == request.deadline
            && ask.idempotency_key == request.idempotency_key;
        if request.idempotency_key.is_some() {
            self.tally.count("run of an idempotency key");
        }
        self.require(same, || format!("runs {request:?}, but {caller:?} asked otherwise"));
        let run = Run { ask: id, service: service.clone(), stopped: false };
        let twice = self.runs.insert(request.id, run).is_some();
        self.require(!twice, || format!("gives two runs the number {:?}", request.id));
    }

    fn handed_over(&mut self, to: &PeerId, token: &Frame, body: &[Frame]) {
        let Some(worker) = self.workers.get(to) else { self.fail(&format!("hands a request to {to}, no worker")) };
        self.require(worker.held.is_none(), || format!("hands worker {to} a second request"));
        let service = worker.service.clone();
        let id = self.take_waiting(&service);
        self.at_desk(&service, |desk| (desk.idle, desk.busy) = (desk.idle - 1, desk.busy + 1));
        if self.desks.get(&service).is_some_and(|desk| desk.offered) {
            self.tally.count("handed over although its plugin was there");
        }
        // A Majordomo body has at least one frame.
        let body = if body == [Frame::new()] && self.book.get(id).is_some_and(|ask| ask.body.is_empty()) {
            &[]
        } else {
            body
        };
        self.check_start(id, body);
        let again = self.book.get(id).is_some_and(|ask| ask.starts > 1);
        self.tally.count(if again { "handed to another worker" } else { "handed to a worker" });
        if let Some(ask) = self.book.get_mut(id) {
            ask.place = Place::Worker(to.clone());
            let same = ask.token.get_or_insert_with(|| token.clone()) == token;
            self.require(same, || "a request changes its token".to_owned());
        }
        if let Some(worker) = self.workers.get_mut(to) {
            worker.held = Some((token.clone(), id));
        }
    }

    /// Whether this request may be started, now and with this body.
    fn check_start(&mut self, id: AskId, body: &[Frame]) {
        let Some(ask) = self.book.get_mut(id) else { self.fail("starts a request that has its answer") };
        ask.starts += 1;
        if std::mem::take(&mut ask.last_in_vain) {
            self.tally.count("handed over in vain, then elsewhere");
        }
        let Some(ask) = self.book.get(id) else { return };
        let idempotent = self.settings_of(&ask.service).idempotent;
        let most = 1 + ask.in_vain + if idempotent { MAX_RETRIES } else { 0 };
        self.require(ask.starts <= most, || format!("starts a request {} times: {ask:?}", ask.starts));
        self.require(ask.body == body, || format!("starts {ask:?} with the body {body:?}"));
        self.require(ask.due > self.now, || format!("starts a request after its deadline: {ask:?}"));
        if ask.parent.is_some() {
            self.require(self.may_call(ask), || format!("starts a call that is not allowed: {ask:?}"));
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::WorkerJoined { peer, service } => {
                self.tally.count("worker joined");
                let asked = self.moment.ready.take() == Some((peer.clone(), service.clone()));
                self.require(asked, || format!("registers {peer} for {service}, which it did not ask for"));
                let worker = Registered { service: service.clone(), held: None };
                let twice = self.workers.insert(peer.clone(), worker).is_some();
                self.require(!twice, || format!("registers {peer} twice"));
                self.at_desk(service, |desk| desk.idle += 1);
            }
            Event::WorkerLeft { peer, service, why } => {
                self.tally.count(why);
                self.worker_left(peer, service);
            }
            Event::Refused { peer, why } => {
                self.tally.count_reason(None, why);
                if why.starts_with("asks wrongly") {
                    self.untold(peer, None, &Failure::new(Code::Malformed, why.clone()));
                }
            }
            Event::Untold { peer, service, failure } => self.untold(peer, Some(service), failure),
        }
    }

    fn untold(&mut self, peer: &PeerId, service: Option<&ServiceName>, failure: &Failure) {
        let silent = self.settings.majordomo.on_failure == OnFailure::Silence;
        self.require(silent, || format!("does not tell {peer} that {failure}, against the configuration"));
        self.tally.count("failure untold");
        let asker = match (service, &self.moment.own) {
            (Some(service), _) => Asker::Majordomo(peer.clone(), Frame::from(service.to_string())),
            (None, Some(own)) if own.asker.peer() == Some(peer) => own.asker.clone(),
            _ => self.fail(&format!("complains about {peer}, who asked nothing wrong")),
        };
        self.answered(&asker, None, Reply::Failure(failure.clone()));
    }

    /// Its request waits again where it may be started again; otherwise it must be failed in this step.
    fn worker_left(&mut self, peer: &PeerId, service: &ServiceName) {
        let Some(worker) = self.workers.remove(peer) else { self.fail(&format!("dismisses {peer}, no worker")) };
        self.require(worker.service == *service, || format!("dismisses {peer} from {service}, which it did not serve"));
        let idempotent = self.settings_of(service).idempotent;
        let step = self.step;
        let open = worker.held.as_ref().and_then(|(_, id)| self.book.get_mut(*id).map(|ask| (*id, ask)));
        let given_back = open.and_then(|(id, ask)| {
            let may_wait = ask.last_in_vain || idempotent && ask.starts <= MAX_RETRIES;
            ask.place = if may_wait { Place::Waiting } else { Place::Adrift(step) };
            may_wait.then_some(id)
        });
        if given_back.is_none() {
            self.moment.must_be_closed.extend(worker.held.as_ref().map(|(_, id)| *id));
        }
        self.at_desk(service, |desk| {
            if worker.held.is_some() { desk.busy -= 1 } else { desk.idle -= 1 }
            desk.waiting.extend(given_back);
        });
    }

    /// The request that ends here, if it was open, is in no desk's way any more.
    pub(super) fn close(&mut self, id: AskId) -> Option<Ask> {
        let ask = self.book.close(id)?;
        self.at_desk(&ask.service, |desk| {
            desk.waiting.remove(&id);
        });
        Some(ask)
    }
}

/// The failure that a status body tells.
fn status(body: &Body) -> Option<Failure> {
    let [mark, code, reason] = body.as_slice() else { return None };
    if mark != FAILURE_MARK {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok().and_then(Code::from_number)?;
    Some(Failure::new(code, String::from_utf8_lossy(reason)))
}
