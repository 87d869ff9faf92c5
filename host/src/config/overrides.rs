//! Options of the command line that take precedence over the configuration.

use super::Endpoint;
use super::error::Mistakes;
use std::path::{Path, PathBuf};
use wasmnode_core::Label;

/// Settings that replace those of the file. Relative paths start at the current folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces `node.name`.
    pub name: Option<Label>,
    /// Replaces `node.listen`, unless it is empty.
    pub listen: Vec<Endpoint>,
    /// Replaces `node.plugins`.
    pub plugins: Option<PathBuf>,
}

impl Overrides {
    /// Returns the endpoints to listen on: those given here, else `of_file`.
    pub(super) fn listen(&self, of_file: Vec<Endpoint>, is_anywhere: bool, report: &Mistakes<'_>) -> Vec<Endpoint> {
        if self.listen.is_empty() {
            return of_file;
        }
        let mut listen: Vec<Endpoint> = Vec::new();
        for endpoint in &self.listen {
            match endpoint.to_listen(Path::new(""), is_anywhere) {
                Ok(endpoint) if listen.iter().any(|other| other.collides(&endpoint)) => {
                    report.add(None, format!("--listen: \"{endpoint}\" is given twice; leave one out"));
                }
                Ok(endpoint) => listen.push(endpoint),
                Err(error) => report.add(None, format!("--listen: {error}")),
            }
        }
        listen
    }
}
