//! How the process takes memory from the system, and gives it back.

#[cfg(target_env = "gnu")]
use std::time::Duration;

/// Blocks of this size and more are taken from the system one by one, and given back when they are freed.
///
/// glibc would raise the size by itself, up to 32 MiB, and then keep what large messages leave behind: 600 MiB after
/// 320 requests of 15 MiB. Smaller blocks are used again too often to pay for fresh pages each time.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 4 << 20;

/// Free memory at the end of the heap that is kept: what glibc, left to itself, may raise it to.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 20;

/// How often what is free between smaller blocks is given back: by itself, glibc keeps the most that was ever in use.
#[cfg(target_env = "gnu")]
const INTERVAL: Duration = Duration::from_secs(60);

/// Has memory that was freed given back to the system: that of large messages immediately, the rest each minute.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no crate in use offers it")]
pub(crate) fn give_back() {
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

/// Other allocators give back what is freed by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
