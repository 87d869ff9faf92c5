//! Reading of a plugin's file and the signature beside it, while neither changes.

use crate::loading::scanner::{Stamp, signature_of};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;
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

/// Why a file could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ContentError {
    /// The error stays until the file changes.
    Lasting(String),
    /// Another attempt may succeed although nothing changes.
    Passing(String),
}

/// Reads a file of at most `limit` bytes, found with `stamp`, and its signature if `wants_signature`.
pub(crate) fn read(file: &Path, stamp: &Stamp, limit: u64, wants_signature: bool) -> Result<Content, ContentError> {
    if stamp.bytes() > limit {
        return Err(ContentError::Lasting(format!("its {} bytes are over limits.plugin = {limit}", stamp.bytes())));
    }
    let (bytes, found) = files::read(file, limit).map_err(|error| trouble(file, &error))?;
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
        Err(error) if error.is_transient() || error.is_gone() => Err(trouble(&beside, &error)),
        Err(error) => Ok(Some(Err(error))),
    }
}

/// Error for a file that changes meanwhile. The scan that finds the new content reports it; without one, the file is
/// read again.
fn changed(file: &Path) -> ContentError {
    trouble(file, &FileError::Changed)
}

fn trouble(file: &Path, error: &FileError) -> ContentError {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let why = format!("cannot read {name}: {error}");
    // A missing file was there a moment ago, so the error may pass.
    if error.is_transient() || error.is_gone() { ContentError::Passing(why) } else { ContentError::Lasting(why) }
}

/// Returns the name of a file's content: its SHA-256, hexadecimal.
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

    fn scene() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.wasm");
        fs::write(&file, "plugin").unwrap();
        fs::write(signature_of(&file), "signature").unwrap();
        (folder, file)
    }

    #[test]
    fn a_signature_is_read_only_where_it_is_wanted() {
        let (_folder, file) = scene();
        let stamp = Stamp::of(&file).unwrap();
        let read = |wants_signature| read(&file, &stamp, LIMIT, wants_signature).unwrap().signature;
        assert_eq!(read(true), Some(Ok("signature".into())));
        assert_eq!(read(false), None);
        let limit = super::read(&file, &stamp, 5, true);
        assert_eq!(limit, Err(ContentError::Lasting("its 6 bytes are over limits.plugin = 5".into())));
    }

    #[test]
    fn what_takes_the_place_of_a_file_after_the_scan_is_neither_waited_for_nor_read_without_end() {
        for exchanged in ["a.wasm", "a.wasm.minisig"] {
            let (folder, file) = scene();
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
            assert!(matches!(read(&file, &stamp, LIMIT, true), Err(ContentError::Passing(_))), "it is gone");

            fs::write(&exchanged, "other").unwrap();
            let changed = read(&file, &stamp, LIMIT, true);
            assert!(matches!(&changed, Err(ContentError::Passing(why)) if why.contains("changed")), "{changed:?}");
        }
    }
}
