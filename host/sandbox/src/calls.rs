//! What runs tell, and the calls that they make: on their way out and back.

use crate::event_sender::EventSender;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmnode_protocol::{Body, Code, Failure, ServiceName};

/// Number of a run: that of the request that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Number of a call that a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The end of a run.
#[derive(Debug)]
pub struct Finished {
    /// Which run.
    pub run: RunId,
    /// The final reply, or why there is none.
    pub result: Result<Body, Failure>,
}

/// What runs tell while they last.
#[derive(Debug)]
pub enum RunEvent {
    /// A partial reply.
    Partial {
        /// Of which run.
        run: RunId,
        /// Its frames.
        body: Body,
    },
    /// A run calls a service; [`crate::Plugins::answer`] brings the answer.
    Call {
        /// Number of the call.
        call: CallId,
        /// The run that makes it.
        parent: RunId,
        /// Which service.
        service: ServiceName,
        /// The frames of the request.
        body: Body,
    },
    /// A run has ended.
    Finished(Finished),
    /// A version of a plugin refuses requests, because it crashed in many in a row.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// Which version.
        generation: u64,
        /// How long; zero if it does so no more.
        lasts: Duration,
    },
}

/// What the runs of all services share: the calls that they make, on their way out and back.
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

    /// The run of a request is past its deadline.
    pub(crate) fn overdue(&self, request: RunId) {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
    }

    /// Whether the run of a request is past its deadline.
    pub(crate) fn is_overdue(&self, request: RunId) -> bool {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).contains(&request)
    }

    /// The run of a request is over.
    pub(crate) fn is_over(&self, request: RunId) {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
    }

    /// Passes on the answer of a call; a run that has been stopped does not hear it.
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
