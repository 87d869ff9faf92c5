//! Where files compile that take long, one after the other, while small ones pass by.
//!
//! There are two lanes, so that small files that take long, which are rare and suspect, do not hold up large ones, for which
//! it is normal. What is to be done for one service stays in order: while anything of it waits or compiles here, all that
//! comes later waits here too. Of the changes of one file that wait only the last counts, so there is at most one for each
//! file, besides versions to restore and verdicts to give, whose numbers have bounds of their own.

use super::compile::Effort;
use super::folder::{Change, Stamp};
use super::loader::Loader;
use super::task::{Done, Task};
use crate::guard;
use crate::mailbox::Sending;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tracing::info;
use wasmnode_core::ServiceName;

/// Files of this size take long enough to compile that others, and a person, should not wait for it in silence.
pub(super) const LARGE: u64 = 1 << 20;

/// The way in.
pub(super) struct SlowLane(Arc<Shared>);

/// Kinds of files, each of which has a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Files of [`LARGE`] and more.
    Large,
    /// Smaller ones that took long.
    Small,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    has_changed: Condvar,
}

/// What waits or is compiled.
#[derive(Default)]
struct State {
    large: VecDeque<ServiceName>,
    small: VecDeque<ServiceName>,
    services: BTreeMap<ServiceName, Entry>,
}

struct Entry {
    lane: Lane,
    /// What comes next; empty while the last is being done.
    next: VecDeque<Task>,
}

impl State {
    /// Keeps a task of a service that has others here; gives back one that need not wait.
    fn keep_order(&mut self, service: &ServiceName, task: Task) -> Option<Task> {
        let Some(entry) = self.services.get_mut(service) else { return Some(task) };
        if matches!(task, Task::Change(_)) {
            let before = entry.next.len();
            entry.next.retain(|waiting| !matches!(waiting, Task::Change(_)));
            if entry.next.len() < before {
                info!("a newer change of {service} follows");
            }
        }
        entry.next.push_back(task);
        None
    }

    fn put(&mut self, service: ServiceName, task: Task, lane: Lane) {
        self.queue(lane).push_back(service.clone());
        self.services.insert(service, Entry { lane, next: VecDeque::from([task]) });
    }

    fn take(&mut self, lane: Lane) -> Option<(ServiceName, Task)> {
        let service = self.queue(lane).pop_front()?;
        let task = self.services.get_mut(&service)?.next.pop_front()?;
        Some((service, task))
    }

