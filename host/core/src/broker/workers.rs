//! Foreign Majordomo workers: the state table of RFC 18, and the fate of their requests.

use super::deadlines::ProviderKind;
use super::effect::REGISTERED_TWICE;
use super::registration::RegistrationRefusal;
use super::worker_table::{Beat, State, Worker};
use super::{Broker, Effect, Event, RequestId, Stage};
use crate::connection::ConnectionId;
use crate::failure::{Code, Failure};
use crate::message::majordomo::ToWorker;
use crate::message::{Dialect, Frame, Reply, WorkerCommand};
use crate::name::ServiceName;
use crate::time::Time;

/// Largest number of times that a request of an idempotent service is given to another worker.
const MAX_RETRIES: u32 = 3;

impl Broker {
    /// Handles a worker's command by the state table of RFC 18: a command out of turn ends the registration.
    pub fn worker(&mut self, connection: &ConnectionId, dialect: Dialect, command: WorkerCommand, now: Time) {
        if !self.workers.record_message(connection, now) {
            return self.receive_from_stranger(connection, dialect, command, now);
        }
        match command {
            WorkerCommand::Ready { .. } => {
                self.expel_worker(connection, REGISTERED_TWICE, now);
            }
            WorkerCommand::Heartbeat => self.workers.count_heartbeat(connection),
            WorkerCommand::Disconnect => self.delete_worker(connection, "it sent DISCONNECT", now),
            WorkerCommand::Partial { client, body } => {
                self.worker_reply(connection, &client, Reply::Partial(body), now);
            }
            WorkerCommand::Final { client, body } => self.worker_reply(connection, &client, Reply::Final(body), now),
        }
    }

    /// Ends a worker's registration, and disconnects it; `false` if no worker is registered on the connection.
    pub fn expel_worker(&mut self, connection: &ConnectionId, why: &'static str, now: Time) -> bool {
        let Some(worker) = self.workers.get(connection) else { return false };
        self.disconnect(connection, worker.dialect);
        self.delete_worker(connection, why, now);
        true
    }

    /// Iterates over the registered workers and their services.
    pub fn registrations(&self) -> impl Iterator<Item = (&ConnectionId, &ServiceName)> {
        self.workers.iter().map(|(peer, worker)| (peer, &worker.service))
    }

    /// Sends DISCONNECT, upon which a worker leaves or registers again.
    pub fn disconnect(&mut self, connection: &ConnectionId, dialect: Dialect) {
        self.refusals.take(connection);
        self.send(connection, dialect, ToWorker::Disconnect);
    }

    fn receive_from_stranger(
        &mut self,
        connection: &ConnectionId,
        dialect: Dialect,
        command: WorkerCommand,
        now: Time,
    ) {
        let service = match command {
            WorkerCommand::Disconnect => return,
            WorkerCommand::Ready { service } => service,
            // The worker is already refused, and its DISCONNECT is due later.
            _ if self.refusals.is_waiting(connection) => return,
            _ => return self.disconnect(connection, dialect),
        };
        match self.may_register(connection, &service) {
            Ok(name) => self.register(connection, dialect, &name, now),
            Err(refusal) => self.refuse_worker(connection, dialect, &service, refusal.to_string(), now),
        }
    }

    /// Refuses to register a worker, and disconnects it, after a pause if others of its name were refused recently.
    pub fn refuse_worker(
        &mut self,
        connection: &ConnectionId,
        dialect: Dialect,
        service: &Frame,
        why: String,
        now: Time,
    ) {
        self.push_event(Event::Refused { connection: connection.clone(), why });
        if let Some((peer, dialect)) = self.refusals.refuse(connection, dialect, service, now) {
            self.disconnect(&peer, dialect);
        }
    }

    fn may_register(&self, connection: &ConnectionId, service: &Frame) -> Result<ServiceName, RegistrationRefusal> {
        let limit = self.settings.limits.workers;
        let name = ServiceName::from_bytes(service).map_err(RegistrationRefusal::Name)?;
        if name.is_reserved() {
            Err(RegistrationRefusal::Reserved(name))
        } else if connection.is_unproven() && self.services.get(&name).is_some_and(|service| service.plugin) {
            Err(RegistrationRefusal::Unproven(name))
        } else if self.workers.len() >= limit {
            Err(RegistrationRefusal::Full { service: name, limit })
        } else if self.draining {
            Err(RegistrationRefusal::Draining(name))
        } else {
            Ok(name)
        }
    }

    fn register(&mut self, connection: &ConnectionId, dialect: Dialect, service: &ServiceName, now: Time) {
        self.refusals.take(connection);
        self.workers.insert(connection, dialect, service, self.settings.majordomo.heartbeat, now);
        self.push_event(Event::WorkerJoined { connection: connection.clone(), service: service.clone() });
        self.make_idle(connection);
        self.advertise(service);
        self.warn_of_sharing(service);
        self.reset_timers(service, now);
        self.dispatch(service, now);
    }

    /// Reports once that workers take requests for a service that a plugin serves too.
    pub(super) fn warn_of_sharing(&mut self, service: &ServiceName) {
        let Some(entry) = self.services.get_mut(service) else { return };
        if entry.is_shared() && !std::mem::replace(&mut entry.is_shared_reported, true) {
            self.push_event(Event::Shared { service: service.clone() });
        }
    }

    /// Expels the unproven workers of a service that a plugin has started to serve, because they may belong to any user
    /// of this machine.
    pub(super) fn expel_unproven(&mut self, service: &ServiceName, now: Time) {
        let anybody = |(peer, worker): &(&ConnectionId, &Worker)| peer.is_unproven() && worker.service == *service;
        let strangers: Vec<ConnectionId> = self.workers.iter().filter(anybody).map(|(peer, _)| peer.clone()).collect();
        for peer in strangers {
            self.expel_worker(&peer, "a plugin serves that name, and it may be any user of this machine", now);
        }
    }

