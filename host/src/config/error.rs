//! Mistakes in a file: one line per mistake, in the order of the file.

use super::claims::{FolderCheck, SettingClaim};
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;
use wasmnode_core::text::{self, MAX_LINE};
use wasmnode_files::FileError;

/// All mistakes of a configuration, no part of which was applied.
///
/// Shown as one line per mistake, in the order of the file:
///
/// ```text
/// examples/node1.toml:7: service.print.memory: "64 potatoes" is not a size; write "64MiB"
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Sorted; never empty.
    mistakes: Vec<Mistake>,
}

/// Mistake with its line; without a line if it concerns the whole file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    line: Option<usize>,
    message: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, report: Mistakes<'_>) -> Self {
        let mut mistakes = report.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        Self { file: file.into(), mistakes }
    }

    /// Reports an unreadable file; `or_else` is a further remedy.
    pub(super) fn unreadable(file: &Path, error: &FileError, or_else: &str) -> Self {
        let message = format!("{error}; name a file that exists and that this user may read{or_else}");
        Self { file: file.into(), mistakes: vec![Mistake { line: None, message }] }
    }

    pub(super) fn not_text(file: &Path, bytes: &[u8], error: Utf8Error) -> Self {
        let line = Some(line_of(bytes, error.valid_up_to()));
        Self { file: file.into(), mistakes: vec![Mistake { line, message: "not UTF-8; save it as UTF-8 text".into() }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = text::shown(&self.file);
        for (index, Mistake { line, message }) in self.mistakes.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            match line {
                Some(line) => write!(f, "{end}{file}:{line}: {message}")?,
                None => write!(f, "{end}{file}: {message}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Mistakes found so far in a text.
///
/// Shared by all tables that are read at the same time, hence the cell; each borrow ends within the method.
pub(super) struct Mistakes<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    claims: RefCell<Vec<SettingClaim>>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, mistakes: RefCell::default(), claims: RefCell::default() }
    }

    /// Adds a mistake at a byte of the text, or in the file as a whole.
    pub(super) fn add(&self, at: Option<usize>, message: String) {
        let line = at.map(|at| line_of(self.text.as_bytes(), at));
        self.mistakes.borrow_mut().push(Mistake { line, message: text::into_line(message, MAX_LINE) });
    }

    /// Adds a requirement on the machine.
    pub(super) fn claim(&self, claim: SettingClaim) {
        self.claims.borrow_mut().push(claim);
    }

    /// Adds a mistake for each requirement that is not met.
    pub(super) fn check_claims(&self, of_keys: FolderCheck) {
        for claim in self.claims.borrow().iter() {
            claim
                .mistakes(of_keys)
                .into_iter()
                .for_each(|mistake| self.add(claim.at, format!("{}: {mistake}", claim.key)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }
}

/// Returns the line of a byte, counted from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
