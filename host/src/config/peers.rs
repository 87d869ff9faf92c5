//! Settings of the zone: `[peers]`, and the seeds and the advertised endpoint of `[node]`.

use super::endpoint::{Contact, Endpoint, InvalidEndpoint};
use super::fields::Fields;
use super::value::{self, number};
use std::path::Path;
use toml::de::DeValue;
use wasmnode_core::{DirectorySettings, MembersSettings, PeerSettings, Seed};

/// Settings for peers, for each part of the core.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) peers: PeerSettings,
    pub(super) members: MembersSettings,
    pub(super) routes: DirectorySettings,
}

impl Peers {
    /// Reads `[peers]`, and the related keys of `[limits]`.
    pub(super) fn read(mut given: Fields<'_>, limits: &mut Fields<'_>) -> Self {
        let default = Self::default();
        let peers = PeerSettings {
            heartbeat: given.take("heartbeat", value::duration).unwrap_or(default.peers.heartbeat),
            expiry: given.take("expiry", value::duration).unwrap_or(default.peers.expiry),
            retry_budget: given.take("retry-budget", number(0..=100)).unwrap_or(default.peers.retry_budget),
        };
        let least = peers.heartbeat * 4;
        if peers.expiry < least && given.is_good("heartbeat") && given.is_good("expiry") {
            let (expiry, least) = (humantime::format_duration(peers.expiry), humantime::format_duration(least));
            let message = format!("an expiry of {expiry} is less than four heartbeats; set expiry to {least} or more");
            given.complain(if given.has("expiry") { "expiry" } else { "heartbeat" }, &message);
        }
        let members = MembersSettings {
            probe_period: given.take("probe", value::duration).unwrap_or(default.members.probe_period),
            suspicion: given.take("suspicion", value::duration).unwrap_or(default.members.suspicion),
            limit: limits.take("members", number(1..=10_000)).unwrap_or(default.members.limit),
            ..default.members
        };
        let routes = DirectorySettings {
            lease: given.take("lease", value::duration).unwrap_or(default.routes.lease),
            offers: limits.take("offers", number(1..=1_000_000)).unwrap_or(default.routes.offers),
            routes: limits.take("routes", number(1..=10_000_000)).unwrap_or(default.routes.routes),
        };
        given.done();
        Self { peers, members, routes }
    }
}

/// Reads `node.seeds`: endpoints of members of the zone. With keys, those on tcp need a name.
pub(super) fn seeds(node: &mut Fields<'_>, folder: &Path, with_keys: bool) -> Vec<Seed> {
    let read = |value: &DeValue<'_>| {
        let Contact { name, endpoint } = contact(value, folder, with_keys)?;
        Ok(Seed { name, endpoint: endpoint.to_string() })
    };
    node.list("seeds", read).unwrap_or_default()
}

/// Reads the endpoint of a node that another process of this machine can dial. With keys, one on tcp needs a name.
pub(super) fn contact(value: &DeValue<'_>, folder: &Path, with_keys: bool) -> Result<Contact, String> {
    let text = value::text(value, "an endpoint such as \"tcp://127.0.0.1:5555\"")?;
    let Contact { name, endpoint } = text.parse().map_err(|error: InvalidEndpoint| error.to_string())?;
    let endpoint = endpoint.to_dial(folder).map_err(|error| error.to_string())?;
    if with_keys && name.is_none() && matches!(endpoint, Endpoint::Tcp(_)) {
        return Err(format!("its key cannot be checked without its name; write \"NAME@{endpoint}\""));
    }
    Ok(Contact { name, endpoint })
}

/// Reads `node.advertise`: the endpoint at which peers dial this node. Required if all listening endpoints are
/// wildcards.
pub(super) fn advertise(node: &mut Fields<'_>, listen: &[Endpoint], folder: &Path) -> Option<Endpoint> {
    let given = node.take("advertise", |value| to_dial(value, folder));
    if given.is_none() && !listen.is_empty() && listen.iter().all(Endpoint::is_wildcard) {
        node.complain("listen", "peers cannot dial \"*\" or 0.0.0.0; add node.advertise = \"tcp://HOST:PORT\"");
    }
    given
}

/// Reads an endpoint that another process of this machine can dial.
pub(super) fn to_dial(value: &DeValue<'_>, folder: &Path) -> Result<Endpoint, String> {
    value::endpoint(value)?.to_dial(folder).map_err(|error| error.to_string())
}
