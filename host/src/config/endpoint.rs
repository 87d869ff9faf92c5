//! ZeroMQ endpoints, and which of them a node may listen on.
//!
//! Without keys, only file permissions and the machine's boundary keep strangers out. So a node listens only where one
//! of the two applies, on a socket file with a path or a loopback address, unless it has keys or is configured as
//! insecure.

use super::value::quoted;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wasmnode_core::{InvalidLabel, Label, text};

/// ZeroMQ endpoint; displayed in ZeroMQ's notation, and parsed from it.
///
/// ```
/// use wasmnode::config::Endpoint;
///
/// let endpoint: Endpoint = "tcp://127.0.0.1:5555".parse()?;
/// assert_eq!(endpoint, Endpoint::Tcp("127.0.0.1:5555".into()));
/// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:5555");
/// # Ok::<(), wasmnode::config::InvalidEndpoint>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Unix socket, by the path of its file: at most 107 bytes, relative to the current folder.
    Ipc(PathBuf),
    /// Host and port, as in `127.0.0.1:5555` or `[::1]:5555`. Port `*` or 0 is any free one, for listening only.
    Tcp(String),
}

/// Endpoint of another process, with the name under which its key is trusted: `node1@tcp://10.0.0.1:5555`, or without a
/// name `tcp://127.0.0.1:5555`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Name of the process, if it is given.
    pub name: Option<Label>,
    /// Endpoint that it listens on.
    pub endpoint: Endpoint,
}

impl FromStr for Contact {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (name, endpoint) = match text.split_once('@') {
            Some((name, endpoint)) if endpoint.contains("://") => {
                let problem =
                    |error: InvalidLabel| InvalidEndpoint(format!("{}: {} {error}", quoted(text), quoted(name)));
                (Some(name.parse().map_err(problem)?), endpoint)
            }
            _ => (None, text),
        };
        Ok(Self { name, endpoint: endpoint.parse()? })
    }
}

/// Mistake in an endpoint, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEndpoint(String);

impl Endpoint {
    /// Longest path of a Unix socket, in bytes: that of `sun_path` without its final zero.
    pub const IPC_MAX: usize = 107;

    /// Returns `true` if the endpoint can be used only on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ipc(_) => true,
            Self::Tcp(address) => address.rsplit_once(':').is_some_and(|(host, _)| is_loopback(host)),
        }
    }

    /// Returns `true` for an IPv6 address, which needs an option of ZeroMQ.
    #[must_use]
    pub(crate) fn is_ipv6(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.starts_with('['))
    }

    /// Returns `true` if the endpoint covers every address of the machine, so that it cannot be dialled.
    pub(super) fn is_wildcard(&self) -> bool {
        let Self::Tcp(address) = self else { return false };
        address.rsplit_once(':').is_some_and(|(host, _)| ["*", "0.0.0.0", "[::]"].contains(&host))
    }

    /// Returns `true` if it can be dialled.
    #[must_use]
    pub fn is_dialable(&self) -> bool {
        let is_any_port = |address: &str| address.ends_with(":*") || address.ends_with(":0");
        !self.is_wildcard() && !matches!(self, Self::Tcp(address) if is_any_port(address))
    }

    /// Returns the endpoint in a form that another process of this machine can dial from any current folder; relative
    /// paths start at `folder`.
    pub(super) fn to_dial(&self, folder: &Path) -> Result<Self, InvalidEndpoint> {
        match self {
            Self::Ipc(path) => {
                let path = folder.join(path);
                check_socket(std::path::absolute(&path).unwrap_or(path)).map(Self::Ipc)
            }
            Self::Tcp(_) if !self.is_dialable() => {
                let shown = quoted(&self.to_string());
                Err(InvalidEndpoint(format!("{shown} cannot be dialled; write host and port of one node")))
            }
            Self::Tcp(_) => self.to_listen(folder, true),
        }
    }

    /// Returns the endpoint to listen on, if it is allowed: a relative path starts at `folder`, and `localhost` is
    /// 127.0.0.1, because a lookup might return any address.
    pub(super) fn to_listen(&self, folder: &Path, is_anywhere: bool) -> Result<Self, InvalidEndpoint> {
        match self {
            Self::Ipc(path) => check_socket(folder.join(path)).map(Self::Ipc),
            Self::Tcp(_) if !self.is_local() && !is_anywhere => Err(InvalidEndpoint(format!(
                "{}: listening beyond this machine without keys would give access to everyone; make some with `wasmnode keygen` \
                 and set security.keys = \"keys\", or write 127.0.0.1 for the host, or security.insecure = true if \
                 no other user can reach it",
                quoted(&self.to_string())
            ))),
            Self::Tcp(address) => Ok(Self::Tcp(match address.strip_prefix("localhost:") {
                Some(port) => format!("127.0.0.1:{port}"),
                None => address.clone(),
            })),
        }
    }

    /// Returns `true` if a node cannot listen on both endpoints. ZeroMQ itself does not report two equal socket files:
    /// the second takes the path from the first.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ipc(a), Self::Ipc(b)) => a == b || std::path::absolute(a).ok() == std::path::absolute(b).ok(),
            (Self::Tcp(a), Self::Tcp(b)) => a == b && !a.ends_with(":*") && !a.ends_with(":0"),
            _ => false,
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = text.strip_prefix("ipc://") {
            return check_socket(path.into()).map(Self::Ipc);
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            return parse_tcp(address)
                .map(Self::Tcp)
                .map_err(|what| InvalidEndpoint(format!("{}: {what}", quoted(text))));
        }
        let remedy = "write \"ipc://node.ipc\" or \"tcp://127.0.0.1:5555\"";
        Err(InvalidEndpoint(format!("{} is not an endpoint; {remedy}", quoted(text))))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidEndpoint {}

