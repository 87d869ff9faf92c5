//! Check of the users who may change a file of keys: each of them can grant trust.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wasmnode_core::text;

const OTHERS_MAY_WRITE: u32 = 0o002;
const GROUP_MAY_WRITE: u32 = 0o020;
/// Sticky bit of a folder: only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// Largest number of links on the way to a file, as in Linux.
const MAX_LINKS: u32 = 40;

/// Result of the check of a file and the folders above it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Only its owner, root, and perhaps members of a group may change it.
    Kept,
    /// A group or another user may change it; with a remark for the administrator.
    Shared(String),
    /// Every user of the machine may change it; with the reason why the file is not accepted, and the remedy.
    Open(String),
}

/// Examines a path of the folder of keys, and every folder above it up to `/`, also behind links.
///
/// A folder above may be writable by everyone if it is sticky, like /tmp: then no other user can replace the next entry
/// of the path.
///
/// # Errors
/// If one of them cannot be examined.
pub(super) fn examine(path: &Path) -> io::Result<Guard> {
    let absolute = std::path::absolute(path)?;
    for folder in folders_on_the_way(&absolute)? {
        let mode = fs::metadata(&folder)?.mode();
        if mode & OTHERS_MAY_WRITE != 0 && mode & STICKY == 0 {
            return Ok(open(&folder));
        }
    }
    let metadata = fs::metadata(&absolute)?;
    let me = rustix::process::geteuid().as_raw();
    let shown = text::shown(path);
    Ok(match metadata.mode() {
        mode if mode & OTHERS_MAY_WRITE != 0 => open(path),
        _ if ![0, me].contains(&metadata.uid()) => Guard::Shared(format!(
            "{shown} belongs to user {}, who can trust any key; give it to this node's user with chown",
            metadata.uid()
        )),
        mode if mode & GROUP_MAY_WRITE != 0 => Guard::Shared(format!(
            "group {} may write to {shown}, and so trust any key; restrict it to the user with: chmod g-w {shown}",
            metadata.gid()
        )),
        _ => Guard::Kept,
    })
}

/// Returns the folders in which an absolute path is looked up: those above it, and those above what each link on the
/// way leads to. Write access to any of them decides what the path means.
fn folders_on_the_way(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut folders, mut current, mut links) = (Vec::new(), PathBuf::new(), 0);
    let parts = |path: &Path| path.iter().rev().map(ToOwned::to_owned).collect::<Vec<OsString>>();
    let mut left = parts(path);
    while let Some(part) = left.pop() {
        if part == ".." {
            current.pop();
            continue;
        }
        let next = current.join(&part);
        if part != "/" {
            folders.push(std::mem::take(&mut current));
        }
        if !fs::symlink_metadata(&next)?.is_symlink() {
            current = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        current = folders.last().cloned().unwrap_or_default();
        left.extend(parts(&fs::read_link(&next)?));
    }
    Ok(folders)
}

fn open(path: &Path) -> Guard {
    let shown = text::shown(path);
    Guard::Open(format!(
        "every user may write to {shown}, and so trust any key; restrict it to its user with: chmod o-w {shown}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn world_writable_paths_are_named_up_to_the_root() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("keys");
        let file = folder.join("x.toml");
        fs::create_dir(&folder).unwrap();
        set(&folder, 0o755);
        fs::write(&file, "").unwrap();
        set(&file, 0o644);
        assert_eq!(examine(&file).unwrap(), Guard::Kept);
        for (path, mode, back) in [(&file, 0o646, 0o644), (&folder, 0o757, 0o755), (&top.path().into(), 0o777, 0o700)] {
            set(path, mode);
            match examine(&file).unwrap() {
                Guard::Open(why) => assert!(why.contains(&format!("chmod o-w {}", path.display())), "{why}"),
                other => panic!("{path:?}: {other:?}"),
            }
            set(path, back);
        }
        set(top.path(), 0o1777);
        assert_eq!(examine(&file).unwrap(), Guard::Kept, "a sticky folder, like /tmp");
        set(&folder, 0o1777);
        assert!(matches!(examine(&folder).unwrap(), Guard::Open(_)), "but others may add files to it");
        set(&file, 0o664);
        set(&folder, 0o700);
        assert!(matches!(examine(&file).unwrap(), Guard::Shared(_)));
    }

    #[test]
    fn the_target_of_a_link_is_examined_with_the_folders_above_it() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        for folder in ["keys", "shared", "private"] {
            fs::create_dir(path(folder)).unwrap();
        }
        for file in ["shared/x.toml", "private/x.toml"] {
            fs::write(path(file), "").unwrap();
            set(&path(file), 0o644);
        }
        set(&path("shared"), 0o777);
        symlink("../shared/x.toml", path("keys/file.toml")).unwrap();
        symlink("../private/x.toml", path("keys/good.toml")).unwrap();
        symlink(path("private/x.toml"), path("shared/back.toml")).unwrap();
        symlink(path("shared/back.toml"), path("keys/there-and-back.toml")).unwrap();
        symlink("shared", path("folder")).unwrap();
        symlink("loop", path("loop")).unwrap();
        assert_eq!(examine(&path("keys/good.toml")).unwrap(), Guard::Kept);
        for through in ["keys/file.toml", "keys/there-and-back.toml", "folder/x.toml"] {
            match examine(&path(through)).unwrap() {
                Guard::Open(why) => assert!(why.contains("shared"), "{why}"),
                other => panic!("{through}: {other:?}"),
            }
        }
        assert!(examine(&path("loop")).is_err());
    }
}
