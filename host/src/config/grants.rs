//! What a plugin may reach beyond its sandbox: nothing, unless the file of the node says so.

use super::value::{describe, number, path, quoted, size, text};
use http::uri::Authority;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// What the instances of one service may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Environment variables. `env = { LANG = "fr" }`.
    pub env: BTreeMap<String, String>,
    /// Folders of the host. `fs = [{ host = "data", guest = "/data", write = true, bytes = "1GiB", files = 10000 }]`; `write`
    /// is false by default, and the limits are those that stand here.
    pub fs: Vec<FolderGrant>,
    /// Where it may connect to, by TCP. `net = ["tcp:127.0.0.1:5432"]`; there is no name lookup.
    pub net: Vec<SocketAddr>,
    /// Whom it may ask by HTTP and HTTPS. `http = ["api.example.org"]`; the node looks the name up, and takes no address that
    /// is not of the public internet, or is its own or another node's. `"api.internal@10.0.0.5:8080"` names the address.
    pub http: Vec<HttpGrant>,
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
    /// Bytes of all files that may lie there once the plugin has added to them; a sparse file counts in full.
    pub bytes: u64,
    /// Files, folders and links that may lie there once the plugin has added to them.
    pub files: u64,
}

impl FolderGrant {
    /// What may lie in a folder by default.
    pub(crate) const BYTES: u64 = 1 << 30;
    pub(crate) const FILES: u64 = 10_000;
}

/// A host that a plugin may send HTTP requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// Its name or address, in small letters.
    pub host: String,
    /// Its port; without one, the usual port of the scheme: 80 for `http`, 443 for `https`.
    pub port: Option<u16>,
    /// Its address, where the grant names it besides the name: then the name is not looked up.
    pub address: Option<IpAddr>,
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "@{address}")?,
            Some(IpAddr::V6(address)) => write!(f, "@[{address}]")?,
            None => {}
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HttpGrant {
    /// Reads `host`, `host:port`, `host@address` or `host@address:port`; nothing if it is anything else.
    ///
    /// Plugins' requests are read by it too, so that what is compared is what was understood.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((name, place)) = text.split_once('@') {
            let (named, at) = (Self::parse(name)?, Self::parse(place)?);
            let is_plain = named.port.is_none() && named.address.is_none() && at.address.is_none();
            let address = Some(at.host.trim_matches(['[', ']']).parse().ok()?);
            return is_plain.then_some(Self { address, port: at.port, ..named });
        }
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        let port = match text.strip_prefix(host)? {
            "" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_plain)).then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
            address: None,
        })
    }
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
    let (mut bytes, mut files) = (FolderGrant::BYTES, FolderGrant::FILES);
    let within = |key: &str, problem: String| format!("{key}: {problem}");
    for (key, value) in table {
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "host" => host = Some(path(value)?),
            "guest" => guest = Some(text(value, "a path such as \"/data\"")?.to_owned()),
            "write" => {
                let problem = || format!("write: expected true or false, got {}", describe(value));
                write = value.as_bool().ok_or_else(problem)?;
            }
            "bytes" => bytes = size(0..=1 << 60)(value).map_err(|problem| within("bytes", problem))? as u64,
            "files" => files = number(0..=1 << 40)(value).map_err(|problem| within("files", problem))?,
            other => {
                return Err(format!("{}: unknown key (known here: host, guest, write, bytes, files)", quoted(other)));
            }
        }
    }
    let (Some(host), Some(guest)) = (host, guest) else {
        return Err(format!("host or guest is missing; write {FORM}"));
    };
    if !guest.starts_with('/') {
        return Err(format!("guest {} is not an absolute path; write \"/data\"", quoted(&guest)));
    }
    Ok(FolderGrant { host, guest, write, bytes, files })
}

/// A TCP address.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let written = text(value, "an address such as \"tcp:127.0.0.1:5432\"")?;
    written.strip_prefix("tcp:").and_then(|address| address.parse().ok()).ok_or_else(|| {
        format!("{} is not an address; write \"tcp:127.0.0.1:5432\" or \"tcp:[::1]:5432\"", quoted(written))
    })
}

/// A host that may be asked by HTTP.
pub(super) fn http_host(value: &DeValue<'_>) -> Result<HttpGrant, String> {
    let written = text(value, "a host such as \"api.example.org\"")?;
    HttpGrant::parse(written).ok_or_else(|| {
        format!(
            "{} is not a host; write \"api.example.org\", \"api.example.org:8080\", or with its address \
             \"api.internal@10.0.0.5:8080\"",
            quoted(written)
        )
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
        let granted = |write, bytes, files| FolderGrant { host: "d".into(), guest: "/d".into(), write, bytes, files };
        assert_eq!(read("{ host = 'd', guest = '/d' }", folder), Ok(granted(false, 1 << 30, 10_000)));
        let limited = "{ host = 'd', guest = '/d', write = true, bytes = '2MiB', files = 3 }";
        assert_eq!(read(limited, folder), Ok(granted(true, 2 << 20, 3)));
    }

    #[test]
    fn a_host_is_granted_with_or_without_a_port() {
        let granted = |host: &str, port| HttpGrant { host: host.into(), port, address: None };
        assert_eq!(read("'API.example.org'", http_host), Ok(granted("api.example.org", None)));
        assert_eq!(read("'127.0.0.1:8080'", http_host), Ok(granted("127.0.0.1", Some(8080))));
        assert_eq!(read("'[::1]:8080'", http_host), Ok(granted("[::1]", Some(8080))));
        assert_eq!(granted("[::1]", Some(8080)).to_string(), "[::1]:8080");
        for text in ["api.internal@10.0.0.5:8080", "api.internal@[fd00::5]:8080", "api.internal@10.0.0.5"] {
            let HttpGrant { host, port, address } = read(&format!("'{text}'"), http_host).unwrap();
            assert_eq!((host.as_str(), address.is_some()), ("api.internal", true));
            assert_eq!(HttpGrant { host, port, address }.to_string(), text);
        }
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
            "{ host = 'd', guest = '/d', bytes = 'much' }",
            "{ host = 'd', guest = '/d', files = -1 }",
        ] {
            assert!(read(bad, folder).is_err(), "{bad}");
        }
        for bad in
            ["'127.0.0.1:1'", "'tcp:localhost:1'", "'tcp:127.0.0.1'", "'udp:127.0.0.1:1'", "'tcp:127.0.0.1:*'", "1"]
        {
            assert!(read(bad, address).is_err(), "{bad}");
        }
        for bad in [
            "'https://api.example.org'",
            "'api.example.org/v1'",
            "'user@api.example.org'",
            "'a:1@10.0.0.5'",
            "'a@10.0.0.5@10.0.0.6'",
            "'@10.0.0.5'",
            "'a@'",
            "'*.example.org'",
            "'api.example.org:'",
            "'api.example.org:http'",
            "'api.example.org:65536'",
            "':80'",
            "''",
            "80",
        ] {
            assert!(read(bad, http_host).is_err(), "{bad}");
        }
        for bad in ["'LANG=fr'", "{ LANG = 1 }", "{ 'A=B' = 'c' }"] {
            assert!(read(bad, env).is_err(), "{bad}");
        }
    }
}
