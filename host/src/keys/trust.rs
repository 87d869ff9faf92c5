//! Trust of a running node: the keys, reloaded when they change.

use super::folder::{Look, TrustFolder};
use super::{KeyError, Keys, Trusted, load_pair};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tracing::{info, warn};
use wasmnode_core::Label;
use wasmnode_files::Stamp;

/// Largest number of names in a log line about changes.
const NAMED: usize = 8;

/// Folder of keys that a running node checks regularly.
#[derive(Debug)]
pub(crate) struct Trust {
    keys: PathBuf,
    others: TrustFolder,
    current: Keys,
    /// Stamp of the own pair's file, when it was read or last reported.
    own_file: Option<Stamp>,
}

impl Trust {
    /// Reads a folder; logs the files that are not accepted.
    ///
    /// # Errors
    /// If the own pair cannot be read.
    pub(crate) fn open(keys: &Path) -> Result<Self, KeyError> {
        let own_file = Stamp::of(&super::own_file(keys)).ok();
        let own = load_pair(keys)?;
        let mut others = TrustFolder::new(keys, Some(own.public));
        let trusted = log_remarks(others.look(Instant::now()));
        Ok(Self { keys: keys.into(), others, current: Keys { own, trusted }, own_file })
    }

    /// Returns the current keys.
    pub(crate) fn current(&self) -> &Keys {
        &self.current
    }

    /// Checks the folder; returns the keys if the trusted ones have changed. Files that are not accepted are logged
    /// once, or again with `is_forced`.
    pub(crate) fn look(&mut self, is_forced: bool) -> Option<Keys> {
        if is_forced {
            self.others.repeat_remarks();
        }
        self.check_own_pair(is_forced);
        let trusted = log_remarks(self.others.look(Instant::now()));
        if trusted == self.current.trusted {
            return None;
        }
        info!("trust has changed: {}", changes(&self.current.trusted, &trusted));
        self.current.trusted = trusted;
        Some(self.current.clone())
    }

    /// Logs changes of the own pair, which is read only at the start, because open sockets cannot change theirs.
    fn check_own_pair(&mut self, is_forced: bool) {
        let stamp = Stamp::of(&super::own_file(&self.keys)).ok();
        if stamp == self.own_file && !is_forced {
            return;
        }
        self.own_file = stamp;
        match load_pair(&self.keys) {
            Ok(own) if own == self.current.own => {}
            Ok(_) => warn!("the node's own keys have changed; restart it to use them"),
            Err(error) => warn!("cannot reload this node's own keys, keeping those from its start: {error}"),
        }
    }
}

fn log_remarks(look: Look) -> BTreeMap<Label, Trusted> {
    for remark in look.remarks {
        if remark.is_mistake { warn!("{remark}") } else { info!("{remark}") }
    }
    look.trusted
}

/// Lists the names whose trust began, ended or changed, as far as they fit into a line.
fn changes(before: &BTreeMap<Label, Trusted>, after: &BTreeMap<Label, Trusted>) -> String {
    let ended = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} is not trusted"));
    let others = after.iter().filter_map(|(name, trusted)| match before.get(name) {
        None => Some(format!("{name} is trusted")),
        Some(known) => (known != trusted).then(|| format!("{name} has another key or other rights")),
    });
    let all: Vec<String> = ended.chain(others).collect();
    let named = all.len().min(NAMED);
    let more = if all.len() > named { format!(", and {} more", all.len() - named) } else { String::new() };
    all[..named].join(", ") + &more
}
