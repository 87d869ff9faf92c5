//! Assigns answers to requests, and checks that they are true.

use super::model::{Place, RequestModel, RequestNumber, Requester};
use super::{Checker, ServiceModel};
use wasmnode_core::message::{Dialect, Reply, size, trace};
use wasmnode_core::{Code, Failure, Frame, Time};

impl Checker {
    /// Handles an answer or a partial reply to `requester`, including a failure that its dialect cannot carry.
    pub(super) fn answered(&mut self, requester: &Requester, dialect: Option<Dialect>, reply: Reply) {
        if self.is_record(requester, dialect, &reply) {
            return self.coverage.count("traced");
        }
        if self.is_own_answer(requester, dialect, &reply) {
            self.moment.own = None;
            return;
        }
        let candidates = self.model.of(requester).iter().filter_map(|id| Some((*id, self.model.get(*id)?)));
        let mut candidates = candidates.filter(|(_, ask)| dialect.is_none() || ask.dialect == dialect);
        match reply {
            Reply::Partial(body) => {
                let place = |ask: &RequestModel| ask.parts.iter().position(|part| is_same(part, &body, dialect));
                let Some((id, place)) = candidates.find_map(|(id, ask)| Some((id, place(ask)?))) else {
                    self.fail(&format!("sends {requester:?} a partial reply that is not due: {body:?}"));
                };
                self.model.get_mut(id).into_iter().for_each(|ask| drop(ask.parts.remove(place)));
                self.coverage.count("partial reply");
            }
            Reply::Final(body) => {
                let found = candidates.find(|(_, ask)| match &ask.outcome {
                    Some(Ok(produced)) => is_same(produced, &body, dialect),
                    _ => false,
                });
                let Some((id, _)) = found else {
                    self.fail(&format!("sends {requester:?} an answer that is not due: {body:?}"));
                };
                self.require(self.fits(&body), || format!("sends {requester:?} an answer over a limit"));
                self.close(id);
                self.replied += 1;
                self.coverage.count("final reply");
            }
            Reply::Failure(failure) => {
                let Some((id, _)) = candidates.find(|(id, ask)| self.is_true(*id, ask, &failure)) else {
                    let asks: Vec<&RequestModel> =
                        self.model.of(requester).iter().filter_map(|id| self.model.get(*id)).collect();
                    self.fail(&format!(
                        "sends {requester:?} a failure that is not true of its requests: {failure}\n{asks:#?}"
                    ));
                };
                self.failed(id, dialect, &failure);
            }
        }
    }

    fn failed(&mut self, id: RequestNumber, dialect: Option<Dialect>, failure: &Failure) {
        self.coverage.count(failure.code.name());
        self.coverage.count_reason(Some(failure.code), &failure.reason);
        if dialect == Some(Dialect::Native) {
            self.coverage.count("native failure sent");
        }
        *self.failed.entry(failure.code).or_default() += 1;
        let Some(ask) = self.close(id) else { return };
        if ask.oversized {
            self.coverage.count("reply too large");
        }
        if ask.arrived.0 == self.step {
            self.failed_on_arrival += 1;
        }
        if let (Code::Cancelled, Some(parent)) = (failure.code, ask.parent) {
            // A call ends before its caller's answer is sent.
            self.moment.must_be_closed.push(parent);
        }
    }

    /// Returns `true` if the reply is this node's record of a trace, which has none yet.
    fn is_record(&mut self, requester: &Requester, dialect: Option<Dialect>, reply: &Reply) -> bool {
        let Reply::Partial(records) = reply else { return false };
        let [record] = records.as_slice() else { return false };
        let is_mine = |record: trace::Record| (record.node, record.distance) == (self.settings.name.clone(), 0);
        if dialect != Some(Dialect::Native) || !trace::decode(record.clone()).is_ok_and(is_mine) {
            return false;
        }
        if let Some(own) = self.moment.own.as_mut().filter(|own| own.requester == *requester) {
            return std::mem::take(&mut own.record_due);
        }
        let due = |id: &&RequestNumber| self.model.get(**id).is_some_and(|ask| ask.record_due);
        let traced = self.model.of(requester).iter().find(due).copied();
        traced.and_then(|id| self.model.get_mut(id)).is_some_and(|ask| std::mem::take(&mut ask.record_due))
    }

    fn is_own_answer(&mut self, requester: &Requester, dialect: Option<Dialect>, reply: &Reply) -> bool {
        let Some(own) = &self.moment.own else { return false };
        if own.requester != *requester || dialect.is_some_and(|dialect| dialect != own.dialect) {
            return false;
        }
        match (reply, &own.body) {
            (Reply::Final(body), Some(expected)) => body == expected && !own.record_due,
            (Reply::Failure(failure), None) if failure.code == Code::Malformed => {
                self.coverage.count_reason(Some(Code::Malformed), &failure.reason);
                true
            }
            _ => false,
        }
    }

