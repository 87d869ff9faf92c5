//! The engine that all plugins share, tuned for instances that live for one request.

pub(crate) mod backtrace;
pub(crate) mod epoch;
pub(crate) mod stacks;

use std::num::NonZeroUsize;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Largest number of elements in all tables of an instance together.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Bytes of an instance's memory that stay mapped for the next instance. Clearing touched pages in place costs 2 to 3
/// µs for a small guest; returning them to the system and faulting them in again costs 10 to 20 µs.
const KEEP_RESIDENT: usize = 2 << 20;

/// Bytes of a table that stay mapped for the next instance: eight thousand elements; a guest compiled from Rust has a
/// few hundred. Touched bytes beyond them are returned to the system, so that they do not stay in every slot in which
/// the guest ran.
const TABLE_KEEP_RESIDENT: usize = 64 << 10;

/// Slots of ended instances that stay warm, each for the next instance of the same component, because another component
/// would have to replace the mapping first. Each keeps up to [`KEEP_RESIDENT`] in memory; the engine's default is 100.
const WARM_SLOTS: u32 = 32;

/// Core instances, memories and tables that a component may have on average; a component compiled from Rust has one
/// memory, and a handful of small core instances around it.
const CORE_INSTANCES: u32 = 4;
const MEMORIES: u32 = 1;
const TABLES: u32 = 3;

/// Largest numbers of core instances, memories and tables of one component, so that it cannot use the share of others.
/// A component made from Python, the largest known kind, has 14, 1 and 2.
const MAX_CORE_INSTANCES: u32 = 32;
const MAX_MEMORIES: u32 = 4;
const MAX_TABLES: u32 = 16;

/// Settings that affect machine code, and are therefore the same in the node and its compiler processes.
pub(crate) fn code_settings() -> wasmtime::Config {
    let mut settings = wasmtime::Config::new();
    settings.epoch_interruption(true);
    settings.memory_init_cow(true);
    settings
}

/// Starts the engine that runs plugins, for at most `instances` instances at a time.
///
/// # Errors
/// If the system lacks resources for the engine, most likely address space.
pub(crate) fn start(instances: u32) -> wasmtime::Result<Engine> {
    let mut settings = code_settings();
    settings.wasm_backtrace_max_frames(NonZeroUsize::new(backtrace::MAX_FRAMES));
    settings.max_wasm_stack(stacks::GUEST).async_stack_size(stacks::SIZE);
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    Engine::new(&settings)
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances);
    pool.total_stacks(instances);
    pool.total_core_instances(instances.saturating_mul(CORE_INSTANCES));
    pool.total_memories(instances.saturating_mul(MEMORIES));
    pool.total_tables(instances.saturating_mul(TABLES));
    pool.max_core_instances_per_component(MAX_CORE_INSTANCES);
    pool.max_memories_per_component(MAX_MEMORIES);
    pool.max_tables_per_component(MAX_TABLES);
    // Reserves address space, not memory, which only elements in use take.
    pool.table_elements(MAX_TABLE_ELEMENTS);
    pool.max_unused_warm_slots(WARM_SLOTS);
    pool.linear_memory_keep_resident(KEEP_RESIDENT);
    pool.table_keep_resident(TABLE_KEEP_RESIDENT);
    // Needs Linux 6.7; without it the engine clears the first bytes of each memory instead.
    pool.pagemap_scan(Enabled::Auto);
    pool
}
