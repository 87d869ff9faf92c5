//! Load generator of `wasmnode traffic`: random requests of several clients at a time, and the outcome of each.
//!
//! The schedule is drawn beforehand (`loadgen/arrivals.rs`), and outcomes are counted separately (`loadgen/stats.rs`).
//! This module has the clocks and the connections: one thread for each sender, which sends what is due and reads in
//! between.

mod arrivals;
mod stats;

use stats::Stats;

use arrivals::Planned;
use stats::Open;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use wasmnode::config::{LoadConfig, LoadSender};
use wasmnode_api::{self as api, ZoneReport};
use wasmnode_client::{Client, Error, Reply, Request};

/// Time limit for a node's answer about its zone.
const ANSWER: Duration = Duration::from_secs(5);

/// Time to wait for an answer after its deadline.
const GRACE: Duration = Duration::from_secs(1);

/// Time to wait for a second answer after every request has its first.
const AFTERWARDS: Duration = Duration::from_millis(250);

/// Interval of progress reports.
const PROGRESS: Duration = Duration::from_secs(1);

/// Outcome of the traffic.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    /// Counts of the requests.
    pub(crate) stats: Stats,
    /// Number of planned requests; fewer were sent if a sender had to stop.
    pub(crate) planned: u64,
    /// Time from the start to the last answer.
    pub(crate) took: Duration,
    /// Other errors, by sender.
    pub(crate) errors: Vec<LoadError>,
}

/// Error that stopped a sender, or an answer that it could not read.
#[derive(Debug)]
pub(crate) struct LoadError {
    /// The sender's name.
    pub(crate) sender: String,
    /// Error of the connection.
    pub(crate) error: Error,
}

/// Progress of the traffic.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sent: AtomicU64,
    replied: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sender {}: {}", self.sender, self.error)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, replied, failed } = self;
        let (sent, replied, failed) = (sent.load(Relaxed), replied.load(Relaxed), failed.load(Relaxed));
        let open = sent.saturating_sub(replied + failed);
        write!(f, "{sent} sent, {replied} replied to, {failed} failed, {open} without an answer yet")
    }
}

/// Queries each sender's node for its zone, then starts all senders. `clients` are their connections, in the order of
/// the senders; `on_progress` is called once a second.
///
/// # Errors
/// If a sender's node cannot be reached before the start. Later errors are part of the outcome.
pub(crate) fn run(
    traffic: &LoadConfig,
    clients: Vec<Client>,
    mut on_progress: impl FnMut(Duration, &Progress),
) -> Result<LoadOutcome, LoadError> {
    let plans = arrivals::plan(traffic);
    let mut connections = Vec::new();
    for ((sender, plan), client) in traffic.senders.iter().zip(&plans).zip(clients) {
        let connection = Connection::new(sender, plan, client);
        connections.push(connection.map_err(|error| LoadError { sender: sender.name.to_string(), error })?);
    }
    let progress = &Progress::default();
    let planned = plans.iter().map(|plan| plan.len() as u64).sum();
    let mut outcome = LoadOutcome { stats: Stats::default(), planned, took: Duration::ZERO, errors: Vec::new() };
    let start = Instant::now();
    std::thread::scope(|threads| {
        let (done, ended) = channel();
        for connection in connections {
            let done = done.clone();
            threads.spawn(move || done.send(connection.run(start, traffic.deadline, progress)));
        }
        drop(done);
        let mut next_line = start + PROGRESS;
        loop {
            match ended.recv_timeout(next_line.saturating_duration_since(Instant::now())) {
                Ok((tally, last, error)) => {
                    outcome.stats.add(tally);
                    outcome.took = outcome.took.max(last);
                    outcome.errors.extend(error);
                }
                Err(RecvTimeoutError::Timeout) => {
                    on_progress(start.elapsed(), progress);
                    next_line += PROGRESS;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    Ok(outcome)
}

/// Connection of one sender.
struct Connection<'a> {
    sender: &'a LoadSender,
    plan: &'a [Planned],
    client: Client,
    zone: String,
    open: Open,
    /// Time of the last answer.
    last: Duration,
    error: Option<Error>,
}

impl<'a> Connection<'a> {
    /// Queries the node for its zone, so that the connection exists before the first request.
    fn new(sender: &'a LoadSender, plan: &'a [Planned], mut client: Client) -> Result<Self, Error> {
        let members = client.call(Request::new(api::MEMBERS).deadline(ANSWER), |_| {})?;
        // A node of another version may use another format; then the sender's name is used as the zone.
        let zone = serde_json::from_slice(&members.concat())
            .map_or_else(|_| sender.name.to_string(), |report: ZoneReport| report.zone);
        Ok(Self { sender, plan, client, zone, open: Open::default(), last: Duration::ZERO, error: None })
    }

    /// Sends the planned requests and waits for the answers. Returns the counts, the time of the last answer, and the
    /// error, if any.
    fn run(mut self, start: Instant, deadline: Duration, progress: &Progress) -> (Stats, Duration, Option<LoadError>) {
        for (number, planned) in self.plan.iter().enumerate() {
            self.read_until(start, start + planned.at, progress, |_| true);
            let body = body(&self.sender.name, number + 1, planned.bytes);
            let to = self.sender.to[planned.to].to_string();
            let sent_at = start.elapsed();
            match self.client.send(Request::new(&to).body([body]).deadline(deadline)) {
                Ok(id) => self.open.sent(id, (self.zone.clone(), to), sent_at),
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
            progress.sent.fetch_add(1, Relaxed);
        }
        self.read_until(start, Instant::now() + deadline + GRACE, progress, Open::is_waiting);
        self.read_until(start, Instant::now() + AFTERWARDS, progress, |_| true);
        let sender = self.sender.name.to_string();
        (self.open.close(), self.last, self.error.map(|error| LoadError { sender, error }))
    }

    /// Reads answers until the given time, as long as `goes_on` holds. After that time, it still reads answers that
    /// have already arrived.
    fn read_until(&mut self, start: Instant, until: Instant, progress: &Progress, goes_on: impl Fn(&Open) -> bool) {
        while goes_on(&self.open) {
            let left = until.saturating_duration_since(Instant::now());
            // The client waits for whole milliseconds.
            let wait = left.as_nanos().div_ceil(1_000_000);
            let (id, reply) =
                match self.client.receive(Some(Duration::from_millis(wait.try_into().unwrap_or(u64::MAX)))) {
                    Ok(received) => received,
                    Err(Error::Timeout { .. }) if left.is_zero() => return,
                    Err(Error::Timeout { .. } | Error::Lost { .. }) => continue,
                    Err(error) => {
                        let is_malformed = matches!(error, Error::Malformed(_));
                        self.error.get_or_insert(error);
                        if is_malformed { continue } else { return }
                    }
                };
            let (failure, count) = match reply {
                Reply::Partial(_) => continue,
                Reply::Final(_) => (None, &progress.replied),
                Reply::Failure(failure) => (Some(failure), &progress.failed),
            };
            let now = start.elapsed();
            if self.open.answered(id, failure, now) {
                self.last = now;
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Returns a body that names the request and its sender, repeated up to the size.
fn body(sender: &impl fmt::Display, number: usize, bytes: usize) -> Vec<u8> {
    format!("request {number} of {sender}; ").bytes().cycle().take(bytes).collect()
}
