//! Invariants of a node: observes every input and output, and checks after each step.
//!
//! It keeps a model of its own: the requests without an answer, the workers, the runs. The reports of a node at rest
//! must agree with the model. Each answer must be due and true: a reply is what was produced for exactly this request,
//! a failure names an event that has happened.

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

/// Largest number of times that a request of an idempotent service is given to another worker.
const MAX_RETRIES: u32 = 3;

/// Number of heartbeats of a busy worker after which more are expected.
const HEARTBEATS: u32 = 2;

/// Longest pause before the DISCONNECT of a refused worker.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);

/// The checker, with its model of the node.
pub(crate) struct Checker {
    seed: u64,
    step: u64,
    now: Time,
    settings: NodeSettings,
    pub(crate) coverage: Coverage,
    model: Model,
    /// Services that the node must list: those with a provider, a run or a waiting request.
    services: BTreeMap<ServiceName, ServiceModel>,
    workers: BTreeMap<ConnectionId, Registered>,
    /// Clients that have sent compact requests, and so may get compact replies.
    compact: BTreeSet<ConnectionId>,
    /// Runs that are not confirmed as finished.
    runs: BTreeMap<RequestId, Execution>,
    /// Peers that were refused as workers, and the latest time of their DISCONNECT.
    farewells: BTreeMap<ConnectionId, Time>,
    draining: bool,
    stopped: bool,
    replied: u64,
    failed: BTreeMap<Code, u64>,
    /// Failures of requests that arrived in the same step, so that the node may or may not have accepted them.
    failed_on_arrival: u64,
    /// Time of the last wake-up, and the number of wake-ups at that time.
    woken: (Time, u32),
    /// Number of times that a worker has become idle.
    rests: u64,
    moment: Moment,
}

/// State of the current step, until the node is at rest.
#[derive(Default)]
struct Moment {
    /// Answer of the node itself that is due: to `mmi.*`, or to a message that breaks a rule.
    own: Option<Own>,
    /// Connection, service and dialect of a worker that sent READY.
    ready: Option<(ConnectionId, ServiceName, Dialect)>,
    gone: BTreeSet<ConnectionId>,
    /// Workers that sent DISCONNECT or broke a rule: their registration must have ended when the node is at rest.
    must_leave: BTreeSet<ConnectionId>,
    /// Peers that must get DISCONNECT, and those that got it.
    must_be_disconnected: BTreeSet<ConnectionId>,
    disconnected: BTreeSet<ConnectionId>,
    /// Requests that must have their answer when the node is at rest.
    must_be_closed: Vec<RequestNumber>,
    /// Requests whose partial replies must all have been sent when the node is at rest.
    parts_due: Vec<RequestNumber>,
    /// Runs that ended in this step: the node may have decided to stop them before.
    finished: BTreeSet<RequestId>,
}

/// The node's own answer to a message.
struct Own {
    requester: Requester,
    dialect: Dialect,
    /// The body, or `None` for a failure "malformed".
    body: Option<Body>,
    /// Whether it answers a trace, so that a record must precede it.
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
    /// Request that it has; the request may already have another answer.
    held: Option<Held>,
    dialect: Dialect,
    /// Time of its last message, and of the last heartbeat to it.
    last_received: Time,
    last_heartbeat: Time,
    /// Stamp that orders workers by how long they have been idle.
    idle_since: u64,
}

struct Held {
    token: Frame,
    ask: RequestNumber,
    /// Time until which it may keep the request, even if that ends earlier.
    until: Time,
    /// Number of heartbeats that the worker has sent since.
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
            model: Model::default(),
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

    /// Returns the number of steps, after each of which the node was at rest.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    fn settings_of(&self, service: &ServiceName) -> &ServiceSettings {
        self.settings.services.get(service).unwrap_or(&self.settings.defaults)
    }

    fn is_reachable(&self, service: &ServiceName) -> bool {
        self.services.get(service).is_some_and(ServiceModel::is_reachable)
    }

    /// Changes the model of a service, and records when the service has lost its last provider.
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
