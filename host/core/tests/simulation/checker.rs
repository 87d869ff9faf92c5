//! What must hold, whatever happens: watches every input and output of a node, and judges after each step.
//!
//! It keeps books of its own, from the outside: who is owed an answer, who works for whom, what runs. A node at rest
//! must agree with them in everything that it tells about itself. Each answer must be one that is owed, and be true:
//! a reply is what was produced for that very request, a failure names something that has happened.

mod clock;
mod inputs;
mod model;
mod outputs;
mod rest;
mod truth;

use crate::coverage::Coverage;
use model::{Model, RequestNumber, Requester};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::Dialect;
use wasmnode_core::{Body, Code, ConnectionId, Frame, NodeSettings, RequestId, ServiceName, ServiceSettings, Time};

/// How often the node gives a request of an idempotent service to another worker.
const MAX_RETRIES: u32 = 3;

/// Heartbeats of a busy worker after which its silence counts.
const HEARTBEATS: u32 = 2;

/// How long a worker that is refused waits to be told so at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);

/// The books.
pub(crate) struct Checker {
    seed: u64,
    step: u64,
    now: Time,
    settings: NodeSettings,
    pub(crate) coverage: Coverage,
    book: Model,
    /// The services that a node has to know: whoever is not offered, run, worked or waited for is not among them.
    services: BTreeMap<ServiceName, ServiceModel>,
    workers: BTreeMap<ConnectionId, Registered>,
    /// Clients that have asked in compact messages, and so understand them.
    compact: BTreeSet<ConnectionId>,
    /// Runs that are not confirmed as finished.
    runs: BTreeMap<RequestId, Execution>,
    /// Peers that were refused as workers, and when they must have been told at the latest.
    farewells: BTreeMap<ConnectionId, Time>,
    draining: bool,
    stopped: bool,
    replied: u64,
    failed: BTreeMap<Code, u64>,
    /// Failures of requests that arrived in the same step, so that from outside nobody can tell whether the node had
    /// accepted them.
    failed_on_arrival: u64,
    /// When the node was woken last, and how often in that instant.
    woken: (Time, u32),
    /// How many workers have become idle.
    rests: u64,
    moment: Moment,
}

/// What matters only until the node is at rest again.
#[derive(Default)]
struct Moment {
    /// An answer that the node owes without a broker: to `mmi.*`, or to what breaks a rule.
    own: Option<Own>,
    /// Who registered, for what, and how it speaks.
    ready: Option<(ConnectionId, ServiceName, Dialect)>,
    gone: BTreeSet<ConnectionId>,
    /// Workers that said goodbye, or broke a rule: they are no workers any more when the node is at rest.
    must_leave: BTreeSet<ConnectionId>,
    /// Peers that must be told to go, and those that are.
    must_be_told_to_go: BTreeSet<ConnectionId>,
    told_to_go: BTreeSet<ConnectionId>,
    /// Requests that must have their answer when the node is at rest.
    must_be_closed: Vec<RequestNumber>,
    /// Requests that must have told every part of their answer when the node is at rest.
    told_in_parts: Vec<RequestNumber>,
    /// Runs that ended in this step: the node may have decided to stop them before it heard so.
    finished: BTreeSet<RequestId>,
}

/// The node's own answer to a message.
struct Own {
    requester: Requester,
    dialect: Dialect,
    /// The body, or `None` for a failure "malformed".
    body: Option<Body>,
    /// Whether it is of a trace, so that a record of it is to come first.
    record_due: bool,
}

/// One service.
#[derive(Default)]
struct ServiceModel {
    offered: bool,
    running: usize,
    idle: usize,
    busy: usize,
    waiting: BTreeSet<RequestNumber>,
    unreachable_since: Time,
}

impl ServiceModel {
    fn is_reachable(&self) -> bool {
        self.offered || self.idle + self.busy > 0
    }

    fn is_needed(&self) -> bool {
        self.is_reachable() || self.running > 0 || !self.waiting.is_empty()
    }
}

/// A worker that the node has registered.
struct Registered {
    service: ServiceName,
    /// What it was handed; the request may be answered otherwise meanwhile.
    held: Option<Held>,
    dialect: Dialect,
    /// When it spoke last, and when it was told last that the node lives.
    heard: Time,
    told: Time,
    /// Counts all workers that became idle.
    idle_since: u64,
}

struct Held {
    token: Frame,
    ask: RequestNumber,
    /// How long it may take, whatever becomes of the request meanwhile.
    until: Time,
    /// Heartbeats that the worker has sent since.
    heartbeats: u32,
}

struct Execution {
    ask: RequestNumber,
    service: ServiceName,
    stopped: bool,
}

impl Checker {
    pub(crate) fn new(seed: u64, settings: NodeSettings) -> Self {
        Self {
            seed,
            step: 0,
            now: Time::ZERO,
            settings,
            coverage: Coverage::default(),
            book: Model::default(),
            services: BTreeMap::new(),
            workers: BTreeMap::new(),
            compact: BTreeSet::new(),
            runs: BTreeMap::new(),
            farewells: BTreeMap::new(),
            draining: false,
            stopped: false,
            replied: 0,
            failed: BTreeMap::new(),
            failed_on_arrival: 0,
            woken: (Time::ZERO, 0),
            rests: 0,
            moment: Moment::default(),
        }
    }

    /// How many times the node was at rest.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    fn settings_of(&self, service: &ServiceName) -> &ServiceSettings {
        self.settings.services.get(service).unwrap_or(&self.settings.defaults)
    }

    fn is_reachable(&self, service: &ServiceName) -> bool {
        self.services.get(service).is_some_and(ServiceModel::is_reachable)
    }

    /// Changes a service_model, and notes when its service has lost its last provider.
    fn update_service(&mut self, service: &ServiceName, change: impl FnOnce(&mut ServiceModel)) {
        let service_model = self.services.entry(service.clone()).or_default();
        let was_reachable = service_model.is_reachable();
        change(service_model);
        if was_reachable && !service_model.is_reachable() {
            service_model.unreachable_since = self.now;
        }
        let (kind, waiting) = (service_model.kind(), service_model.waiting.clone());
        if !service_model.is_needed() {
            self.services.remove(service);
        }
        waiting.into_iter().for_each(|ask| self.turn(ask, kind));
    }

    fn require(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.fail(&otherwise());
        }
    }

    fn fail(&self, text: &str) -> ! {
        let Self { seed, step, now, .. } = self;
        panic!(
            "{text}\n  in step {step} of seed {seed}, at {} us\n  \
             replay: WASMNODE_SEED={seed} cargo test -p wasmnode-core --test simulation",
            now.as_micros()
        );
    }
}
