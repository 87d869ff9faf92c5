//! Queues, dispatch and deadlines of requests, and exactly one answer for each accepted request.
//!
//! A request lives in one map from acceptance to answer, in one of five stages: queued, waiting for the reply to
//! another with the same idempotency key, in a plugin, at a worker, at a peer. Every exit from that map goes through
//! `Broker::take`, so no request is answered twice, and none is forgotten: its timer ends it at the latest.

mod absences;
mod admission;
mod balancer;
mod client_table;
mod deadlines;
mod effect;
mod explain;
mod fair_queue;
mod forward_table;
mod forwarding;
mod idempotency;
mod local_runs;
mod next_hop;
mod partial_replies;
mod pending;
mod quotas;
mod reconfiguration;
mod refusals;
mod registration;
mod request;
mod request_map;
mod request_table;
mod retry_budget;
pub mod sentences;
mod service;
mod service_table;
mod slab_map;
mod status;
mod timers;
mod trace;
mod worker_table;
mod workers;

pub use effect::{Effect, Event};
pub use explain::{Explanation, Verdict};
pub use request::{CallId, Caller, Destination, RequestContext, RequestId, Requester, Run};
pub use status::{Candidate, Counters, Eligibility, PeerStatus, ServiceStatus, Via};

use crate::access::Access;
use crate::connection::ConnectionId;
use crate::failure::{Code, Failure};
use crate::message::{self, Body, Frame, Reply};
use crate::name::ServiceName;
use crate::settings::NodeSettings;
use crate::time::Time;
use absences::Absences;
use balancer::{Balancer, Outcome};
use client_table::ClientTable;
use deadlines::{Clock, Deadline, ProviderKind};
use forward_table::ForwardTable;
use idempotency::ReplyCache;
use partial_replies::PartialReplies;
use pending::{Pending, Stage};
use quotas::Quotas;
use refusals::WorkerRefusals;
use request_table::RequestTable;
use retry_budget::RetryBudget;
use service::{Provider, Service};
use service_table::ServiceTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use trace::Trace;
use worker_table::{Worker, WorkerTable};

/// Hop limit: largest number of nodes and routers that a request may be forwarded to.
pub(crate) const MAX_HOPS: u8 = 32;

/// Largest number of overdue requests, and of requests whose client is gone, that end in one turn: about a millisecond
/// of work.
const ENDED_AT_A_TIME: usize = 1_024;

/// The state machine of one node's requests.
#[derive(Debug)]
pub struct Broker {
    settings: NodeSettings,
    services: ServiceTable,
    workers: WorkerTable,
    requests: RequestTable,
    clients: ClientTable,
    absences: Absences,
    balancer: Balancer,
    forwarded: ForwardTable,
    /// Services with requests for which no peer has room.
    starved: BTreeSet<ServiceName>,
    budget: RetryBudget,
    replies: ReplyCache,
    quotas: Quotas,
    refusals: WorkerRefusals,
    /// Runs that were stopped and await confirmation.
    stopping: BTreeMap<RequestId, ServiceName>,
    draining: bool,
    counters: Counters,
    effects: VecDeque<Effect>,
}

impl Broker {
    /// Creates a broker without offers.
    #[must_use]
    pub fn new(settings: NodeSettings) -> Self {
        let hops = Balancer::new(settings.limits.requests_per_peer, settings.seed);
        let budget = RetryBudget::new(settings.peers.retry_budget);
        let mut quotas = Quotas::default();
        if let Some(access) = &settings.access {
            quotas.set(access, Time::ZERO);
        }
        let requests = RequestTable::new(settings.limits.held_bytes);
        let replies = ReplyCache::new(settings.limits.kept_replies, settings.limits.kept_bytes);
        Self {
            settings,
            balancer: hops,
            forwarded: ForwardTable::new(),
            starved: BTreeSet::new(),
            budget,
            replies,
            quotas,
            refusals: WorkerRefusals::default(),
            services: ServiceTable::new(),
            workers: WorkerTable::default(),
            requests,
            clients: ClientTable::default(),
            absences: Absences::default(),
            stopping: BTreeMap::new(),
            draining: false,
            counters: Counters::default(),
            effects: VecDeque::new(),
        }
    }

