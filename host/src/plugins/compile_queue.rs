//! Order in which files compile, apart from the thread that scans the folder, so that it sees a file whatever compiles.
//!
//! There are three lanes, each with a thread of its own. Small files begin in the quick lane. One that takes long there is rare
//! and suspect, and goes on in the lane of slow files, so that it holds up neither small files nor large ones, for which it is
//! normal to take long.
//!
//! In each lane, what a later scan found goes first: whoever drops a file does not wait for a pile that others dropped before.
//! So that nothing waits for ever, what waits longest follows after [`OVERTAKES`] that went before it. What is to be done for
//! one service stays in order. Of the changes of one file that wait only the last counts, so there is at most one for each
//! file, besides versions to restore and verdicts to give, whose numbers have bounds of their own.

use super::News;
use super::compile::Effort;
use super::loader::Loader;
use super::task::{Done, Postponed, Task};
use crate::guard;
use crate::mailbox::Sending;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tracing::info;
use wasmnode_core::ServiceName;

/// Size from which files take long enough to compile that others, and a person, should not wait for them in silence.
const LARGE: u64 = 1 << 20;

/// Services that go before those that wait longer, until one of these has its turn: a pile of files that take a second each
/// slows down a burst of good ones by an eighth of a second for each, and is done in the end whatever else arrives.
const OVERTAKES: u32 = 8;

