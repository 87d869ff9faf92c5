//! The judgement of a soak: from external evidence to complaints. Reads no clock and does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use wasmnode_client::{Code, Failure};

/// Largest allowed growth of the median memory from the second minute to the last, in bytes.
const MEMORY_GROWTH: f64 = 4.0 * MIB;

/// Largest allowed slope of memory after the first minute, in bytes per minute.
const MEMORY_SLOPE: f64 = 0.4 * MIB;

/// Largest allowed growth of the median number of descriptors from the second minute to the last.
const DESCRIPTOR_GROWTH: f64 = 24.0;

const MIB: f64 = (1 << 20) as f64;
const MINUTE: Duration = Duration::from_secs(60);

/// Outcome of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Served,
    Failed(Failure),
    /// Not sent, because the node was unreachable.
    Unsent,
    /// Answered with a wrong or an unexpected reply.
    Wrong,
    /// Not answered in time, although the client's node was running.
    Lost,
    /// Not answered in time; the client's node was dead or frozen meanwhile.
    Excused,
}

/// Record of one request by its client; `sent` counts from the start of the soak.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) service: &'static str,
    pub(crate) body: String,
    pub(crate) sent: Duration,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// Figures of one process at some time.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) process: &'static str,
    pub(crate) at: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) descriptors: u64,
}

/// One injected fault; times count from the start of the soak.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// Whether it was a kill or a freeze.
    pub(crate) is_of_process: bool,
}

/// All evidence of a soak.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) duration: Duration,
    pub(crate) receipts: Vec<Receipt>,
    /// Number of runs of each body in the ledgers.
    pub(crate) runs: BTreeMap<String, u32>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) hostile_acts: u64,
}

/// Reason why a soak fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Complaint {
    /// A request was not answered within a second after its deadline.
    Lost,
    /// A request was answered with a wrong or an unexpected reply.
    Wrong,
    /// A request that is not idempotent ran twice.
    RanTwice,
    /// A reply without a run, or a run although the failure excludes one.
    LedgerDisagrees,
    Memory,
    Descriptors,
}

/// The judgement.
#[derive(Debug)]
pub(crate) struct Verdict {
    complaints: BTreeSet<Complaint>,
    kills_and_freezes: usize,
    report: String,
}

impl Verdict {
    pub(crate) fn complaints(&self) -> Vec<Complaint> {
        self.complaints.iter().copied().collect()
    }

