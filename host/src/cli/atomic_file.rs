//! Atomic file replacement.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// File that is written but not in place yet; removed on drop unless it was moved into place.
pub(super) struct Unfinished {
    staged: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// Writes and syncs a file beside the target, so that its content survives a power failure.
    pub(super) fn write(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let staged = target.with_file_name(format!(".{name}.{}", std::process::id()));
        let unfinished = Self { staged, target: target.into() };
        let mut file = File::create(&unfinished.staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(unfinished)
    }

    /// Moves the file to its final name: readers see either the previous content or all of the new one.
    pub(super) fn finish(self) -> io::Result<()> {
        fs::rename(&self.staged, &self.target)?;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _it_is_moved_or_was_never_there = fs::remove_file(&self.staged);
    }
}
