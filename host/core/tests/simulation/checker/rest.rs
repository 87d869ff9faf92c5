//! Checks of a node at rest: it agrees with the model, keeps its limits, lets no request wait while a provider is free,
//! and requests its wake-up in time.

use super::clock::Kind;
use super::model::{Place, RequestModel};
use super::{Checker, HEARTBEATS, Registered};
use crate::scenario::LATEST;
use wasmnode_core::{ConnectionId, Node, ServiceStatus, Time};

impl Checker {
    /// Checks the node once it has no more outputs.
    pub(crate) fn at_rest(&mut self, node: &Node) {
        self.check_moment();
        self.check_time(node);
        self.check_limits();
        self.check_workers();
        self.check_services(node);
        self.check_counts(node);
        self.step += 1;
    }

    /// Checks the node once the faults have stopped for longer than any deadline; `lives` returns `true` for live
    /// workers.
    pub(crate) fn at_end(&mut self, node: &Node, lives: impl Fn(&ConnectionId) -> bool) {
        // Without a deadline, a request ends with its worker.
        let is_kept = |ask: &&RequestModel| {
            let service_model = self.services.get(&ask.service);
            let is_held = service_model
                .is_some_and(|service_model| service_model.kind() == Kind::Workers && service_model.idle == 0);
            let is_with_workers = matches!(ask.place, Place::Worker(_)) || ask.place == Place::Waiting && is_held;
            // A garbled message may set a longer deadline than the simulation lasts.
            let wants_to_wait = ask.clock.kind == Kind::Nobody && ask.due == ask.clock.asked;
            ask.due > self.now && (ask.due == Time::NEVER && is_with_workers || wants_to_wait)
        };
        let kept = self.model.iter().filter(is_kept).count();
        self.coverage.count_many("kept by a worker that stalls", kept as u64);
        if let Some(left) = self.model.iter().find(|ask| !is_kept(ask)) {
            self.fail(&format!("requests never get an answer: {left:?}"));
        }
        self.require(node.outstanding() == kept, || format!("{} requests or runs are left over", node.outstanding()));
        // A worker that sends nothing while it works may be dead or alive.
        let may_work = |worker: &Registered| {
            worker.held.as_ref().is_some_and(|held| held.until == Time::NEVER && held.heartbeats < HEARTBEATS)
        };
        if let Some((dead, _)) = self.workers.iter().find(|(peer, worker)| !lives(peer) && !may_work(worker)) {
            self.fail(&format!("worker {dead} is still registered, though it is dead"));
        }
        let counters = node.counters();
        let failed: u64 = counters.failed.values().sum();
        self.require(counters.replied + failed + kept as u64 == self.model.arrived(), || {
            format!("does not add up: {counters:?}")
        });
        self.coverage.count_many("retried", counters.retried);
        self.coverage.count_many("unclaimed", counters.unclaimed);
    }

    fn check_moment(&mut self) {
        let moment = std::mem::take(&mut self.moment);
        if let Some(own) = moment.own {
            self.fail(&format!("{:?} gets no answer, although it needs no service", own.requester));
        }
        if let Some(open) = moment.must_be_closed.iter().find_map(|id| self.model.get(*id)) {
            self.fail(&format!("has not answered what is finished or cancelled: {open:?}"));
        }
        if let Some((peer, service, _)) = moment.ready {
            self.fail(&format!("does not register {peer} for {service}"));
        }
        let stays = moment.must_leave.iter().find(|peer| self.workers.contains_key(peer));
        self.require(stays.is_none(), || format!("keeps {stays:?} as a worker, although it left or broke a rule"));
        let mut failure_not_sent = moment.must_be_disconnected.difference(&moment.disconnected);
        if let Some(peer) = failure_not_sent.next() {
            self.fail(&format!("sends no DISCONNECT to {peer}"));
        }
        let late = self.farewells.iter().find(|(_, due)| **due + LATEST < self.now);
        self.require(late.is_none(), || format!("sends no DISCONNECT to {late:?}, which it has refused"));
        let parts = moment.parts_due.iter().filter_map(|id| self.model.get(*id));
        if let Some(unsent) = parts.into_iter().find(|ask| !ask.parts.is_empty()) {
            self.fail(&format!("does not send a partial reply: {unsent:?}"));
        }
    }

    fn check_time(&self, node: &Node) {
        let wake = node.next_wake();
        self.require(wake.is_none_or(|wake| wake >= self.now), || format!("would be woken in the past: {wake:?}"));
        let needed = self.model.len() > 0 || !self.workers.is_empty();
        self.require(wake.is_some() || !needed, || "would never be woken, although it has timers".to_owned());
        if let Some((due, id)) = self.model.first_due() {
            self.require(wake.is_some_and(|wake| wake <= due), || format!("would be woken only at {wake:?}"));
            self.require(due > self.now, || format!("is overdue: {:?}", self.model.get(id)));
        }
    }