    pub(crate) fn kills_and_freezes(&self) -> usize {
        self.kills_and_freezes
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl Evidence {
    pub(crate) fn judge(&self) -> Verdict {
        let mut complaints = BTreeSet::new();
        let mut report = self.describe_requests();
        for (complaint, bodies) in self.check_requests() {
            let first: Vec<&str> = bodies.iter().take(5).map(String::as_str).collect();
            report += &format!("{complaint:?}: {} requests, the first: {first:?}\n", bodies.len());
            complaints.insert(complaint);
        }
        report += &self.describe_faults();
        let processes: BTreeSet<&str> = self.samples.iter().map(|sample| sample.process).collect();
        for process in processes {
            let (line, found) = self.check_process(process);
            report += &line;
            complaints.extend(found);
        }
        let kills_and_freezes = self.faults.iter().filter(|fault| fault.is_of_process).count();
        Verdict { complaints, kills_and_freezes, report }
    }

    fn check_requests(&self) -> BTreeMap<Complaint, Vec<String>> {
        let mut found: BTreeMap<Complaint, Vec<String>> = BTreeMap::new();
        for receipt in &self.receipts {
            let (runs, may_repeat) = (self.runs.get(&receipt.body).copied().unwrap_or(0), receipt.service == "again");
            let disagrees = match &receipt.outcome {
                Outcome::Served => runs == 0,
                Outcome::Unsent => runs > 0,
                Outcome::Failed(failure) => failure.code.was_not_started() && runs > 0 && !may_repeat,
                _ => false,
            };
            let complaints = [
                (Complaint::Lost, receipt.outcome == Outcome::Lost),
                (Complaint::Wrong, receipt.outcome == Outcome::Wrong),
                (Complaint::RanTwice, runs > 1 && !may_repeat),
                (Complaint::LedgerDisagrees, disagrees),
            ];
            for (complaint, _) in complaints.into_iter().filter(|(_, applies)| *applies) {
                found.entry(complaint).or_default().push(format!("{} {}", receipt.service, receipt.body));
            }
        }
        found
    }

    fn describe_requests(&self) -> String {
        let mut failures: BTreeMap<(&str, Code), u64> = BTreeMap::new();
        for receipt in &self.receipts {
            if let Outcome::Failed(failure) = &receipt.outcome {
                *failures.entry((receipt.service, failure.code)).or_default() += 1;
            }
        }
        let count = |outcome| self.receipts.iter().filter(|receipt| receipt.outcome == outcome).count();
        let slowest = self.receipts.iter().filter(|receipt| receipt.outcome == Outcome::Served);
        let slowest = slowest.map(|receipt| receipt.took).max().unwrap_or_default();
        let twice = self.runs.values().filter(|runs| **runs > 1).count();
        let per_second = |many: usize| many as f64 / self.duration.as_secs_f64().max(1.0);
        let mut report = format!(
            "{} requests in {:?} ({:.0} per second), {} hostile acts ({:.0} per second)\n{} served, the slowest in \
             {slowest:?}; {} unanswered and {} unsent because of an outage of the node; {twice} ran more than once\n",
            self.receipts.len(),
            self.duration,
            per_second(self.receipts.len()),
            self.hostile_acts,
            per_second(self.hostile_acts as usize),
            count(Outcome::Served),
            count(Outcome::Excused),
            count(Outcome::Unsent),
        );
        for ((service, code), count) in failures {
            report += &format!("  {count} x {service}: {} {code}\n", code as u16);
        }
        report
    }

    /// Describes the share of requests served during faults, and the time until all were served again.
    fn describe_faults(&self) -> String {
        let mut by_name: BTreeMap<&str, (usize, usize, Vec<Duration>)> = BTreeMap::new();
        let is_served = |receipt: &&Receipt| receipt.outcome == Outcome::Served;
        let counted = |receipt: &&Receipt| !matches!(receipt.outcome, Outcome::Excused | Outcome::Unsent);
        let mut in_faults = 0;
        for (number, fault) in self.faults.iter().enumerate() {
            let until = self.faults.get(number + 1).map_or(self.duration, |next| next.from);
            let sent_in = |from, to| {
                self.receipts.iter().filter(counted).filter(move |receipt| from <= receipt.sent && receipt.sent < to)
            };
            let during = sent_in(fault.from, fault.to).count();
            let served = sent_in(fault.from, fault.to).filter(is_served).count();
            let last_failed =
                sent_in(fault.from, until).filter(|receipt| !is_served(receipt)).map(|receipt| receipt.sent).max();
            let recovery = last_failed.unwrap_or_default().saturating_sub(fault.to);
            let entry = by_name.entry(&fault.name).or_default();
            (entry.0, entry.1) = (entry.0 + during, entry.1 + served);
            entry.2.push(recovery);
            in_faults += during;
        }
        let all = self.receipts.iter().filter(counted).count();
        let served: usize = self.receipts.iter().filter(is_served).count();
        let served_in_faults: usize = by_name.values().map(|entry| entry.1).sum();
        let mut report = format!(
            "served: {:.2} % during faults, {:.2} % otherwise\n",
            percentage(served_in_faults, in_faults),
            percentage(served - served_in_faults, all - in_faults),
        );
        for (name, (during, served, recoveries)) in by_name {
            let longest = recoveries.iter().max().copied().unwrap_or_default();
            report += &format!(
                "  {name}, {} times: {:.2} % served during it, all served again within {longest:?} after it\n",
                recoveries.len(),
                percentage(served, during)
            );
        }
        report
    }

    /// Describes memory and descriptors of one process, and judges them if the soak was long enough.
    fn check_process(&self, process: &str) -> (String, Vec<Complaint>) {
        let samples: Vec<&Sample> = self.samples.iter().filter(|sample| sample.process == process).collect();
        let is_judged = self.duration >= crate::TEN_MINUTES;
        let between = |from: Duration, to: Duration, figure: fn(&Sample) -> u64| -> Vec<(f64, f64)> {
            let chosen = samples.iter().filter(|sample| from <= sample.at && sample.at < to);
            chosen.map(|sample| (sample.at.as_secs_f64() / 60.0, figure(sample) as f64)).collect()
        };
        let early = if is_judged { (MINUTE, 2 * MINUTE) } else { (Duration::ZERO, self.duration / 2) };
        let late = if is_judged { (self.duration - MINUTE, Duration::MAX) } else { (self.duration / 2, Duration::MAX) };
        let medians = |figure| [early, late].map(|(from, to)| median(between(from, to, figure)));
        let memory = medians(|sample| sample.memory_bytes);
        let descriptors = medians(|sample| sample.descriptors);
        let slope = slope(&between(if is_judged { MINUTE } else { Duration::ZERO }, Duration::MAX, |s| s.memory_bytes));
        let line = format!(
            "{process}: memory {:.1} MiB early, {:.1} MiB late, {:+.2} MiB per minute; descriptors {:.0}, then {:.0}\n",
            memory[0] / MIB,
            memory[1] / MIB,
            slope / MIB,
            descriptors[0],
            descriptors[1]
        );
        let mut complaints = Vec::new();
        if is_judged && (memory[1] > memory[0] + MEMORY_GROWTH || slope > MEMORY_SLOPE) {
            complaints.push(Complaint::Memory);
        }
        if is_judged && descriptors[1] > descriptors[0] + DESCRIPTOR_GROWTH {
            complaints.push(Complaint::Descriptors);
        }
        (line, complaints)
    }
}

fn percentage(some: usize, all: usize) -> f64 {
    if all == 0 { 100.0 } else { 100.0 * some as f64 / all as f64 }
}

/// Returns the median of the second coordinates.
fn median(mut points: Vec<(f64, f64)>) -> f64 {
    points.sort_by(|a, b| a.1.total_cmp(&b.1));
    points.get(points.len() / 2).map_or(0.0, |point| point.1)
}

/// Returns the slope of the least-squares line.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let squares: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if squares > 0.0 { points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(service: &'static str, body: &str, outcome: Outcome) -> Receipt {
        Receipt { service, body: body.into(), sent: MINUTE, took: Duration::ZERO, outcome }
    }

