//! Forwarding of requests to peers: dispatch, replies, and retries when a peer does not answer.
//!
//! A request that certainly was not started is tried elsewhere. One that may have run is tried again only if that does
//! no harm: its service is idempotent, or the request has an idempotency key. Both count against the retry budget.
//!
//! A router retries only requests that were not started, and leaves the rest to the first node. When its next hop
//! becomes unresponsive, it returns the requests for which the node before has another route. The others wait, because
//! the next hop may recover.

#[cfg(test)]
mod tests;

use super::balancer::{Outcome, Selection};
use super::deadlines::ProviderKind;
use super::fair_queue::StartTag;
use super::forward_table::Forwarded;
use super::next_hop::NextHop;
use super::request::Destination;
use super::service::Queue;
use super::{Broker, Effect, Pending, RequestId, Stage};
use crate::connection::LinkId;
use crate::failure::{Code, Failure};
use crate::message::Reply;
use crate::message::peer::Forward;
use crate::name::{Address, Label, ServiceName};
use crate::time::Time;

/// Largest number of peers that one request is forwarded to.
const MAX_FORWARDS: usize = 4;

impl Broker {
    /// Adds a link on which requests may be forwarded.
    ///
    /// `zone` is the one that the link leads into, if it is another; `is_router` is `true` if the link ends at a
    /// router.
    pub fn peer_up(&mut self, link: LinkId, node: &Label, zone: Option<&Label>, is_router: bool, now: Time) {
        self.balancer.add(link, node.clone(), zone.cloned(), is_router);
        let place = Destination::Node(node.clone());
        let named: Vec<ServiceName> = self
            .services
            .iter()
            .filter(|(_, service)| service.there.contains_key(&place))
            .map(|(name, _)| name.clone())
            .collect();
        named.iter().for_each(|name| self.dispatch(name, now));
    }

    /// Removes a link that has ended. The requests that its peer had may have run.
    pub fn peer_down(&mut self, link: LinkId, why: &str, now: Time) {
        let Some((hop, addresses)) = self.balancer.remove(link) else { return };
        for address in &addresses {
            self.services.drop_link(link, address);
        }
        for id in hop.outstanding {
            let reason = format!("node {}, which had the request, is gone ({why}); the request may have run", hop.node);
            self.come_back(id, Failure::new(Code::Lost, reason), true, now);
        }
        for address in &addresses {
            self.provider_left(&address.service, now);
        }
    }

    /// Marks the peer on this link as unresponsive or responsive. An unresponsive peer gets no requests. Those that it
    /// has are tried elsewhere if they may run twice, and those that wait for it if there is another route.
    pub fn peer_unresponsive(&mut self, link: LinkId, is_unresponsive: bool, now: Time) {
        if !self.balancer.set_unresponsive(link, is_unresponsive) {
            return;
        }
        if !is_unresponsive {
            return self.dispatch_starved(now);
        }
        let ids: Vec<u64> =
            self.balancer.get(link).into_iter().flat_map(|hop| hop.outstanding.iter().copied()).collect();
        for id in ids {
            let Some(forwarded) = self.forwarded.get(id) else { continue };
            let Some(pending) = self.requests.get(&forwarded.request) else { continue };
            let goes_elsewhere = self.may_repeat(pending, forwarded) && self.has_another(pending, link);
            if goes_elsewhere || pending.context.has_alternative && is_harmless(pending, forwarded) {
                let reason = format!(
                    "node {}, which had the request, does not answer; it may have run",
                    self.balancer.name(link)
                );
                self.effects.push_back(Effect::CancelForward { link, id });
                self.come_back(id, Failure::new(Code::Lost, reason), true, now);
            }
        }
        let waiting = self.requests.iter().filter(|(_, pending)| pending.context.has_alternative).map(|(id, _)| id);
        let waiting: Vec<RequestId> = waiting.collect();
        waiting.into_iter().for_each(|id| self.give_up_if_stuck(id, now));
    }

