//! Connection of a command to a node: the endpoint, and the keys to present.

use super::Failed;
use super::keys::DEFAULT_KEYS;
use clap::Args;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use wasmnode::config::{Config, Contact, Endpoint};
use wasmnode::keys::Keys;
use wasmnode::suggestion::nearest;
use wasmnode_client::Key;
use wasmnode_client::{Client, Credentials};
use wasmnode_core::Label;

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The node's endpoint; with keys, its name comes before: node1@tcp://10.0.0.1:5555. By default the first endpoint
    /// in the file of --config, or $WASMNODE_TO; without both, ipc://wasmnode.ipc if a node listens there in this
    /// folder, else tcp://127.0.0.1:5555
    #[arg(long, value_name = "[NAME@]ENDPOINT", global = true)]
    pub(super) to: Option<Contact>,
    /// The folder of the keys to present; by default security.keys in the file of --config, or keys where --to has a
    /// name
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(super) keys: Option<PathBuf>,
}

impl ConnectArgs {
    /// Returns `true` if the command line names the node.
    pub(super) fn is_named(&self) -> bool {
        self.to.is_some()
    }

    /// Connects to that node.
    pub(super) fn connect(&self, config: Option<&Path>) -> Result<Client, Failed> {
        let config = config.map(Config::load).transpose()?;
        let contact = match (&self.to, &config) {
            (Some(contact), _) => contact.clone(),
            (None, Some(config)) => {
                let first = config.listen.first().cloned();
                Contact { name: None, endpoint: first.unwrap_or_else(default_endpoint) }
            }
            (None, None) => Contact { name: None, endpoint: default_endpoint() },
        };
        let of_config = config.as_ref().and_then(|config| config.keys.as_deref());
        let default = contact.name.is_some().then_some(Path::new(DEFAULT_KEYS));
        connect(&contact, self.keys.as_deref().or(of_config).or(default), config.as_ref())
    }
}

/// Returns the default endpoint of a node without a configuration: ipc if a node listens in the current folder, because
/// ipc gives the node's own user more rights; else tcp.
fn default_endpoint() -> Endpoint {
    const SOCKET: &str = "wasmnode.ipc";
    if is_bound(Path::new(SOCKET)) { Endpoint::Ipc(SOCKET.into()) } else { Endpoint::Tcp("127.0.0.1:5555".into()) }
}

/// Returns `true` if a process listens on a socket file. The check makes no connection, which a node with keys would
/// count as rejected: a datagram socket cannot connect to a node's stream socket, and the error shows whether there is
/// one.
fn is_bound(file: &Path) -> bool {
    let refused = UnixDatagram::unbound().and_then(|probe| probe.connect(file));
    refused.is_err_and(|error| error.raw_os_error() == Some(libc::EPROTOTYPE))
}

/// Connects to a node, with the keys in `folder` for tcp endpoints. `config` is the configuration of the node that owns
/// those keys.
pub(super) fn connect(contact: &Contact, folder: Option<&Path>, config: Option<&Config>) -> Result<Client, Failed> {
    let endpoint = contact.endpoint.to_string();
    let (Endpoint::Tcp(_), Some(folder)) = (&contact.endpoint, folder) else {
        return Ok(Client::connect(&endpoint)?);
    };
    let keys = Keys::load(folder)?;
    let is_own = |name: &Label| config.is_some_and(|config| config.node.name == *name);
    let node: Option<Key> = match &contact.name {
        // The node that the configuration belongs to.
        None if config.is_some() => Some(keys.own.public),
        Some(name) if is_own(name) => Some(keys.own.public),
        Some(name) => Some(keys.key_of(name).ok_or_else(|| {
            let near = nearest(name.as_str(), keys.trusted.keys().map(Label::as_str));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let folder = folder.display();
            let message = format!("no key of {name} is trusted in {folder}; first: wasmnode trust {name} KEY{hint}");
            Failed { message, exit: 1 }
        })?),
        None => None,
    };
    let node = node.ok_or_else(|| Failed {
        message: format!("the node's key cannot be checked without its name; write --to NAME@{endpoint}"),
        exit: 2,
    })?;
    Ok(Client::connect_with(&endpoint, &Credentials { own: keys.own, node })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_listener_at_a_socket_file_is_detected_without_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.ipc");
        assert!(!is_bound(&file), "there is no file");
        let listener = UnixListener::bind(&file).unwrap();
        assert!(is_bound(&file));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "no connection was made");
        drop(listener);
        assert!(!is_bound(&file), "the file was left behind");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(!is_bound(&file), "it is not a socket");
    }
}
