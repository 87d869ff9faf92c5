//! Reads files that other programs write: plugins, signatures, keys, configurations.
//!
//! A path can change its meaning between two system calls: a regular file becomes a FIFO, whose open waits for a
//! writer, or a link to a device without an end. Each read therefore opens the path once, without blocking, checks the
//! type of that descriptor, and reads at most one byte more than the limit. [`FileError`] separates "not found", the
//! only error that means that the content is gone, from errors that prove nothing about the content.

use std::fmt;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Stamp that distinguishes contents of a file without reading them: device, inode, size, and both times.
///
/// The modification time alone does not suffice, because tools that copy files set it; the change time cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of a regular file. Symbolic links are followed.
    ///
    /// # Errors
    /// Every kind but [`FileError::TooLarge`] and [`FileError::Changed`].
    pub fn of(path: &Path) -> Result<Self, FileError> {
        Self::of_regular(&fs::metadata(path).map_err(|error| classify(path, &error))?)
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Time of the last modification, to the second.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let seconds = Duration::from_secs(self.modified_ns.0.unsigned_abs());
        let modified = match self.modified_ns.0 {
            0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
            _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        };
        modified.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Returns `true` if the last change of the file was before `time`, by the clock of its file system.
    #[must_use]
    pub fn is_older_than(&self, time: SystemTime) -> bool {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.changed_ns < (seconds, time.subsec_nanos().into())
    }

    fn of_regular(metadata: &Metadata) -> Result<Self, FileError> {
        if !metadata.is_file() {
            return Err(FileError::NotAFile(kind(metadata.file_type())));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Error of reading a file. The message continues a line that begins with the name of the file and a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// The name does not exist.
    NotFound,
    /// The name is that of a symbolic link whose target does not exist.
    DanglingLink,
    /// The name is not that of a regular file. The value describes what it is.
    NotAFile(&'static str),
    /// The content is longer than the limit, in bytes.
    TooLarge(u64),
    /// The file was written to while it was read.
    Changed,
    /// The system failed to open or read the file, which may succeed later.
    Io(ErrorKind, String),
}

impl FileError {
    /// Returns `true` if there is no content: the name or the target of the link does not exist.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound | Self::DanglingLink)
    }

    /// Returns `true` if another attempt can succeed even if the file is not replaced.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Changed | Self::Io(..))
    }
}

impl From<&io::Error> for FileError {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            kind => Self::Io(kind, error.to_string()),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file"),
            Self::DanglingLink => f.write_str("a symbolic link to a file that does not exist"),
            Self::NotAFile(kind) => write!(f, "not a regular file but {kind}"),
            Self::TooLarge(limit) => write!(f, "longer than {limit} bytes"),
            Self::Changed => f.write_str("it changed while it was read"),
            Self::Io(_, why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads a regular file of at most `limit` bytes, and returns its content with its stamp.
///
/// The stamp is the same before and after reading. Never waits for another program, unlike an ordinary open of a FIFO.
/// Symbolic links are followed.
///
/// # Errors
/// See [`FileError`].
pub fn read(path: &Path, limit: u64) -> Result<(Vec<u8>, Stamp), FileError> {
    // Opening some devices has effects, so they are excluded by name first; the check of the descriptor is decisive.
    Stamp::of(path)?;
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let mut file = opened.map_err(|error| classify(path, &error))?;
    let failed = |error: io::Error| FileError::Io(error.kind(), error.to_string());
    let stamp_of = |file: &File| Stamp::of_regular(&file.metadata().map_err(failed)?);
    let stamp = stamp_of(&file)?;
    let bytes = read_open(&mut file, stamp.bytes, limit)?;
    if stamp_of(&file)? == stamp { Ok((bytes, stamp)) } else { Err(FileError::Changed) }
}

/// Reads an open file to its end, or one byte beyond the limit. `expected` is its size according to the file system.
fn read_open(file: &mut impl Read, expected: u64, limit: u64) -> Result<Vec<u8>, FileError> {
    if expected > limit {
        return Err(FileError::TooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::Io(error.kind(), error.to_string()))?;
    if bytes.len() as u64 > limit { Err(FileError::TooLarge(limit)) } else { Ok(bytes) }
}

/// Returns what an error of `stat` or `open` means.
fn classify(path: &Path, error: &io::Error) -> FileError {
    let is_link = || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match error.raw_os_error() {
        _ if error.kind() == ErrorKind::NotFound && is_link() => FileError::DanglingLink,
        // A socket, or a device without a driver, cannot be opened.
        Some(libc::ENXIO) => match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => FileError::NotAFile(kind(metadata.file_type())),
            _ => error.into(),
        },
        _ => error.into(),
    }
}

fn kind(found: FileType) -> &'static str {
    match () {
        () if found.is_dir() => "a folder",
        () if found.is_fifo() => "a FIFO",
        () if found.is_socket() => "a socket",
        () if found.is_char_device() || found.is_block_device() => "a device",
        () => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn fixture(content: &[u8]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, content).unwrap();
        (folder, file)
    }

    #[test]
    fn a_file_of_exactly_the_limit_is_read_and_a_longer_one_is_not() {
        let (_folder, file) = fixture(b"12345");
        let (bytes, stamp) = read(&file, 5).unwrap();
        assert_eq!((bytes.as_slice(), stamp.bytes()), (&b"12345"[..], 5));
        assert_eq!(Stamp::of(&file), Ok(stamp));
        assert_eq!(read(&file, 4), Err(FileError::TooLarge(4)));
    }

    #[test]
    fn a_file_longer_than_its_reported_size_is_read_to_the_limit_only() {
        // Files of the kernel report a size of 0.
        assert_eq!(read(Path::new("/proc/self/status"), 16), Err(FileError::TooLarge(16)));
        assert_eq!(read_open(&mut io::repeat(0), 0, 1000), Err(FileError::TooLarge(1000)));
    }

    #[test]
    fn a_path_that_is_not_a_regular_file_is_described_and_never_blocks() {
        let (folder, _) = fixture(b"");
        let path = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        symlink(path("fifo"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        for (name, kind) in [("fifo", "a FIFO"), ("link", "a FIFO"), ("zero", "a device"), ("socket", "a socket")] {
            assert_eq!(read(&path(name), 10), Err(FileError::NotAFile(kind)), "{name}");
            assert_eq!(Stamp::of(&path(name)), Err(FileError::NotAFile(kind)), "{name}");
        }
        assert_eq!(read(folder.path(), 10), Err(FileError::NotAFile("a folder")));
    }

    #[test]
    fn only_a_missing_name_or_target_counts_as_gone() {
        let (folder, file) = fixture(b"");
        let link = folder.path().join("link");
        symlink(folder.path().join("nowhere"), &link).unwrap();
        assert_eq!(read(&folder.path().join("missing"), 10), Err(FileError::NotFound));
        assert_eq!(read(&link, 10), Err(FileError::DanglingLink));
        symlink(folder.path().join("circle"), folder.path().join("circle")).unwrap();
        let circle = read(&folder.path().join("circle"), 10).unwrap_err();
        let beyond = read(&file.join("beyond"), 10).unwrap_err();
        for error in [circle, beyond] {
            assert!(!error.is_gone() && error.is_transient(), "{error:?}");
        }
        assert!(FileError::NotFound.is_gone() && FileError::DanglingLink.is_gone());
        assert!(!FileError::NotAFile("a FIFO").is_transient());
    }

    #[test]
    fn a_failed_read_is_transient_and_not_gone() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
        let error = read_open(&mut Failing, 3, 10).unwrap_err();
        assert!(error.is_transient() && !error.is_gone(), "{error:?}");
    }

    #[test]
    fn a_replaced_file_has_another_stamp_although_size_and_modification_time_are_kept() {
        let (_folder, file) = fixture(b"old");
        let before = Stamp::of(&file).unwrap();
        let times = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "new").unwrap();
        File::options().append(true).open(&file).unwrap().set_modified(times).unwrap();
        assert_ne!(Stamp::of(&file), Ok(before));
    }
}
