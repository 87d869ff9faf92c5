//! What a plugin may reach beyond its sandbox: nothing, unless the file of the node says so.

use super::value::{describe, path, quoted, text};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// What the instances of one service may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Environment variables. `env = { LANG = "fr" }`.
    pub env: BTreeMap<String, String>,
    /// Folders of the host. `fs = [{ host = "data", guest = "/data", write = true }]`; `write` is false by default.
    pub fs: Vec<FolderGrant>,
    /// Where it may connect to, by TCP. `net = ["tcp:127.0.0.1:5432"]`; there is no name lookup.
    pub net: Vec<SocketAddr>,
}

/// A folder of the host that a plugin sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderGrant {
    /// Where it is; a relative path starts at the folder of the configuration file.
    pub host: PathBuf,
    /// Under which absolute path the plugin sees it.
    pub guest: String,
    /// Whether the plugin may change it.
    pub write: bool,
}

/// A table of environment variables.
pub(super) fn env(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let table = table(value, "a table such as { LANG = \"fr\" }")?;
    let variable = |name: &str, value: &DeValue<'_>| {
        let value = text(value, "text such as \"fr\"").map_err(|problem| format!("{}: {problem}", quoted(name)))?;
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("{} cannot be an environment variable", quoted(name)));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    table.iter().map(|(name, value)| variable(name.get_ref(), value.get_ref())).collect()
}

/// A folder.
pub(super) fn folder(value: &DeValue<'_>) -> Result<FolderGrant, String> {
    const FORM: &str = "a table such as { host = \"data\", guest = \"/data\", write = false }";
    let table = table(value, FORM)?;
    let (mut host, mut guest, mut write) = (None, None, false);
    for (key, value) in table {
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "host" => host = Some(path(value)?),
            "guest" => guest = Some(text(value, "a path such as \"/data\"")?.to_owned()),
            "write" => {
                let problem = || format!("write: expected true or false, got {}", describe(value));
                write = value.as_bool().ok_or_else(problem)?;
            }
            other => return Err(format!("{}: unknown key (known here: host, guest, write)", quoted(other))),
        }
    }
    let (Some(host), Some(guest)) = (host, guest) else {
        return Err(format!("host or guest is missing; write {FORM}"));
    };
    if !guest.starts_with('/') {
        return Err(format!("guest {} is not an absolute path; write \"/data\"", quoted(&guest)));
    }
    Ok(FolderGrant { host, guest, write })
}

/// A TCP address.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let written = text(value, "an address such as \"tcp:127.0.0.1:5432\"")?;
    written.strip_prefix("tcp:").and_then(|address| address.parse().ok()).ok_or_else(|| {
        format!("{} is not an address; write \"tcp:127.0.0.1:5432\" or \"tcp:[::1]:5432\"", quoted(written))
    })
}

fn table<'a, 'b>(value: &'a DeValue<'b>, form: &str) -> Result<&'a DeTable<'b>, String> {
    value.as_table().ok_or_else(|| format!("expected {form}, got {}", describe(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(toml: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Result<T, String> {
        read(DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn a_folder_is_read_only_unless_said_otherwise() {
        let granted = |write| FolderGrant { host: "d".into(), guest: "/d".into(), write };
        assert_eq!(read("{ host = 'd', guest = '/d' }", folder), Ok(granted(false)));
        assert_eq!(read("{ host = 'd', guest = '/d', write = true }", folder), Ok(granted(true)));
    }

    #[test]
    fn a_grant_that_is_not_understood_grants_nothing() {
        for bad in [
            "'/d'",
            "{}",
            "{ host = 'd' }",
            "{ host = 'd', guest = 'd' }",
            "{ host = 'd', guest = '/d', write = 'yes' }",
            "{ host = 'd', guest = '/d', wirte = true }",
        ] {
            assert!(read(bad, folder).is_err(), "{bad}");
        }
        for bad in
            ["'127.0.0.1:1'", "'tcp:localhost:1'", "'tcp:127.0.0.1'", "'udp:127.0.0.1:1'", "'tcp:127.0.0.1:*'", "1"]
        {
            assert!(read(bad, address).is_err(), "{bad}");
        }
        for bad in ["'LANG=fr'", "{ LANG = 1 }", "{ 'A=B' = 'c' }"] {
            assert!(read(bad, env).is_err(), "{bad}");
        }
    }
}
