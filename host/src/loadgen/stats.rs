//! Statistics of the requests, each of which must have one answer. The module makes no decisions and reads no clock.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;
use wasmnode_core::{Code, Failure};

/// Source zone and destination address.
pub(crate) type Flow = (String, String);

/// Outcome of all requests.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    flows: BTreeMap<Flow, Count>,
    /// Number of answers whose id no request had.
    strays: u64,
}

/// Outcome of the requests of one flow.
#[derive(Debug, Default)]
struct Count {
    sent: u64,
    missing: u64,
    doubled: u64,
    /// Failures by code, with the reason of the first.
    failed: BTreeMap<Code, (u64, String)>,
    /// Times from requests to replies, without failures.
    times: Vec<Duration>,
}

/// Open requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Open {
    requests: HashMap<u64, Request>,
    unanswered: usize,
    stats: Stats,
}

#[derive(Debug)]
struct Request {
    flow: Flow,
    sent_at: Duration,
    is_answered: bool,
}

impl Open {
    /// Records a request by its number.
    pub(super) fn sent(&mut self, id: u64, flow: Flow, sent_at: Duration) {
        self.stats.flows.entry(flow.clone()).or_default().sent += 1;
        self.requests.insert(id, Request { flow, sent_at, is_answered: false });
        self.unanswered += 1;
    }

    /// Records an answer; returns `true` if it is the first of its request.
    pub(super) fn answered(&mut self, id: u64, failure: Option<Failure>, now: Duration) -> bool {
        let Some(request) = self.requests.get_mut(&id) else {
            self.stats.strays += 1;
            return false;
        };
        let count = self.stats.flows.entry(request.flow.clone()).or_default();
        if request.is_answered {
            count.doubled += 1;
            return false;
        }
        request.is_answered = true;
        self.unanswered -= 1;
        match failure {
            Some(failure) => count.failed.entry(failure.code).or_insert((0, failure.reason)).0 += 1,
            None => count.times.push(now.saturating_sub(request.sent_at)),
        }
        true
    }

    /// Returns `true` if a request has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.unanswered > 0
    }

    /// Ends the wait: requests without an answer count as missing.
    pub(super) fn close(mut self) -> Stats {
        for request in self.requests.into_values().filter(|request| !request.is_answered) {
            self.stats.flows.entry(request.flow).or_default().missing += 1;
        }
        self.stats
    }
}

impl Stats {
    /// Adds the counts of another connection.
    pub(super) fn add(&mut self, other: Self) {
        self.strays += other.strays;
        for (flow, theirs) in other.flows {
            let ours = self.flows.entry(flow).or_default();
            ours.sent += theirs.sent;
            ours.missing += theirs.missing;
            ours.doubled += theirs.doubled;
            ours.times.extend(theirs.times);
            for (code, (count, reason)) in theirs.failed {
                ours.failed.entry(code).or_insert((0, reason)).0 += count;
            }
        }
    }

    /// Returns the number of requests sent.
    #[must_use]
    pub(crate) fn sent(&self) -> u64 {
        self.flows.values().map(|count| count.sent).sum()
    }

    /// Returns the number of requests answered with a failure.
    #[must_use]
    pub(crate) fn failed(&self) -> u64 {
        self.flows.values().map(Count::failed).sum()
    }

    /// Returns the number of requests without an answer.
    #[must_use]
    pub(crate) fn missing(&self) -> u64 {
        self.flows.values().map(|count| count.missing).sum()
    }

    /// Returns the number of answers beyond the first of each request.
    #[must_use]
    pub(crate) fn surplus(&self) -> u64 {
        self.strays + self.flows.values().map(|count| count.doubled).sum::<u64>()
    }
}

impl Count {
    fn failed(&self) -> u64 {
        self.failed.values().map(|(count, _)| count).sum()
    }
}

/// Writes a table with one line per flow; below it, each class of failure with one reason.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<12} {:<20} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "FROM", "TO", "SENT", "REPLIED", "FAILED", "MISSING", "DOUBLED"
        )?;
        writeln!(f, " {:>9} {:>9} {:>9} {:>9}", "P50", "P90", "P99", "MAX")?;
        for ((from, to), count) in &self.flows {
            let Count { sent, missing, doubled, times, .. } = count;
            write!(
                f,
                "{from:<12} {to:<20} {sent:>7} {:>7} {:>7} {missing:>7} {doubled:>7}",
                times.len(),
                count.failed()
            )?;
            let mut times = times.clone();
            times.sort_unstable();
            for percent in [50, 90, 99, 100] {
                write!(f, " {:>9}", percentile(&times, percent).map_or_else(|| "-".into(), milliseconds))?;
            }
            writeln!(f)?;
        }
        for ((from, to), count) in &self.flows {
            for (code, (count, reason)) in &count.failed {
                writeln!(f, "failed from {from} to {to}: {count} with {code}, the first: {reason:?}")?;
            }
        }
        if self.strays > 0 { writeln!(f, "answers to unknown requests: {}", self.strays) } else { Ok(()) }
    }
}

/// Returns the given percentile of sorted times: the nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn flow(to: &str) -> Flow {
        ("paris".into(), to.into())
    }

    #[test]
    fn each_request_is_replied_to_failed_or_missing_and_more_answers_are_surplus() {
        let mut open = Open::default();
        for id in 2..6 {
            open.sent(id, flow("print"), ms(id));
        }
        assert!(open.answered(2, None, ms(5)));
        assert!(!open.answered(2, None, ms(6)));
        assert!(open.answered(3, Some(Failure::new(Code::Lost, "gone")), ms(7)));
        assert!(open.answered(4, Some(Failure::new(Code::Lost, "away")), ms(7)));
        assert!(!open.answered(9, None, ms(8)));
        assert!(open.is_waiting());
        let stats = open.close();
        assert_eq!((stats.sent(), stats.failed(), stats.missing(), stats.surplus()), (4, 2, 1, 2));
        let lines: Vec<String> = stats.to_string().lines().map(str::to_owned).collect();
        let columns: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(columns[..7], ["paris", "print", "4", "1", "2", "1", "1"]);
        assert_eq!(lines[2], "failed from paris to print: 2 with 520 lost, the first: \"gone\"");
        assert_eq!(lines[3], "answers to unknown requests: 1");
    }

    #[test]
    fn connections_of_one_zone_count_together() {
        let count = |to: &str| {
            let mut open = Open::default();
            open.sent(1, flow(to), ms(0));
            open.answered(1, Some(Failure::new(Code::Deadline, "late")), ms(1));
            open.close()
        };
        let mut all = count("print");
        all.add(count("print"));
        all.add(count("afficher"));
        assert_eq!((all.sent(), all.failed(), all.flows.len()), (3, 3, 2));
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=10).map(ms).collect();
        assert_eq!([50, 90, 99, 100].map(|percent| percentile(&times, percent)), [5, 9, 10, 10].map(|n| Some(ms(n))));
        assert_eq!(percentile(&[], 50), None);
    }
}
