//! The threads of a compiler process, whose priorities leave the cores to requests.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rustix::process::setpriority_process;
use std::num::NonZeroUsize;

/// Lowest priority (`nice(2)`), which takes only otherwise idle time.
const LAST: i32 = 19;

/// Number of cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Builds a pool of threads at the lowest priority. While guests keep every core busy, compiling takes long.
pub(super) fn patient(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).build()
}

/// Builds a pool of the calling thread, at its own priority, and `threads - 1` helpers at the lowest. Compiling makes
/// progress however busy the guests are, and takes at most the time slices of one thread from them.
pub(super) fn helping_me(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    builder(threads).use_current_thread().build()
}

fn builder(threads: usize) -> ThreadPoolBuilder {
    let named = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "compile".into());
    // Not called for the calling thread, which existed before.
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

    /// Priority of the calling thread (`/proc/pid/stat` in `proc(5)`: field 19; the state after the name is field 3).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    }
}
