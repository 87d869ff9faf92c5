//! A place where a node runs: its clock, its process while there is one, and what waits while that is frozen.

use crate::scenario::Plan;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::{ConnectionId, Input, LinkId, Node, NodeSettings, ServiceName, Time};

/// A process of a machine; never the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

/// A place where a node runs, or not.
pub(crate) struct Machine {
    pub(crate) settings: NodeSettings,
    /// How much longer everything takes on its way from and to here.
    pub(crate) slow: Duration,
    /// What its plugins offer at times.
    pub(crate) loadable: Vec<ServiceName>,
    /// Whether others find their zone through it.
    pub(crate) is_seed: bool,
    /// The number of its zone.
    pub(crate) zone: usize,
    pub(crate) process: Option<Process>,
    /// Whether there was a process before.
    pub(crate) has_run: bool,
    /// Whether none is to run any more.
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

    /// What it is called in the log.
    pub(crate) fn title(&self) -> String {
        format!("{}.{}", self.settings.name, self.settings.zone)
    }

    /// Whether it has the name of another.
    pub(crate) fn is_twin(&self) -> bool {
        self.settings.endpoint == "tcp://twin"
    }
}

/// A node that runs.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    /// Stopped by a signal: what arrives waits.
    pub(crate) is_frozen: bool,
    pub(crate) backlog: VecDeque<Input>,
    /// When the agenda wakes it.
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
    /// Ticks in the time of 10,000.
    pub(crate) ticks: u64,
}

impl Clock {
    /// What it shows at a time of the world.
    pub(crate) fn shows(self, now: Time) -> Time {
        Time::from_micros((now.as_micros() - self.started.as_micros()) * self.ticks / 10_000)
    }

    /// When it shows this: at that time, not before.
    pub(crate) fn when(self, shows: Time) -> Time {
        let after = u128::from(shows.as_micros()) * 10_000;
        let after = after.div_ceil(self.ticks.into());
        Time::from_micros(self.started.as_micros().saturating_add(u64::try_from(after).unwrap_or(u64::MAX)))
    }
}
