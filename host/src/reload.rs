//! Files that an administrator changes while the node runs: the keys, which are checked regularly and on SIGHUP, and
//! the configuration, which is compared on SIGHUP, so that the log names what a restart would change.
//!
//! One thread does all of this, so that a slow disk holds up nothing else. The thread survives its own panics.

use crate::config::{Config, SourceSettings};
use crate::event_queue::EventSender;
use crate::keys::{Keys, Trust};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tracing::{error, info, warn};

/// Interval of the checks of the key folder: trust begins and ends within a second.
const PERIOD: Duration = Duration::from_millis(500);

/// Interval for a node without keys, which has nothing to check.
const NEVER: Duration = Duration::from_secs(24 * 3600);

struct Reload {
    source: Option<SourceSettings>,
    trust: Option<Trust>,
    changes: EventSender<Keys>,
}

/// Starts the thread, which checks the files as long as the node runs. Each message of `hung_up` is a SIGHUP.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start(
    config: &Config,
    trust: Option<Trust>,
    hung_up: Receiver<()>,
    changes: EventSender<Keys>,
) -> io::Result<()> {
    let mut reload = Reload { source: config.source.clone(), trust, changes };
    let period = if reload.trust.is_some() { PERIOD } else { NEVER };
    let run = move || {
        loop {
            let is_sighup = match hung_up.recv_timeout(period) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if catch_unwind(AssertUnwindSafe(|| reload.check(is_sighup))).is_err() {
                error!("checking the keys and the configuration failed (see above); the check is repeated");
            }
        }
    };
    std::thread::Builder::new().name("reload".into()).spawn(run).map(drop)
}

impl Reload {
    fn check(&mut self, is_sighup: bool) {
        if let Some(trust) = &mut self.trust {
            if let Some(keys) = trust.look(is_sighup) {
                self.changes.send(keys);
            }
            if is_sighup {
                info!("SIGHUP: the keys were read again, {}", trust.current().how_many());
            }
        }
        if is_sighup {
            self.compare();
        }
    }

    /// Logs what a restart would change.
    fn compare(&self) {
        let Some(source) = &self.source else {
            return info!("SIGHUP: this node was started without a configuration");
        };
        let file = source.file().display();
        match source.changes() {
            Ok(keys) if keys.is_empty() => info!("SIGHUP: {file} is as it was at the start"),
            Ok(keys) => warn!("SIGHUP: {file} has changed; restart the node to use it: {}", keys.join(", ")),
            Err(mistakes) => {
                let mistakes = mistakes.to_string().replace('\n', "; ");
                warn!("SIGHUP: the configuration has mistakes; a node would not start with it: {mistakes}");
            }
        }
    }
}
