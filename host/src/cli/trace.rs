//! `wasmnode trace`: the path of a request, hop by hop.

use super::names::{address, suggest};
use super::{ConnectArgs, Failed, print};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wasmnode::config::parse_duration;
use wasmnode_client::{self as client, Reply, Request};
use wasmnode_core::Address;
use wasmnode_core::message::peer::MemberKind;
use wasmnode_core::message::trace::{self, Record};

pub(super) const TRACE: &str = "\
The trace takes the path of a request, by the same rules, but runs nothing. TIME is what each hop adds: the time from
the arrival there to the answer, less that of the hops after it, each by its own clock; so it includes the network
time to the next hop and back. If an attempt failed, its hops come before those of the next attempt. Nodes of other zones report
only where the trace goes next.

If the request would fail, the hops up to that point are printed, then the failure, and the exit code is that of
`wasmnode call`.

Example:
  wasmnode trace afficher@lyon --to tcp://127.0.0.1:5611";

/// Time to wait for the answer after its deadline.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The service, as a client would call it: NAME, NAME@ZONE, NAME@NODE or NAME@NODE.ZONE
    #[arg(value_parser = address)]
    address: Address,
    #[command(flatten)]
    pub(super) to: ConnectArgs,
    /// Time limit for the answer; the service's own deadline may be shorter
    #[arg(long, default_value = "5s", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Path of a request.
#[derive(Debug, Serialize)]
struct PathReport {
    address: String,
    /// Endpoint of the node that got the trace.
    endpoint: String,
    /// Time from the trace to its answer, in microseconds.
    total_us: u64,
    /// Part of that time for the path to the first node and back.
    client_us: u64,
    hops: Vec<Hop>,
    /// Number of unreadable records.
    unreadable: usize,
    /// Why a request would have no reply, if so.
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hop {
    /// Number of nodes that had the trace before.
    distance: u8,
    node: String,
    zone: String,
    role: &'static str,
    /// Time that this hop adds, in microseconds.
    own_us: u64,
    decision: String,
}

/// Sends a trace, and prints its path.
pub(crate) fn trace(args: &TraceArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let mut client = args.to.connect(config)?;
    client.wait_for_connection()?;
    let (began, mut frames) = (Instant::now(), Vec::new());
    let id = client.send(Request::new(&args.address.to_string()).deadline(args.timeout).trace())?;
    let failure = loop {
        // The node itself reports an exceeded deadline, if it gets a little longer.
        match client.receive(Some(args.timeout + GRACE))? {
            (answered, _) if answered != id => {}
            (_, Reply::Partial(records)) => frames.extend(records),
            (_, Reply::Final(_)) => break None,
            (_, Reply::Failure(failure)) => break Some(failure),
        }
    };
    let total = began.elapsed();
    let (records, unreadable): (Vec<_>, Vec<_>) = frames.into_iter().map(trace::decode).partition(Result::is_ok);
    let records: Vec<Record> = records.into_iter().flatten().collect();
    let path = PathReport {
        address: args.address.to_string(),
        endpoint: client.endpoint().to_owned(),
        total_us: micros(total),
        client_us: micros(total.saturating_sub(beyond(&records, 0))),
        hops: (0..records.len()).map(|index| hop(&records[index], &records[index + 1..])).collect(),
        unreadable: unreadable.len(),
        failure: failure.as_ref().map(ToString::to_string),
    };
    let text = if args.json { serde_json::to_string(&path).unwrap_or_default() + "\n" } else { table(&path) };
    print(&vec![text.into()])?;
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(suggest(&mut client, &args.address, client::Error::Failure(failure))),
    }
}

fn hop(record: &Record, after: &[Record]) -> Hop {
    let distance = record.distance;
    Hop {
        distance,
        node: record.node.to_string(),
        zone: record.zone.to_string(),
        role: match record.role {
            MemberKind::Node => "node",
            MemberKind::Router => "router",
        },
        own_us: micros(record.elapsed.saturating_sub(beyond(after, distance.saturating_add(1)))),
        decision: record.decision.clone(),
    }
}