    fn complaints(receipts: Vec<Receipt>, runs: &[(&str, u32)]) -> Vec<Complaint> {
        let runs = runs.iter().map(|(body, runs)| ((*body).to_owned(), *runs)).collect();
        Evidence { duration: 2 * MINUTE, receipts, runs, ..Evidence::default() }.judge().complaints()
    }

    /// Judges ten minutes with one sample per second: `grow` bytes and `open` descriptors more each minute, and noise.
    fn judge_growth(grow: f64, open: f64) -> Vec<Complaint> {
        let sample = |second: u32| {
            let (minutes, noise) = (f64::from(second) / 60.0, f64::from(second * 7919 % 100) * 4096.0);
            let (memory, descriptors) = (60.0 * MIB + grow * minutes + noise, 100.0 + open * minutes);
            let at = Duration::from_secs(second.into());
            Sample { process: "node", at, memory_bytes: memory as u64, descriptors: descriptors as u64 }
        };
        let samples = (0..600).map(sample).collect();
        Evidence { duration: crate::TEN_MINUTES, samples, ..Evidence::default() }.judge().complaints()
    }

    #[test]
    fn each_request_has_its_own_answer_that_agrees_with_the_ledger() {
        let failed = |code| Outcome::Failed(Failure::new(code, "why"));
        assert_eq!(complaints(vec![receipt("once", "1", Outcome::Served)], &[("1", 1)]), []);
        assert_eq!(complaints(vec![receipt("again", "1", Outcome::Served)], &[("1", 2)]), []);
        assert_eq!(complaints(vec![receipt("once", "1", failed(Code::Lost))], &[("1", 1)]), []);
        assert_eq!(complaints(vec![receipt("once", "1", Outcome::Excused)], &[]), []);
        assert_eq!(complaints(vec![receipt("once", "1", Outcome::Lost)], &[]), [Complaint::Lost]);
        assert_eq!(complaints(vec![receipt("once", "1", Outcome::Wrong)], &[("1", 1)]), [Complaint::Wrong]);
        assert_eq!(complaints(vec![receipt("once", "1", failed(Code::Lost))], &[("1", 2)]), [Complaint::RanTwice]);
        assert_eq!(complaints(vec![receipt("once", "1", Outcome::Served)], &[]), [Complaint::LedgerDisagrees]);
        let refused = receipt("once", "1", failed(Code::Overloaded));
        assert_eq!(complaints(vec![refused], &[("1", 1)]), [Complaint::LedgerDisagrees]);
    }

    #[test]
    fn a_leak_of_a_megabyte_per_minute_is_detected_and_noise_is_not_one() {
        assert_eq!(judge_growth(0.0, 0.0), []);
        assert_eq!(judge_growth(0.2 * MIB, 1.0), []);
        assert_eq!(judge_growth(MIB, 0.0), [Complaint::Memory]);
        assert_eq!(judge_growth(0.0, 30.0), [Complaint::Descriptors]);
    }

    #[test]
    fn the_report_has_the_share_served_during_a_fault_and_the_time_to_recover() {
        let failed = || Outcome::Failed(Failure::new(Code::Lost, "why"));
        let outcomes = [Outcome::Served, failed(), Outcome::Served, failed(), Outcome::Served];
        let receipts = (0_u64..).zip(outcomes).map(|(second, outcome)| {
            let sent = Duration::from_secs(second);
            Receipt { sent, ..receipt("once", "1", outcome) }
        });
        let fault =
            Fault { name: "kill".into(), from: Duration::ZERO, to: Duration::from_secs(2), is_of_process: true };
        let evidence = Evidence {
            duration: MINUTE,
            receipts: receipts.collect(),
            runs: BTreeMap::from([("1".to_owned(), 1)]),
            faults: vec![fault],
            ..Evidence::default()
        };
        let report = evidence.judge().to_string();
        assert!(report.contains("kill, 1 times: 50.00 % served during it, all served again within 1s"), "{report}");
    }
}
