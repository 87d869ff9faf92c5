//! Conversions between the types of the core and those of the sandbox.

use std::time::{Duration, Instant};
use wasmnode_core::{Input, RequestId, Run, Time};
use wasmnode_sandbox::{Finished, OfferChange, RunId};

/// Returns the run for a request; `started` is the origin of the core's time.
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

/// Converts a time of the core; `started` is its origin.
pub(super) fn instant(time: Time, started: Instant) -> Instant {
    started.checked_add(time.since(Time::ZERO)).unwrap_or(started)
}

/// Converts the end of a run to an input of the core.
pub(super) fn finished(Finished { run, result }: Finished) -> Input {
    Input::Finished { request: RequestId(run.0), result }
}

/// Converts a change of the plugins' offers to an input of the core.
pub(super) fn offer_change(change: OfferChange) -> Input {
    match change {
        OfferChange::Offered(service) => Input::Offered(service),
        OfferChange::Withdrawn(service) => Input::Withdrawn(service),
        OfferChange::Quarantine { service, lasts } => Input::Quarantine { service, lasts },
    }
}