    /// Gives back a request that waits for unresponsive next hops, if the node that forwarded it has another route.
    pub(super) fn give_up_if_stuck(&mut self, id: RequestId, now: Time) {
        let waits = |pending: &Pending| pending.context.has_alternative && pending.stage == Stage::Queued;
        if self.requests.get(&id).is_some_and(waits)
            && matches!(self.choose_next_hop(id, now), (Selection::Unresponsive, _))
        {
            let router = &self.settings.name;
            let reason = format!("the routes of router {router} are unresponsive; the request was not started");
            self.end(id, Failure::new(Code::Unreachable, reason), now);
        }
    }

    /// Handles a peer's reply.
    pub fn peer_replied(&mut self, link: LinkId, id: u64, reply: Reply, now: Time) {
        let Some(forwarded) = self.forwarded.at(link, id) else {
            self.counters.unclaimed += 1;
            return;
        };
        let request = forwarded.request;
        match reply {
            Reply::Partial(body) => {
                match self.requests.get_mut(&request) {
                    Some(Pending { trace: Some(trace), .. }) => return trace.collect(body),
                    Some(pending) => pending.has_sent_partial = true,
                    None => {}
                }
                self.pass_on(request, body, now);
            }
            Reply::Final(body) => {
                self.release_peer(id, Outcome::Success, now);
                self.answer(request, Ok(body), now);
            }
            Reply::Failure(failure) => {
                let mut reason = format!("at node {}: {}", self.balancer.name(link), failure.reason);
                if failure.code == Code::Deadline
                    && let Some(pending) = self.requests.get(&request).filter(|pending| pending.deadline.at <= now)
                {
                    // The limit was set by this node, so the peer cannot name it.
                    reason = format!("{reason}; here {}", self.limit_of(pending));
                }
                let failure = Failure::new(failure.code, reason);
                match failure.code {
                    // Not cancelled by this node, or the entry would be gone: the peer considers this node dead.
                    Code::Cancelled => self.come_back(id, Failure { code: Code::Lost, ..failure }, true, now),
                    // The request came to a router twice, or exceeded the hop limit: another route may be shorter.
                    Code::Loop => self.come_back(id, failure, false, now),
                    code if code.was_not_started() => self.come_back(id, failure, false, now),
                    Code::Lost => self.come_back(id, failure, true, now),
                    code => {
                        let is_bad = matches!(code, Code::Crashed | Code::Exhausted | Code::Deadline);
                        self.release_peer(id, if is_bad { Outcome::Failure } else { Outcome::Success }, now);
                        self.answer(request, Err(failure), now);
                    }
                }
            }
        }
    }

    /// Handles a request that could not be sent on its link: it certainly did not start.
    pub fn peer_unsent(&mut self, link: LinkId, id: u64, now: Time) {
        if self.forwarded.at(link, id).is_some() {
            let reason = format!("node {} cannot be reached; the request was not started", self.balancer.name(link));
            self.come_back(id, Failure::new(Code::Unreachable, reason), false, now);
        }
    }

    /// Handles requests that the peer on this link does not have: they or their answers were lost in transit.
    pub fn peer_lacks(&mut self, link: LinkId, ids: &[u64], now: Time) {
        for &id in ids {
            if self.forwarded.at(link, id).is_some() {
                let reason = format!("node {} does not have the request; it may have run", self.balancer.name(link));
                self.come_back(id, Failure::new(Code::Lost, reason), true, now);
            }
        }
    }

    /// Returns the requests that the peer on this link has had since `before` or earlier, oldest first.
    pub fn outstanding_at(&self, link: LinkId, before: Time) -> impl Iterator<Item = u64> {
        let ids = self.balancer.get(link).into_iter().flat_map(|hop| hop.outstanding.iter().copied());
        ids.filter(move |id| self.forwarded.get(*id).is_some_and(|forwarded| forwarded.since <= before))
    }

    /// Returns `true` if the peer on this link has requests without an answer.
    #[must_use]
    pub fn is_peer_busy(&self, link: LinkId) -> bool {
        self.balancer.get(link).is_some_and(|hop| !hop.outstanding.is_empty())
    }

    /// Returns `true` if a peer has a request of this number outstanding on its connection.
    #[must_use]
    pub fn has_request(&self, peer: &crate::connection::ConnectionId, id: u64) -> bool {
        self.clients.request(peer, id).is_some()
    }