    fn end(&mut self, service: &ServiceName) {
        let Some(entry) = self.services.get(service) else { return };
        let (lane, is_done) = (entry.lane, entry.next.is_empty());
        if is_done {
            self.services.remove(service);
        } else {
            self.queue(lane).push_back(service.clone());
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut VecDeque<ServiceName> {
        match lane {
            Lane::Large => &mut self.large,
            Lane::Small => &mut self.small,
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
}

impl SlowLane {
    /// Starts its threads, which end with the node.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(loader: &Arc<Loader>, sending: &Sending) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for (name, lane) in [("large-files", Lane::Large), ("slow-files", Lane::Small)] {
            let (loader, shared, sending) = (Arc::clone(loader), Arc::clone(&shared), sending.clone());
            guard::spawn(name, move || {
                loop {
                    let (service, task) = shared.wait(lane);
                    let done = if is_outdated(&task) {
                        info!("a newer change of {service} follows");
                        Done::default()
                    } else {
                        // What is left to do now is so because the node stops.
                        loader.work(&service, &task, Effort::Full)
                    };
                    let mut state = shared.lock();
                    done.news.into_iter().for_each(|news| sending.send(news));
                    state.end(&service);
                    shared.has_changed.notify_all();
                }
            })?;
        }
        Ok(Self(shared))
    }

    /// Keeps a task of a service that has others here; gives back one that need not wait.
    pub(super) fn keep_order(&self, service: &ServiceName, task: Task) -> Option<Task> {
        self.0.lock().keep_order(service, task)
    }

    /// Takes a task of a service that has no other here.
    pub(super) fn put(&self, service: ServiceName, task: Task, lane: Lane) {
        self.0.lock().put(service, task, lane);
        self.0.has_changed.notify_all();
    }

    /// Passes on the services of which something waits or is compiled, before what comes of it is sent.
    pub(super) fn report(&self, to: impl FnOnce(Vec<ServiceName>)) {
        let state = self.0.lock();
        to(state.services.keys().cloned().collect());
    }
}

/// Whether the file is no longer as it was when it was found: then that was found too, or will be.
fn is_outdated(task: &Task) -> bool {
    matches!(task, Task::Change(Change::Whole(file, stamp)) if Stamp::of(file).as_ref() != Ok(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(file: &str) -> Task {
        Task::Change(Change::Gone(file.into()))
    }

    fn names<const COUNT: usize>(names: [&str; COUNT]) -> [ServiceName; COUNT] {
        names.map(|name| name.parse().unwrap())
    }

    /// What is taken, as text.
    fn take(state: &mut State, lane: Lane) -> Option<String> {
        state.take(lane).map(|(service, task)| format!("{service}: {task:?}"))
    }

    #[test]
    fn what_happens_to_a_service_stays_in_order_and_the_last_of_its_waiting_changes_counts() {
        let mut state = State::default();
        let [a, b] = names(["a", "b"]);
        assert!(state.keep_order(&a, gone("1")).is_some(), "nothing of it is here");
        state.put(a.clone(), gone("1"), Lane::Large);
        assert!(state.keep_order(&a, gone("2")).is_none(), "it must not overtake");
        assert!(state.keep_order(&b, gone("1")).is_some());
        assert_eq!(take(&mut state, Lane::Small), None);
        assert_eq!(take(&mut state, Lane::Large).unwrap(), "a: Change(Gone(\"2\"))");
        assert_eq!(take(&mut state, Lane::Large), None);
        assert!(state.keep_order(&a, gone("3")).is_none(), "it is being compiled");
        assert!(state.keep_order(&a, gone("4")).is_none());
        assert_eq!(take(&mut state, Lane::Large), None, "one after the other");
        state.end(&a);
        assert_eq!(take(&mut state, Lane::Large).unwrap(), "a: Change(Gone(\"4\"))");
        state.end(&a);
        assert!(state.keep_order(&a, gone("5")).is_some());
        assert!(state.services.is_empty());
    }

    #[test]
    fn a_verdict_that_is_wanted_is_given_whatever_else_happens_to_the_service() {
        let mut state = State::default();
        let [a] = names(["a"]);
        state.put(a.clone(), gone("1"), Lane::Small);
        assert!(state.keep_order(&a, Task::Try("staged".into(), 1)).is_none());
        assert!(state.keep_order(&a, gone("2")).is_none());
        assert_eq!(take(&mut state, Lane::Small).unwrap(), "a: Try(\"staged\", 1)");
        state.end(&a);
        assert_eq!(take(&mut state, Lane::Small).unwrap(), "a: Change(Gone(\"2\"))");
        state.end(&a);
        assert!(state.services.is_empty());
    }

    #[test]
    fn each_lane_is_served_by_itself() {
        let mut state = State::default();
        let [a, b, c] = names(["a", "b", "c"]);
        state.put(a, gone("1"), Lane::Small);
        state.put(b, gone("1"), Lane::Large);
        state.put(c, gone("1"), Lane::Small);
        assert_eq!(take(&mut state, Lane::Large).unwrap(), "b: Change(Gone(\"1\"))");
        assert_eq!(take(&mut state, Lane::Small).unwrap(), "a: Change(Gone(\"1\"))");
        assert_eq!(take(&mut state, Lane::Small).unwrap(), "c: Change(Gone(\"1\"))");
    }
}
