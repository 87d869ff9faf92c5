//! Policy for the addresses that a guest may reach by a name, which a foreign name server resolves.
//!
//! A grant that names an address grants that address without further checks. A grant that names a host grants only
//! public addresses that the name resolves to: the owner of the name must not choose an address that only this machine
//! or its network reaches, such as a database on loopback or the metadata service of a cloud. [`check`] therefore
//! denies
//!
//! - addresses that are not globally reachable (RFC 6890): loopback, private, link-local, shared (RFC 6598), multicast,
//!   reserved, and IPv6 addresses that carry one of these in IPv4 (mapped, 6to4, NAT64) or hide it (Teredo);
//! - addresses of this machine, on any port;
//! - addresses on which this node, its peers and its neighbours listen.
//!
//! The name is resolved once, and the connection is made to an address that was checked, so a second answer of the name
//! server has no effect.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// Largest number of stored addresses: more than a zone has members.
const MAX_ADDRESSES: usize = 100_000;

/// Reason why an address may not be reached by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The address is not globally reachable.
    NotPublic,
    /// The address belongs to this machine.
    Own,
    /// A node of this zone, or a neighbour, listens on the address.
    Node,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublic => "not an address of the public internet",
            Self::Own => "an address of this machine",
            Self::Node => "where a node or a router listens",
        })
    }
}

/// Addresses on which this node, its peers and its neighbours listen by TCP: host and port, with the number of reports.
#[derive(Debug, Default)]
pub struct NodeAddresses(Mutex<BTreeMap<String, usize>>);

impl NodeAddresses {
    /// Adds a report that a node listens on an address, `host:port`.
    pub fn add(&self, address: &str) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() < MAX_ADDRESSES || addresses.contains_key(address) {
            *addresses.entry(address.to_owned()).or_default() += 1;
        }
    }

    /// Removes one such report.
    pub fn remove(&self, address: &str) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(address);
            }
        }
    }

    /// Returns `true` if a node listens on an address. Resolves the names that are stored with its port, which may
    /// block.
    fn has(&self, address: SocketAddr) -> bool {
        let port = format!(":{}", address.port());
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same_port: Vec<String> = addresses.keys().filter(|known| known.ends_with(&port)).cloned().collect();
        drop(addresses);
        let is_there = |found: SocketAddr| found.ip().to_canonical() == address.ip().to_canonical();
        same_port.iter().filter_map(|known| known.to_socket_addrs().ok()).flatten().any(is_there)
    }
}

/// Checks that a guest may reach an address by a name that resolves to it. May block, see [`NodeAddresses::has`].
///
/// # Errors
/// The reason, if it may not.
pub(crate) fn check(address: SocketAddr, addresses: &NodeAddresses) -> Result<(), Denied> {
    match () {
        () if !is_public(address.ip()) => Err(Denied::NotPublic),
        () if is_own(address) => Err(Denied::Own),
        () if addresses.has(address) => Err(Denied::Node),
        () => Ok(()),
    }
}

/// Returns `true` if an address is globally reachable, by the registries of RFC 6890.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!(
            address.octets(),
            // This network; shared (RFC 6598); protocol assignments; 6to4 relays; benchmarks; multicast and reserved.
            [0, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [224..=255, ..]
        );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address that they carry.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => is_public_v4(v4(g, h)),
        (0x2002, _) => is_public_v4(v4(b, c)),
        // Protocol assignments, Teredo among them, and documentation (RFC 3849, RFC 9637).
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        // Everything else that is assigned as global unicast (RFC 4291).
        _ => a & 0xe000 == 0x2000,
    }
}

/// Returns `true` if an address belongs to this machine. The kernel reads that from its routing table, which gives the
/// source address for a destination; nothing is sent.
fn is_own(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()));
    from.is_ok_and(|from| from.ip().to_canonical() == address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_public(address: &str) -> bool {
        super::is_public(address.parse().unwrap())
    }

    #[test]
    fn local_and_private_addresses_are_not_public() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
            "64:ff9b:1::1",
        ] {
            assert!(!is_public(inside), "{inside}");
        }
        for outside in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255"]
        {
            assert!(is_public(outside), "{outside}");
        }
        for outside in ["2606:4700::1111", "2a00:1450::8a", "2001:4860:4860::8888"] {
            assert!(is_public(outside), "{outside}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_is_checked_as_ipv4() {
        for inside in [
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:a00:1::1",
            "2001:0:53aa:64c:0:0:80ff:fffe",
        ] {
            assert!(!is_public(inside), "{inside}");
        }
        for outside in ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"] {
            assert!(is_public(outside), "{outside}");
        }
    }

    #[test]
    fn the_addresses_of_this_machine_are_its_own() {
        assert!(is_own("127.0.0.1:80".parse().unwrap()));
        assert!(!is_own("1.1.1.1:80".parse().unwrap()));
    }

    #[test]
    fn the_address_of_a_node_is_denied_until_the_node_has_left() {
        let addresses = NodeAddresses::default();
        let there: SocketAddr = "1.2.3.4:5555".parse().unwrap();
        addresses.add("1.2.3.4:5555");
        addresses.add("1.2.3.4:5555");
        assert_eq!(check(there, &addresses), Err(Denied::Node));
        assert_eq!(check("1.2.3.4:55555".parse().unwrap(), &addresses), Ok(()));
        addresses.remove("1.2.3.4:5555");
        assert_eq!(check(there, &addresses), Err(Denied::Node), "reported twice");
        addresses.remove("1.2.3.4:5555");
        assert_eq!(check(there, &addresses), Ok(()));
        assert_eq!(check("127.0.0.1:5555".parse().unwrap(), &addresses), Err(Denied::NotPublic));
    }
}
