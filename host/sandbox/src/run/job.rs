//! A request for a guest, and what comes of it.

use crate::calls::RunId;
use std::time::{Duration, Instant};
use wasmnode_protocol::{Body, Failure, Frame, ServiceName};

/// A request to run.
#[derive(Debug)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// The service, and so the plugin.
    pub service: ServiceName,
    /// Who asks, as the guest is told.
    pub caller: String,
    /// The client's frames.
    pub body: Body,
    /// When it will be stopped.
    pub deadline: Instant,
    /// The time until then, as the guest is told.
    pub remaining: Duration,
    /// W3C `traceparent`.
    pub traceparent: Option<Frame>,
    /// Requests with the same key ask for the same effect, once.
    pub idempotency_key: Option<Frame>,
}

impl Run {
    /// The time that is left, as guests are told, in microseconds.
    pub(crate) fn remaining_us(&self) -> u64 {
        u64::try_from(self.remaining.as_micros()).unwrap_or(u64::MAX)
    }
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) result: Result<Body, Failure>,
    /// Whether partial replies went ahead of it, as events.
    pub(crate) sent_partials: bool,
    /// Where the guest was when it was ended.
    pub(crate) backtrace: Option<Box<str>>,
}

impl Outcome {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), sent_partials: false, backtrace: None }
    }
}
