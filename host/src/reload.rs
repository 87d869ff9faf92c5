//! Files that an administrator changes while the node runs: the keys, which are checked regularly, and the
//! configuration. Both are read again on SIGHUP and on request.
//!
//! One thread does all of this, so that a slow disk holds up nothing else. The thread survives its own panics.

use crate::config::{Config, ConfigError, Reread, SourceSettings};
use crate::event_queue::EventSender;
use crate::keys::{Keys, Trust};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tracing::{error, info};
use wasmnode_core::RequestId;
use wasmnode_sandbox::{UnopenedFolder, check_folders};

/// Interval of the checks of the key folder: trust begins and ends within a second.
const PERIOD: Duration = Duration::from_millis(500);

/// Interval for a node without keys, which has nothing to check.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Largest number of pending reasons to reload.
pub(crate) const PENDING: usize = 16;

/// Reason to read the files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    Hangup,
    Request(RequestId),
}

/// The configuration was read again.
#[derive(Debug)]
pub(crate) struct Reloaded {
    pub(crate) trigger: Trigger,
    /// `None` if the node was started without a configuration.
    pub(crate) outcome: Result<Option<Box<Reread>>, ReloadError>,
}

/// Reason why the configuration is not used.
#[derive(Debug)]
pub(crate) enum ReloadError {
    Config(ConfigError),
    Folder(UnopenedFolder),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(mistakes) => write!(f, "{}", mistakes.to_string().replace('\n', "; ")),
            Self::Folder(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Config(error) => error,
            Self::Folder(error) => error,
        })
    }
}

struct Reload {
    source: Option<SourceSettings>,
    trust: Option<Trust>,
    changes: EventSender<Keys>,
    reloads: EventSender<Reloaded>,
}

/// Starts the thread, which checks the files as long as the node runs.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start(
    config: &Config,
    trust: Option<Trust>,
    triggers: Receiver<Trigger>,
    changes: EventSender<Keys>,
    reloads: EventSender<Reloaded>,
) -> io::Result<()> {
    let mut reload = Reload { source: config.source.clone(), trust, changes, reloads };
    let period = if reload.trust.is_some() { PERIOD } else { NEVER };
    let run = move || {
        loop {
            let trigger = match triggers.recv_timeout(period) {
                Ok(trigger) => Some(trigger),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if catch_unwind(AssertUnwindSafe(|| reload.check(trigger))).is_err() {
                error!("checking the keys and the configuration failed (see above); the check is repeated");
            }
        }
    };
    std::thread::Builder::new().name("reload".into()).spawn(run).map(drop)
}

impl Reload {
    fn check(&mut self, trigger: Option<Trigger>) {
        if let Some(trust) = &mut self.trust {
            if let Some(keys) = trust.look(trigger.is_some()) {
                self.changes.send(keys);
            }
            if trigger.is_some() {
                info!("the keys were read again, {}", trust.current().how_many());
            }
        }
        if let Some(trigger) = trigger {
            let outcome = self.read_again();
            self.reloads.send(Reloaded { trigger, outcome });
        }
    }

    fn read_again(&mut self) -> Result<Option<Box<Reread>>, ReloadError> {
        let Some(source) = &self.source else { return Ok(None) };
        let reread = source.read_again().map_err(ReloadError::Config)?;
        check_folders(&reread.config.sandboxes).map_err(ReloadError::Folder)?;
        self.source = reread.config.source.clone();
        Ok(Some(Box::new(reread)))
    }
}
