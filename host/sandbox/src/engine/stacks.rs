//! Trimming of stacks: returns the pages that deep runs leave on the pool's stacks to the system.
//!
//! A stack is reused by the next run without being cleared. wasmtime can return its pages after each run, which costs a
//! sixth of the time of a short run. Instead, one run in [`EVERY`] returns the pages below it, so that every stack is
//! trimmed eventually.

use rustix::mm::{Advice, madvise};
use wasmtime::{Func, Store};

/// Largest part of a stack that a guest may use, in bytes: wasmtime's default.
pub(crate) const GUEST: usize = 512 << 10;

/// Size of a stack, in bytes: the guest's part, and three times as much for the host functions that it calls.
pub(crate) const SIZE: usize = 2 << 20;

/// Interval, in requests, of trimming.
const EVERY: u64 = 64;

/// Bytes of a stack that stay mapped for the next run: more than most runs need.
const KEPT: usize = 64 << 10;

const PAGE: usize = 4 << 10;

/// Trims the stack that the instance of `store` will use, for one request in [`EVERY`].
pub(crate) async fn trim<T: Send + 'static>(store: &mut Store<T>, request: u64) {
    if !request.is_multiple_of(EVERY) {
        return;
    }
    // A host function runs on the store's stack, which the instance uses next.
    let trim = Func::wrap(&mut *store, return_rest);
    if let Ok(trim) = trim.typed::<(), ()>(&*store) {
        let _without_a_stack_the_instance_says_so = trim.call_async(store, ()).await;
    }
}

/// Returns the pages of the calling stack from [`KEPT`] bytes below the caller down to a guest's largest depth.
#[allow(unsafe_code, reason = "the system has no safe call for it")]
fn return_rest() {
    let here = 0_u8;
    let end = (&raw const here).addr().saturating_sub(KEPT) & !(PAGE - 1);
    let start = std::ptr::without_provenance_mut(end.saturating_sub(GUEST));
    // SAFETY: nothing uses the stack below its innermost frame. No guest of this store has run on the stack yet, so all
    // of `SIZE` but a few frames lies below: the range ends before the stack does.
    let _what_stays_costs_memory_only = unsafe { madvise(start, GUEST, Advice::LinuxDontNeed) };
}

const _: () = assert!(SIZE >= 2 * (GUEST + KEPT));

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Engine, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

    /// Recurses to the given depth, and touches the stack on the way.
    const DEEP: &str = r#"(module (func $deep (export "deep") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1))))))))"#;

    /// Distinguishes a stack of the pool from the stacks of threads.
    const TEST_SIZE: usize = SIZE + 5 * PAGE;

    fn engine() -> Engine {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_stacks(1);
        let mut config = Config::new();
        config.max_wasm_stack(GUEST).async_stack_size(TEST_SIZE);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Engine::new(&config).unwrap()
    }

    /// Bytes of the pool's stack that are in memory.
    fn resident() -> usize {
        let (mut bytes, mut is_stack) = (0, false);
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = bounds {
                is_stack = to - from == TEST_SIZE && line.contains("rw-p");
            } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| is_stack) {
                bytes += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
            }
        }
        bytes
    }

    #[tokio::test]
    async fn a_later_run_returns_the_pages_that_a_deep_run_leaves_on_a_stack() {
        let engine = engine();
        let module = Module::new(&engine, wat::parse_str(DEEP).unwrap()).unwrap();
        let run = async |request: u64, depth: i32| {
            let mut store = Store::new(&engine, ());
            trim(&mut store, request).await;
            let instance = wasmtime::Instance::new_async(&mut store, &module, &[]).await.unwrap();
            let deep = instance.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
            assert_eq!(deep.call_async(&mut store, depth).await.unwrap(), depth);
        };
        run(1, 1).await;
        let before = resident();
        run(2, 20_000).await;
        let deep = resident();
        run(3, 1).await;
        assert!(deep > before + GUEST / 4 && resident() >= deep, "{before}, {deep}, then {}", resident());
        run(EVERY, 1).await;
        assert!(resident() <= before + KEPT + 4 * PAGE, "{before}, then {}", resident());
    }
}
