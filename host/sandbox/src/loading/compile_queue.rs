//! Queue of files to compile, separate from the thread that scans the folder, so that compiling never delays scans.
//!
//! There are three lanes, each with a thread of its own. Small files start in the quick lane. A small file that
//! compiles slowly is rare and suspicious, and moves to the slow lane, so that it delays neither small files nor large
//! ones, which are expected to be slow.
//!
//! In each lane, files found by a later scan come first, so that a new file does not wait for a large batch that was
//! copied before it. To prevent starvation, the file that has waited longest is next after [`OVERTAKES`] files that
//! overtook it. The tasks of one service stay in order.
//!
//! A newer change of a file kills the process that compiles its earlier content. Only the last waiting change of a file
//! is kept, so there is at most one per file, in addition to versions to restore and staged files to try, whose numbers
//! have their own bounds.

#[cfg(test)]
mod tests;

use crate::event_sender::EventSender;
use crate::guard;
use crate::loading::compile::{Attempt, Cancel, Effort};
use crate::loading::event::PluginEvent;
use crate::loading::loader::Loader;
use crate::loading::task::{Done, Postponed, Task};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tracing::info;
use wasmnode_protocol::ServiceName;

/// Size in bytes from which files use the large lane and are announced in the log, because they compile slowly.
const LARGE: u64 = 1 << 20;

/// Number of services that may overtake the one that has waited longest. At 8, a backlog of files that take a second
/// each delays a burst of quick files by an eighth of a second per file, and is processed even if files keep arriving.
const OVERTAKES: u32 = 8;

/// Handle to the queue.
pub(crate) struct CompileQueue(Arc<Shared>);

/// Kinds of files, each of which has a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Files smaller than [`LARGE`], at first.
    Quick,
    /// Files smaller than [`LARGE`] that exceeded the brief limits.
    Slow,
    /// Files of [`LARGE`] and more.
    Large,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    has_changed: Condvar,
}

/// Tasks that wait or are in progress.
#[derive(Default)]
struct State {
    scan: u64,
    quick: Waiting,
    slow: Waiting,
    large: Waiting,
    services: BTreeMap<ServiceName, Entry>,
    /// Whether the end of the first pass over the initial files is still to be reported.
    is_first_pass: bool,
}

/// Services that wait in one lane, with the scan that found their first task; earlier scans come first.
#[derive(Default)]
struct Waiting {
    services: VecDeque<(u64, ServiceName)>,
    overtakes: u32,
}

struct Entry {
    lane: Lane,
    found: u64,
    /// Tasks in order; the first waits in a lane, or is in progress.
    tasks: VecDeque<Task>,
    /// Cancels the task in progress, if there is one.
    doing: Option<Cancel>,
}

/// Next step after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Continue with the next task.
    Others,
    /// Repeat the task in the slow lane.
    Longer,
    /// Repeat the task.
    Again,
}

impl Next {
    /// Decides the next step after an attempt. A staged file gets a verdict even if it was removed; a cancelled change
    /// is dropped, because a newer one follows.
    fn of(task: &Task, postponed: Option<Postponed>, is_cancelled: bool) -> Self {
        match postponed {
            Some(_) if is_cancelled && matches!(task, Task::Try { .. }) => Self::Again,
            Some(Postponed::MoreEffort) if !is_cancelled => Self::Longer,
            // Stopped, but not cancelled: the node is stopping.
            _ => Self::Others,
        }
    }
}

impl Lane {
    fn of(task: &Task) -> Self {
        if task.bytes() >= LARGE { Self::Large } else { Self::Quick }
    }

    fn effort(self) -> Effort {
        match self {
            Self::Quick => Effort::Brief,
            Self::Slow | Self::Large => Effort::Full,
        }
    }
}

impl Waiting {
    fn push(&mut self, found: u64, service: ServiceName) {
        let place = self.services.partition_point(|(before, _)| *before <= found);
        self.services.insert(place, (found, service));
    }

    fn pop(&mut self) -> Option<ServiceName> {
        let (last, _) = self.services.back()?;
        let newest = self.services.partition_point(|(found, _)| found < last);
        let place = if self.overtakes < OVERTAKES { newest } else { 0 };
        self.overtakes = if place > 0 { self.overtakes + 1 } else { 0 };
        self.services.remove(place).map(|(_, service)| service)
    }
}

impl State {
    /// Queues a task of a service behind its other tasks; returns the task if there are none.
    fn keep_order(&mut self, service: &ServiceName, task: Task) -> Option<Task> {
        let Some(entry) = self.services.get_mut(service) else { return Some(task) };
        if let Task::Change(change) = &task {
            let (before, mut is_first) = (entry.tasks.len(), entry.doing.is_some());
            entry.tasks.retain(|waiting| std::mem::take(&mut is_first) || !matches!(waiting, Task::Change(_)));
            let mut is_outdated = entry.tasks.len() < before;
            if let (Some(cancel), Some(Task::Change(older))) = (&entry.doing, entry.tasks.front())
                && !change.keeps_plugin_of(older)
            {
                cancel.cancel();
                is_outdated = true;
            }
            if is_outdated {
                info!("a newer change of {service} follows");
            }
        }
        if entry.tasks.is_empty() {
            let lane = entry.lane;
            self.services.remove(service);
            self.waiting(lane).services.retain(|(_, waiting)| waiting != service);
            return Some(task);
        }
        entry.tasks.push_back(task);
        None
    }

