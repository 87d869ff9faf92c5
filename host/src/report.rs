//! What `node.services` and `node.plugins` answer: the state of what can be called, and of the plugins, as JSON.

use crate::plugins::{PluginStatus, Plugins, Refusal};
use crate::sockets::Sockets;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use wasmnode_core::Node;

/// The name under which the state of everything that can be called is asked for.
pub const SERVICES: &str = "node.services";

/// The name under which the plugins are asked for, and rolled back.
pub const PLUGINS: &str = "node.plugins";

/// The state of a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: u64,
    /// Where it listens, with the ports that the system chose.
    pub endpoints: Vec<String>,
    /// Every service that is offered or waited for, by name.
    pub services: Vec<ServiceReport>,
    /// What became of everything that arrived.
    pub counters: CounterReport,
}

/// The state of one service.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Its plugin, if one is loaded.
    pub plugin: Option<PluginStatus>,
    /// Requests running in the plugin.
    pub running: usize,
    /// Workers waiting for a request.
    pub workers_idle: usize,
    /// Workers serving one.
    pub workers_busy: usize,
    /// Requests waiting.
    pub queued: usize,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Counts since the node started.
#[derive(Debug, Serialize, Deserialize)]
pub struct CounterReport {
    /// Requests accepted.
    pub accepted: u64,
    /// Requests answered with a final reply.
    pub replied: u64,
    /// Failures by code and name.
    pub failed: BTreeMap<String, u64>,
    /// Messages refused because they break a protocol's rules.
    pub malformed: u64,
    /// Replies that nobody waited for, or for requests of others.
    pub unclaimed: u64,
    /// Requests given to another worker after theirs had gone.
    pub retried: u64,
    /// Messages given up because their receiver did not read.
    pub dropped: u64,
}

/// All that is known of one service's plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginReport {
    /// The service.
    pub service: String,
    /// Its versions that are kept, newest first.
    pub generations: Vec<PluginStatus>,
    /// Why the file that lies in the folder now does not serve, if it does not.
    pub refused: Option<Refusal>,
}

/// Writes the state of the plugins.
pub(crate) fn plugins(plugins: &Plugins) -> String {
    let all: Vec<PluginReport> = plugins
        .list()
        .map(|(service, generations, refused)| PluginReport {
            service: service.to_string(),
            generations,
            refused: refused.cloned(),
        })
        .collect();
    serde_json::to_string(&all).unwrap_or_default()
}

/// Writes the state of everything that can be called.
pub(crate) fn services(node: &Node, plugins: &Plugins, sockets: &Sockets, uptime: Duration) -> String {
    let counters = node.counters();
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: uptime.as_secs(),
        endpoints: sockets.endpoints().to_vec(),
        services: node
            .services()
            .filter(|service| !service.name.is_reserved())
            .map(|service| ServiceReport {
                name: service.name.to_string(),
                plugin: plugins.status(&service.name),
                running: service.running,
                workers_idle: service.workers_idle,
                workers_busy: service.workers_busy,
                queued: service.queued,
                replied: service.replied,
                failed: service.failed,
            })
            .collect(),
        counters: CounterReport {
            accepted: counters.accepted,
            replied: counters.replied,
            failed: counters.failed.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            malformed: counters.malformed,
            unclaimed: counters.unclaimed,
            retried: counters.retried,
            dropped: sockets.dropped(),
        },
    };
    serde_json::to_string(&report).unwrap_or_default()
}
