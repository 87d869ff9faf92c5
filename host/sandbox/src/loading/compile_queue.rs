//! Order in which files compile, apart from the thread that scans the folder, so that it sees a file whatever compiles.
//!
//! There are three lanes, each with a thread of its own. Small files begin in the quick lane. One that takes long there
//! is rare and suspect, and goes on in the lane of slow files, so that it holds up neither small files nor large ones,
//! for which it is normal to take long.
//!
//! In each lane, what a later scan found goes first: whoever drops a file does not wait for a pile that others dropped
//! before. So that nothing waits for ever, what waits longest follows after [`OVERTAKES`] that went before it. What is
//! to be done for one service stays in order.
//!
//! A newer change of a file ends the process that compiles what it was before. Of the changes of one file that wait
//! only the last counts, so there is at most one for each file, besides versions to restore and verdicts to give, whose
//! numbers have bounds of their own.

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

/// Size from which files take long enough to compile that others, and a person, should not wait for them in silence.
const LARGE: u64 = 1 << 20;

/// Services that go before those that wait longer, until one of these has its turn: a pile of files that take a second
/// each slows down a burst of good ones by an eighth of a second for each, and is done in the end whatever else
/// arrives.
const OVERTAKES: u32 = 8;

/// The way in.
pub(crate) struct CompileQueue(Arc<Shared>);

/// Kinds of files, each of which has a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Files smaller than [`LARGE`], at first.
    Quick,
    /// Those of them that took long.
    Slow,
    /// Files of [`LARGE`] and more.
    Large,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    has_changed: Condvar,
}

/// What waits or is done.
#[derive(Default)]
struct State {
    scan: u64,
    quick: Waiting,
    slow: Waiting,
    large: Waiting,
    services: BTreeMap<ServiceName, Entry>,
    /// Whether it is still to be said that all files of the start have been tried.
    is_first_pass: bool,
}

/// Services that wait in one lane, with the scan that found their first task: those of earlier scans first.
#[derive(Default)]
struct Waiting {
    services: VecDeque<(u64, ServiceName)>,
    overtakes: u32,
}

struct Entry {
    lane: Lane,
    found: u64,
    /// The first of these waits for its turn, or is being done.
    tasks: VecDeque<Task>,
    /// Ends the task that is being done, if one is.
    doing: Option<Cancel>,
}

/// What follows on an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next task.
    Others,
    /// The same task in the lane of slow files.
    Longer,
    /// The same task again.
    Again,
}

impl Next {
    /// What follows when a task was done as far as this. A verdict is given also on a file that is gone; of a change,
    /// nothing is left to say once a newer one is here.
    fn of(task: &Task, postponed: Option<Postponed>, is_cancelled: bool) -> Self {
        match postponed {
            Some(_) if is_cancelled && matches!(task, Task::Try { .. }) => Self::Again,
            Some(Postponed::MoreEffort) if !is_cancelled => Self::Longer,
            // What is stopped and was not cancelled is so because the node stops.
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
    /// Keeps a task of a service that has others here; gives back one that need not wait for any.
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

    /// An attempt at a task that was taken has ended.
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

    /// Cancels those of the tasks that are being done.
    fn cancel(&self, is_to_end: impl Fn(&Task) -> bool) {
        for entry in self.services.values() {
            if let (Some(cancel), Some(task)) = (&entry.doing, entry.tasks.front())
                && is_to_end(task)
            {
                cancel.cancel();
            }
        }
    }

    /// The services of which something waits or compiles, once all files of the start have been tried: the others take
    /// long.
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

    /// Does the next task of a lane.
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

    /// Says that all files of the start have been tried, after what came of them.
    fn report(state: &mut State, sending: &EventSender<PluginEvent>) {
        if let Some(unfinished) = state.end_first_pass() {
            sending.send(PluginEvent::FirstPass(unfinished));
        }
    }
}

impl CompileQueue {
    /// Starts its threads, which end with the node.
    ///
    /// # Errors
    /// If the system refuses a thread.
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

    /// What is put from here on was found later than what is here.
    pub(crate) fn begin_scan(&self) {
        self.0.lock().scan += 1;
    }

    /// Cancels those of the tasks that are being done.
    pub(crate) fn cancel(&self, is_to_end: impl Fn(&Task) -> bool) {
        self.0.lock().cancel(is_to_end);
    }

    /// Keeps a task of a service that has others here; gives back one that need not wait for any.
    pub(crate) fn keep_order(&self, service: &ServiceName, task: Task) -> Option<Task> {
        self.0.lock().keep_order(service, task)
    }

    /// Takes a task of a service that has no other here.
    pub(crate) fn put(&self, loader: &Loader, service: ServiceName, task: Task) {
        if Lane::of(&task) == Lane::Large {
            loader.announce(&service, &task);
        }
        self.0.lock().put(service, task);
        self.0.has_changed.notify_all();
    }

    /// All files of the start are here, or done: has [`News::FirstPass`] sent when the quick lane has tried the small
    /// ones.
    pub(crate) fn end_start(&self, sending: &EventSender<PluginEvent>) {
        let mut state = self.0.lock();
        state.is_first_pass = true;
        Shared::report(&mut state, sending);
    }
}