fn check_socket(path: PathBuf) -> Result<PathBuf, InvalidEndpoint> {
    let shown = quoted(&format!("ipc://{}", path.display()));
    let problem = match path.to_str() {
        None => "the path is not UTF-8, which ZeroMQ needs; write an absolute path that is".into(),
        Some("") => "has no path; write \"ipc://node.ipc\"".into(),
        Some(text) if text.starts_with('@') || path.ends_with("*") => {
            "no file permissions would protect it; write a path such as \"ipc://node.ipc\"".into()
        }
        Some(path) if !text::is_line(path) => "the path has a character that is not shown; rename it".into(),
        Some(text) if text.len() > Endpoint::IPC_MAX => format!(
            "the path has {} bytes, and a Unix socket's may have {}; write a shorter one, such as \
             \"ipc:///tmp/node.ipc\"",
            text.len(),
            Endpoint::IPC_MAX
        ),
        Some(_) => return Ok(path),
    };
    Err(InvalidEndpoint(format!("{shown}: {problem}")))
}

/// Checks host and port; returns them with the port in its plain form.
fn parse_tcp(address: &str) -> Result<String, &'static str> {
    const FORM: &str = "expected a host and a port; write \"tcp://127.0.0.1:5555\"";
    const PORT: &str = "the port is a number from 0 to 65535, or '*' for any free one";
    let (host, port) = address.rsplit_once(':').ok_or(FORM)?;
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || !text::is_shown(c) || "/;@".contains(c)) {
        return Err(FORM);
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.contains([':', '[', ']']) && bare.is_none_or(|host| host.parse::<Ipv6Addr>().is_err()) {
        return Err("an IPv6 address needs brackets; write \"tcp://[::1]:5555\"");
    }
    if port == "*" {
        return Ok(address.into());
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PORT);
    }
    let port: u16 = port.parse().map_err(|_| PORT)?;
    Ok(format!("{host}:{port}"))
}

fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_text() {
        for text in
            ["ipc://a.ipc", "ipc:///run/a b.ipc", "tcp://127.0.0.1:*", "tcp://[::1]:0", "tcp://example.org:65535"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("tcp://localhost:007".parse::<Endpoint>().unwrap().to_string(), "tcp://localhost:7");
    }

    #[test]
    fn endpoints_that_zeromq_would_misread_are_rejected() {
        for text in [
            "",
            "a",
            "a.ipc",
            "inproc://a",
            "IPC://a",
            "ipc://",
            "ipc://@",
            "ipc://@a",
            "ipc://*",
            "ipc://a\0",
            "ipc://a\nb",
            "tcp://",
            "tcp://:1",
            "tcp://a",
            "tcp://a:",
            "tcp://a:-1",
            "tcp://a:+1",
            "tcp://a:65536",
            "tcp://a:1:2",
            "tcp://::1:5555",
            "tcp://[::1]",
            "tcp://[::1:1",
            "tcp://[a]:1",
            "tcp://a b:1",
            "tcp://a;b:1",
            "tcp://a:1;b:2",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_loopback_hosts_are_local() {
        let is_local = |text: &str| text.parse::<Endpoint>().unwrap().is_local();
        for text in ["tcp://127.0.0.1:1", "tcp://127.255.0.9:*", "tcp://[::1]:1", "tcp://localhost:1", "ipc://a"] {
            assert!(is_local(text), "{text}");
        }
        for text in ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://eth0:1", "tcp://localhost.example.org:1"] {
            assert!(!is_local(text), "{text}");
        }
    }

    #[test]
    fn only_a_complete_endpoint_can_be_dialled() {
        let dial = |text: &str| text.parse::<Endpoint>().unwrap().to_dial(Path::new("/etc")).map(|end| end.to_string());
        assert_eq!(dial("ipc://a.ipc").unwrap(), "ipc:///etc/a.ipc");
        assert_eq!(dial("tcp://localhost:1").unwrap(), "tcp://127.0.0.1:1");
        assert_eq!(dial("tcp://example.org:1").unwrap(), "tcp://example.org:1");
        for bad in ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:*"] {
            assert!(dial(bad).unwrap_err().to_string().contains("cannot be dialled"), "{bad}");
        }
    }

    #[test]
    fn a_socket_file_starts_at_the_folder_and_must_fit() {
        let listen = |text: &str, folder: &str| text.parse::<Endpoint>().unwrap().to_listen(Path::new(folder), false);
        assert_eq!(listen("ipc://a", "").unwrap().to_string(), "ipc://a");
        assert_eq!(listen("ipc://a", "etc").unwrap().to_string(), "ipc://etc/a");
        assert_eq!(listen("ipc:///run/a", "etc").unwrap().to_string(), "ipc:///run/a");
        assert_eq!(listen("tcp://localhost:1", "etc").unwrap().to_string(), "tcp://127.0.0.1:1");
        assert!(listen("ipc://a", &"x".repeat(105)).is_ok());
        assert!(listen("ipc://a", &"x".repeat(106)).unwrap_err().to_string().contains("has 108 bytes"));
        assert!(listen("ipc://a", "@etc").is_err(), "an abstract socket by the name of its folder");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_not_utf8_is_rejected() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
        assert!(Endpoint::Ipc("a".into()).to_listen(folder, false).unwrap_err().to_string().contains("not UTF-8"));
    }
}
