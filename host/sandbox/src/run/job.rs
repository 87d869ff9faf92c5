//! A run of a request in a guest, and its outcome.

use crate::calls::RunId;
use std::time::{Duration, Instant};
use wasmnode_protocol::{Body, Failure, Frame, ServiceName};

/// A request to run.
#[derive(Debug)]
pub struct Run {
    /// Number of the run.
    pub id: RunId,
    /// The service, which selects the plugin.
    pub service: ServiceName,
    /// The caller, as the guest receives it.
    pub caller: String,
    /// Frames of the request.
    pub body: Body,
    /// Time at which the run is stopped.
    pub deadline: Instant,
    /// Time until the deadline, as the guest receives it.
    pub remaining: Duration,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Idempotency key: requests with the same key are meant to take effect once.
    pub idempotency_key: Option<Frame>,
}

impl Run {
    /// Time until the deadline, as guests receive it, in microseconds.
    pub(crate) fn remaining_us(&self) -> u64 {
        u64::try_from(self.remaining.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Outcome of a run.
pub(crate) struct Outcome {
    pub(crate) result: Result<Body, Failure>,
    /// Whether partial replies were sent before it, as events.
    pub(crate) sent_partials: bool,
    /// Functions on the guest's stack when it trapped or the host ended it.
    pub(crate) backtrace: Option<Box<str>>,
}

impl Outcome {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), sent_partials: false, backtrace: None }
    }
}
