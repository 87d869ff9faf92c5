//! Services of plugins, their runs, and the partial replies and calls of runs.

use super::deadlines::ProviderKind;
use super::{Broker, CallId, Destination, Effect, Pending, RequestContext, RequestId, Requester, Run, Stage};
use crate::failure::{Code, Failure};
use crate::message::Body;
use crate::name::ServiceName;
use crate::time::Time;

impl Broker {
    /// Adds a plugin's offer of a service.
    pub fn offer(&mut self, service: &ServiceName, now: Time) {
        let entry = self.service(service);
        (entry.plugin, entry.quarantined_until) = (true, Time::ZERO);
        self.expel_unproven(service, now);
        self.advertise(service);
        self.warn_of_sharing(service);
        self.reset_timers(service, now);
        self.dispatch(service, now);
    }

    /// Withdraws a plugin's offer of a service. Its runs continue; waiting requests go to other providers or fail.
    pub fn withdraw(&mut self, service: &ServiceName, now: Time) {
        if let Some(entry) = self.services.get_mut(service) {
            entry.plugin = false;
            self.provider_left(service, now);
        }
    }

    /// Puts a plugin in quarantine until a time: its requests are refused, because it crashed in the last ones.
    pub fn quarantine(&mut self, service: &ServiceName, until: Time) {
        if let Some(entry) = self.services.get_mut(service) {
            entry.quarantined_until = until;
        }
    }

    pub(super) fn run(&mut self, id: RequestId, now: Time) {
        self.set_provider(id, ProviderKind::Plugin, now);
        let Some(pending) = self.requests.get_mut(&id) else { return };
        pending.stage = Stage::Plugin;
        let request = Box::new(Run {
            id,
            service: pending.context.service.clone(),
            caller: pending.context.caller(),
            body: std::mem::take(&mut pending.context.body),
            deadline: pending.deadline.at,
            traceparent: pending.context.traceparent.clone(),
            idempotency_key: pending.context.idempotency_key.clone(),
        });
        self.requests.set_timer(id, request.deadline, now);
        self.effects.push_back(Effect::Run(request));
    }

    /// Handles a partial reply of a run.
    pub fn partial(&mut self, request: RequestId, body: Body, now: Time) {
        match self.requests.get(&request) {
            Some(Pending { stage: Stage::Plugin, .. }) => self.pass_on(request, body, now),
            _ => self.counters.unclaimed += 1,
        }
    }

    /// Handles the end of a run: confirms one [`Effect::Run`], whether it was stopped or not.
    pub fn finish(&mut self, request: RequestId, result: Result<Body, Failure>, now: Time) {
        let service = if let Some(service) = self.stopping.remove(&request) {
            service
        } else if let Some(Pending { stage: Stage::Plugin, context, .. }) = self.requests.get(&request) {
            let service = context.service.clone();
            self.answer(request, result, now);
            service
        } else {
            self.counters.unclaimed += 1;
            return;
        };
        let Some(entry) = self.services.get_mut(&service) else { return };
        entry.running = entry.running.saturating_sub(1);
        if entry.queued() > 0 || !entry.plugin {
            self.dispatch(&service, now);
            self.services.remove_unused(&service);
        }
    }

    /// Handles a call by the run of `parent`, subject to the `calls` setting, the depth limit and the loop check.
    pub fn call(&mut self, call: CallId, parent: RequestId, service: ServiceName, body: Body, now: Time) {
        let Some(pending) = self.requests.get(&parent) else {
            let failure = Failure::new(Code::Cancelled, "the calling request has ended");
            return self.refuse(Requester::Call { call, parent, caller: service.clone() }, service, failure);
        };
        let requester = Requester::Call { call, parent, caller: pending.context.service.clone() };
        if let Err(failure) = self.may_call(pending, &service) {
            return self.refuse(requester, service, failure);
        }
        let mut chain = pending.context.chain.clone();
        chain.push(pending.context.service.clone());
        let context = RequestContext {
            chain,
            body,
            deadline: pending.deadline.left(now),
            traceparent: pending.context.traceparent.clone(),
            ..RequestContext::new(requester, service, Destination::Anywhere)
        };
        self.submit(context, now);
    }
}
