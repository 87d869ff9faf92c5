//! One node: messages in, messages and runs out.
//!
//! [`Node`] decodes messages ([`crate::message`]), answers `mmi.*` itself, and passes the rest to the broker, or to its
//! peering (`zone`). `node.services` is a service like any other, whose runs go to the driver, because the driver has
//! more information about plugins than the core.

mod addressing;
mod authorization;
mod contract;
mod event;
mod inbound;
mod join;
mod name_claim;
mod peering;
mod router;
mod status;
#[cfg(test)]
mod tests;

pub use contract::{Input, Output};
pub use event::ZoneEvent;
pub use status::MemberStatus;

use crate::access::Access;
use crate::broker::{Broker, Counters, Effect, Event, RequestContext, Requester, ServiceStatus};
use crate::connection::{ConnectionId, LinkId, Transport};
use crate::failure::{Code, Failure};
use crate::message::majordomo::{self, ToWorker};
use crate::message::peer::{self, Offer, PeerMessage};
use crate::message::{self, Dialect, Frame, Malformed, Message, Reply, Request, Sender, native};
use crate::name::{Address, Location, ServiceName};
use crate::settings::{NodeSettings, OnFailure};
use crate::time::Time;
use peering::Peering;
use router::Router;
use std::collections::VecDeque;
use std::time::Duration;

/// The state machine of one node.
#[derive(Debug)]
pub struct Node {
    broker: Broker,
    zone: Peering,
    router: Option<Router>,
    access: Option<Access>,
    patience: Duration,
    on_failure: OnFailure,
    outputs: VecDeque<Output>,
}

impl Node {
    /// Creates a node that offers only `node.services`.
    #[must_use]
    pub fn new(settings: NodeSettings) -> Self {
        let (patience, on_failure) = (settings.majordomo.wait, settings.majordomo.on_failure);
        let (zone, router, access) = (Peering::new(&settings), Router::new(&settings), settings.access.clone());
        Self { broker: Broker::new(settings), zone, router, access, patience, on_failure, outputs: VecDeque::new() }
    }

