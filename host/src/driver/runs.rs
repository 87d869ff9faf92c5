//! Between the core, which counts requests, and the sandbox, which runs them.

use std::time::{Duration, Instant};
use wasmnode_core::{Input, RequestId, Run, Time};
use wasmnode_sandbox::{Finished, OfferChange, RunId};

/// The run for a request; `started` is when the core's time began.
pub(super) fn run_of(request: Run, remaining: Duration, started: Instant) -> wasmnode_sandbox::Run {
    wasmnode_sandbox::Run {
        id: RunId(request.id.0),
        service: request.service,
        caller: request.caller.to_text(),
        body: request.body,
        deadline: instant(request.deadline, started),
        remaining,
        traceparent: request.traceparent,
        idempotency_key: request.idempotency_key,
    }
}

/// A time of the core; `started` is when it began.
pub(super) fn instant(time: Time, started: Instant) -> Instant {
    started.checked_add(time.since(Time::ZERO)).unwrap_or(started)
}

/// The end of a run, as the core hears it.
pub(super) fn finished(Finished { run, result }: Finished) -> Input {
    Input::Finished { request: RequestId(run.0), result }
}

/// A change of what plugins offer, as the core hears it.
pub(super) fn offer_change(change: OfferChange) -> Input {
    match change {
        OfferChange::Offered(service) => Input::Offered(service),
        OfferChange::Withdrawn(service) => Input::Withdrawn(service),
        OfferChange::Quarantine { service, lasts } => Input::Quarantine { service, lasts },
    }
}