    fn check_limits(&self) {
        let limits = &self.settings.limits;
        let kept = self.model.len() <= limits.requests
            && self.model.held_bytes <= limits.held_bytes
            && self.model.busiest_client() <= limits.requests_per_client
            && self.workers.len() <= limits.workers;
        self.require(kept, || "exceeds a limit".to_owned());
        let idle = self.model.len() == 0 && self.workers.is_empty();
        self.require(!self.stopped || idle, || "has stopped, but not ended everything".to_owned());
    }

    /// Checks that each worker gets heartbeats every interval, and that workers are expelled that are unresponsive or
    /// keep a request past its deadline.
    fn check_workers(&self) {
        let majordomo = &self.settings.majordomo;
        let round = majordomo.heartbeat + LATEST;
        for (peer, worker) in &self.workers {
            let told = worker.last_heartbeat + round >= self.now;
            self.require(told, || format!("leaves worker {peer} without a heartbeat"));
            let may_stay = match &worker.held {
                Some(held) if held.heartbeats >= HEARTBEATS => {
                    held.until + round >= self.now && worker.last_received + majordomo.expiry + round >= self.now
                }
                Some(held) => held.until + round >= self.now,
                None => worker.last_received + majordomo.expiry + round >= self.now,
            };
            self.require(may_stay, || format!("keeps worker {peer}, which is unresponsive"));
        }
    }

    fn check_services(&self, node: &Node) {
        let mut services = self.services.iter();
        for status in node.services(self.now) {
            let Some((name, service_model)) = services.next() else { self.fail(&format!("still lists {status:?}")) };
            let same = *name == status.name
                && service_model.offered == status.plugin
                && service_model.running == status.running
                && (service_model.idle, service_model.busy) == (status.workers_idle, status.workers_busy)
                && service_model.waiting.len() == status.queued;
            self.require(same, || {
                let (running, idle, busy, waiting) =
                    (service_model.running, service_model.idle, service_model.busy, service_model.waiting.len());
                format!("says {status:?}, but {name} has {running} runs, {idle} + {busy} workers, {waiting} waiting")
            });
            self.check_service(&status, node.next_wake() == Some(self.now));
        }
        self.require(services.next().is_none(), || "has forgotten a service".to_owned());
    }

    /// `woken_at_once` is `true` for a node that has more to do at this instant.
    fn check_service(&self, status: &ServiceStatus, woken_at_once: bool) {
        let Some(service_model) = self.services.get(&status.name) else { return };
        let settings = self.settings_of(&status.name);
        self.require(status.running <= settings.concurrency, || format!("runs too many: {status:?}"));
        if status.queued == 0 {
            return;
        }
        let free = status.workers_idle > 0 || status.plugin && status.running < settings.concurrency;
        self.require(!free, || format!("lets requests wait although a provider is free: {status:?}"));
        let given_back =
            service_model.waiting.iter().filter(|id| self.model.get(**id).is_some_and(|ask| ask.starts > 0));
        let queued = status.queued - given_back.count();
        self.require(queued <= settings.queue, || format!("queues too many: {status:?}"));
        for ask in service_model.waiting.iter().filter_map(|id| self.model.get(*id)) {
            self.require(ask.place == Place::Waiting, || format!("has lost a request: {ask:?}"));
            let Some(since) = self.waits_in_vain_since(ask) else { continue };
            let patient = !self.draining && ask.patience.is_some_and(|patience| since + patience > self.now);
            self.require(patient || woken_at_once, || {
                format!("waits too long for a service without a provider: {ask:?}")
            });
        }
    }

    fn check_counts(&self, node: &Node) {
        let counters = node.counters();
        let stopping = self.runs.values().filter(|run| run.stopped).count();
        let outstanding = self.model.len() + stopping;
        self.require(node.outstanding() == outstanding, || {
            format!("reports {} outstanding requests instead of {outstanding}", node.outstanding())
        });
        self.require(counters.replied == self.replied, || format!("replied {}: {counters:?}", self.replied));
        self.require(counters.failed == self.failed, || format!("failed {:?}: {counters:?}", self.failed));
        let refused = self.model.arrived() - counters.accepted.min(self.model.arrived());
        let adds_up = counters.accepted <= self.model.arrived() && refused <= self.failed_on_arrival;
        self.require(adds_up, || format!("{} have arrived: {counters:?}", self.model.arrived()));
    }
}
