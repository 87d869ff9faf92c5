//! The engine that all plugins share, tuned for instances that live for one request.

use super::guest::{Guest, MAX_TABLE_ELEMENTS, link};
use super::outside::Shares;
use super::places::Places;
use crate::config::Config;
use std::borrow::Cow;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use tracing::warn;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wit_component::ComponentEncoder;

/// Memory of an instance that is kept mapped for the next one. Clearing touched pages in place costs 2 to 3 µs for a
/// small guest; giving them back to the system and faulting them in again costs 10 to 20.
const KEEP_RESIDENT: usize = 2 << 20;

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
    pub(super) linker: Linker<Guest>,
    /// Bytes that a body may have, in either direction.
    pub(super) max_body: usize,
    /// Frames that a body may have, in either direction.
    pub(super) max_frames: usize,
    pub(super) shares: Arc<Shares>,
}

impl Sandbox {
    /// Starts the engine. Without a usable cache folder it goes on, and compiles at each start.
    ///
    /// # Errors
    /// If the system does not have what the engine needs: address space above all.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let mut settings = wasmtime::Config::new();
        settings.epoch_interruption(true);
        settings.memory_init_cow(true);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config.instances)));
        settings.cache(cache(config));
        let engine = Engine::new(&settings).map_err(|error| {
            format!("cannot start the WebAssembly engine for limits.instances = {}: {error:#}", config.instances)
        })?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(|error| format!("cannot offer the host's interfaces to plugins: {error:#}"))?;
        let limits = &config.node.limits;
        let places = Arc::new(Places::new(config.plugin_descriptors));
        let shares = Arc::new(Shares { places, usages: Arc::default() });
        Ok(Self { engine, linker, max_body: limits.message, max_frames: limits.frames, shares })
    }

    /// Compiles a component, or takes it from the cache. A core module that was built for WASI preview 1 is made into one.
    ///
    /// # Errors
    /// If the bytes are neither.
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Component, String> {
        Component::new(&self.engine, &*as_component(bytes)?).map_err(|error| {
            let why = format!("{error:#}");
            // The pool's words for a component that is valid, and larger than a slot.
            if why.contains("pooling allocator") || why.contains("exceeds the limit of") {
                return format!("it wants more than a plugin may have: {why}");
            }
            format!("it is not a valid component; perhaps it was copied in part: {why}")
        })
    }
}

/// The bytes of a component; a core module that was built for WASI preview 1 is made into one.
///
/// # Errors
/// If they are neither.
pub(super) fn as_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("it is not a WebAssembly file".into());
    }
    if is_core_module(bytes) { adapt(bytes).map(Cow::Owned) } else { Ok(Cow::Borrowed(bytes)) }
}

/// Whether these bytes are a core module; a component has another number in the place of the 1.
pub(super) fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

/// Makes a component of a core module: of a command, which has a `_start`, or else of a library.
fn adapt(module: &[u8]) -> Result<Vec<u8>, String> {
    let encode = |adapter: &[u8]| {
        let encoder = ComponentEncoder::default().validate(true).module(module)?;
        encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?.encode()
    };
    encode(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER).or_else(|_| encode(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)).map_err(
        |error| {
            format!(
                "it is a core WebAssembly module that cannot be made into a component: {error:#}; build it for \
                 wasm32-wasip2, or as a WASI command"
            )
        },
    )
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
    pool.table_keep_resident(KEEP_RESIDENT);
    // Needs Linux 6.7; without it the engine clears the first bytes of each memory instead.
    pool.pagemap_scan(Enabled::Auto);
    pool
}

fn cache(config: &Config) -> Option<Cache> {
    let folder = &config.cache;
    let opened = private_folder(folder)
        .and_then(|()| std::path::absolute(folder).map_err(|error| error.to_string()))
        .and_then(|folder| {
            let mut settings = CacheConfig::new();
            settings.with_directory(folder);
            Cache::new(settings).map_err(|error| format!("{error:#}"))
        });
    opened
        .inspect_err(|why| warn!("plugins will be compiled at each start: no cache in {}: {why}", folder.display()))
        .ok()
}

/// Makes the folder if it is not there. What lies in it is machine code that runs without a look at it: whoever could
/// write there would need no plugin that is trusted.
pub(super) fn private_folder(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let metadata = made.and_then(|()| std::fs::metadata(folder)).map_err(|error| error.to_string())?;
    if metadata.mode() & 0o022 != 0 {
        return Err("others may write there; take that away with chmod go-w".into());
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return Err("it belongs to another user; name one of your own".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_cache_that_others_may_write_to_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        assert_eq!(private_folder(&folder), Ok(()));
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702, 0o1777] {
            set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            assert!(private_folder(&folder).unwrap_err().contains("chmod go-w"), "{mode:o}");
        }
        set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(private_folder(&folder), Ok(()));
    }
}
