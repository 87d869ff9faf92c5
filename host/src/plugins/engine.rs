//! The engine that all plugins share, tuned for instances that live for one request.

use super::backtrace;
use super::compile;
use super::descriptors::DescriptorLimit;
use super::host_state::{HostState, MAX_TABLE_ELEMENTS, link};
use super::stacks;
use super::wasi_context::SharedLimits;
use crate::config::Config;
use std::num::NonZeroUsize;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Memory of an instance that is kept mapped for the next one. Clearing touched pages in place costs 2 to 3 µs for a
/// small guest; giving them back to the system and faulting them in again costs 10 to 20.
const KEEP_RESIDENT: usize = 2 << 20;

/// Memory of a table that is kept mapped for the next instance: eight thousand elements, where a guest compiled by Rust has
/// some hundred. What a guest that fills its tables has touched beyond is given back, instead of staying wherever it ran.
const TABLE_KEEP_RESIDENT: usize = 64 << 10;

/// Core instances, memories and tables that a component may have, on the average; a component compiled by Rust has one
/// memory, and a handful of small core instances around it.
const CORE_INSTANCES: u32 = 4;
const MEMORIES: u32 = 1;
const TABLES: u32 = 3;

/// What a single component may have of these, so that none takes the share of the others. One compiled by Python, the
/// largest that is known, has 14, 1 and 2.
const MAX_CORE_INSTANCES: u32 = 32;
const MAX_MEMORIES: u32 = 4;
const MAX_TABLES: u32 = 16;

/// The engine, and what it lets guests see.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<HostState>,
    /// Bytes that a body may have, in either direction.
    pub(super) max_body: usize,
    /// Frames that a body may have, in either direction.
    pub(super) max_frames: usize,
    pub(super) shared: Arc<SharedLimits>,
}

impl Sandbox {
    /// Starts the engine.
    ///
    /// # Errors
    /// If the system does not have what the engine needs: address space above all.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let mut settings = compile::settings();
        settings.wasm_backtrace_max_frames(NonZeroUsize::new(backtrace::MAX_FRAMES));
        settings.max_wasm_stack(stacks::GUEST).async_stack_size(stacks::SIZE);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config.instances)));
        let engine = Engine::new(&settings).map_err(|error| {
            format!("cannot start the WebAssembly engine for limits.instances = {}: {error:#}", config.instances)
        })?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(|error| format!("cannot offer the host's interfaces to plugins: {error:#}"))?;
        let limits = &config.node.limits;
        let places = Arc::new(DescriptorLimit::new(config.plugin_descriptors));
        let shares = Arc::new(SharedLimits { descriptors: places, usages: Arc::default() });
        Ok(Self { engine, linker, max_body: limits.message, max_frames: limits.frames, shared: shares })
    }
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
    // Address space, not memory: what nobody uses takes none.
    pool.table_elements(MAX_TABLE_ELEMENTS);
    pool.linear_memory_keep_resident(KEEP_RESIDENT);
    pool.table_keep_resident(TABLE_KEEP_RESIDENT);
    // Needs Linux 6.7; without it the engine clears the first bytes of each memory instead.
    pool.pagemap_scan(Enabled::Auto);
    pool
}
