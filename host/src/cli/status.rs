//! `wasmnode services`, `wasmnode members` and `wasmnode explain`: what can be called, where, and why there.

use super::names::{address, suggest};
use super::{ANSWER, ConnectArgs, Failed, print, read};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use wasmnode_api::{self as api, ExplainReport, FailureReport, PeerReport, Report, ZoneReport};
use wasmnode_client::{self as client, Client, Request};
use wasmnode_core::{Address, Body, Code, Failure};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) to: ConnectArgs,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The service, as a client would call it: NAME, or NAME@NODE
    #[arg(value_parser = address)]
    service: Address,
    #[command(flatten)]
    pub(super) listing: ListArgs,
}

/// Lists the services.
pub(crate) fn services(args: &ListArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    print_list(&mut args.to.connect(config)?, args, Request::new(api::SERVICES), |reply| {
        Ok(service_table(&read(reply)?))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Lists the nodes of the zone.
pub(crate) fn members(args: &ListArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    print_list(&mut args.to.connect(config)?, args, Request::new(api::MEMBERS), |reply| {
        Ok(member_table(&read(reply)?))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reports where a request would go, and why. If the request would fail, the command fails as `call` would.
pub(crate) fn explain(args: &ExplainArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let mut client = args.listing.to.connect(config)?;
    let request = Request::new(api::EXPLAIN).body([args.service.to_string()]);
    let reply = print_list(&mut client, &args.listing, request, |reply| Ok(explanation(&read(reply)?)))?;
    let report: ExplainReport = read(&reply)?;
    if let Some(FailureReport { code, reason }) = report.failure {
        return Err(Failed::of(&Failure::new(Code::from_number(code).unwrap_or(Code::Failed), reason)));
    }
    if !report.candidates.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let reason = format!("no node offers {}, according to the node at {}", args.service, client.endpoint());
    let failure = client::Error::Failure(Failure::new(Code::UnknownService, reason));
    Err(suggest(&mut client, &args.service, failure))
}

/// Sends the request to the node and prints the report, as JSON or as a table.
pub(super) fn print_list(
    client: &mut Client,
    args: &ListArgs,
    request: Request,
    table: impl FnOnce(&Body) -> Result<String, Failed>,
) -> Result<Body, Failed> {
    let reply = client.call(request.deadline(ANSWER), |_| {})?;
    let text = if args.json { format!("{}\n", read::<Value>(&reply)?) } else { table(&reply)? };
    print(&vec![text.into()])?;
    Ok(reply)
}

fn service_table(report: &Report) -> String {
    let mut text = format!(
        "{:<24} {:<8} {:>7} {:>7} {:>7} {:>10} {:>8} {:>9}\n",
        "SERVICE", "PLUGIN", "RUNNING", "WORKERS", "QUEUED", "REPLIED", "FAILED", "MEAN"
    );
    for service in &report.services {
        let digest = service.plugin.as_ref().map_or("-", |plugin| plugin.digest.get(..8).unwrap_or("?"));
        let mean = service.plugin.as_ref().map_or_else(|| "-".into(), |plugin| format!("{} µs", plugin.mean_us));
        let workers = service.workers_idle.saturating_add(service.workers_busy);
        let _writing_to_a_string_succeeds = writeln!(
            text,
            "{:<24} {digest:<8} {:>7} {workers:>7} {:>7} {:>10} {:>8} {mean:>9}",
            service.name, service.running, service.queued, service.replied, service.failed
        );
        if service.is_shared {
            text.push_str("  shared: workers take every second request that the plugin would serve\n");
        }
        if let Some(ms) = service.plugin.as_ref().map(|plugin| plugin.quarantine_ms).filter(|ms| *ms > 0) {
            let _writing_to_a_string_succeeds =
                writeln!(text, "  in quarantine for {ms} ms more: it crashed in its last requests");
        }
        service.peers.iter().for_each(|peer| text.push_str(&peer_line(peer)));
    }
    text
}

fn peer_line(peer: &PeerReport) -> String {
    let PeerReport { node, outstanding, latency_us, consecutive_failures, .. } = peer;
    let state = match peer {
        PeerReport { is_unresponsive: true, .. } => ", unresponsive".into(),
        PeerReport { paused_ms: ms @ 1.., .. } => format!(", skipped for {ms} ms more: it only failed"),
        PeerReport { consecutive_failures: 1.., .. } => format!(", {consecutive_failures} consecutive failures"),
        _ => String::new(),
    };
    let place = match &peer.zone {
        Some(zone) => format!("in zone {zone} by router {node}, cost {}", peer.cost),
        None => format!("at node {node}"),
    };
    format!("  {place}: {outstanding} outstanding, {latency_us} µs lately{state}\n")
}

fn member_table(report: &ZoneReport) -> String {
    let mut text = format!("{:<24} {:<10} {:>8} {:<21} ENDPOINT\n", "NODE", "STATE", "SERVICES", "STARTED");
    for member in &report.members {
        let state = match () {
            () if member.is_me => "this node",
            () if member.is_unresponsive => "unresponsive",
            () if member.is_linked => "linked",
            () => "not linked",
        };
        let (name, offers, started) = (&member.name, member.offers, &member.started_at);
        let _writing_to_a_string_succeeds =
            writeln!(text, "{name:<24} {state:<10} {offers:>8} {started:<21} {}", member.endpoint);
    }
    text
}

fn explanation(report: &ExplainReport) -> String {
    let mut text = format!("{}: {}\n", report.address, report.meaning);
    for candidate in &report.candidates {
        let ready = if candidate.is_ready { "ready" } else { "NOT READY" };
        let (node, what, why) = (&candidate.node, &candidate.what, &candidate.why);
        let _writing_to_a_string_succeeds = writeln!(text, "  {node:<24} {what:<8} {ready:<10} {why}");
    }
    let _writing_to_a_string_succeeds = writeln!(text, "=> {}", report.verdict);
    text
}
