use crate::machine::{Clock, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::{Code, ConnectionId, Frame, NodeSettings, ServiceName, ServiceSettings, Time};

/// A request of a client or a run, from its beginning to the end of the simulation.
#[derive(Debug)]
pub(super) struct RequestModel {
    pub(super) requester: Requester,
    pub(super) service: String,
    /// The process that got the request.
    pub(super) home: ProcessId,
    /// The node that is to serve it.
    pub(super) node: Option<String>,
    /// The zone where it is to be served.
    pub(super) zone: Option<String>,
    pub(super) deadline: Option<Duration>,
    /// Whether it waits while its service has no provider.
    pub(super) waits: bool,
    pub(super) key: Option<Frame>,
    /// Whether the node has received it, and when.
    pub(super) is_open: bool,
    pub(super) opened: Time,
    pub(super) runs: Vec<Execution>,
    /// Partial replies that were sent, and the run that they belong to.
    pub(super) parts: BTreeSet<Frame>,
    pub(super) partial_by: Option<usize>,
    pub(super) is_cancelled: bool,
    pub(super) is_answered: bool,
    pub(super) failed_with: Option<Code>,
    /// Whether it must succeed or fail, in calm.
    pub(super) must_succeed: Option<bool>,
    /// Number of times that it was sent to a peer.
    pub(super) forwards: usize,
}

#[derive(Debug)]
pub(super) enum Requester {
    Client(ConnectionId),
    Call,
}

/// One run of a request.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) at: ProcessId,
    /// Whether it may safely run twice, by the settings of the node that runs it.
    pub(super) is_idempotent: bool,
    pub(super) result: Option<Result<(), Code>>,
}

/// A process.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: NodeSettings,
    pub(super) clock: Clock,
    pub(super) is_alive: bool,
    pub(super) is_frozen: bool,
    pub(super) is_leaving: bool,
    pub(super) has_lost_its_name: bool,
    pub(super) started: Time,
    /// Time at which it was last started, frozen or resumed.
    pub(super) troubled: Time,
    /// Services of its plugins, and the time since which they are offered.
    pub(super) offers: BTreeMap<ServiceName, Time>,
    /// Requests whose deadline passed while it was frozen.
    pub(super) overdue: Vec<u64>,
    /// Time of the last wake-up, and the number of wake-ups at that time.
    pub(super) ticks: (Time, u32),
    pub(super) steps: u64,
    /// Requests that it has sent to peers.
    pub(super) forwards: usize,
}

impl RequestModel {
    pub(super) fn new(requester: Requester, service: &str, home: ProcessId) -> Self {
        Self {
            requester,
            service: service.to_owned(),
            home,
            node: None,
            zone: None,
            deadline: None,
            waits: false,
            key: None,
            is_open: false,
            opened: Time::ZERO,
            runs: Vec::new(),
            parts: BTreeSet::new(),
            partial_by: None,
            is_cancelled: false,
            is_answered: false,
            failed_with: None,
            must_succeed: None,
            forwards: 0,
        }
    }
}

impl Model {
    pub(super) fn new(settings: NodeSettings, clock: Clock, now: Time) -> Self {
        Self {
            settings,
            clock,
            is_alive: true,
            is_frozen: false,
            is_leaving: false,
            has_lost_its_name: false,
            started: now,
            troubled: now,
            offers: BTreeMap::new(),
            overdue: Vec::new(),
            ticks: (Time::ZERO, 0),
            steps: 0,
            forwards: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.settings.name.as_str()
    }

    pub(super) fn settings_of(&self, service: &ServiceName) -> &ServiceSettings {
        self.settings.services.get(service).unwrap_or(&self.settings.defaults)
    }

    pub(super) fn is_well(&self) -> bool {
        self.is_alive && !self.is_frozen && !self.is_leaving && !self.has_lost_its_name
    }
}