/// The way in.
pub(super) struct CompileQueue(Arc<Shared>);

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
    /// The first of these is being done, or waits for its turn.
    tasks: VecDeque<Task>,
    is_busy: bool,
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
        if matches!(task, Task::Change(_)) {
            let (before, mut busy) = (entry.tasks.len(), entry.is_busy);
            entry.tasks.retain(|waiting| std::mem::take(&mut busy) || !matches!(waiting, Task::Change(_)));
            if entry.tasks.len() < before {
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
        self.services.insert(service, Entry { lane, found, tasks, is_busy: false });
    }

    fn take(&mut self, lane: Lane) -> Option<(ServiceName, Task)> {
        let service = self.waiting(lane).pop()?;
        let entry = self.services.get_mut(&service)?;
        entry.is_busy = true;
        Some((service, entry.tasks.front()?.clone()))
    }

    /// A task that was taken is done, or goes on in the lane of slow files.
    fn end(&mut self, service: &ServiceName, takes_long: bool) {
        let scan = self.scan;
        let Some(entry) = self.services.get_mut(service) else { return };
        entry.is_busy = false;
        if !takes_long {
            entry.tasks.pop_front();
            entry.found = scan;
        }
        let Some(next) = entry.tasks.front() else {
            self.services.remove(service);
            return;
        };
        entry.lane = if takes_long { Lane::Slow } else { Lane::of(next) };
        let (lane, found) = (entry.lane, entry.found);
        self.waiting(lane).push(found, service.clone());
    }

    /// The services of which something waits or compiles, once all files of the start have been tried: the others take long.
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
    fn wait(&self, lane: Lane) -> (ServiceName, Task) {
        let mut state = self.lock();
        loop {
            if let Some(taken) = state.take(lane) {
                return taken;
            }
            state = self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does the next task of a lane.
    fn work(&self, lane: Lane, loader: &Loader, sending: &Sending) {
        let (service, task) = self.wait(lane);
        // What is left to do when it is stopped is so because the node stops.
        let done =
            if loader.is_outdated(&task) { Done::default() } else { loader.work(&service, &task, lane.effort()) };
        let takes_long = done.postponed == Some(Postponed::MoreEffort);
        if takes_long {
            loader.announce(&service, &task);
        }
        let mut state = self.lock();
        done.news.into_iter().for_each(|news| sending.send(news));
        state.end(&service, takes_long);
        Self::report(&mut state, sending);
        self.has_changed.notify_all();
    }

    /// Says that all files of the start have been tried, after what came of them.
    fn report(state: &mut State, sending: &Sending) {
        if let Some(unfinished) = state.end_first_pass() {
            sending.send(News::FirstPass(unfinished));
        }
    }
}

impl CompileQueue {
    /// Starts its threads, which end with the node.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(loader: &Arc<Loader>, sending: &Sending) -> io::Result<Self> {
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
    pub(super) fn begin_scan(&self) {
        self.0.lock().scan += 1;
    }

    /// Keeps a task of a service that has others here; gives back one that need not wait for any.
    pub(super) fn keep_order(&self, service: &ServiceName, task: Task) -> Option<Task> {
        self.0.lock().keep_order(service, task)
    }

    /// Takes a task of a service that has no other here.
    pub(super) fn put(&self, loader: &Loader, service: ServiceName, task: Task) {
        if Lane::of(&task) == Lane::Large {
            loader.announce(&service, &task);
        }
        self.0.lock().put(service, task);
        self.0.has_changed.notify_all();
    }

    /// All files of the start are here, or done: has [`News::FirstPass`] sent when the quick lane has tried the small ones.
    pub(super) fn end_start(&self, sending: &Sending) {
        let mut state = self.0.lock();
        state.is_first_pass = true;
        Shared::report(&mut state, sending);
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Change;
    use super::*;

    fn gone(file: &str) -> Task {
        Task::Change(Change::Gone(file.into()))
    }

    /// A task of a large file.
    fn large(file: &str) -> Task {
        Task::Try(file.into(), LARGE)
    }

    fn names<const COUNT: usize>(names: [&str; COUNT]) -> [ServiceName; COUNT] {
        names.map(|name| name.parse().unwrap())
    }

    /// What is taken, as text.
    fn take(state: &mut State, lane: Lane) -> Option<String> {
        state.take(lane).map(|(service, task)| format!("{service}: {task:?}"))
    }

    /// The services of a lane in the order in which they are done; between any two, a later scan finds those of `later`.
    fn order(state: &mut State, mut later: impl FnMut() -> Option<ServiceName>) -> Vec<String> {
        let mut order = Vec::new();
        while let Some((service, _)) = state.take(Lane::Quick) {
            state.end(&service, false);
            order.push(service.to_string());
            if let Some(service) = later() {
                state.scan += 1;
                state.put(service, gone("1"));
            }
        }
        order
    }

    #[test]
    fn what_happens_to_a_service_stays_in_order_and_the_last_of_its_waiting_changes_counts() {
        let mut state = State::default();
        let [a, b] = names(["a", "b"]);
        assert!(state.keep_order(&a, gone("1")).is_some(), "nothing of it is here");
        state.put(a.clone(), large("1"));
        assert!(state.keep_order(&a, gone("2")).is_none(), "it must not overtake");
        assert!(state.keep_order(&a, gone("3")).is_none());
        assert!(state.keep_order(&b, gone("1")).is_some());
        assert_eq!(take(&mut state, Lane::Quick), None);
        assert_eq!(take(&mut state, Lane::Large).unwrap(), "a: Try(\"1\", 1048576)");
        assert_eq!(take(&mut state, Lane::Large), None);
        state.end(&a, false);
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"3\"))", "it is small");
        assert!(state.keep_order(&a, gone("4")).is_none(), "another is being done");
        assert!(state.keep_order(&a, gone("5")).is_none());
        assert_eq!(take(&mut state, Lane::Quick), None, "one after the other");
        state.end(&a, false);
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"5\"))");
        state.end(&a, false);
        assert!(state.keep_order(&a, gone("6")).is_some());
        assert!(state.services.is_empty());
    }

    #[test]
    fn a_change_whose_service_only_waits_with_older_ones_takes_their_place_without_waiting() {
        let mut state = State::default();
        let [a, b] = names(["a", "b"]);
        state.put(a.clone(), gone("1"));
        state.put(b, gone("1"));
        assert!(state.keep_order(&a, gone("2")).is_some());
        assert_eq!(order(&mut state, || None), ["b"]);
        assert!(state.services.is_empty());
    }

    #[test]
    fn a_verdict_that_is_wanted_is_given_whatever_else_happens_to_the_service() {
        let mut state = State::default();
        let [a] = names(["a"]);
        state.put(a.clone(), gone("1"));
        assert!(state.keep_order(&a, Task::Try("staged".into(), 1)).is_none());
        assert!(state.keep_order(&a, gone("2")).is_none());
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Try(\"staged\", 1)");
        state.end(&a, false);
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"2\"))");
        state.end(&a, false);
        assert!(state.services.is_empty());
    }

    #[test]
    fn each_lane_is_served_by_itself_and_what_takes_long_goes_on_in_another() {
        let mut state = State::default();
        let [a, b, c] = names(["a", "b", "c"]);
        state.put(a.clone(), gone("1"));
        state.put(b, large("1"));
        state.put(c.clone(), gone("1"));
        assert_eq!(take(&mut state, Lane::Large).unwrap(), "b: Try(\"1\", 1048576)");
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"1\"))");
        assert!(state.keep_order(&a, gone("2")).is_none());
        state.end(&a, true);
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "c: Change(Gone(\"1\"))");
        state.end(&c, false);
        assert_eq!(take(&mut state, Lane::Slow).unwrap(), "a: Change(Gone(\"1\"))", "the newer one waits");
        state.end(&a, false);
        assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"2\"))", "it is tried anew");
    }

    #[test]
    fn what_was_found_last_goes_first_and_what_was_found_together_in_turn() {
        let mut state = State::default();
        for (scan, service) in ["a", "b", "c", "d"].into_iter().enumerate() {
            state.scan = scan as u64 / 2;
            state.put(service.parse().unwrap(), gone("1"));
        }
        let [e] = names(["e"]);
        let mut later = Some(e);
        assert_eq!(order(&mut state, || later.take()), ["c", "e", "d", "a", "b"]);
    }

    #[test]
    fn however_many_come_later_what_waits_has_its_turn() {
        let mut state = State::default();
        for service in names(["old1", "old2"]) {
            state.put(service, gone("1"));
        }
        let mut new = (0..30).map(|number| format!("new{number}").parse().unwrap());
        let order = order(&mut state, || new.next());
        assert_eq!(order.iter().position(|service| service == "old1"), Some(0));
        assert_eq!(order.iter().position(|service| service == "old2"), Some(1 + OVERTAKES as usize));
        assert_eq!(order.len(), 32);
    }

    #[test]
    fn the_first_pass_is_over_when_no_small_file_is_left_to_try() {
        let mut state = State::default();
        let [a, b, c] = names(["a", "b", "c"]);
        state.put(a.clone(), gone("1"));
        state.put(b.clone(), gone("1"));
        state.put(c.clone(), large("1"));
        state.is_first_pass = true;
        for (service, takes_long) in [(&a, true), (&b, false)] {
            assert_eq!(state.end_first_pass(), None);
            assert!(state.take(Lane::Quick).is_some());
            assert_eq!(state.end_first_pass(), None, "it is being tried");
            state.end(service, takes_long);
        }
        assert_eq!(state.end_first_pass(), Some(vec![a, c]));
        assert_eq!(state.end_first_pass(), None, "it is said once");
    }
}