    /// Forwards waiting requests that this node does not serve itself, or not soon.
    pub(super) fn dispatch_elsewhere(&mut self, name: &ServiceName, now: Time) {
        let Some(service) = self.services.get(name) else { return };
        let has_ways = !service.peers.is_empty() || !service.is_local() && !service.remote_zones.is_empty();
        if has_ways && !service.anywhere.is_empty() {
            let keep = if service.is_local() { service.settings.spill } else { 0 };
            let excess = service.anywhere.len().saturating_sub(keep);
            self.forward_some(name, &Destination::Anywhere, excess, now);
        }
        let Some(service) = self.services.get(name) else { return };
        if !service.there.is_empty() {
            let places: Vec<Destination> = service.there.keys().cloned().collect();
            places.iter().for_each(|place| self.forward_some(name, place, usize::MAX, now));
        }
    }

    /// Dispatches the services that have requests for which no peer had room.
    pub(super) fn dispatch_starved(&mut self, now: Time) {
        for name in std::mem::take(&mut self.starved) {
            self.dispatch(&name, now);
        }
    }

    /// Forwards at most `most` of the requests that wait for one destination.
    fn forward_some(&mut self, name: &ServiceName, place: &Destination, mut most: usize, now: Time) {
        let mut after = StartTag::FIRST;
        while most > 0
            && let Some(turn) = self.next_waiting(name, place, after)
        {
            after = turn;
            let id = turn.request;
            let Some(pending) = self.requests.get(&id) else { continue };
            if pending.deadline.at <= now {
                self.end_overdue(id, now);
                continue;
            }
            match self.choose_next_hop(id, now) {
                (Selection::Peer(link), zone) => {
                    most -= 1;
                    self.forward(id, (link, zone), now);
                }
                (Selection::Full | Selection::Unresponsive, _) => {
                    self.starved.insert(name.clone());
                    return;
                }
                (Selection::NoPeer, _) => {}
            }
        }
    }

    fn next_waiting(&self, name: &ServiceName, place: &Destination, after: StartTag) -> Option<StartTag> {
        let service = self.services.get(name)?;
        let next = |queue: &Queue| queue.range(after.next()..).next().copied();
        match place {
            Destination::Anywhere | Destination::Home => next(&service.anywhere),
            Destination::Here => None,
            elsewhere => service.there.get(elsewhere).and_then(next),
        }
    }

    pub(super) fn forward(&mut self, id: RequestId, (link, zone): NextHop, now: Time) {
        let Some(service) = self.requests.get(&id).map(|pending| pending.context.service.clone()) else { return };
        let address = match &zone {
            Some(zone) => Address::in_zone(service, zone.clone()),
            None => service.into(),
        };
        let is_by_workers = self.balancer.is_by_workers(link, &address);
        self.set_provider(id, if is_by_workers { ProviderKind::Workers } else { ProviderKind::Plugin }, now);
        let own_zone = &self.settings.zone;
        let has_alternative = self.requests.get(&id).is_some_and(|pending| self.has_alternative(pending, link));
        let allowed = self.requests.get(&id).and_then(|pending| self.allowed(pending));
        let Some(pending) = self.requests.get_mut(&id) else { return };
        let number = self.forwarded.take_number();
        self.counters.forwarded += 1;
        pending.stage = Stage::Forwarded(link, number);
        if pending.tried.is_empty() {
            self.budget.deposit();
        }
        pending.tried.push(link);
        let forward = Box::new(Forward {
            id: number,
            remaining: pending.deadline.left(now),
            hops: pending.context.hops.saturating_sub(1),
            is_trace: pending.trace.is_some(),
            has_alternative,
            service: pending.context.service.clone(),
            caller: pending.context.caller().to_text(),
            allowed,
            traceparent: pending.context.traceparent.clone(),
            idempotency_key: pending.context.idempotency_key.clone(),
            chain: pending.context.chain.clone(),
            node: match &pending.context.destination {
                Destination::NodeIn { node, .. } => Some(node.clone()),
                _ => None,
            },
            crossed: match (&zone, pending.context.crossed.is_empty()) {
                (Some(_), true) => vec![own_zone.clone()],
                _ => pending.context.crossed.clone(),
            },
            zone: zone.clone(),
            // The node keeps the body too, in case the peer dies.
            body: pending.context.body.clone(),
        });
        let (service, place, turn) =
            (pending.context.service.clone(), pending.context.destination.clone(), pending.start_tag);
        let has_key = pending.context.idempotency_key.is_some();
        let queues = self.service(&service);
        queues.dequeue(turn, &place);
        queues.fair_queue.serve(turn);
        self.balancer.begin(link, &address, number);
        let is_repeatable = has_key || self.balancer.is_idempotent(link, &address);
        let is_trace = forward.is_trace;
        self.forwarded.insert(number, Forwarded { request: id, link, address, since: now, is_repeatable, is_trace });
        self.rearm(id, now);
        self.effects.push_back(Effect::Forward { link, forward });
    }

