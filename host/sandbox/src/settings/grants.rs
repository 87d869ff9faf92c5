//! What a plugin may reach beyond its sandbox: nothing, unless the configuration says so.

use http::uri::Authority;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What the instances of one service may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Environment variables. `env = { LANG = "fr" }`.
    pub env: BTreeMap<String, String>,
    /// Folders of the host. `fs = [{ host = "data", guest = "/data", write = true, bytes = "1GiB", files = 10000 }]`;
    /// `write` is false by default, and the limits are those that stand here.
    pub fs: Vec<FolderGrant>,
    /// Where it may connect to, by TCP. `net = ["tcp:127.0.0.1:5432"]`; there is no name lookup.
    pub net: Vec<SocketAddr>,
    /// Whom it may ask by HTTP and HTTPS. `http = ["api.example.org"]`; the node looks the name up, and takes no
    /// address that is not of the public internet, or is its own or another node's. `"api.internal@10.0.0.5:8080"`
    /// names the address.
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
    /// Bytes that may lie in a folder by default.
    pub const BYTES: u64 = 1 << 30;
    /// Files, folders and links that may lie in it by default.
    pub const FILES: u64 = 10_000;
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
