//! Reading of a plugin's file and the signature beside it, while neither changes.

use crate::loading::scanner::{Stamp, signature_of};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use wasmnode_files::{self as files, FileError};

/// Largest signature in bytes; minisign writes comments of up to 9 KiB.
const SIGNATURE_BYTES: u64 = 16 << 10;

/// Content of a plugin's file and its signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// The text of the signature, or why it cannot be read; `None` if there is none, or none is needed.
    pub(crate) signature: Option<Result<String, FileError>>,
}

/// Reason why a file could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ContentError {
    /// The file is larger than a plugin may be.
    TooLarge {
        /// Size of the file in bytes.
        bytes: u64,
        /// `limits.plugin`.
        limit: u64,
    },
    /// The file or its signature cannot be read.
    Unreadable {
        /// The file or its signature.
        file: PathBuf,
        /// Why it cannot be read.
        source: FileError,
    },
}

impl ContentError {
    /// Returns `true` if another attempt may succeed although nothing changes.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::TooLarge { .. } => false,
            // A missing file was there a moment ago.
            Self::Unreadable { source, .. } => source.is_transient() || source.is_gone(),
        }
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => write!(f, "its {bytes} bytes are over limits.plugin = {limit}"),
            Self::Unreadable { file, source } => {
                let name = file.file_name().unwrap_or_default().display();
                write!(f, "cannot read {name}: {source}")
            }
        }
    }
}

impl std::error::Error for ContentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Unreadable { source, .. } => Some(source),
        }
    }
}

/// Reads a file of at most `limit` bytes, found with `stamp`, and its signature if `wants_signature`.
pub(crate) fn read(file: &Path, stamp: &Stamp, limit: u64, wants_signature: bool) -> Result<Content, ContentError> {
    if stamp.bytes() > limit {
        return Err(ContentError::TooLarge { bytes: stamp.bytes(), limit });
    }
    let (bytes, found) = files::read(file, limit).map_err(|error| unreadable(file, error))?;
    let signature = if wants_signature { read_signature(file, stamp)? } else { None };
    if found == stamp.plugin() { Ok(Content { bytes, signature }) } else { Err(changed(file)) }
}

fn read_signature(file: &Path, stamp: &Stamp) -> Result<Option<Result<String, FileError>>, ContentError> {
    let expected = match stamp.signature() {
        None => return Ok(None),
        Some(Err(error)) => return Ok(Some(Err(error.clone()))),
        Some(Ok(expected)) => expected,
    };
    let beside = signature_of(file);
    match files::read(&beside, SIGNATURE_BYTES) {
        Ok((text, found)) if found == *expected => Ok(Some(Ok(String::from_utf8_lossy(&text).into_owned()))),
        Ok(_) => Err(changed(&beside)),
        Err(error) if error.is_transient() || error.is_gone() => Err(unreadable(&beside, error)),
        Err(error) => Ok(Some(Err(error))),
    }
}

/// Returns the error for a file that changes while it is read. The scan that finds the new content reports it; without
/// such a scan, the file is read again.
fn changed(file: &Path) -> ContentError {
    unreadable(file, FileError::Changed)
}

fn unreadable(file: &Path, source: FileError) -> ContentError {
    ContentError::Unreadable { file: file.into(), source }
}

/// Returns the SHA-256 of a file's content, hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _writing_to_a_string_succeeds = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::Command;
    use tempfile::TempDir;

    const LIMIT: u64 = 1 << 20;

    fn fixture() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.wasm");
        fs::write(&file, "plugin").unwrap();
        fs::write(signature_of(&file), "signature").unwrap();
        (folder, file)
    }

    #[test]
    fn a_signature_is_read_only_if_it_is_needed() {
        let (_folder, file) = fixture();
        let stamp = Stamp::of(&file).unwrap();
        let read = |wants_signature| read(&file, &stamp, LIMIT, wants_signature).unwrap().signature;
        assert_eq!(read(true), Some(Ok("signature".into())));
        assert_eq!(read(false), None);
        let limit = super::read(&file, &stamp, 5, true);
        let limit = limit.unwrap_err();
        assert_eq!(limit.to_string(), "its 6 bytes are over limits.plugin = 5");
        assert!(!limit.may_pass());
    }

    #[test]
    fn a_fifo_or_device_that_replaces_a_file_after_the_scan_neither_blocks_nor_is_read() {
        for exchanged in ["a.wasm", "a.wasm.minisig"] {
            let (folder, file) = fixture();
            let stamp = Stamp::of(&file).unwrap();
            let exchanged = folder.path().join(exchanged);
            fs::remove_file(&exchanged).unwrap();
            assert!(Command::new("mkfifo").arg(&exchanged).status().unwrap().success());
            let seen = format!("{:?}", read(&file, &stamp, LIMIT, true));
            assert!(seen.contains("a FIFO"), "{seen}");

            fs::remove_file(&exchanged).unwrap();
            symlink("/dev/zero", &exchanged).unwrap();
            let seen = format!("{:?}", read(&file, &stamp, LIMIT, true));
            assert!(seen.contains("a device"), "{seen}");

            fs::remove_file(&exchanged).unwrap();
            let gone = read(&file, &stamp, LIMIT, true);
            assert!(gone.is_err_and(|error| error.may_pass()), "it is gone");

            fs::write(&exchanged, "other").unwrap();
            let changed = read(&file, &stamp, LIMIT, true).unwrap_err();
            assert!(changed.may_pass() && changed.to_string().contains("changed"), "{changed}");
        }
    }
}
