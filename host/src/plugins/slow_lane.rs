//! Where large files compile, one after the other, while small ones pass by.
//!
//! Its threads are half as many as the machine has cores, and come last, so that requests are served meanwhile. What
//! happens to one service stays in order: while anything of it waits or compiles here, all that happens to it later waits
//! here too.

use super::compilers;
use super::folder::{Change, Stamp};
use super::loader::{Loader, Task};
use crate::mailbox::Sending;
use rayon::ThreadPool;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::info;
use wasmnode_core::ServiceName;

/// Files of this size take long enough to compile that others, and a person, should not wait for it in silence.
pub(super) const LARGE: u64 = 1 << 20;

/// The way in.
pub(super) struct SlowLane {
    queue: Sender<(ServiceName, Task)>,
    unfinished: Arc<Unfinished>,
}

/// How many changes of each service wait or are looked into.
#[derive(Default)]
struct Unfinished(Mutex<BTreeMap<ServiceName, usize>>);

impl Unfinished {
    /// Counts one more, if it has to wait.
    fn begin(&self, service: &ServiceName, is_slow: bool) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_slow || counts.contains_key(service) {
            *counts.entry(service.clone()).or_default() += 1;
            return true;
        }
        false
    }

    fn end(&self, service: &ServiceName) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(service).filter(|count| **count > 1) {
            *count -= 1;
        } else {
            counts.remove(service);
        }
    }
}

impl SlowLane {
    /// Starts its threads, which end with the node.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(loader: Arc<Loader>, sending: Sending) -> io::Result<Self> {
        let pool = compilers::patient(compilers::cores().div_ceil(2)).map_err(io::Error::other)?;
        let (queue, queued) = channel();
        let unfinished = Arc::new(Unfinished::default());
        let counts = Arc::clone(&unfinished);
        let work = move || work(&loader, &pool, &queued, &counts, &sending);
        std::thread::Builder::new().name("slow-lane".into()).spawn(work)?;
        Ok(Self { queue, unfinished })
    }

    /// Takes a task that has to wait; gives back one that need not.
    pub(super) fn take(&self, service: &ServiceName, task: Task) -> Option<Task> {
        if !self.unfinished.begin(service, task.bytes() >= LARGE) {
            return Some(task);
        }
        let _the_node_ends = self.queue.send((service.clone(), task));
        None
    }
}

fn work(
    loader: &Loader,
    pool: &ThreadPool,
    queued: &Receiver<(ServiceName, Task)>,
    unfinished: &Unfinished,
    sending: &Sending,
) {
    for (service, task) in queued {
        if is_outdated(&task) {
            info!("a newer change of {service} follows");
        } else {
            pool.install(|| loader.work(&service, task)).into_iter().for_each(|news| sending.send(news));
        }
        unfinished.end(&service);
    }
}

/// Whether the file is no longer as it was when it was found: then that was found too, or will be.
fn is_outdated(task: &Task) -> bool {
    matches!(task, Task::Change(Change::Whole(file, stamp)) if Stamp::of(file).as_ref() != Ok(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_a_service_stays_in_order() {
        let unfinished = Unfinished::default();
        let [large, small] = ["large", "small"].map(|name| name.parse::<ServiceName>().unwrap());
        assert!(!unfinished.begin(&small, false));
        assert!(unfinished.begin(&large, true));
        assert!(unfinished.begin(&large, false), "it must not overtake");
        assert!(!unfinished.begin(&small, false));
        unfinished.end(&large);
        assert!(unfinished.begin(&large, false));
        unfinished.end(&large);
        unfinished.end(&large);
        assert!(!unfinished.begin(&large, false));
    }
}