    /// Handles one input; [`Self::next_output`] returns what follows from it.
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Message { from, frames } => self.receive(from, frames, now),
            Input::Request { from, request } => {
                self.broker.connection_used(&from);
                self.request(from, Dialect::Native, *request, now);
            }
            Input::Cancel { from, id } => self.broker.cancel(&from, id, now),
            Input::Undeliverable { to, frames } => self.undeliverable(&to, &frames, now),
            Input::Gone(connection) => self.connection_lost(&connection, now),
            Input::LinkMessage { link, frames } => self.receive_on_link(link, frames, now),
            Input::Unsent { link, frames } => self.unsent(link, &frames, now),
            Input::LinkDown { link, why } => {
                if let Some(links) = self.links_of(link) {
                    links.down(link, &why, now);
                }
            }
            Input::Offered(service) => self.broker.offer(&service, now),
            Input::Withdrawn(service) => self.broker.withdraw(&service, now),
            Input::Quarantine { service, lasts } => self.broker.quarantine(&service, now + lasts),
            Input::Partial { request, body } => self.broker.partial(request, body, now),
            Input::Finished { request, result } => self.broker.finish(request, result, now),
            Input::Call { call, parent, service, body } => self.broker.call(call, parent, service, body, now),
            Input::Trust(access) => self.trust(access, now),
            Input::Reconfigure(settings) => {
                (self.patience, self.on_failure) = (settings.majordomo.wait, settings.majordomo.on_failure);
                self.broker.reconfigure(*settings, now);
            }
            Input::Tick => {}
            Input::Drain => {
                self.withdraw_from_zone(now);
                self.broker.drain(now);
            }
            Input::Stop => {
                if let Some(router) = &mut self.router {
                    router.paths.leave(now);
                }
                self.zone.members.leave(now);
                self.broker.stop(now);
            }
        }
        if self.broker.next_wake().is_some_and(|due| due <= now) {
            self.broker.wake(now);
        }
        if self.next_zone_wake().is_some_and(|due| due <= now) {
            self.wake_zone(now);
        }
        self.settle(now);
    }

    /// Returns the next output to act on.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Carries out all effects, including those that other effects cause.
    fn settle(&mut self, now: Time) {
        loop {
            while let Some(effect) = self.broker.next_effect() {
                self.translate(effect, now);
            }
            if !self.settle_zone(now) && !self.settle_router(now) {
                return;
            }
        }
    }

    /// Returns when [`Input::Tick`] is due if no other input comes before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.broker.next_wake().into_iter().chain(self.next_zone_wake()).min()
    }

    fn next_zone_wake(&self) -> Option<Time> {
        let router = self.router.as_ref().and_then(Router::next_wake);
        self.zone.next_wake().into_iter().chain(router).min()
    }

    /// Returns the number of requests without an answer, and of stopped runs that are not confirmed as finished.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.broker.outstanding()
    }

    /// Returns the state of every service that is offered or waited for, by name.
    pub fn services(&self, now: Time) -> impl Iterator<Item = ServiceStatus> {
        self.broker.services(now)
    }

    /// Returns `true` if a connection may change what the node serves. Where no keys are required, connections by ipc
    /// may, because the permissions of the socket's file decide who connects; those by tcp may not.
    #[must_use]
    pub fn is_admin(&self, connection: &ConnectionId) -> bool {
        self.access.as_ref().map_or(!connection.is_unproven(), |access| access.is_admin(connection))
    }

    /// Returns the counters of everything that arrived.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.broker.counters()
    }

    fn receive(&mut self, from: ConnectionId, frames: Vec<Frame>, now: Time) {
        self.broker.connection_used(&from);
        match message::decode(frames) {
            Ok(Message::Request { dialect, request }) => self.request(from, dialect, request, now),
            Ok(Message::Cancel { id }) => self.broker.cancel(&from, id, now),
            Ok(Message::Worker { dialect, command }) => self.receive_from_worker(&from, dialect, command, now),
            Ok(Message::Peer(message)) => self.receive_inbound(&from, message, now),
            Err(malformed) => self.refuse(&from, &malformed, now),
        }
    }

    fn refuse(&mut self, from: &ConnectionId, malformed: &Malformed, now: Time) {
        self.broker.count_malformed();
        self.outputs.push_back(Output::Event(Event::Refused { connection: from.clone(), why: malformed.to_string() }));
        match malformed.sender {
            Sender::Worker(dialect) => {
                if !self.broker.expel_worker(from, "it broke the protocol", now) {
                    self.broker.disconnect(from, dialect);
                }
            }
            Sender::NativeClient(id) => {
                let failure = Failure::new(Code::Malformed, format!("the message {malformed}"));
                self.send(from.clone(), native::encode_reply(Dialect::Native, id, Reply::Failure(failure)));
            }
            Sender::Client | Sender::Peer { .. } | Sender::Stranger => {}
        }
    }

    fn request(&mut self, from: ConnectionId, dialect: Dialect, request: Request, now: Time) {
        let known = self.broker.known(&request.service).cloned().map(Address::from);
        let Address { service, location: place } = match known.map_or_else(|| Address::from_bytes(&request.service), Ok)
        {
            Ok(address) => address,
            Err(invalid) => {
                self.broker.count_malformed();
                return self.reply(from, dialect, request.id, &request.service, Reply::Failure(invalid.into()));
            }
        };
        if service.as_str().starts_with("mmi.") {
            if request.trace {
                let records = vec![self.broker.record_of_own(&service)];
                self.reply(from.clone(), dialect, request.id, &request.service, Reply::Partial(records));
                return self.reply(from, dialect, request.id, &request.service, Reply::Final(Vec::new()));
            }
            let code = self.management(&from, &service, &request.body);
            let reply = Reply::Final(vec![Frame::from_static(code)]);
            return self.reply(from, dialect, request.id, &request.service, reply);
        }
        let asked = (place != Location::Nearest).then(|| request.service.clone());
        let forbidden = self.forbids(&from, &service);
        let requester = Requester::Client { connection: from, dialect, id: request.id, asked };
        if let Some(failure) = forbidden {
            return self.broker.refuse(requester, service, failure);
        }
        let place = self.locate(&place);
        let deadline = request.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let patience = if dialect.is_native() { request.wait.then_some(Duration::MAX) } else { Some(self.patience) };
        let context = RequestContext {
            is_trace: request.trace,
            body: request.body,
            deadline,
            patience,
            traceparent: request.traceparent,
            idempotency_key: request.idempotency_key,
            ..RequestContext::new(requester, service, place)
        };
        self.broker.submit(context, now);
    }

    /// Answers `mmi.*` (RFC 8): whether the client can reach a service; 501 for what is not implemented. A service that
    /// the client may not call counts as unknown, because calls of forbidden services fail alike whether these exist or
    /// not.
    fn management(&self, from: &ConnectionId, service: &ServiceName, body: &[Frame]) -> &'static [u8] {
        if service.as_str() != "mmi.service" {
            return b"501";
        }
        let asked = body.first().and_then(|name| Address::from_bytes(name).ok());
        let is_reachable = |Address { service, location: place }: Address| {
            self.forbids(from, &service).is_none() && self.broker.is_reachable(&service, &self.locate(&place))
        };
        if asked.is_some_and(is_reachable) { b"200" } else { b"404" }
    }

    /// Takes back an undeliverable request, and all others to be sent on its connection, because that is gone.
    fn undeliverable(&mut self, to: &ConnectionId, frames: &[Frame], now: Time) {
        self.settle(now);
        let (broker, outputs) = (&mut self.broker, &mut self.outputs);
        let mut take_back = |frames: &[Frame]| {
            let client = majordomo::client_of_request(frames);
            client.inspect(|client| broker.worker_unreachable(to, client, now)).is_some()
        };
        take_back(frames);
        outputs.retain(|output| match output {
            Output::Send { to: receiver, frames } if receiver == to => !take_back(frames),
            _ => true,
        });
        // A client that is away may reconnect for the rest.
        if !self.broker.is_away(to) {
            self.inbound_closed(to, now);
            self.broker.connection_closed(to, now);
        }
    }

    /// Handles the end of a connection: a client may reconnect, and a peer dials again and repeats its requests.
    fn connection_lost(&mut self, connection: &ConnectionId, now: Time) {
        if self.zone.is_inbound(connection) {
            return self.inbound_closed(connection, now);
        }
        self.broker.connection_lost(connection, now);
    }

    /// Handles a message that arrived on a link.
    fn receive_on_link(&mut self, link: LinkId, frames: Vec<Frame>, now: Time) {
        match peer::decode(frames) {
            Ok(message) => self.receive_outbound(link, message, now),
            Err(malformed) => {
                self.broker.count_malformed();
                let node =
                    self.zone.links.member(link).map_or("without a name".into(), |member| member.name.to_string());
                let why = malformed.to_string();
                self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node, why }));
            }
        }
    }

    /// Takes back an unsent request, and all others to be sent on its link, because that is gone.
    fn unsent(&mut self, link: LinkId, frames: &[Frame], now: Time) {
        self.settle(now);
        let mut ids: Vec<u64> = peer::request_id(frames).into_iter().collect();
        self.outputs.retain(|output| match output {
            Output::Post { link: other, frames } if *other == link => {
                ids.extend(peer::request_id(frames));
                false
            }
            _ => true,
        });
        ids.into_iter().for_each(|id| self.broker.peer_unsent(link, id, now));
    }

    fn translate(&mut self, effect: Effect, now: Time) {
        match effect {
            Effect::Reply {
                requester: Requester::Client { connection, dialect: Dialect::Peer, id, .. },
                reply,
                ..
            } => {
                self.send(connection, peer::encode(PeerMessage::Reply { id, reply }));
            }
            Effect::Reply { requester: Requester::Client { connection, dialect, id, asked }, service, reply } => {
                let asked = asked.as_deref().unwrap_or(service.as_str().as_bytes());
                self.reply(connection, dialect, id, asked, reply);
            }
            Effect::Reply { requester: Requester::Call { call, .. }, reply, .. } => match reply {
                // The `calls` interface has no partial replies: the broker adds their frames to the final reply.
                Reply::Partial(_) => {}
                Reply::Final(body) => self.outputs.push_back(Output::Answer { call, result: Ok(body) }),
                Reply::Failure(failure) => self.outputs.push_back(Output::Answer { call, result: Err(failure) }),
            },
            Effect::Run(request) => self.outputs.push_back(Output::Run(request)),
            Effect::Stop(request) => self.outputs.push_back(Output::Stop(request)),
            Effect::Worker { connection, dialect, command } => self.send_to_worker(connection, dialect, command),
            Effect::Forward { link, forward } => {
                self.post(link, PeerMessage::Request(forward));
                if let Some(links) = self.links_of(link) {
                    links.expect_answer(link, now);
                }
            }
            Effect::CancelForward { link, id } => {
                if self.links_of(link).is_some_and(|links| links.member(link).is_some()) {
                    self.post(link, PeerMessage::Cancel { id });
                }
            }
            Effect::Serves { service, traits } => {
                self.zone.routes.offer(Offer { service: service.into(), cost: 0, traits }, now);
            }
            Effect::Ceases(service) => self.zone.routes.withdraw(&service.into(), now),
            Effect::Event(event) => self.outputs.push_back(Output::Event(event)),
        }
    }

    fn reply(&mut self, to: ConnectionId, dialect: Dialect, id: u64, service: &[u8], reply: Reply) {
        if to.transport() != Transport::Zmq {
            return self.outputs.push_back(Output::Reply { to, id, reply });
        }
        if dialect.is_native() {
            return self.send(to, native::encode_reply(dialect, id, reply));
        }
        let sends_failures = self.on_failure == OnFailure::Status;
        if let (Reply::Failure(failure), false) = (&reply, sends_failures) {
            let service = ServiceName::from_bytes(service).ok();
            let event = match service {
                Some(service) => Event::UnreportedFailure { connection: to, service, failure: failure.clone() },
                None => Event::Refused { connection: to, why: format!("sends an invalid request: {}", failure.reason) },
            };
            return self.outputs.push_back(Output::Event(event));
        }
        if let Some(frames) = majordomo::encode_reply(dialect, service, reply, sends_failures) {
            self.send(to, frames);
        }
    }

    fn send_to_worker(&mut self, connection: ConnectionId, dialect: Dialect, command: ToWorker) {
        self.send(connection, majordomo::encode_to_worker(dialect, command));
    }

    fn send(&mut self, to: ConnectionId, frames: Vec<Frame>) {
        self.outputs.push_back(Output::Send { to, frames });
    }
}
