//! `wasmnode traffic`: random requests between zones, and whether each had exactly one answer.

use super::connect::connect;
use super::{Failed, print};
use crate::loadgen::{self, LoadError, LoadOutcome};
use clap::Args;
use std::fmt::{Display, Write as _};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use wasmnode::config;

pub(crate) const TRAFFIC: &str = "\
The file of --config describes the traffic; everything but the senders may be left out:

  seed     = 1             # the same seed sends the same requests at the same times
  requests = 2000          # of all senders together
  at-most  = \"10s\"         # time limit for sending
  deadline = \"5s\"          # from a request to its answer
  keys     = \"keys\"        # keys of the senders, where nodes require keys; none by default

  [sender.paris]
  endpoint = \"tcp://127.0.0.1:5611\"       # with keys: \"paris1@tcp://10.0.0.1:5611\"
  to       = [\"afficher\", \"print@lyon\"]   # one is drawn for each request
  bytes    = [16, 1024, 65536]            # and one of these sizes
  pattern  = \"poisson\"                    # independent requests; or
  rate     = 100                          #   this many a second
# pattern  = \"bursts\"                     # many at once; or
# burst    = 50
# every    = \"500ms\"
# pattern  = \"on-off\"                     # independent requests, with pauses
# on       = \"1s\"
# off      = \"2s\"
# rate     = 200

Exit codes:
  0  each request had exactly one answer, a reply or a failure
  1  a request had no answer or more than one, or the file has mistakes; with --strict also if one failed
  2  wrong arguments
  8  a node rejects the sender
  9  no node at an endpoint";

#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// Exit with 1 if any request failed, although it was answered
    #[arg(long)]
    strict: bool,
}

/// Sends the traffic, and reports the outcome.
pub(crate) fn traffic(args: &TrafficArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let Some(file) = config else {
        let message = "name the file with the senders: wasmnode traffic --config FILE; --help shows one";
        return Err(Failed { message: message.into(), exit: 2 });
    };
    let plan = config::LoadConfig::load(file)?;
    let of = |sender: &dyn Display, failed: Failed| Failed {
        message: format!("sender {sender}: {}", failed.message),
        ..failed
    };
    let connect = |sender: &config::LoadSender| {
        connect(&sender.endpoint, plan.keys.as_deref(), None).map_err(|failed| of(&sender.name, failed))
    };
    let clients = plan.senders.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let outcome = loadgen::run(&plan, clients, |time, progress| {
        let _stderr_may_be_closed = writeln!(std::io::stderr(), "{:>4} s: {progress}", time.as_secs());
    })
    .map_err(|LoadError { sender, error }| of(&sender, error.into()))?;
    print(&vec![summary(&outcome).into()])?;
    match faults(&outcome, args.strict) {
        faults if faults.is_empty() => Ok(ExitCode::SUCCESS),
        faults => Err(Failed { message: faults.join("; "), exit: 1 }),
    }
}

fn summary(outcome: &LoadOutcome) -> String {
    let LoadOutcome { stats, took, .. } = outcome;
    let mut text = stats.to_string();
    let (sent, failed, missing) = (stats.sent(), stats.failed(), stats.missing());
    let _writing_to_a_string_succeeds = writeln!(
        text,
        "{sent} requests in {:.1} s: {} replied to, {failed} failed, {missing} without an answer, {} surplus answers",
        took.as_secs_f64(),
        sent - failed - missing,
        stats.surplus(),
    );
    text
}

/// Returns the faults of the traffic.
fn faults(LoadOutcome { stats, planned, errors, .. }: &LoadOutcome, is_strict: bool) -> Vec<String> {
    let mut faults: Vec<String> = errors.iter().map(LoadError::to_string).collect();
    let mut add = |count: u64, what: &str| faults.extend((count > 0).then(|| format!("{what}: {count}")));
    add(planned - stats.sent(), "requests not sent");
    add(stats.missing(), "requests without an answer");
    add(stats.surplus(), "surplus answers");
    add(if is_strict { stats.failed() } else { 0 }, "requests failed, which --strict does not allow");
    faults
}