    /// Releases a request's slot in its peer's window, and records the outcome.
    pub(super) fn release_peer(&mut self, id: u64, ending: Outcome, now: Time) -> Option<RequestId> {
        let Forwarded { request, link, address, since, is_trace, .. } = self.forwarded.remove(id)?;
        let ending = if is_trace { Outcome::Cancelled } else { ending };
        let was_full = !self.balancer.has_room(link);
        self.balancer.end(link, &address, id, ending, now.since(since), now);
        if was_full {
            self.dispatch_starved(now);
        }
        Some(request)
    }

    /// Handles a request that comes back from a peer without an answer: it is tried elsewhere, waits, or fails.
    fn come_back(&mut self, id: u64, failure: Failure, may_have_run: bool, now: Time) {
        let Some(forwarded) = self.forwarded.get(id) else { return };
        let (request, is_trace) = (forwarded.request, forwarded.is_trace);
        let pending = self.requests.get(&request);
        let may_repeat = pending.is_some_and(|pending| !may_have_run || self.may_repeat(pending, forwarded));
        let is_bad = may_have_run || failure.code == Code::Unreachable;
        self.release_peer(id, if is_bad { Outcome::Failure } else { Outcome::Cancelled }, now);
        let Some(pending) = self.requests.get_mut(&request) else { return };
        if !may_repeat || pending.tried.len() >= MAX_FORWARDS {
            return self.answer(request, Err(failure), now);
        }
        pending.may_have_run |= may_have_run;
        pending.last_failure = Some(failure.clone());
        if !self.can_be_served(request)
            && self.requests.get(&request).is_some_and(|pending| pending.context.patience.is_none())
        {
            return self.answer(request, Err(failure), now);
        }
        if !self.budget.try_withdraw() {
            let reason = format!("{}; it is not tried again: the retry budget is spent", failure.reason);
            return self.answer(request, Err(Failure::new(failure.code, reason)), now);
        }
        if is_trace {
            return self.trace_elsewhere(request, failure.code, now);
        }
        self.give_back(request, now);
        self.arm_patience(request, now);
        self.dispatch_of(request, now);
    }

    fn dispatch_of(&mut self, request: RequestId, now: Time) {
        if let Some(service) = self.requests.get(&request).map(|pending| pending.context.service.clone()) {
            self.dispatch(&service, now);
        }
    }

    /// Returns `true` if this node may retry a request that may have run at a peer. Routers leave that to the first
    /// node.
    fn may_repeat(&self, pending: &Pending, at: &Forwarded) -> bool {
        !self.settings.is_router() && is_harmless(pending, at)
    }

    /// Returns `true` if the router on this link is to return the request when its next hop becomes unresponsive.
    fn has_alternative(&self, pending: &Pending, link: LinkId) -> bool {
        let may_go_on = || pending.tried.len() + 1 < MAX_FORWARDS && self.has_another(pending, link);
        self.balancer.is_router(link) && (pending.context.has_alternative || may_go_on())
    }
}

/// Returns `true` if a second run of the request does no harm.
fn is_harmless(pending: &Pending, at: &Forwarded) -> bool {
    at.is_repeatable && !pending.has_sent_partial
}
