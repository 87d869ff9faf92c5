//! Events of runs, calls that runs make, and their answers.

use crate::event_sender::EventSender;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmnode_protocol::{Body, Code, Failure, ServiceName};

/// Number of a run: the number of the request that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Number of a call that a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The end of a run.
#[derive(Debug)]
pub struct Finished {
    /// Number of the run.
    pub run: RunId,
    /// The final reply, or why there is none.
    pub result: Result<Body, Failure>,
}

/// Event of a run.
#[derive(Debug)]
pub enum RunEvent {
    /// A partial reply.
    Partial {
        /// Run that sends it.
        run: RunId,
        /// Frames of the reply.
        body: Body,
    },
    /// A run calls a service; [`crate::Plugins::answer`] passes it the answer.
    Call {
        /// Number of the call.
        call: CallId,
        /// Run that makes the call.
        parent: RunId,
        /// Service that is called.
        service: ServiceName,
        /// Frames of the request.
        body: Body,
    },
    /// A run has ended.
    Finished(Finished),
    /// The quarantine of a version has begun or ended. A version in quarantine rejects requests, because it crashed in
    /// several consecutive ones.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// Number of the version.
        generation: u64,
        /// Time until the quarantine ends; zero if it has ended.
        lasts: Duration,
    },
}

/// State that the runs of all services share: calls without an answer, and runs past their deadlines.
pub(crate) struct Calls {
    pub(crate) sending: EventSender<RunEvent>,
    /// Runs past their deadlines, which stop at their next tick of the epoch.
    overdue: Mutex<BTreeSet<RunId>>,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<CallId, oneshot::Sender<Result<Body, Failure>>>>,
}

impl Calls {
    pub(crate) fn new(sending: EventSender<RunEvent>) -> Self {
        Self { sending, overdue: Mutex::default(), next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    /// Marks the run of a request as past its deadline.
    pub(crate) fn mark_overdue(&self, request: RunId) {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
    }

    /// Returns `true` if the run of a request is past its deadline.
    pub(crate) fn is_overdue(&self, request: RunId) -> bool {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).contains(&request)
    }

    /// Removes the mark of a run that has ended.
    pub(crate) fn forget(&self, request: RunId) {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
    }

    /// Passes the answer of a call to its run; drops it if the run has been stopped.
    pub(crate) fn answer(&self, call: CallId, result: Result<Body, Failure>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
        if let Some(caller) = waiting {
            let _stopped_meanwhile = caller.send(result);
        }
    }

    pub(crate) async fn call(&self, parent: RunId, service: ServiceName, body: Body) -> Result<Body, Failure> {
        let call = CallId(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(call, answer);
        self.sending.send(RunEvent::Call { call, parent, service, body });
        answered.await.unwrap_or_else(|_| Err(Failure::new(Code::Cancelled, "the node is stopping")))
    }
}