    fn put(&mut self, service: ServiceName, task: Task) {
        let (lane, found, tasks) = (Lane::of(&task), self.scan, VecDeque::from([task]));
        self.waiting(lane).push(found, service.clone());
        self.services.insert(service, Entry { lane, found, tasks, doing: None });
    }

    fn take(&mut self, lane: Lane) -> Option<(ServiceName, Task, Cancel)> {
        let service = self.waiting(lane).pop()?;
        let entry = self.services.get_mut(&service)?;
        let cancel = entry.doing.insert(Cancel::default()).clone();
        Some((service, entry.tasks.front()?.clone(), cancel))
    }

    /// Records the end of an attempt at the first task of a service.
    fn end(&mut self, service: &ServiceName, next: Next) {
        let scan = self.scan;
        let Some(entry) = self.services.get_mut(service) else { return };
        entry.doing = None;
        if next == Next::Others {
            entry.tasks.pop_front();
            entry.found = scan;
        }
        let Some(task) = entry.tasks.front() else {
            self.services.remove(service);
            return;
        };
        entry.lane = if next == Next::Longer { Lane::Slow } else { Lane::of(task) };
        let (lane, found) = (entry.lane, entry.found);
        self.waiting(lane).push(found, service.clone());
    }

    /// Cancels the tasks in progress that match.
    fn cancel(&self, is_to_end: impl Fn(&Task) -> bool) {
        for entry in self.services.values() {
            if let (Some(cancel), Some(task)) = (&entry.doing, entry.tasks.front())
                && is_to_end(task)
            {
                cancel.cancel();
            }
        }
    }

    /// Returns the services left in the slow and large lanes, once all initial files have been tried.
    fn end_first_pass(&mut self) -> Option<Vec<ServiceName>> {
        let is_over = self.is_first_pass && self.services.values().all(|entry| entry.lane != Lane::Quick);
        is_over.then(|| {
            self.is_first_pass = false;
            self.services.keys().cloned().collect()
        })
    }

    fn waiting(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Slow => &mut self.slow,
            Lane::Large => &mut self.large,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next task of a lane.
    fn wait(&self, lane: Lane) -> (ServiceName, Task, Cancel) {
        let mut state = self.lock();
        loop {
            if let Some(taken) = state.take(lane) {
                return taken;
            }
            state = self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next task of a lane, and attempts it.
    fn work(&self, lane: Lane, loader: &Loader, sending: &EventSender<PluginEvent>) {
        let (service, task, cancel) = self.wait(lane);
        let attempt = Attempt { effort: lane.effort(), cancel };
        let done = if loader.is_outdated(&task) { Done::default() } else { loader.work(&service, &task, &attempt) };
        let mut state = self.lock();
        let next = Next::of(&task, done.postponed, attempt.cancel.is_cancelled());
        if next == Next::Longer {
            loader.announce(&service, &task);
        }
        done.news.into_iter().for_each(|news| sending.send(news));
        state.end(&service, next);
        Self::report(&mut state, sending);
        self.has_changed.notify_all();
    }

    /// Reports that all initial files have been tried, after the events of those files.
    fn report(state: &mut State, sending: &EventSender<PluginEvent>) {
        if let Some(unfinished) = state.end_first_pass() {
            sending.send(PluginEvent::FirstPass(unfinished));
        }
    }
}

impl CompileQueue {
    /// Starts the threads of the lanes, which end with the node.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub(crate) fn start(loader: &Arc<Loader>, sending: &EventSender<PluginEvent>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for (name, lane) in [("quick-files", Lane::Quick), ("slow-files", Lane::Slow), ("large-files", Lane::Large)] {
            let (loader, shared, sending) = (Arc::clone(loader), Arc::clone(&shared), sending.clone());
            guard::spawn(name, move || {
                loop {
                    shared.work(lane, &loader, &sending);
                }
            })?;
        }
        Ok(Self(shared))
    }

    /// Marks all further tasks as found later than those in the queue.
    pub(crate) fn begin_scan(&self) {
        self.0.lock().scan += 1;
    }

    /// Cancels the tasks in progress that match.
    pub(crate) fn cancel(&self, is_to_end: impl Fn(&Task) -> bool) {
        self.0.lock().cancel(is_to_end);
    }

    /// Queues a task of a service behind its other tasks; returns the task if there are none.
    pub(crate) fn keep_order(&self, service: &ServiceName, task: Task) -> Option<Task> {
        self.0.lock().keep_order(service, task)
    }

    /// Queues a task of a service that has no other in the queue.
    pub(crate) fn put(&self, loader: &Loader, service: ServiceName, task: Task) {
        if Lane::of(&task) == Lane::Large {
            loader.announce(&service, &task);
        }
        self.0.lock().put(service, task);
        self.0.has_changed.notify_all();
    }

    /// Records that all initial files are queued or done. [`PluginEvent::FirstPass`] follows once the quick lane is
    /// empty.
    pub(crate) fn end_start(&self, sending: &EventSender<PluginEvent>) {
        let mut state = self.0.lock();
        state.is_first_pass = true;
        Shared::report(&mut state, sending);
    }
}
