//! Timers of requests: their deadlines, and how long they wait for a service without a provider.

use super::pending::{Pending, Stage};
use super::{Broker, RequestContext, RequestId};
use crate::failure::{Code, Failure};
use crate::time::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// Age at which a request gets a timer, unless its timer may run out before.
const YOUNG: Duration = Duration::from_millis(10);

/// Requests in order of their timers. Most requests are answered within milliseconds, long before their deadline. So a
/// request gets its timer at the age of [`YOUNG`], or immediately if the timer may run out before.
#[derive(Debug, Default)]
pub(super) struct RequestTimers {
    set: BTreeSet<(Time, RequestId)>,
    /// Requests with this number or a later one are young.
    young: RequestId,
    /// Time at which the remaining young requests get their timers.
    grown: Option<Time>,
}

impl RequestTimers {
    /// Returns when the next timer is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.set.first().map(|(time, _)| *time).into_iter().chain(self.grown).min()
    }

    /// Returns a request whose timer has run out, if there is one.
    pub(super) fn overdue(&self, now: Time) -> Option<RequestId> {
        self.set.first().filter(|(time, _)| *time <= now).map(|(_, request)| *request)
    }

    /// Sets the timer of a request that has none.
    pub(super) fn insert(&mut self, time: Time, request: RequestId, now: Time) {
        if time == Time::NEVER {
            return;
        }
        if request >= self.young {
            self.grown.get_or_insert(now + YOUNG);
        }
        if self.is_set(time, request) {
            self.set.insert((time, request));
        }
    }

    /// Removes the timer of a request, which was set to this time.
    pub(super) fn remove(&mut self, time: Time, request: RequestId) {
        if self.is_set(time, request) {
            self.set.remove(&(time, request));
        }
    }

    /// Returns the number of the first young request, if it is old enough for a timer.
    pub(super) fn grown(&self, now: Time) -> Option<RequestId> {
        self.grown.filter(|grown| *grown <= now).map(|_| self.young)
    }

    /// Sets the timers of the requests that were young; those from `next` on are young.
    pub(super) fn grow(&mut self, timers: impl Iterator<Item = (Time, RequestId)>, next: RequestId) {
        self.set.extend(timers.filter(|(time, _)| *time != Time::NEVER));
        (self.young, self.grown) = (next, None);
    }

    fn is_set(&self, time: Time, request: RequestId) -> bool {
        request < self.young || self.grown.is_some_and(|grown| time <= grown)
    }
}

impl Broker {
    /// Stops accepting requests. Those accepted continue, except those that wait for a service without a provider,
    /// because no worker can register with a draining node.
    pub fn drain(&mut self, now: Time) {
        self.draining = true;
        let waiting: Vec<RequestId> = self.services.iter().flat_map(|(_, service)| service.waiting()).collect();
        waiting.into_iter().for_each(|request| self.arm_patience(request, now));
    }

    /// Sets the timer of a request that has a provider to its deadline.
    pub(super) fn rearm(&mut self, id: RequestId, now: Time) {
        if let Some(pending) = self.requests.get(&id) {
            self.requests.set_timer(id, pending.deadline.at, now);
        }
    }

    /// Ends a request whose timer has run out, unless a provider was found before its deadline.
    pub(super) fn end_overdue(&mut self, id: RequestId, now: Time) {
        let Some(pending) = self.requests.get(&id) else { return };
        let reachable = self.can_be_served(id);
        if reachable && now < pending.deadline.at {
            // The wait for a provider is over, but there is one now.
            return self.rearm(id, now);
        }
        let failure = if pending.stage == Stage::Queued && !reachable {
            self.waited_in_vain(pending, now)
        } else {
            let how = self.how_far(pending);
            Failure::new(Code::Deadline, format!("the deadline passed while {how}: {}", self.limit_of(pending)))
        };
        let stage = pending.stage.clone();
        self.end(id, failure, now);
        if let Stage::Worker(peer) = stage {
            self.expel_if_overdue(&peer, now);
        }
    }

