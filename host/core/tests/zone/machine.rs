//! Machine of a node: its clock, its process if one runs, and the inputs that wait while that is frozen.

use crate::scenario::Plan;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::{ConnectionId, Input, LinkId, Node, NodeSettings, ServiceName, Time};

/// A process of a machine; each start gets a new number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

/// A machine, on which a node may run.
pub(crate) struct Machine {
    pub(crate) settings: NodeSettings,
    /// Additional latency of messages from and to the machine.
    pub(crate) slow: Duration,
    /// Services that its plugins offer at times.
    pub(crate) loadable: Vec<ServiceName>,
    /// Whether it is a seed of others.
    pub(crate) is_seed: bool,
    /// The number of its zone.
    pub(crate) zone: usize,
    pub(crate) process: Option<Process>,
    /// Whether it had a process before.
    pub(crate) has_run: bool,
    /// Whether no further process may start.
    pub(crate) is_retired: bool,
}

impl Machine {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            settings: plan.settings.clone(),
            slow: plan.slow,
            loadable: plan.services.clone(),
            is_seed: plan.is_seed,
            zone: plan.zone,
            process: None,
            has_run: false,
            is_retired: false,
        }
    }

    /// Returns its name in the log.
    pub(crate) fn title(&self) -> String {
        format!("{}.{}", self.settings.name, self.settings.zone)
    }

    /// Returns `true` if it has the name of another.
    pub(crate) fn is_twin(&self) -> bool {
        self.settings.endpoint == "tcp://twin"
    }
}

/// A running node.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    /// Whether it is stopped by a signal, so that inputs wait.
    pub(crate) is_frozen: bool,
    pub(crate) backlog: VecDeque<Input>,
    /// Time at which the agenda wakes it.
    pub(crate) alarm: Option<Time>,
    /// The connections that it dialled, and those on which it was dialled.
    pub(crate) links: BTreeMap<LinkId, usize>,
    pub(crate) guests: BTreeMap<ConnectionId, usize>,
    pub(crate) is_draining: bool,
}

/// A clock that starts with its process and runs fast or slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) started: Time,
    /// Ticks per 10,000 microseconds.
    pub(crate) ticks: u64,
}

impl Clock {
    /// Returns its time at a time of the world.
    pub(crate) fn shows(self, now: Time) -> Time {
        Time::from_micros((now.as_micros() - self.started.as_micros()) * self.ticks / 10_000)
    }

    /// Returns the first time of the world at which it shows this time.
    pub(crate) fn when(self, shows: Time) -> Time {
        let after = u128::from(shows.as_micros()) * 10_000;
        let after = after.div_ceil(self.ticks.into());
        Time::from_micros(self.started.as_micros().saturating_add(u64::try_from(after).unwrap_or(u64::MAX)))
    }
}
