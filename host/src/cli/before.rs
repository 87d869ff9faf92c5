//! Options written before the command that they belong to: `wasmnode --to ENDPOINT services`.

use super::{Command, ConnectArgs, Failed, environment};
use clap::Args;
use std::path::PathBuf;
use wasmnode::config::Contact;

/// Environment variable of the node's endpoint, for a command line without `--to` and `--config`.
const TO: &str = "WASMNODE_TO";

/// Options of all commands that send requests to a node, written before the command. Hidden, so that the help does not
/// show them twice.
#[derive(Debug, Args)]
pub(super) struct Before {
    #[arg(long, value_name = "[NAME@]ENDPOINT", hide = true)]
    to: Option<Contact>,
    #[arg(long, value_name = "FOLDER", hide = true)]
    keys: Option<PathBuf>,
    #[arg(long, hide = true)]
    json: bool,
}

impl Before {
    /// Moves the options to the command, as if they had been written after it. If none names the node, and
    /// `may_default` is `true`, the environment variable [`TO`] may.
    ///
    /// # Errors
    /// If the command has no such option, or the variable has no endpoint.
    pub(super) fn move_to(&mut self, command: &mut Option<Command>, may_default: bool) -> Result<(), Failed> {
        let (mut folder, mut json) = (None, None);
        let to: Option<&mut ConnectArgs> = match command {
            Some(Command::Call(call)) => Some(&mut call.to),
            Some(Command::Services(listing) | Command::Members(listing) | Command::Reload(listing)) => {
                json = Some(&mut listing.json);
                Some(&mut listing.to)
            }
            Some(Command::Explain(explain)) => {
                json = Some(&mut explain.listing.json);
                Some(&mut explain.listing.to)
            }
            Some(Command::Trace(trace)) => {
                json = Some(&mut trace.json);
                Some(&mut trace.to)
            }
            Some(Command::Plugins(plugins)) => {
                json = Some(&mut plugins.json);
                Some(&mut plugins.to)
            }
            Some(Command::Deploy(deploy)) => Some(&mut deploy.to),
            Some(Command::Keygen(keygen)) => {
                folder = Some(&mut keygen.folder);
                None
            }
            Some(Command::Trust(trust)) => {
                folder = Some(&mut trust.folder);
                None
            }
            Some(Command::Distrust(distrust)) => {
                folder = Some(&mut distrust.folder);
                None
            }
            _ => None,
        };
        let (mut to, keys) = to.map(|to| (&mut to.to, &mut to.keys)).unzip();
        move_option("--to", self.to.take(), to.as_deref_mut())?;
        if let Some(to) = to.filter(|to| may_default && to.is_none()) {
            *to = of_environment()?;
        }
        move_option("--keys", self.keys.take(), folder.map(|folder| &mut folder.keys).or(keys))?;
        match json {
            Some(json) => *json |= self.json,
            None if self.json => return Err(misplaced("--json")),
            None => {}
        }
        Ok(())
    }
}

/// Returns the endpoint of the environment, if it has one.
fn of_environment() -> Result<Option<Contact>, Failed> {
    let parsed = environment(TO)?.map(|text| text.parse()).transpose();
    parsed.map_err(|error| Failed { message: format!("{TO}: {error}"), exit: 2 })
}

fn move_option<T>(option: &str, given: Option<T>, place: Option<&mut Option<T>>) -> Result<(), Failed> {
    match (given, place) {
        (None, _) => {}
        // An option after the command takes precedence.
        (given, Some(place)) => *place = place.take().or(given),
        (Some(_), None) => return Err(misplaced(option)),
    }
    Ok(())
}

fn misplaced(option: &str) -> Failed {
    Failed { message: format!("{option} is not an option of this command; --help lists those that it has"), exit: 2 }
}