    fn make_idle(&mut self, connection: &ConnectionId) {
        let Some((stamp, service)) = self.workers.rest(connection) else { return };
        let entry = self.services.entry(service, &self.settings);
        entry.idle.insert(stamp, connection.clone());
    }

    pub(super) fn hand_to_worker(&mut self, request: RequestId, connection: &ConnectionId, now: Time) {
        let (Some(pending), Some(worker)) = (self.requests.get_mut(&request), self.workers.get(connection)) else {
            return;
        };
        let (dialect, is_expired) = (worker.dialect, worker.is_expired(self.settings.majordomo.expiry, now));
        let until = self.services.get(&worker.service).and_then(|service| service.terms.of_workers());
        self.workers.occupy(connection, request, until.map_or(Time::NEVER, |time| now + time));
        if is_expired {
            // The worker expired after the last round of heartbeats. The request is not sent to it, so it cannot have
            // started.
            self.detach_worker(connection);
            self.give_back(request, now);
            self.expel_worker(connection, "it sent nothing for too long", now);
            return;
        }
        pending.stage = Stage::Worker(connection.clone());
        pending.attempts += 1;
        // The node keeps the body too, in case the worker dies.
        let command = ToWorker::Request { client: request.token(), body: pending.context.body.clone() };
        self.set_provider(request, ProviderKind::Workers, now);
        self.rearm(request, now);
        self.send(connection, dialect, command);
    }

    fn worker_reply(&mut self, connection: &ConnectionId, client: &Frame, reply: Reply, now: Time) {
        let Some(worker) = self.workers.get(connection) else { return };
        let Some(request) = worker.request() else {
            self.expel_worker(connection, "it replied without having a request", now);
            return;
        };
        if *client != request.token() {
            self.counters.unclaimed += 1;
            let why = "answers for a client whose request it does not have".to_owned();
            return self.push_event(Event::Refused { connection: connection.clone(), why });
        }
        let service = worker.service.clone();
        if !self.requests.contains(&request) {
            self.counters.unclaimed += 1;
        }
        match reply {
            Reply::Final(body) => {
                self.answer(request, Ok(body), now);
                self.service(&service).busy -= 1;
                self.make_idle(connection);
                self.dispatch(&service, now);
            }
            Reply::Partial(body) => self.pass_on(request, body, now),
            Reply::Failure(_) => {}
        }
    }

    /// Removes a worker. Its request goes to another provider if its service is idempotent, otherwise it fails.
    pub(super) fn delete_worker(&mut self, connection: &ConnectionId, why: &'static str, now: Time) {
        let request = self.workers.get(connection).and_then(Worker::request);
        self.detach_worker(connection);
        let Some(worker) = self.workers.remove(connection) else { return };
        self.push_event(Event::WorkerLeft { connection: connection.clone(), service: worker.service.clone(), why });
        // The deadline of workers applies to waiting requests only while a worker is registered.
        self.reset_timers(&worker.service, now);
        if let Some(request) = request {
            self.settle(request, connection, why, now);
        }
        self.dispatch(&worker.service, now);
        self.provider_left(&worker.service, now);
    }

    fn settle(&mut self, request: RequestId, connection: &ConnectionId, why: &'static str, now: Time) {
        let Some(pending) = self.requests.get(&request) else { return };
        if pending.stage != Stage::Worker(connection.clone()) {
            return;
        }
        let service = pending.context.service.clone();
        if self.settings.of(&service).idempotent && pending.attempts <= MAX_RETRIES {
            return self.give_back(request, now);
        }
        let reason = format!("the worker that had the request is gone ({why}); the request may have run");
        self.end(request, Failure::new(Code::Lost, reason), now);
    }

    /// Releases a worker's place in its service's counts; the caller removes the worker.
    pub(super) fn detach_worker(&mut self, connection: &ConnectionId) {
        let Some((state, service)) = self.workers.release(connection) else { return };
        if let Some(service) = self.services.get_mut(service) {
            match state {
                State::Busy(..) => service.busy -= 1,
                State::Idle(stamp) => drop(service.idle.remove(&stamp)),
            }
        }
    }

    /// Ends the registration of a worker that has had a request for longer than its service allows.
    pub(super) fn expel_if_overdue(&mut self, connection: &ConnectionId, now: Time) {
        if self.workers.get(connection).is_some_and(|worker| worker.is_overdue(now)) {
            self.expel_worker(connection, "it did not answer within the service's deadline", now);
        }
    }

    /// Sends heartbeats to all workers once per interval, and expels expired and overdue ones.
    pub(super) fn heartbeat(&mut self, now: Time) {
        for (peer, beat) in self.workers.round(self.settings.majordomo.expiry, now) {
            match beat {
                Beat::Expired => drop(self.expel_worker(&peer, "it sent nothing for too long", now)),
                Beat::Overdue => self.expel_if_overdue(&peer, now),
                Beat::Send(dialect) => self.send(&peer, dialect, ToWorker::Heartbeat),
            }
        }
        self.workers.end_round(self.settings.majordomo.heartbeat, now);
    }

    /// Disconnects all workers.
    pub(super) fn dismiss_workers(&mut self, now: Time) {
        while let Some(peer) = self.workers.first() {
            self.expel_worker(&peer, "the node shuts down", now);
        }
    }

    fn send(&mut self, connection: &ConnectionId, dialect: Dialect, command: ToWorker) {
        self.effects.push_back(Effect::Worker { connection: connection.clone(), dialect, command });
    }
}