    /// Returns the text that names the limit behind a request's deadline.
    pub(super) fn limit_of(&self, pending: &Pending) -> String {
        let is_elsewhere = matches!(pending.stage, Stage::Forwarded(..));
        let node = is_elsewhere.then_some(&self.settings.name);
        pending.deadline.named(&pending.context.service, node).to_string()
    }

    /// Returns a text about an overdue request: its stage, and whether it may have run.
    fn how_far(&self, pending: &Pending) -> String {
        match &pending.stage {
            Stage::Queued if pending.attempts > 0 || pending.may_have_run => {
                "the request waited for a second worker; it may have run".into()
            }
            Stage::Queued => "the request waited; it was not started".into(),
            Stage::Following => "a request with the same idempotency key ran; it may yet have its effect".into(),
            Stage::Plugin => "the plugin ran; it was stopped".into(),
            Stage::Worker(_) => "a worker had the request; it may have run".into(),
            Stage::Forwarded(link, _) => format!("node {} had the request; it may have run", self.balancer.name(*link)),
        }
    }

    /// Returns the failure of a request that found no provider while it waited, or that may not wait for one.
    fn waited_in_vain(&self, pending: &Pending, now: Time) -> Failure {
        if self.draining {
            let (node, service) = (&self.settings.name, &pending.context.service);
            let reason =
                format!("node {node} is shutting down, and no node offers {service}; the request was not started");
            return Failure::new(Code::Draining, reason);
        }
        let unknown = || self.unknown(&pending.context.service, &pending.context.destination);
        let failure = pending.last_failure.clone().unwrap_or_else(unknown);
        let limit = match pending.context.patience {
            Some(patience) if now < pending.deadline.at => format!("majordomo.wait = {patience:?}"),
            _ => self.limit_of(pending),
        };
        Failure::new(failure.code, format!("{}; it waited for {limit}", failure.reason))
    }

    /// Lets a request without a provider wait as long as its patience lasts, but not on a draining node.
    pub(super) fn arm_patience(&mut self, id: RequestId, now: Time) {
        let Some(Pending { context, deadline, .. }) = self.requests.get(&id) else { return };
        let RequestContext { patience, service, destination: place, .. } = context;
        if self.can_be_served(id) {
            return;
        }
        match patience {
            // These may be many, so `wake` ends some at a time.
            _ if self.draining => self.requests.set_timer(id, now, now),
            Some(patience) => self.requests.set_timer(id, deadline.at.min(now + *patience), now),
            None => self.end(id, self.unknown(service, place), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_micros(1_000 * milliseconds)
    }

    #[test]
    fn a_request_gets_its_timer_at_a_certain_age() {
        let mut timers = RequestTimers::default();
        let [quick, slow, last] = [0, 1, 2].map(RequestId);
        timers.insert(at(5_000), quick, at(0));
        timers.insert(at(4_000), slow, at(1));
        assert_eq!((timers.next(), timers.grown(at(9))), (Some(at(10)), None));
        timers.remove(at(5_000), quick);
        assert_eq!(timers.grown(at(10)), Some(quick));
        timers.grow([(at(4_000), slow)].into_iter(), last);
        assert_eq!((timers.next(), timers.overdue(at(3_999))), (Some(at(4_000)), None));
        assert_eq!(timers.overdue(at(4_000)), Some(slow));
        timers.remove(at(4_000), slow);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_request_with_little_time_gets_its_timer_immediately() {
        let mut timers = RequestTimers::default();
        let [first, second] = [0, 1].map(RequestId);
        timers.insert(at(5_000), first, at(0));
        timers.insert(at(3), second, at(1));
        assert_eq!((timers.next(), timers.overdue(at(3))), (Some(at(3)), Some(second)));
        timers.remove(at(3), second);
        assert_eq!(timers.next(), Some(at(10)));
    }
}
