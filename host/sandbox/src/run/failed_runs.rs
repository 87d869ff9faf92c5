//! One line in the node's log for each failed run, at a limited rate: the request, the client, the version of the
//! plugin, the reason, and the guest's backtrace.
//!
//! Lines of requests that the service itself rejected or failed have the level `debug`, because such a run is normal.

use crate::log_throttle::{Kinds, LogDecision};
use crate::run::job::Run;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::{debug, warn};
use wasmnode_protocol::{Code, Failure, text};

/// Largest number of lines per second for each failure code of one service.
const LINES_PER_SECOND: u32 = 10;

/// Largest `traceparent` in a line, in bytes: version 00 has 55.
const MAX_TRACE: usize = 128;

/// Log of one service's failed runs.
pub(crate) struct FailedRuns(Mutex<Kinds>);

impl FailedRuns {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Kinds::new(LINES_PER_SECOND)))
    }

    /// Logs one failed run.
    pub(crate) fn log(&self, request: &Run, generation: u64, failure: &Failure, backtrace: Option<&str>) {
        let is_answer = matches!(failure.code, Code::Rejected | Code::Failed);
        if is_answer && !tracing::enabled!(target: "run", tracing::Level::DEBUG) {
            return;
        }
        let left_out = match self.kinds().check(failure.code.name(), Instant::now()) {
            LogDecision::Drop => return,
            LogDecision::Pass => String::new(),
            LogDecision::PassAfter(runs) => {
                format!(" ({runs} more runs that ended with {} are left out)", failure.code)
            }
        };
        let (service, id, caller) = (request.service.as_str(), request.id.0, request.caller.as_str());
        let trace = request.traceparent.as_ref().map(|trace| text::line_of(trace, MAX_TRACE));
        let trace = trace.as_deref();
        if is_answer {
            debug!(target: "run", service, generation, request = id, caller, trace, "{failure}{left_out}");
        } else {
            warn!(target: "run", service, generation, request = id, caller, trace, backtrace, "{failure}{left_out}");
        }
    }

    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
