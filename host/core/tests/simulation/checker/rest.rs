//! A node at rest: it agrees with the books, keeps its limits, lets nobody wait in vain, and asks to be woken in time.

use super::clock::Kind;
use super::model::{Place, RequestModel};
use super::{Checker, HEARTBEATS, Registered};
use crate::scenario::LATEST;
use wasmnode_core::{ConnectionId, Node, ServiceStatus, Time};

impl Checker {
    /// To be called when the node has no more outputs.
    pub(crate) fn at_rest(&mut self, node: &Node) {
        self.check_moment();
        self.check_time(node);
        self.check_limits();
        self.check_workers();
        self.check_services(node);
        self.check_counts(node);
        self.step += 1;
    }

    /// To be called when the faults have stopped for longer than any deadline; `lives` tells which workers do.
    pub(crate) fn at_end(&mut self, node: &Node, lives: impl Fn(&ConnectionId) -> bool) {
        // Without a deadline, a request ends with its worker.
        let is_kept = |ask: &&RequestModel| {
            let service_model = self.services.get(&ask.service);
            let is_held = service_model
                .is_some_and(|service_model| service_model.kind() == Kind::Workers && service_model.idle == 0);
            let is_with_workers = matches!(ask.place, Place::Worker(_)) || ask.place == Place::Waiting && is_held;
            // A garbled message may ask for more time than the simulation has.
            let wants_to_wait = ask.clock.kind == Kind::Nobody && ask.due == ask.clock.asked;
            ask.due > self.now && (ask.due == Time::NEVER && is_with_workers || wants_to_wait)
        };
        let kept = self.book.iter().filter(is_kept).count();
        self.coverage.count_many("kept by a worker that stalls", kept as u64);
        if let Some(left) = self.book.iter().find(|ask| !is_kept(ask)) {
            self.fail(&format!("somebody waits for ever: {left:?}"));
        }
        self.require(node.outstanding() == kept, || format!("{} requests or runs are left over", node.outstanding()));
        // What a worker that sends nothing while it works is doing, nobody knows.
        let may_work = |worker: &Registered| {
            worker.held.as_ref().is_some_and(|held| held.until == Time::NEVER && held.heartbeats < HEARTBEATS)
        };
        if let Some((dead, _)) = self.workers.iter().find(|(peer, worker)| !lives(peer) && !may_work(worker)) {
            self.fail(&format!("worker {dead} is still registered, though it is dead"));
        }
        let counters = node.counters();
        let failed: u64 = counters.failed.values().sum();
        self.require(counters.replied + failed + kept as u64 == self.book.arrived(), || {
            format!("does not add up: {counters:?}")
        });
        self.coverage.count_many("retried", counters.retried);
        self.coverage.count_many("unclaimed", counters.unclaimed);
    }

    fn check_moment(&mut self) {
        let moment = std::mem::take(&mut self.moment);
        if let Some(own) = moment.own {
            self.fail(&format!("{:?} gets no answer, though it needs no service", own.requester));
        }
        if let Some(open) = moment.must_be_closed.iter().find_map(|id| self.book.get(*id)) {
            self.fail(&format!("has not answered what is finished or cancelled: {open:?}"));
        }
        if let Some((peer, service, _)) = moment.ready {
            self.fail(&format!("does not register {peer} for {service}"));
        }
        let stays = moment.must_leave.iter().find(|peer| self.workers.contains_key(peer));
        self.require(stays.is_none(), || format!("keeps {stays:?} as a worker, though it left or broke a rule"));
        let mut failure_not_sent = moment.must_be_told_to_go.difference(&moment.told_to_go);
        if let Some(peer) = failure_not_sent.next() {
            self.fail(&format!("does not tell {peer} to go"));
        }
        let late = self.farewells.iter().find(|(_, due)| **due + LATEST < self.now);
        self.require(late.is_none(), || format!("does not tell {late:?} to go, which it has refused"));
        let parts = moment.told_in_parts.iter().filter_map(|id| self.book.get(*id));
        if let Some(half_told) = parts.into_iter().find(|ask| !ask.parts.is_empty()) {
            self.fail(&format!("keeps a part of an answer back: {half_told:?}"));
        }
    }

