//! `[security]`: access to the node.

use super::claims::Needs;
use super::fields::Fields;
use super::provenance;
use super::value::{self, describe, quoted};
use std::fmt;
use std::fs::{self, Permissions as Mode};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use toml::de::DeValue;
use wasmnode_sandbox::Provenance;

/// Content of `[security]`.
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) keys: Option<PathBuf>,
    pub(super) insecure: bool,
    pub(super) ipc: Permissions,
    pub(super) provenance: Option<Provenance>,
}

impl Security {
    pub(super) fn read(mut given: Fields<'_>, folder: &Path) -> Self {
        let keys = given.take("keys", value::path).map(|path| folder.join(path));
        keys.iter().for_each(|keys| given.claim("keys", keys, Needs::Keys));
        let insecure = given.take("insecure", value::boolean).unwrap_or(false);
        if insecure && given.has("keys") {
            given.complain("insecure", "has no effect beside security.keys; leave it out");
        }
        let ipc = Permissions { group: given.take("ipc-group", group) };
        let provenance = provenance::read(&mut given, folder);
        given.done();
        Self { keys, insecure, ipc, provenance }
    }

    /// Returns `true` if the node may listen where other machines can connect.
    pub(super) fn may_listen_anywhere(&self) -> bool {
        self.insecure || self.keys.is_some()
    }
}

/// Users who may connect to the node's ipc sockets: the node's own user, and perhaps a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Number of the group.
    pub group: Option<u32>,
}

impl Permissions {
    /// Creates a socket file so that no other user can connect to it at any moment.
    ///
    /// # Errors
    /// If the file cannot be given to the group.
    pub(crate) fn of_new_file<T, E>(
        self,
        file: &Path,
        create: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>, GroupError> {
        use rustix::fs::Mode as Mask;
        let before = rustix::process::umask(Mask::from_raw_mode(0o177));
        let created = create();
        rustix::process::umask(before);
        if let (Some(group), Ok(_)) = (self.group, &created) {
            chown(file, None, Some(group))
                .and_then(|()| fs::set_permissions(file, Mode::from_mode(0o660)))
                .map_err(|source| GroupError { group, source })?;
        }
        Ok(created)
    }
}

/// Why a socket file cannot be given to the group of [`Permissions`].
#[derive(Debug)]
pub(crate) struct GroupError {
    group: u32,
    source: io::Error,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot give it to group {} (security.ipc-group): {}", self.group, self.source)
    }
}

impl std::error::Error for GroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Reads a group, by its name in the system's group file or by its number.
fn group(value: &DeValue<'_>) -> Result<u32, String> {
    if let DeValue::Integer(_) = value {
        return value::number(0..=u32::MAX.into())(value);
    }
    let DeValue::String(name) = value else {
        return Err(format!("expected a group such as \"staff\", or its number, got {}", describe(value)));
    };
    let groups =
        fs::read_to_string("/etc/group").map_err(|error: io::Error| format!("cannot read /etc/group: {error}"))?;
    number_of(&groups, name).ok_or_else(|| format!("{} is not a group in /etc/group; write its number", quoted(name)))
}

/// Returns the number of a group in a text in the format of `group(5)`.
fn number_of(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nstaff:x:50:me,you\nstaff2:x:51:\nodd\n";
        assert_eq!(number_of(groups, "staff"), Some(50));
        assert_eq!(number_of(groups, "staf"), None);
        assert_eq!(number_of(groups, "odd"), None);
    }
}
