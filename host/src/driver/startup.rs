//! Startup, from listening to ready. The node listens before it loads plugins, because a file may take a minute to
//! compile. In between, clients connect and wait, and signals are handled.

use super::{Driver, log};
use crate::config::{Config, Endpoint};
use crate::event_queue::EventSender;
use std::time::{Duration, Instant};
use tracing::info;
use wasmnode_core::ServiceName;
use wasmnode_sandbox::{Event, NodeAddresses, Plugins, SandboxError};

/// Upper bound on the time from a node's start until it serves, while plugins that were in the folder load. Until then
/// clients connect, and their requests wait; so no request fails for lack of a plugin when a node restarts with its
/// compiled plugins in the cache.
const FIRST_PLUGINS: Duration = Duration::from_secs(2);

/// Upper bound on the time from a node's start until it logs that it is ready, even if plugins still compile.
pub(super) const READY: Duration = Duration::from_secs(30);

/// Logs the rights of the machine's other users at a node without keys, if they can connect.
pub(super) fn log_access_without_keys(config: &Config) {
    let (tcp, ipc): (Vec<_>, Vec<_>) =
        config.listen.iter().partition(|endpoint: &&Endpoint| matches!(endpoint, Endpoint::Tcp(_)));
    if config.keys.is_some() || tcp.is_empty() || config.node.is_router() {
        return;
    }
    let owner = match ipc.is_empty() {
        false => "that needs the ipc endpoint",
        true => "no user can, because that needs an ipc endpoint: add \"ipc://wasmnode.ipc\" to node.listen",
    };
    info!(
        "without security.keys, any user who reaches the tcp endpoint may call every service and pose as a peer, but \
         neither roll plugins back nor share their names as a worker; {owner}"
    );
}

/// Prepares the plugins of a node that listens on `endpoints`, and starts to load them.
///
/// # Errors
/// If the engine cannot start, the folder cannot be read, or the system refuses to start a thread.
pub(super) fn plugins(
    config: &Config,
    sending: &EventSender<Event>,
    endpoints: &[String],
) -> Result<Plugins, SandboxError> {
    let plugins = Plugins::new(&config.sandbox(), sending)?;
    note_node_addresses(plugins.node_addresses(), config, endpoints);
    plugins.start_loading().map(|()| plugins)
}

/// Registers the addresses of this node, and of the nodes that its configuration names.
fn note_node_addresses(addresses: &NodeAddresses, config: &Config, endpoints: &[String]) {
    let advertised = config.advertise.as_ref().map(Endpoint::to_string);
    let seeds = config.node.seeds.iter().map(|seed| seed.endpoint.as_str());
    let neighbours = config.node.router.iter().flat_map(|router| &router.neighbours).map(|it| it.endpoint.as_str());
    let own = endpoints.iter().map(String::as_str).chain(advertised.as_deref());
    own.chain(seeds).chain(neighbours).filter_map(log::tcp_address).for_each(|address| addresses.add(&address));
}

impl Driver {
    /// Waits until the plugins that were in the folder at the start have been tried, or [`FIRST_PLUGINS`] have passed.
    /// Reads no messages meanwhile, but handles signals.
    pub(super) fn wait_for_plugins(&mut self) {
        let until = self.started + FIRST_PLUGINS;
        while !self.plugins.has_tried_all() && self.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.events.wait(left);
            self.begin_turn();
            self.handle_events();
        }
    }

    /// Logs readiness once: when all plugins that were in the folder at the start are loaded or refused, or after
    /// [`READY`].
    pub(super) fn log_readiness(&mut self) {
        let elapsed = self.started.elapsed();
        let unfinished: Vec<&str> = self.plugins.unfinished().map(ServiceName::as_str).collect();
        let is_complete = self.plugins.has_tried_all() && unfinished.is_empty();
        if !is_complete && elapsed < READY {
            return;
        }
        let (name, zone) = (&self.config.node.name, &self.config.node.zone);
        if is_complete {
            info!("node {name} of zone {zone} is ready after {elapsed:?}");
        } else if self.plugins.has_tried_all() {
            let unfinished = unfinished.join(", ");
            info!("node {name} of zone {zone} is ready after {elapsed:?}, while plugins still load: {unfinished}");
        } else {
            info!("node {name} of zone {zone} is ready after {elapsed:?}, while plugins still load");
        }
        self.is_ready = true;
    }
}