    fn check_time(&self, node: &Node) {
        let wake = node.next_wake();
        self.require(wake.is_none_or(|wake| wake >= self.now), || format!("would be woken in the past: {wake:?}"));
        let needed = self.book.len() > 0 || !self.workers.is_empty();
        self.require(wake.is_some() || !needed, || "would never be woken, though it has things to watch".to_owned());
        if let Some((due, id)) = self.book.first_due() {
            self.require(wake.is_some_and(|wake| wake <= due), || format!("would be woken only at {wake:?}"));
            self.require(due > self.now, || format!("is overdue: {:?}", self.book.get(id)));
        }
    }

    fn check_limits(&self) {
        let limits = &self.settings.limits;
        let kept = self.book.len() <= limits.requests
            && self.book.held_bytes <= limits.held_bytes
            && self.book.busiest_client() <= limits.requests_per_client
            && self.workers.len() <= limits.workers;
        self.require(kept, || "exceeds a limit".to_owned());
        let idle = self.book.len() == 0 && self.workers.is_empty();
        self.require(!self.stopped || idle, || "has stopped, but not ended everything".to_owned());
    }

    /// Every heartbeat interval each worker is told that the node lives, and those are purged that fell silent or hold
    /// on to a request past its deadline.
    fn check_workers(&self) {
        let majordomo = &self.settings.majordomo;
        let round = majordomo.heartbeat + LATEST;
        for (peer, worker) in &self.workers {
            let told = worker.told + round >= self.now;
            self.require(told, || format!("leaves worker {peer} without a heartbeat"));
            let may_stay = match &worker.held {
                Some(held) if held.heartbeats >= HEARTBEATS => {
                    held.until + round >= self.now && worker.heard + majordomo.expiry + round >= self.now
                }
                Some(held) => held.until + round >= self.now,
                None => worker.heard + majordomo.expiry + round >= self.now,
            };
            self.require(may_stay, || format!("keeps worker {peer}, which is unresponsive"));
        }
    }

    fn check_services(&self, node: &Node) {
        let mut services = self.services.iter();
        for status in node.services(self.now) {
            let Some((name, service_model)) = services.next() else { self.fail(&format!("still knows {status:?}")) };
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

    /// `woken_at_once` is a node that is not done with this instant.
    fn check_service(&self, status: &ServiceStatus, woken_at_once: bool) {
        let Some(service_model) = self.services.get(&status.name) else { return };
        let settings = self.settings_of(&status.name);
        self.require(status.running <= settings.concurrency, || format!("runs too many: {status:?}"));
        if status.queued == 0 {
            return;
        }
        let free = status.workers_idle > 0 || status.plugin && status.running < settings.concurrency;
        self.require(!free, || format!("lets requests wait although somebody is free: {status:?}"));
        let given_back =
            service_model.waiting.iter().filter(|id| self.book.get(**id).is_some_and(|ask| ask.starts > 0));
        let queued = status.queued - given_back.count();
        self.require(queued <= settings.queue, || format!("queues too many: {status:?}"));
        for ask in service_model.waiting.iter().filter_map(|id| self.book.get(*id)) {
            self.require(ask.place == Place::Waiting, || format!("has lost a request: {ask:?}"));
            let Some(since) = self.waits_in_vain_since(ask) else { continue };
            let patient = !self.draining && ask.patience.is_some_and(|patience| since + patience > self.now);
            self.require(patient || woken_at_once, || {
                format!("waits too long for a service that nobody offers: {ask:?}")
            });
        }
    }

    fn check_counts(&self, node: &Node) {
        let counters = node.counters();
        let stopping = self.runs.values().filter(|run| run.stopped).count();
        let outstanding = self.book.len() + stopping;
        self.require(node.outstanding() == outstanding, || {
            format!("says that {} are outstanding, but {outstanding} are", node.outstanding())
        });
        self.require(counters.replied == self.replied, || format!("replied {}: {counters:?}", self.replied));
        self.require(counters.failed == self.failed, || format!("failed {:?}: {counters:?}", self.failed));
        let refused = self.book.arrived() - counters.accepted.min(self.book.arrived());
        let adds_up = counters.accepted <= self.book.arrived() && refused <= self.failed_on_arrival;
        self.require(adds_up, || format!("{} have arrived: {counters:?}", self.book.arrived()));
    }
}