    /// Returns `true` if the event that the failure names has happened to this request.
    fn is_true(&self, id: RequestNumber, ask: &RequestModel, failure: &Failure) -> bool {
        if ask.outcome.as_ref().is_some_and(|outcome| outcome.as_ref().err() == Some(failure)) {
            return true;
        }
        let (fresh, is_call) = (ask.arrived.0 == self.step, ask.parent.is_some());
        let waits = ask.place == Place::Waiting;
        match failure.code {
            Code::Malformed => fresh && !is_call && self.model.of(&ask.requester).first() != Some(&id),
            Code::Forbidden => fresh && is_call && !self.is_listed(ask),
            Code::Loop => fresh && is_call && self.is_listed(ask) && !self.may_call(ask),
            Code::UnknownService => waits && self.is_out_of_patience(ask),
            Code::TooLarge => ask.oversized || fresh && !self.fits(&ask.body),
            Code::Overloaded => fresh && self.is_over_a_limit(ask),
            Code::Cancelled => match &ask.requester {
                Requester::Call(_) => true, // Judged at rest: its caller must be closed.
                Requester::Native(peer, _) | Requester::Majordomo(peer, _) => {
                    ask.cancelled || self.moment.gone.contains(peer)
                }
            },
            Code::Draining => {
                let waits_in_vain = waits && self.waits_in_vain_since(ask).is_some();
                self.draining && (fresh && !is_call || waits_in_vain) || self.stopped && waits
            }
            Code::Deadline => ask.due <= self.now && failure.reason.contains(whereabouts(&ask.place)),
            Code::Lost => {
                let waited_in_vain = waits && (self.is_out_of_patience(ask) || self.stopped);
                ask.place == Place::Adrift(self.step) || self.stopped && !waits || ask.starts > 0 && waited_in_vain
            }
            Code::Rejected | Code::Failed | Code::Crashed | Code::Exhausted | Code::Unreachable => false,
        }
    }

    fn is_listed(&self, call: &RequestModel) -> bool {
        let Some(caller) = call.chain.last() else { return false };
        self.settings_of(caller).calls.iter().any(|pattern| pattern.matches(&call.service))
    }

    pub(super) fn may_call(&self, call: &RequestModel) -> bool {
        let depth = call.chain.len();
        self.is_listed(call) && !call.chain.contains(&call.service) && depth <= self.settings.limits.call_depth
    }

    /// Returns the time since which a request has waited for a provider, if there is none.
    pub(super) fn waits_in_vain_since(&self, ask: &RequestModel) -> Option<Time> {
        let lost = self
            .services
            .get(&ask.service)
            .map_or(Time::ZERO, |service_model: &ServiceModel| service_model.unreachable_since);
        (!self.is_reachable(&ask.service)).then(|| lost.max(ask.arrived.1))
    }

    fn is_out_of_patience(&self, ask: &RequestModel) -> bool {
        self.waits_in_vain_since(ask).is_some_and(|since| match ask.patience {
            _ if self.draining => true,
            Some(patience) => ask.due.min(since + patience) <= self.now,
            None => true,
        })
    }

    /// Returns `true` if a body is within the limits of a message.
    pub(super) fn fits(&self, body: &[Frame]) -> bool {
        let limits = &self.settings.limits;
        size(body) <= limits.message && body.len() <= limits.frames
    }

    /// The request itself is already in the model.
    fn is_over_a_limit(&self, ask: &RequestModel) -> bool {
        let limits = &self.settings.limits;
        let of_client = ask.requester.peer().map_or(0, |peer| self.model.of_client(peer));
        let waiting = self.services.get(&ask.service).map_or(0, |service_model| service_model.waiting.len());
        self.model.len() > limits.requests
            || self.model.held_bytes > limits.held_bytes
            || of_client > limits.requests_per_client
            || waiting > self.settings_of(&ask.service).queue
    }
}

/// Returns the text by which a failure names the stage of a request at its deadline.
fn whereabouts(place: &Place) -> &'static str {
    match place {
        Place::Waiting => "waited",
        Place::Plugin(_) => "plugin ran",
        Place::Worker(_) | Place::Adrift(_) => "worker had",
    }
}

/// Returns `true` if a body arrives as it was produced: an empty one is sent to a Majordomo peer as one empty frame.
pub(super) fn is_same(produced: &[Frame], told: &[Frame], dialect: Option<Dialect>) -> bool {
    let majordomo = dialect.is_some_and(|dialect| dialect != Dialect::Native);
    produced == told || majordomo && produced.is_empty() && *told == [Frame::new()]
}