    /// Returns the next effect to carry out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns when [`Self::wake`] is due, if ever.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        let departed = self.clients.has_departed().then_some(Time::ZERO);
        self.requests
            .next_wake()
            .into_iter()
            .chain(self.workers.next_round())
            .chain(self.refusals.next())
            .chain(self.absences.next())
            .chain(departed)
            .min()
    }

    /// Returns the counters of everything that arrived.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts a message that broke a protocol's rules.
    pub fn count_malformed(&mut self) {
        self.counters.malformed += 1;
    }

    /// Counts a registration or an advert that the sender's key does not allow.
    pub fn count_forbidden(&mut self) {
        self.counters.forbidden += 1;
    }

    /// Replaces the access rules: the quotas of users, and the services that may be called in their name.
    pub fn trust(&mut self, access: &Access, now: Time) {
        self.quotas.set(access, now);
        self.settings.access = Some(access.clone());
    }

    /// Iterates over the connections of clients with outstanding requests, and of workers.
    pub fn peers(&self) -> impl Iterator<Item = &ConnectionId> {
        self.clients.connections().chain(self.workers.iter().map(|(peer, _)| peer))
    }

    /// Returns the state of every service that is offered or waited for, by name.
    pub fn services(&self, now: Time) -> impl Iterator<Item = ServiceStatus> {
        self.services.iter().map(move |(name, service)| ServiceStatus {
            peers: self.peers_of(name, service, now),
            ..service.status(name)
        })
    }

    /// Returns the name of a service that is offered or waited for, from its bytes. Saves the caller an allocation.
    #[must_use]
    pub fn known(&self, name: &[u8]) -> Option<&ServiceName> {
        self.services.name(std::str::from_utf8(name).ok()?)
    }

    /// Returns `true` if the service is offered at this destination.
    #[must_use]
    pub fn is_reachable(&self, service: &ServiceName, place: &Destination) -> bool {
        self.is_offered(service, place, &[])
    }

    /// Returns the number of requests without an answer, and of stopped runs that are not confirmed as finished.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.requests.len() + self.stopping.len()
    }

    /// Accepts a request, or refuses it with a failure; either way the requester gets exactly one answer.
    pub fn submit(&mut self, context: RequestContext, now: Time) {
        if let Err(failure) = self.may_submit(&context, now) {
            return self.refuse_submission(context, failure);
        }
        let id = self.requests.next_id();
        self.remember(&context.requester, id);
        let RequestContext { requester, service, destination, patience, is_trace, .. } = &context;
        let at_node = matches!(destination, Destination::Node(_)).then(|| self.kind(service, destination));
        let entry = self.services.entry(service, &self.settings);
        let kind = if *is_trace { ProviderKind::Plugin } else { at_node.unwrap_or_else(|| entry.kind(destination)) };
        let clock = Clock::new(Deadline::asked(requester, context.deadline, now), *patience, kind, now);
        let start_tag = entry.fair_queue.assign(requester, id, entry.queued());
        let deadline = clock.deadline(&entry.terms);
        let timer = match patience {
            Some(patience) if !self.is_reachable(service, destination) => deadline.at.min(now + *patience),
            _ => deadline.at,
        };
        let bytes = message::size(&context.body);
        self.counters.accepted += 1;
        let trace = is_trace.then(|| Trace::new(now));
        let pending = Pending {
            context,
            stage: Stage::Queued,
            start_tag,
            bytes,
            deadline,
            clock,
            timer,
            attempts: 0,
            tried: Vec::new(),
            may_have_run: false,
            last_failure: None,
            has_sent_partial: false,
            parts: PartialReplies::default(),
            trace,
            calls: BTreeSet::new(),
        };
        self.requests.insert(pending, now);
        self.start(id, now);
        self.give_up_if_stuck(id, now);
    }

    /// Cancels a request of a native client; no effect if it is already answered.
    pub fn cancel(&mut self, connection: &ConnectionId, id: u64, now: Time) {
        if let Some(request) = self.clients.request(connection, id) {
            self.end(request, Failure::new(Code::Cancelled, "cancelled by the client"), now);
        }
    }

    /// Ends overdue requests, sends heartbeats, and removes unresponsive workers.
    pub fn wake(&mut self, now: Time) {
        self.requests.wake(now);
        // `next_wake` stays due while there are more.
        for _ in 0..ENDED_AT_A_TIME {
            let Some(request) = self.requests.overdue(now) else { break };
            self.end_overdue(request, now);
        }
        while let Some(connection) = self.absences.overdue(now) {
            self.connection_closed(&connection, now);
        }
        self.end_departed(now);
        self.heartbeat(now);
        while let Some((peer, dialect)) = self.refusals.pop(now) {
            self.disconnect(&peer, dialect);
        }
    }

    /// Ends everything: requests without an answer fail, and workers are disconnected.
    pub fn stop(&mut self, now: Time) {
        self.draining = true;
        while let Some((request, pending)) = self.requests.first() {
            let failure = match pending.stage {
                Stage::Queued => Failure::new(Code::Draining, "the node shut down; the request was not started"),
                _ => Failure::new(Code::Lost, "the node shut down while the request ran"),
            };
            self.end(request, failure, now);
        }
        self.dismiss_workers(now);
    }

    /// Takes back a request that could not be sent to its worker; `client` is its token. The request certainly did not
    /// start, so it may go to another provider even if its service is not idempotent. The end of the connection is
    /// reported next, by [`Self::connection_closed`].
    pub fn worker_unreachable(&mut self, connection: &ConnectionId, client: &Frame, now: Time) {
        let request = self.workers.get(connection).and_then(Worker::request);
        if let Some(request) = request.filter(|request| request.token() == *client) {
            self.detach_worker(connection);
            if let Some(pending) = self.requests.get_mut(&request) {
                pending.attempts -= 1;
            }
            self.give_back(request, now);
        }
    }

    /// Answers a request that was never accepted, with a failure.
    pub fn refuse(&mut self, requester: Requester, service: ServiceName, failure: Failure) {
        *self.counters.failed.entry(failure.code).or_default() += 1;
        self.effects.push_back(Effect::Reply { requester, service, reply: Reply::Failure(failure) });
    }

    /// Starts a new request at a free provider of this node, or queues it if there is none or if others wait.
    fn serve_or_queue(&mut self, id: RequestId, now: Time) {
        let Some(Pending { context, start_tag: turn, deadline, .. }) = self.requests.get(&id) else { return };
        let (name, place) = (&context.service, &context.destination);
        let service = self.services.entry(name, &self.settings);
        let may_go = service.next_local().is_none() && place.may_be_here() && deadline.at > now;
        if may_go
            && !service.is_quarantined(now)
            && let Some(provider) = service.take_provider(now)
        {
            service.fair_queue.serve(*turn);
            return self.hand_to(provider, id, now);
        }
        service.enqueue(*turn, place);
        let name = name.clone();
        self.dispatch(&name, now);
    }

    /// Assigns waiting requests to free providers: those of this node first, then peers.
    fn dispatch(&mut self, name: &ServiceName, now: Time) {
        if self.services.get(name).is_none_or(|service| service.queued() == 0) {
            return;
        }
        self.dispatch_here(name, now);
        self.dispatch_elsewhere(name, now);
    }

    fn dispatch_here(&mut self, name: &ServiceName, now: Time) {
        while let Some(service) = self.services.get_mut(name) {
            let Some(turn) = service.next_local() else { return };
            let request = turn.request;
            if self.requests.get(&request).is_some_and(|pending| pending.deadline.at <= now) {
                // The deadline has passed, although its wake-up is still to come: the request must not start.
                self.end_overdue(request, now);
                continue;
            }
            if service.is_quarantined(now)
                && let Some(hop) = self.hop_around_quarantine(request, now)
            {
                self.forward(request, hop, now);
                continue;
            }
            let Some(service) = self.services.get_mut(name) else { return };
            let Some(provider) = service.take_provider(now) else { return };
            service.anywhere.remove(&turn);
            service.here.remove(&turn);
            service.fair_queue.serve(turn);
            self.hand_to(provider, request, now);
        }
    }

    fn hand_to(&mut self, provider: Provider, request: RequestId, now: Time) {
        match provider {
            Provider::Plugin => self.run(request, now),
            Provider::Worker(peer) => self.hand_to_worker(request, &peer, now),
        }
    }

    /// Puts a request back into its queue, where it goes first, because it keeps its start tag.
    fn give_back(&mut self, id: RequestId, now: Time) {
        self.requests.drop_parts(id, false);
        let Some(pending) = self.requests.get_mut(&id) else { return };
        pending.stage = Stage::Queued;
        let (service, place, turn) =
            (pending.context.service.clone(), pending.context.destination.clone(), pending.start_tag);
        self.counters.retried += 1;
        self.service(&service).enqueue(turn, &place);
        self.reset_timer(id, now);
    }

    /// Fails a request in any stage, and stops its run or cancels it at its peer.
    fn end(&mut self, id: RequestId, failure: Failure, now: Time) {
        match self.requests.get(&id) {
            Some(Pending { stage: Stage::Plugin, context, .. }) => {
                self.stopping.insert(id, context.service.clone());
                self.effects.push_back(Effect::Stop(id));
            }
            Some(&Pending { stage: Stage::Forwarded(link, number), .. }) => {
                let is_late = failure.code == Code::Deadline;
                // Sent first, because it makes room at the peer for the request that may take its place.
                self.effects.push_back(Effect::CancelForward { link, id: number });
                self.release_peer(number, if is_late { Outcome::Failure } else { Outcome::Cancelled }, now);
            }
            _ => {}
        }
        self.answer(id, Err(failure), now);
    }

    /// Answers an accepted request; no other function does.
    fn answer(&mut self, id: RequestId, result: Result<Body, Failure>, now: Time) {
        let Some(mut pending) = self.take(id) else { return };
        let result = result.and_then(|body| self.may_carry(&body).map(|()| body));
        let result = result.map_err(|failure| pending.final_failure(failure));
        let (result, shared) = self.with_parts(&pending.context.requester, std::mem::take(&mut pending.parts), result);
        self.settle_followers(id, &pending, shared.as_ref().unwrap_or(&result), now);
        for &call in &pending.calls {
            self.end(call, Failure::new(Code::Cancelled, "the calling request has ended"), now);
        }
        let entry = self.service(&pending.context.service);
        *(if result.is_ok() { &mut entry.replied } else { &mut entry.failed }) += u64::from(pending.trace.is_none());
        self.services.remove_unused(&pending.context.service);
        let reply = match result {
            Ok(body) => {
                self.counters.replied += 1;
                Reply::Final(body)
            }
            Err(failure) => {
                *self.counters.failed.entry(failure.code).or_default() += 1;
                Reply::Failure(failure)
            }
        };
        if pending.trace.is_some() {
            self.answer_trace(&mut pending, &reply, now);
        }
        let RequestContext { requester, service, .. } = pending.context;
        self.reply(requester, service, reply);
    }

    /// Updates a service after a provider left. Requests that have no other provider wait for one as long as their
    /// patience lasts; an unused entry is removed.
    fn provider_left(&mut self, name: &ServiceName, now: Time) {
        self.advertise(name);
        self.reset_timers(name, now);
        let Some(service) = self.services.get(name) else { return };
        // While this node serves it, only requests for a certain node or zone may lack a provider.
        let is_local = service.is_local();
        let waiting: Vec<RequestId> =
            if is_local { service.elsewhere().collect() } else { service.waiting().collect() };
        waiting.into_iter().for_each(|request| self.arm_patience(request, now));
        if !is_local {
            self.dispatch_elsewhere(name, now);
        }
        self.services.remove_unused(name);
    }

    /// Reports a change in whether or how this node serves a service itself.
    fn advertise(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get_mut(name) else { return };
        let traits = service.traits();
        if name.is_reserved() || std::mem::replace(&mut service.advertised, traits) == traits {
            return;
        }
        self.effects.push_back(match traits {
            Some(traits) => Effect::Serves { service: name.clone(), traits },
            None => Effect::Ceases(name.clone()),
        });
    }

    fn service(&mut self, name: &ServiceName) -> &mut Service {
        self.services.entry(name, &self.settings)
    }

    fn push_event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }
}
