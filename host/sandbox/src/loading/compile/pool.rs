//! The threads of a compiler process, at priorities that leave the cores to requests.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rustix::process::setpriority_process;
use std::num::NonZeroUsize;

/// Lowest priority (`nice(2)`), which takes only otherwise idle time.
const LOWEST_PRIORITY: i32 = 19;

/// Number of cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Builds a pool of threads at the lowest priority. Compiling is slow while guests keep every core busy.
pub(super) fn low_priority(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).build()
}

/// Builds a pool of the calling thread, at its own priority, and `threads - 1` helpers at the lowest. Compiling makes
/// progress even while guests keep every core busy, and takes at most the time slices of one thread from them.
pub(super) fn with_caller(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).use_current_thread().build()
}

fn builder(threads: usize) -> ThreadPoolBuilder {
    let named = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "compile".into());
    // Not called for the calling thread, which is not started here.
    named.start_handler(|_| {
        // On Linux, each thread has its own priority.
        let _no_system_refuses_a_lower_priority = setpriority_process(None, LOWEST_PRIORITY);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiling_threads_have_the_lowest_priority_except_one_for_small_files() {
        let own = niceness();
        assert_eq!(low_priority(2).unwrap().broadcast(|_| niceness()), [LOWEST_PRIORITY, LOWEST_PRIORITY]);
        let small = std::thread::spawn(|| {
            let pool = with_caller(3).unwrap();
            let here = (rayon::current_thread_index(), rayon::current_num_threads());
            (here, pool.broadcast(|_| niceness()))
        });
        assert_eq!(small.join().unwrap(), ((Some(0), 3), vec![own, LOWEST_PRIORITY, LOWEST_PRIORITY]));
        assert_eq!(niceness(), own);
    }

    /// Priority of the calling thread (`/proc/pid/stat` in `proc(5)`: field 19; the state after the name is field 3).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    }
}
