//! Table reader: gets values by key, reports mistakes, and finally reports the unknown keys.

use super::claims::{Needs, SettingClaim};
use super::error::Mistakes;
use super::value::describe;
use crate::suggestion::nearest;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Table while it is read. A table that the file lacks is an empty one; call [`Fields::done`] after the last key.
pub(crate) struct Fields<'a> {
    table: Option<&'a DeTable<'a>>,
    /// Position of the table, for mistakes that concern it as a whole.
    span: Option<Range<usize>>,
    /// Keys of the enclosing tables, with a dot after each.
    path: String,
    asked: Vec<&'static str>,
    mistaken: Vec<&'static str>,
    report: &'a Mistakes<'a>,
}

impl<'a> Fields<'a> {
    /// Returns the table of the whole file.
    pub(super) fn root(table: &'a DeTable<'a>, report: &'a Mistakes<'a>) -> Self {
        Self { table: Some(table), span: None, path: String::new(), asked: vec![], mistaken: vec![], report }
    }

    /// Returns a table inside this one.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        let value = self.ask(key);
        self.inner(key, value)
    }

    /// Returns the value of a key, if it exists and is valid.
    pub(crate) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        let result = read(value.get_ref());
        self.note(key, "", value, result)
    }

    /// Returns the valid values of a list; `None` if the key is absent or not a list.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.ask(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let problem = Err(format!("expected a list such as [\"...\"], got {}", describe(value.get_ref())));
            return self.note(key, "", value, problem);
        };
        let mut list = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let result = read(item.get_ref());
            list.extend(self.note(key, &format!("[{index}]"), item, result));
        }
        Some(list)
    }

    /// Returns the results of the valid tables of a list; `None` if the key is absent or not a list. `read` gets every
    /// table, so that every mistake is reported.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Fields<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.ask(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let problem = Err(format!("expected a list of tables, got {}", describe(value.get_ref())));
            return self.note(key, "", value, problem);
        };
        let table = |(index, item)| self.element(&format!("{key}[{index}]"), item);
        let tables: Vec<_> = items.iter().enumerate().map(table).collect();
        Some(tables.into_iter().filter_map(&mut read).collect())
    }

    /// Returns the valid values of this table, whose keys are names that the file chooses.
    pub(super) fn values<T>(self, read: impl Fn(&str, &DeValue<'_>) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(DeTable::iter) {
            match read(key.get_ref(), value.get_ref()) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    let message = format!("{}{}: {problem}", self.path, written(key.get_ref()));
                    self.report.add(Some(key.span().start), message);
                }
            }
        }
        values
    }

    /// Returns all tables inside this one, whose keys are names that the file chooses; without a name for an invalid
    /// key.
    pub(super) fn entries<T>(self, read: impl Fn(&str) -> Result<T, String>) -> Vec<(Option<T>, Self)> {
        let mut entries = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(DeTable::iter) {
            let name = read(key.get_ref()).map_err(|problem| {
                let message = format!("{}{}: {problem}", self.path, written(key.get_ref()));
                self.report.add(Some(key.span().start), message);
            });
            entries.push((name.ok(), self.inner(key.get_ref(), Some(value))));
        }
        entries
    }

    /// Returns `true` if the file has the table, and it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.table.is_some()
    }

    /// Returns `true` if the file has the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Returns `true` if no mistake of a key has been reported, whether the key is given or left out.
    pub(super) fn is_good(&self, key: &str) -> bool {
        !self.mistaken.contains(&key)
    }

    /// Reports that a valid value makes no sense, on the line of the table if the key is left out.
    pub(crate) fn complain(&mut self, key: &'static str, problem: &str) {
        self.report.add(self.place_of(key), format!("{}{key}: {problem}", self.path));
        self.mistaken.push(key);
    }

    /// Adds what must exist at a path when a node starts: the path of a key, or its default.
    pub(super) fn claim(&self, key: &str, path: &Path, needs: Needs) {
        let at = self.place_of(key);
        self.report.claim(SettingClaim { at, key: format!("{}{key}", self.path), path: path.into(), needs });
    }

    /// Reports each unknown key.
    pub(crate) fn done(self) {
        for (key, value) in self.table.into_iter().flat_map(DeTable::iter) {
            let text: &str = key.get_ref();
            if !self.asked.contains(&text) {
                let message = format!("{}{}: {}", self.path, written(text), self.unknown(text, value.get_ref()));
                self.report.add(Some(key.span().start), message);
            }
        }
    }

    /// Returns the position of a key, or of its table if the key is left out.
    fn place_of(&self, key: &str) -> Option<usize> {
        let value = self.table.and_then(|table| table.get(key));
        value.map(Spanned::span).or_else(|| self.span.clone()).map(|span| span.start)
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    fn inner(&self, key: &str, value: Option<&'a Spanned<DeValue<'a>>>) -> Self {
        self.sub_table(&written(key), value)
    }

    fn element(&self, place: &str, value: &'a Spanned<DeValue<'a>>) -> Self {
        self.sub_table(place, Some(value))
    }

    fn sub_table(&self, place: &str, value: Option<&'a Spanned<DeValue<'a>>>) -> Self {
        let path = format!("{}{place}", self.path);
        if let Some(value) = value.filter(|value| !value.get_ref().is_table()) {
            let problem = format!("{path}: expected a table, [{path}], got {}", describe(value.get_ref()));
            self.report.add(Some(value.span().start), problem);
        }
        let table = value.and_then(|value| value.get_ref().as_table());
        let span = value.map(Spanned::span);
        Self { table, span, path: path + ".", asked: vec![], mistaken: vec![], report: self.report }
    }

    fn note<T>(
        &mut self,
        key: &'static str,
        index: &str,
        value: &Spanned<DeValue<'_>>,
        result: Result<T, String>,
    ) -> Option<T> {
        result
            .map_err(|problem| {
                self.report.add(Some(value.span().start), format!("{}{key}{index}: {problem}", self.path));
                self.mistaken.push(key);
            })
            .ok()
    }

    fn unknown(&self, key: &str, value: &DeValue<'_>) -> String {
        let near = nearest(key, self.asked.iter().copied());
        let hint = match (near, self.path.strip_prefix("service.")) {
            (Some(known), _) => format!("; did you mean {known}?"),
            (_, Some(name)) if value.is_table() => {
                format!("; a service name with a dot needs quotes: [service.\"{name}{}\"]", key.escape_debug())
            }
            _ => String::new(),
        };
        format!("unknown key{hint} (known here: {})", self.asked.join(", "))
    }
}

/// Returns a key as it would be written in a file.
pub(super) fn written(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if bare { key.into() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_they_would_be_written() {
        assert_eq!(written("log-lines"), "log-lines");
        assert_eq!(written("storage.read"), "\"storage.read\"");
        assert_eq!(written(""), "\"\"");
        assert_eq!(written("\u{1b}[2J"), "\"\\u{1b}[2J\"");
    }
}
