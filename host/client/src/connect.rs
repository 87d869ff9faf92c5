//! Connection to an endpoint as users write it.

use std::borrow::Cow;
use std::net::{SocketAddr, ToSocketAddrs};

/// Connects `socket` to an endpoint.
///
/// Host names are resolved here, because libzmq resolves them to IPv4 addresses only. A name that does not resolve is
/// passed to libzmq, which tries again later.
///
/// # Errors
/// The error of libzmq.
pub(super) fn connect(socket: &zmq::Socket, endpoint: &str) -> Result<(), zmq::Error> {
    let endpoint = replace_wildcard(endpoint);
    let address = endpoint.strip_prefix("tcp://").and_then(address_of);
    let endpoint = address.map_or(endpoint, |address| format!("tcp://{address}").into());
    // libzmq accepts IPv6 addresses only with this option.
    socket.set_ipv6(address.is_some_and(|address| address.is_ipv6()))?;
    loop {
        match socket.connect(&endpoint) {
            Err(zmq::Error::EINTR) => {}
            connected => return connected,
        }
    }
}

/// Returns the first IPv4 address, because nodes listen there; without one, the first address.
fn address_of(address: &str) -> Option<SocketAddr> {
    let found: Vec<_> = address.to_socket_addrs().ok()?.collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// Replaces the wildcard address of a listener with the loopback address of its family.
fn replace_wildcard(endpoint: &str) -> Cow<'_, str> {
    let all = [("*", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")];
    let one = all.into_iter().find_map(|(all, one)| {
        let port = endpoint.strip_prefix("tcp://")?.strip_prefix(all)?.strip_prefix(':')?;
        Some(format!("tcp://{one}:{port}"))
    });
    one.map_or(Cow::Borrowed(endpoint), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_replaced_with_loopback() {
        for (endpoint, replaced) in [
            ("tcp://*:5555", "tcp://127.0.0.1:5555"),
            ("tcp://0.0.0.0:5555", "tcp://127.0.0.1:5555"),
            ("tcp://[::]:5555", "tcp://[::1]:5555"),
            ("tcp://10.0.0.0:5555", "tcp://10.0.0.0:5555"),
            ("ipc://*:1", "ipc://*:1"),
        ] {
            assert_eq!(replace_wildcard(endpoint), replaced);
        }
    }
}
