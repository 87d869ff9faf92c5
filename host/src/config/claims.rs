//! Requirements of a configuration on the machine, for `wasmnode check`.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Finds every mistake in a folder.
pub(super) type FolderCheck = fn(&Path) -> Vec<String>;

/// Path in the configuration, and what must exist there when a node starts.
#[derive(Debug)]
pub(super) struct SettingClaim {
    /// Byte offset in the text.
    pub(super) at: Option<usize>,
    /// Full key.
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) needs: Needs,
}

/// Requirement on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A folder that can be listed.
    Folder,
    /// A folder that can be listed, or nothing.
    FolderIfThere,
    /// A writable folder, or nothing where the node can make one.
    FolderToMake,
    /// A folder in which the socket file can be made.
    FolderOfSocket,
    /// A folder of keys without mistakes.
    Keys,
}

impl SettingClaim {
    /// Returns every mistake, as the text behind the key and a colon.
    pub(super) fn mistakes(&self, of_keys: FolderCheck) -> Vec<String> {
        let path = self.path.as_path();
        match self.needs {
            Needs::Folder => folder(path, Some("make it, or name another")).err().into_iter().collect(),
            Needs::FolderToMake => folder_to_make(path).err().into_iter().collect(),
            Needs::FolderIfThere => folder(path, None).err().into_iter().collect(),
            Needs::FolderOfSocket => folder_of_socket(path).err().into_iter().collect(),
            Needs::Keys => of_keys(path).into_iter().map(|mistake| mistake.replace('\n', "; ")).collect(),
        }
    }
}

fn folder(path: &Path, if_missing: Option<&str>) -> Result<(), String> {
    let shown = path.display();
    match (fs::read_dir(path).map(drop), if_missing) {
        (Err(error), None) if error.kind() == ErrorKind::NotFound => Ok(()),
        (Err(error), Some(remedy)) if error.kind() == ErrorKind::NotFound => {
            Err(format!("the folder {shown} does not exist; {remedy}"))
        }
        (Err(error), _) if error.kind() == ErrorKind::NotADirectory => Err(format!("{shown} is not a folder")),
        (Err(error), _) => Err(format!("the folder {shown} cannot be listed: {error}")),
        (Ok(()), _) => Ok(()),
    }
}

fn folder_of_socket(socket: &Path) -> Result<(), String> {
    let parent = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder(parent, Some("make it, or listen elsewhere"))?;
    if fs::symlink_metadata(socket).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(format!(
            "a file that is not a socket lies at {}; move it away, or listen elsewhere",
            socket.display()
        ));
    }
    writable(parent).map_err(|error| format!("no socket can be made in the folder {}: {error}", parent.display()))
}

fn folder_to_make(path: &Path) -> Result<(), String> {
    folder(path, None)?;
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    writable(there).map_err(|error| format!("the folder {} cannot be written to: {error}", there.display()))
}

fn writable(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}
