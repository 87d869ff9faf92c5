//! Connecting to an endpoint as a user writes it.

use std::borrow::Cow;
use std::net::{SocketAddr, ToSocketAddrs};

/// Connects to an endpoint. A host's name is looked up here, as libzmq would look for IPv4 addresses only; one that has
/// no address is left to libzmq, which looks again later.
///
/// # Errors
/// libzmq's reason.
pub(super) fn connect(socket: &zmq::Socket, endpoint: &str) -> Result<(), zmq::Error> {
    let endpoint = on_this_machine(endpoint);
    let address = endpoint.strip_prefix("tcp://").and_then(address_of);
    let endpoint = address.map_or(endpoint, |address| format!("tcp://{address}").into());
    // libzmq takes IPv6 addresses only where this is set.
    socket.set_ipv6(address.is_some_and(|address| address.is_ipv6()))?;
    loop {
        match socket.connect(&endpoint) {
            Err(zmq::Error::EINTR) => {}
            connected => return connected,
        }
    }
}

/// The first IPv4 address, as nodes listen there; the first of all if there is none.
fn address_of(address: &str) -> Option<SocketAddr> {
    let found: Vec<_> = address.to_socket_addrs().ok()?.collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// Where a client of this machine finds who listens at all of its addresses: at the loopback address of that family.
fn on_this_machine(endpoint: &str) -> Cow<'_, str> {
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
    fn who_listens_at_all_addresses_is_found_at_one() {
        for (listened, found) in [
            ("tcp://*:5555", "tcp://127.0.0.1:5555"),
            ("tcp://0.0.0.0:5555", "tcp://127.0.0.1:5555"),
            ("tcp://[::]:5555", "tcp://[::1]:5555"),
            ("tcp://10.0.0.0:5555", "tcp://10.0.0.0:5555"),
            ("ipc://*:1", "ipc://*:1"),
        ] {
            assert_eq!(on_this_machine(listened), found);
        }
    }
}
