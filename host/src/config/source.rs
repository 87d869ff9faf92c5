//! File of a configuration, and its changes since it was read.

use super::fields::written;
use super::{Config, ConfigError, Overrides};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Keys, and tables of keys, that may change while the node runs.
const RUNNING: [&str; 9] = [
    "service.",
    "defaults.",
    "majordomo.",
    "node.drain",
    "limits.requests",
    "limits.requests-per-client",
    "limits.workers",
    "limits.call-depth",
    "limits.reconnect",
];

/// File of a configuration, with the texts that the node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    file: PathBuf,
    overrides: Overrides,
    /// The text with which the node was started: that of keys that need a restart.
    started: String,
    /// The text that was read last: that of keys that may change while the node runs.
    current: String,
}

/// A file that was read again, and what has changed.
#[derive(Debug)]
pub struct Reread {
    /// The configuration.
    pub config: Config,
    /// Keys whose values have changed, and that may change while the node runs: `service.print.memory`.
    pub changed: Vec<String>,
    /// Keys whose values have changed since the start, and that need a restart.
    pub needs_restart: Vec<String>,
}

impl SourceSettings {
    pub(super) fn new(file: &Path, text: String, overrides: &Overrides) -> Self {
        Self { file: file.into(), overrides: overrides.clone(), started: text.clone(), current: text }
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// If the file cannot be read, or has mistakes.
    pub fn read_again(&self) -> Result<Reread, ConfigError> {
        let config = Config::load_with(&self.file, &self.overrides)?;
        let Some(now) = config.source else {
            return Ok(Reread { config, changed: Vec::new(), needs_restart: Vec::new() });
        };
        let changed = changes(&self.current, &now.current).filter(|key| is_running(key)).collect();
        let needs_restart = changes(&self.started, &now.current).filter(|key| !is_running(key)).collect();
        let source = Self { started: self.started.clone(), ..now };
        Ok(Reread { config: Config { source: Some(source), ..config }, changed, needs_restart })
    }
}

fn is_running(key: &str) -> bool {
    RUNNING.iter().any(|running| if running.ends_with('.') { key.starts_with(running) } else { key == *running })
}

/// Returns the keys whose values differ between two texts that have been parsed before, or that only one of them has,
/// in order.
fn changes(before: &str, now: &str) -> impl Iterator<Item = String> {
    let (before, now) = (values(before), values(now));
    let keys: BTreeSet<String> = before.keys().chain(now.keys()).cloned().collect();
    keys.into_iter().filter(move |key| before.get(key) != now.get(key))
}

/// Returns the values of a text that has been parsed before, by their full keys.
fn values(text: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    collect("", &text.parse().unwrap_or_default(), &mut values);
    values
}

fn collect(path: &str, table: &Table, values: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = format!("{path}{}", written(key));
        match value {
            Value::Table(table) => collect(&format!("{key}."), table, values),
            value => drop(values.insert(key, value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_changes_at_once_and_what_needs_a_restart_is_named_by_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("node.name = 'a'\n[limits]\nrequests = 1\nmessage = '1MiB'\n[service.print]\nreuse = 2\n");
        let source = Config::load(&file).unwrap().source.unwrap();
        let again = source.read_again().unwrap();
        assert!(again.changed.is_empty() && again.needs_restart.is_empty(), "{again:?}");
        write("limits = { message = '2MiB', requests = 2 }\n[node]\nname = 'a'\n[service.'a.b']\nqueue = 1\n");
        let again = source.read_again().unwrap();
        assert_eq!(again.changed, ["limits.requests", "service.\"a.b\".queue", "service.print.reuse"]);
        assert_eq!(again.needs_restart, ["limits.message"]);
        // What needs a restart stays in the list, and what was applied does not.
        let again = again.config.source.unwrap().read_again().unwrap();
        assert_eq!((again.changed, again.needs_restart), (Vec::new(), vec!["limits.message".to_owned()]));
        write("[node]\nnam = 'a'\n");
        assert!(source.read_again().unwrap_err().to_string().contains("did you mean name?"));
    }
}
