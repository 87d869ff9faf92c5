//! `[router]`: settings of a router, which joins this zone with others. `[router.neighbour.NAME]` is one router of
//! another zone.

use super::fields::Fields;
use super::peers::to_dial;
use super::value::{self, number, quoted, text};
use std::path::Path;
use toml::de::DeValue;
use wasmnode_core::paths::{Filter, Policy};
use wasmnode_core::{Label, Neighbour, PathSettings, RouterSettings};

/// Reads the table; `None` if it is absent, so that the node is not a router.
pub(super) fn router(mut given: Fields<'_>, folder: &Path) -> Option<RouterSettings> {
    let is_there = given.has("neighbour");
    let default = PathSettings::default();
    let paths = PathSettings {
        batch: given.take("batch", value::duration).unwrap_or(default.batch),
        offers: given.take("offers", number(1..=1_000_000)).unwrap_or(default.offers),
        routes_per_neighbour: given
            .take("routes-per-neighbour", number(1..=10_000_000))
            .unwrap_or(default.routes_per_neighbour),
        routes: given.take("routes", number(1..=10_000_000)).unwrap_or(default.routes),
        ..default
    };
    let entries = given.table("neighbour").entries(label);
    // A neighbour with an invalid name is checked too, then left out.
    let read = |(name, given): (Option<Label>, _)| {
        let read = neighbour(name.as_ref(), given, folder);
        read.filter(|_| name.is_some())
    };
    let neighbours: Vec<Neighbour> = entries.into_iter().filter_map(read).collect();
    given.done();
    is_there.then_some(RouterSettings { paths, neighbours })
}

fn neighbour(name: Option<&Label>, mut given: Fields<'_>, folder: &Path) -> Option<Neighbour> {
    let endpoint = given.take("endpoint", |value| to_dial(value, folder));
    if endpoint.is_none() && !given.has("endpoint") {
        given.complain("endpoint", "is missing: where the other router listens, such as \"tcp://127.0.0.1:5600\"");
    }
    let mut policy = |key| {
        let filters = given.list(key, filter).unwrap_or_default();
        let (deny, allow): (Vec<_>, Vec<_>) = filters.into_iter().partition(|(is_denied, _)| *is_denied);
        let only = |filters: Vec<(bool, Filter)>| filters.into_iter().map(|(_, filter)| filter).collect();
        Policy { allow: only(allow), deny: only(deny) }
    };
    let (import, export) = (policy("import"), policy("export"));
    let (router, zone) = (given.take("router", value::label), given.take("zone", value::label));
    let cost = given.take("cost", number(1..=1_000_000)).unwrap_or(1);
    given.done();
    let (name, zone) = (router.or_else(|| name.cloned())?, zone.or_else(|| name.cloned())?);
    Some(Neighbour { name, zone, endpoint: endpoint?.to_string(), cost, import, export })
}

fn label(name: &str) -> Result<Label, String> {
    name.parse().map_err(|error| format!("{} {error}", quoted(name)))
}

/// Reads a filter such as `print` or `storage.*@paris`; with a leading `!`, it denies what another filter allows.
fn filter(value: &DeValue<'_>) -> Result<(bool, Filter), String> {
    let written = text(value, "a filter such as \"storage.*\", \"*@paris\" or \"!secret.*\"")?;
    let (is_denied, filter) = match written.strip_prefix('!') {
        Some(filter) => (true, filter),
        None => (false, written),
    };
    filter.parse().map(|filter| (is_denied, filter)).map_err(|error| format!("{}: {error}", quoted(written)))
}
