//! The threads of a compiler process, and how they leave the cores to requests.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rustix::process::setpriority_process;
use std::num::NonZeroUsize;

/// The priority of those who take what nobody else wants (`nice(2)`).
const LAST: i32 = 19;

/// How many cores there are.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Threads that all come last. While guests keep every core busy, what they compile takes long.
pub(super) fn patient(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).build()
}

/// Threads of which the calling one is the first, and stays as it is; the others come last. What it compiles from now
/// on goes forward whatever the guests do, and takes from them no more than its own turns.
pub(super) fn helping_me(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).use_current_thread().build()
}

fn builder(threads: usize) -> ThreadPoolBuilder {
    let named = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "compile".into());
    // It is not called for a thread that was there before.
    named.start_handler(|_| {
        // On Linux, each thread has its own priority.
        let _no_system_refuses_a_lower_priority = setpriority_process(None, LAST);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_compile_come_last_but_for_one_that_has_small_files_to_do() {
        let own = niceness();
        assert_eq!(patient(2).unwrap().broadcast(|_| niceness()), [LAST, LAST]);
        let small = std::thread::spawn(|| {
            let pool = helping_me(3).unwrap();
            let here = (rayon::current_thread_index(), rayon::current_num_threads());
            (here, pool.broadcast(|_| niceness()))
        });
        assert_eq!(small.join().unwrap(), ((Some(0), 3), vec![own, LAST, LAST]));
        assert_eq!(niceness(), own);
    }

    /// That of the calling thread (`/proc/pid/stat` in `proc(5)`: field 19; the state after the name is field 3).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    }
}
