//! Files of the repository that are written by hand.

use std::fs;
use std::path::{Path, PathBuf};

/// File: its path from the root of the repository, and its content.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Creates a source for a test.
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_document(&self) -> bool {
        self.path.ends_with(".md")
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns all sources, manifests and documents.
pub(crate) fn sources() -> Vec<Source> {
    let (root, mut left, mut found) = (root(), vec![root()], Vec::new());
    while let Some(folder) = left.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && !path.join("pyvenv.cfg").exists() {
                left.push(path);
            } else if [".rs", ".md", "Cargo.toml"].iter().any(|ending| name.ends_with(ending)) {
                let shown = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
                found.push(Source { text: fs::read_to_string(&path).unwrap_or_default(), path: shown });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 100, "the repository is found: {found:?}");
    found
}

/// Returns the source with this path.
pub(crate) fn source<'a>(sources: &'a [Source], path: &str) -> &'a Source {
    sources.iter().find(|source| source.path == path).unwrap_or_else(|| panic!("there is no {path}"))
}