/// Returns the time for which the nodes at this distance had the trace, in the leading run of records at that distance
/// or further.
fn beyond(records: &[Record], distance: u8) -> Duration {
    let within = records.iter().take_while(|record| record.distance >= distance);
    within
        .filter(|record| record.distance == distance)
        .fold(Duration::ZERO, |sum, record| sum.saturating_add(record.elapsed))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn table(path: &PathReport) -> String {
    let decision = format!("sends to {}", path.endpoint);
    let mut lines = vec![["HOP", "NODE", "ZONE", "ROLE", "TIME", "DECISION"].map(str::to_owned)];
    lines.push(["0", "this client", "-", "client", &time(path.client_us), &decision].map(str::to_owned));
    lines.extend(path.hops.iter().map(|hop| {
        let number = (u32::from(hop.distance) + 1).to_string();
        [number, hop.node.clone(), hop.zone.clone(), hop.role.to_owned(), time(hop.own_us), hop.decision.clone()]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let [number, node, zone, role, time_width] = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for [hop, name, its_zone, its_role, took, decision] in &lines {
        let _writing_to_a_string_succeeds = writeln!(
            text,
            "{hop:>number$}  {name:<node$}  {its_zone:<zone$}  {its_role:<role$}  {took:>time_width$}  {decision}"
        );
    }
    if path.unreadable > 0 {
        let _writing_to_a_string_succeeds = writeln!(text, "{} unreadable records are left out", path.unreadable);
    }
    let end = match (&path.failure, path.hops.last()) {
        (None, Some(last)) => format!("would be served at node {} of zone {}", last.node, last.zone),
        (None, None) => "would be served".into(),
        (Some(_), _) => "would fail".into(),
    };
    let _writing_to_a_string_succeeds =
        writeln!(text, "=> {} {end}; there and back in {}", path.address, time(path.total_us));
    text
}

fn time(us: u64) -> String {
    format!("{us} µs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(distance: u8, node: &str, us: u64) -> Record {
        let (node, zone) = (node.parse().unwrap(), "paris".parse().unwrap());
        let elapsed = Duration::from_micros(us);
        Record { distance, node, zone, role: MemberKind::Node, elapsed, decision: String::new() }
    }

    #[test]
    fn the_time_of_a_hop_excludes_later_hops_also_after_a_failed_attempt() {
        let records =
            [record(0, "a", 100), record(1, "b", 30), record(2, "c", 10), record(1, "d", 50), record(2, "e", 5)];
        let own: Vec<u64> = (0..5).map(|index| hop(&records[index], &records[index + 1..]).own_us).collect();
        assert_eq!(own, [20, 20, 10, 45, 5]);
        assert_eq!(beyond(&records, 0), Duration::from_micros(100));
    }

    #[test]
    fn skewed_and_false_times_are_clamped() {
        let records = [record(0, "a", 10), record(1, "b", u64::MAX), record(1, "c", u64::MAX)];
        let own: Vec<u64> = (0..3).map(|index| hop(&records[index], &records[index + 1..]).own_us).collect();
        assert_eq!(own, [0, u64::MAX, u64::MAX]);
    }

    #[test]
    fn the_table_is_aligned() {
        let hop = |node: &str, own_us| Hop {
            distance: 0,
            node: node.into(),
            zone: "z".into(),
            role: "node",
            own_us,
            decision: "DECISION".into(),
        };
        let hops = vec![hop("é", 1), hop("a-much-longer-name", 1_000_000)];
        let (address, endpoint) = ("print".into(), "DECISION".into());
        let path = PathReport { address, endpoint, total_us: 9, client_us: 8, hops, unreadable: 0, failure: None };
        let text = table(&path);
        let at = |line: &str| line.find("DECISION").map(|at| line[..at].chars().count());
        let places: Vec<_> = text.lines().filter_map(at).collect();
        assert_eq!(places[0], places[2]);
        assert_eq!(places[2], places[3]);
    }
}
