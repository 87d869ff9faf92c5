//! File of a configuration, and its changes since it was read.

use super::fields::written;
use super::{Config, ConfigError, text_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// File of a configuration, with the text that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    file: PathBuf,
    text: String,
}

impl SourceSettings {
    pub(super) fn new(file: &Path, text: String) -> Self {
        Self { file: file.into(), text }
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the keys whose values differ between the read text and the file, or that only one of them has:
    /// `service.print.memory`.
    ///
    /// # Errors
    /// If the file cannot be read, or has mistakes.
    pub fn changes(&self) -> Result<Vec<String>, ConfigError> {
        let now = text_of(&self.file, "")?;
        Config::parse(&now, &self.file)?;
        let (before, now) = (values(&self.text), values(&now));
        let keys = before.keys().chain(now.keys().filter(|key| !before.contains_key(*key)));
        let mut changed: Vec<String> = keys.filter(|key| before.get(*key) != now.get(*key)).cloned().collect();
        changed.sort();
        Ok(changed)
    }
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
    fn what_a_restart_would_change_is_named_by_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        fs::write(&file, "node.name = 'a'\n[limits]\nrequests = 1\nmessage = '1MiB'\n[service.print]\nreuse = 2\n")
            .unwrap();
        let source = Config::load(&file).unwrap().source.unwrap();
        assert_eq!(source.changes().unwrap(), Vec::<String>::new());
        fs::write(
            &file,
            "limits = { message = '1MiB', requests = 2 }\n[node]\nname = 'a'\n[service.'a.b']\nqueue = 1\n",
        )
        .unwrap();
        assert_eq!(source.changes().unwrap(), ["limits.requests", "service.\"a.b\".queue", "service.print.reuse"]);
        fs::write(&file, "[node]\nnam = 'a'\n").unwrap();
        assert!(source.changes().unwrap_err().to_string().contains("did you mean name?"));
    }
}
