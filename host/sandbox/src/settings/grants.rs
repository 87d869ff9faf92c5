//! Grants: resources beyond the sandbox that the configuration lets a plugin access.

use http::uri::Authority;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Resources that the instances of one service may access.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Environment variables. `env = { LANG = "fr" }`.
    pub env: BTreeMap<String, String>,
    /// Folders of the host. `fs = [{ host = "data", guest = "/data", write = true, bytes = "1GiB", files = 10000 }]`;
    /// `write` is false by default, and the limits of this example are the defaults.
    pub fs: Vec<FolderGrant>,
    /// Addresses to which TCP connections may be made. `net = ["tcp:127.0.0.1:5432"]`; names are not looked up.
    pub net: Vec<SocketAddr>,
    /// Hosts to which HTTP and HTTPS requests may be sent. `http = ["api.example.org"]`; the node looks the name up,
    /// and rejects addresses outside the public internet, its own, and those of other nodes.
    /// `"api.internal@10.0.0.5:8080"` also grants the address.
    pub http: Vec<HttpGrant>,
}

/// A folder of the host that a plugin may access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderGrant {
    /// Path on the host; a relative path starts at the folder of the configuration file.
    pub host: PathBuf,
    /// Absolute path under which the plugin sees the folder.
    pub guest: String,
    /// Whether the plugin may change the content.
    pub write: bool,
    /// Limit on the bytes of all files in the folder, checked when the plugin adds to them; a sparse file counts in
    /// full.
    pub bytes: u64,
    /// Limit on the number of files, folders and links in the folder, checked when the plugin adds to them.
    pub files: u64,
}

impl FolderGrant {
    /// Default of `bytes`.
    pub const BYTES: u64 = 1 << 30;
    /// Default of `files`.
    pub const FILES: u64 = 10_000;
}

/// A host that a plugin may send HTTP requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// Name or address, in lowercase.
    pub host: String,
    /// Port; without one, the default port of the scheme: 80 for `http`, 443 for `https`.
    pub port: Option<u16>,
    /// Address, if the grant has one in addition to the name, which is then not looked up.
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
    /// Parses `host`, `host:port`, `host@address` or `host@address:port`; returns `None` for anything else.
    ///
    /// The targets of plugins' requests are parsed in the same way, so that grants and targets compare equal.
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
