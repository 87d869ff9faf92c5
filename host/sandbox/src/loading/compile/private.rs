//! Private folders, which only the node's user can write to. Checked up to the root, because a user that can rename a
//! parent folder can replace it with another.

use rustix::fs::{Mode, OFlags, open};
use std::fmt;
use std::fs::{DirBuilder, Metadata, symlink_metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Reason why a folder cannot be used as a private one. The message continues one that names the folder.
#[derive(Debug)]
pub(crate) enum UnsafeFolder {
    /// The folder cannot be created or opened.
    Unusable(io::Error),
    /// The folder or one above it cannot be examined.
    Unknown {
        /// The folder that cannot be examined.
        place: PathBuf,
        /// Reason that the system gives.
        source: io::Error,
    },
    /// Something other than a folder has this path.
    NotAFolder(PathBuf),
    /// The folder or one above it belongs to another user.
    Foreign(PathBuf),
    /// Other users may write to the folder or one above it.
    Writable(PathBuf),
}

impl fmt::Display for UnsafeFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(source) => source.fmt(f),
            Self::Unknown { place, source } => write!(f, "{}: {source}", place.display()),
            Self::NotAFolder(place) => write!(f, "{}: it is not a folder", place.display()),
            Self::Foreign(place) => {
                write!(f, "{}: it belongs to another user; name one of your own", place.display())
            }
            Self::Writable(place) => {
                write!(f, "{}: others may write to it; remove that permission with chmod go-w", place.display())
            }
        }
    }
}

impl std::error::Error for UnsafeFolder {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unusable(source) | Self::Unknown { source, .. } => Some(source),
            Self::NotAFolder(_) | Self::Foreign(_) | Self::Writable(_) => None,
        }
    }
}

/// Creates a folder that only the node's user can write to, if it is missing.
///
/// # Errors
/// If others could write to the folder, or it cannot be created.
pub(crate) fn private_folder(folder: &Path) -> Result<(), UnsafeFolder> {
    open_private(folder).map(drop)
}

/// Opens a private folder; creates it with mode 0700 if it is missing.
///
/// # Errors
/// If the folder or a parent belongs to another user, can be written to by others, or cannot be created or opened.
pub(super) fn open_private(folder: &Path) -> Result<OwnedFd, UnsafeFolder> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(UnsafeFolder::Unusable)?;
    // Resolved first, because a link could be replaced after the check.
    let real = folder.canonicalize().map_err(UnsafeFolder::Unusable)?;
    let user = rustix::process::geteuid().as_raw();
    for (height, place) in real.ancestors().enumerate() {
        let unknown = |source| UnsafeFolder::Unknown { place: place.into(), source };
        let metadata = symlink_metadata(place).map_err(unknown)?;
        check(place, &metadata, height == 0, user)?;
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    open(&real, flags, Mode::empty()).map_err(|error| UnsafeFolder::Unusable(error.into()))
}

/// Checks that only the user and root can write to a folder. Others may write to a parent folder if they can neither
/// remove nor rename entries of other users in it (the sticky bit, as in `/tmp`).
fn check(place: &Path, metadata: &Metadata, is_the_folder: bool, user: u32) -> Result<(), UnsafeFolder> {
    const STICKY: u32 = 0o1000;
    if !metadata.is_dir() {
        return Err(UnsafeFolder::NotAFolder(place.into()));
    }
    if ![0, user].contains(&metadata.uid()) {
        return Err(UnsafeFolder::Foreign(place.into()));
    }
    let is_tolerable = !is_the_folder && metadata.mode() & STICKY != 0;
    if metadata.mode() & 0o022 != 0 && !is_tolerable {
        return Err(UnsafeFolder::Writable(place.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refusal(folder: &Path) -> Option<String> {
        open_private(folder).err().map(|error| error.to_string())
    }

    fn allow(folder: &Path, mode: u32) {
        set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        assert_eq!(refusal(&folder), None);
        assert_eq!(symlink_metadata(&folder).unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702, 0o1777] {
            allow(&folder, mode);
            assert!(refusal(&folder).unwrap().contains("chmod go-w"), "{mode:o}");
        }
        allow(&folder, 0o755);
        assert_eq!(refusal(&folder), None);
    }

    #[test]
    fn a_folder_whose_parent_others_may_write_to_is_refused_unless_the_parent_is_sticky() {
        let parent = tempfile::tempdir().unwrap();
        let (above, folder) = (parent.path().join("above"), parent.path().join("above/middle/cache"));
        assert_eq!(refusal(&folder), None);
        for mode in [0o770, 0o707, 0o777] {
            allow(&above, mode);
            let why = refusal(&folder).unwrap();
            assert!(why.contains("above: others may write to it"), "{mode:o}: {why}");
        }
        allow(&above, 0o1777);
        assert_eq!(refusal(&folder), None);
    }

    #[test]
    fn a_link_is_followed_before_the_check() {
        let parent = tempfile::tempdir().unwrap();
        let (open, link) = (parent.path().join("open"), parent.path().join("link"));
        create_dir(&open).unwrap();
        allow(&open, 0o777);
        symlink(&open, &link).unwrap();
        assert!(refusal(&link).unwrap().contains("others may write to it"));
        assert!(refusal(&link.join("inside")).unwrap().contains("others may write to it"));
    }

    #[test]
    fn a_path_that_is_not_a_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(refusal(file.path()).is_some());
    }
}
