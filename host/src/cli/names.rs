//! Names that a user types: checked before anything is sent, in the same way by every command, and with a suggestion
//! when they are unknown.

use super::{Failed, read};
use serde::de::DeserializeOwned;
use std::time::Duration;
use wasmnode::suggestion::nearest;
use wasmnode_api::{self as api, PluginReport, Report, ServiceReport, ZoneReport};
use wasmnode_client::{self as client, Client, Request};
use wasmnode_core::{Address, Code, Failure, Location, ServiceName};

/// Time limit for requesting the names of services, which only improve an error message.
const PATIENCE: Duration = Duration::from_secs(1);

/// Parses an address; the error is the failure that a node would answer.
pub(super) fn address(text: &str) -> Result<Address, Failure> {
    Ok(Address::from_bytes(text.as_bytes())?)
}

/// Parses the name of a service; the error is the failure that a node would answer.
pub(super) fn service(text: &str) -> Result<ServiceName, Failure> {
    Ok(ServiceName::from_bytes(text.as_bytes())?)
}

/// Adds a hint to an error about an unknown service: a similar name among those that the node shows this client, or the
/// unknown location.
pub(super) fn suggest(client: &mut Client, asked: &Address, error: client::Error) -> Failed {
    let is_unknown = matches!(&error, client::Error::Failure(failure) if failure.code == Code::UnknownService);
    let mut failed = Failed::from(error);
    if is_unknown {
        failed.message.push_str(&hint_for(client, asked).unwrap_or_default());
    }
    failed
}

/// Returns the hint that is appended to an error, such as `; did you mean print?`
fn hint_for(client: &mut Client, asked: &Address) -> Option<String> {
    let services: Report = request(client, api::SERVICES)?;
    if let Some(hint) = location_hint(client, asked, &services) {
        return Some(hint);
    }
    if let Some(hint) = refused_file_hint(client, asked) {
        return Some(hint);
    }
    let is_offered = |service: &&ServiceReport| is_offered_here(service) || !service.peers.is_empty();
    let offered = services.services.iter().filter(is_offered).map(|service| service.name.as_str());
    nearest(asked.service.as_str(), offered).map(|name| format!("; did you mean {name}?"))
}

fn is_offered_here(service: &ServiceReport) -> bool {
    service.plugin.is_some() || service.workers_idle + service.workers_busy > 0
}

/// Returns a hint if the node that was called refused the file of the service.
fn refused_file_hint(client: &mut Client, asked: &Address) -> Option<String> {
    if asked.location != Location::Nearest {
        return None;
    }
    let plugins: Vec<PluginReport> = request(client, api::PLUGINS)?;
    let is_it = |plugin: &PluginReport| plugin.service == asked.service.as_str() && plugin.refused.is_some();
    plugins.iter().any(is_it).then(|| "; its file was refused: see wasmnode plugins".to_owned())
}

/// Returns the known nodes and zones that offer a service; all of them offer the node's own services.
fn locations_with<'a>(
    service: &ServiceName,
    services: &'a Report,
    zone: &'a ZoneReport,
    known: Vec<&'a str>,
) -> Vec<&'a str> {
    if service.is_reserved() {
        return known;
    }
    let Some(found) = services.services.iter().find(|found| found.name == service.as_str()) else { return vec![] };
    let peers = || found.peers.iter().map(|peer| peer.zone.as_deref().unwrap_or(&peer.node));
    let me = zone.members.iter().filter(|member| member.is_me && is_offered_here(found));
    let is_in_zone = is_offered_here(found) || found.peers.iter().any(|peer| peer.zone.is_none());
    let own_zone = is_in_zone.then_some(zone.zone.as_str());
    let offer: Vec<&str> = me.map(|me| me.name.as_str()).chain(own_zone).chain(peers()).collect();
    known.into_iter().filter(|place| offer.contains(place)).collect()
}

/// Returns a hint if the node or zone of an address is unknown, with the most similar one that offers the service.
fn location_hint(client: &mut Client, asked: &Address, services: &Report) -> Option<String> {
    let zone: ZoneReport = match &asked.location {
        Location::Nearest => return None,
        Location::Named(_) | Location::Node { .. } => request(client, api::MEMBERS)?,
    };
    let nodes = zone.members.iter().map(|member| member.name.as_str());
    let (kind, name, known): (_, _, Vec<&str>) = match &asked.location {
        Location::Node { node, zone: of } if of.as_str() == zone.zone => ("node", node, nodes.collect()),
        Location::Named(name) => {
            let abroad = services.services.iter().flat_map(|service| &service.peers).flat_map(|peer| &peer.zone);
            let zones = abroad.map(String::as_str).chain([zone.zone.as_str()]);
            ("node or zone", name, nodes.chain(zones).collect())
        }
        _ => return None,
    };
    if known.contains(&name.as_str()) {
        return None;
    }
    let offer = locations_with(&asked.service, services, &zone, known);
    let near = nearest(name.as_str(), offer).map(|near| format!("; did you mean {}@{near}?", asked.service));
    Some(format!("; no {kind} {name} is known there{}", near.unwrap_or_default()))
}

fn request<T: DeserializeOwned>(client: &mut Client, service: &str) -> Option<T> {
    read(&client.call(Request::new(service).deadline(PATIENCE), |_| {}).ok()?).ok()
}
