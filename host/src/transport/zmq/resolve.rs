//! Resolution of endpoints: from the text that other nodes send, by a lookup of names, to the text that libzmq gets.
//!
//! libzmq would look names up in its I/O thread, which blocks all other traffic of the node meanwhile, and would not
//! report a name that does not exist. So a separate thread looks names up, and libzmq gets only addresses.

use super::error::DialError;
use super::event::Reports;
use super::uninterrupted;
use crate::config::Endpoint;
use std::net::{SocketAddr, ToSocketAddrs};
use wasmnode_core::LinkId;

/// Number of spellings of one address.
const SPELLINGS: u64 = 32;

/// Address that a link can connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialAddress {
    /// Path of a socket file.
    Ipc(String),
    /// IP address and port.
    Tcp(SocketAddr),
}

/// Parsed endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DialTarget {
    /// Address that needs no lookup.
    Known(DialAddress),
    /// Host and port; the host is a name that has to be looked up.
    Named(String),
}

/// Result of a lookup of a link's host name.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(super) link: LinkId,
    pub(super) found: Result<SocketAddr, DialError>,
}

/// Parses an endpoint.
///
/// # Errors
/// Why a link cannot connect to it.
pub(super) fn read(endpoint: &str) -> Result<DialTarget, DialError> {
    match endpoint.parse::<Endpoint>().map_err(DialError::Endpoint)? {
        Endpoint::Ipc(path) => Ok(DialTarget::Known(DialAddress::Ipc(path.to_string_lossy().into_owned()))),
        Endpoint::Tcp(address) if address.ends_with(":*") || address.ends_with(":0") => {
            Err(DialError::NoPort(endpoint.to_owned()))
        }
        Endpoint::Tcp(address) => Ok(match address.parse() {
            Ok(address) => DialTarget::Known(DialAddress::Tcp(address)),
            Err(_) => DialTarget::Named(address),
        }),
    }
}

/// Looks a host up in a thread, without a time limit, and reports the [`Lookup`].
///
/// # Errors
/// If the system has no thread left.
pub(super) fn look_up(link: LinkId, address: String, reports: Reports) -> std::io::Result<()> {
    let work = move || reports.lookup(Lookup { link, found: address_of(&address) });
    std::thread::Builder::new().name("lookup".into()).spawn(work).map(drop)
}

/// Returns the first IPv4 address, because nodes listen on IPv4 by default; the first address of all if there is none.
///
/// # Errors
/// Why the host has no address.
fn address_of(address: &str) -> Result<SocketAddr, DialError> {
    let lookup = |source| DialError::Lookup { address: address.to_owned(), source };
    let found = address.to_socket_addrs().map_err(lookup)?;
    let found: Vec<_> = found.collect();
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| DialError::NoAddress(address.to_owned()))
}

/// Listens at an endpoint.
///
/// libzmq accepts IPv6 addresses only where `ZMQ_IPV6` is set, and the option applies to everything that is bound or
/// connected afterwards: with it, an IPv4 address is bound and shown as one of IPv6. So it is set separately for each
/// endpoint, only here and in [`connect`].
///
/// # Errors
/// libzmq's reason.
pub(crate) fn bind(socket: &zmq::Socket, endpoint: &Endpoint) -> Result<(), zmq::Error> {
    socket.set_ipv6(endpoint.is_ipv6())?;
    uninterrupted(|| socket.bind(&endpoint.to_string()))
}

/// Connects to an endpoint, under the text by which libzmq identifies it.
///
/// # Errors
/// libzmq's reason.
pub(crate) fn connect(socket: &zmq::Socket, endpoint: &str, is_ipv6: bool) -> Result<(), zmq::Error> {
    socket.set_ipv6(is_ipv6)?;
    uninterrupted(|| socket.connect(endpoint))
}

impl DialAddress {
    /// Returns the address as an endpoint for libzmq, in the first free spelling from `turn` on; `None` if all are
    /// taken.
    ///
    /// libzmq identifies connections in its events by the text of their endpoint, and reports late. With redundant
    /// slashes and zeros each link has a text of its own, so that an event of its predecessor is not attributed to it.
    /// The shortest texts are not used for tcp, because libzmq would also find a link by the resolved address. A socket
    /// file's path that leaves no room for slashes has fewer spellings; the worst consequence is a link that is dialled
    /// once more.
    pub(super) fn spell(&self, turn: u64, is_free: impl Fn(&str) -> bool) -> Option<String> {
        let (room, relative) = match self {
            Self::Ipc(path) => (Endpoint::IPC_MAX.saturating_sub(path.len()), !path.starts_with('/')),
            Self::Tcp(_) => (usize::MAX, false),
        };
        let room = u64::try_from(room).unwrap_or(u64::MAX).saturating_sub(u64::from(relative));
        let spellings = SPELLINGS.min(room.saturating_add(1));
        let texts = (turn..).take(usize::try_from(spellings).unwrap_or(1)).map(|turn| {
            let more = usize::try_from(turn % spellings).unwrap_or(0);
            match self {
                Self::Ipc(path) if relative && more > 0 => format!("ipc://.{}{path}", "/".repeat(more)),
                Self::Ipc(path) => format!("ipc://{}{path}", "/".repeat(more)),
                Self::Tcp(SocketAddr::V4(to)) => format!("tcp://{}:0{}{}", to.ip(), "0".repeat(more), to.port()),
                Self::Tcp(SocketAddr::V6(to)) => format!("tcp://[{}]:0{}{}", to.ip(), "0".repeat(more), to.port()),
            }
        });
        texts.into_iter().find(|text| is_free(text))
    }

    pub(super) fn is_ipv6(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.is_ipv6())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spellings(text: &str) -> BTreeSet<String> {
        let Ok(DialTarget::Known(place)) = read(text) else { panic!("{text}") };
        (0..100).filter_map(|turn| place.spell(turn, |_| true)).collect()
    }

    #[test]
    fn an_address_has_many_spellings_and_all_fit() {
        for text in ["tcp://127.0.0.1:5555", "tcp://[::1]:5555", "ipc://a", "ipc:///run/a"] {
            assert_eq!(spellings(text).len(), 32, "{text}");
            assert!(spellings(text).iter().all(|text| text.parse::<Endpoint>().is_ok()), "{text}");
        }
        for (length, absolute, relative) in [(100, 8, 7), (106, 2, 1), (107, 1, 1)] {
            let path = "x".repeat(length);
            assert_eq!(spellings(&format!("ipc:///{}", &path[1..])).len(), absolute, "{length}");
            let of_relative = spellings(&format!("ipc://{path}"));
            assert_eq!(of_relative.len(), relative, "{length}");
            assert!(of_relative.iter().all(|text| text.len() <= Endpoint::IPC_MAX + "ipc://".len()));
        }
    }

    #[test]
    fn a_taken_spelling_is_skipped() {
        let place = DialAddress::Tcp("127.0.0.1:1".parse().unwrap());
        let first = place.spell(31, |_| true).unwrap();
        assert_ne!(place.spell(31, |text| text != first).unwrap(), first);
        assert_eq!(place.spell(31, |_| false), None);
        assert!(!spellings("tcp://127.0.0.1:1").contains("tcp://127.0.0.1:1"), "libzmq's own text");
    }

    #[test]
    fn only_what_can_be_connected_to_is_a_target() {
        for text in ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://a:00", "inproc://a", "udp://a:1", "", "ipc://@a"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("tcp://node-2:5555").unwrap(), DialTarget::Named("node-2:5555".into()));
    }
}
