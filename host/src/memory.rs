//! Settings of the allocator: how the process takes memory from the system, and returns it.

#[cfg(target_env = "gnu")]
use std::time::Duration;

/// Smallest size of blocks that are mapped one by one, and returned to the system when they are freed.
///
/// glibc would raise this threshold by itself, up to 32 MiB, and then keep the memory of large messages: 600 MiB after
/// 320 requests of 15 MiB. Smaller blocks are reused too often to pay for fresh pages each time.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 4 << 20;

/// Free memory at the end of the heap that is kept: the value that glibc's own adjustment may reach.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 20;

/// Interval at which free memory between smaller blocks is returned: by itself, glibc keeps the most that was ever in
/// use.
#[cfg(target_env = "gnu")]
const INTERVAL: Duration = Duration::from_secs(60);

/// Makes the allocator return freed memory to the system: that of large messages immediately, the rest each minute.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no crate in use offers it")]
pub(crate) fn return_freed_memory() {
    // SAFETY: `mallopt(3)` takes numbers and may be called at any time; a refused value leaves the default.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
    let trim = || {
        loop {
            std::thread::sleep(INTERVAL);
            // SAFETY: `malloc_trim(3)` may be called at any time, by any thread.
            unsafe { libc::malloc_trim(0) };
        }
    };
    let _without_it_more_is_kept = std::thread::Builder::new().name("memory".into()).spawn(trim);
}

/// Does nothing: other allocators return freed memory by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn return_freed_memory() {}
