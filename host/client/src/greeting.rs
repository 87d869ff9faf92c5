//! Detection of nodes that require keys, by their greeting (ZMTP 3, ZeroMQ RFC 23): libzmq does not report why a
//! connection ended.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Timeout of each step: establishing a TCP connection, and reading from it.
const PATIENCE: Duration = Duration::from_millis(500);

/// First bytes of a greeting: the signature, and the major version.
///
/// The node responds with its whole greeting. The next field would be the mechanism of this side, and a wrong one would
/// end the connection.
const BEGINNING: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3];

/// Length of a whole greeting. The name of the mechanism in it is padded with zeros.
const GREETING_BYTES: usize = 64;
const MECHANISM: std::ops::Range<usize> = 12..32;

/// Returns `true` if the node at an endpoint requires keys (CURVE); `None` if no greeting arrives.
pub(super) fn asks_for_key(endpoint: &str) -> Option<bool> {
    let greeting = match endpoint.split_once("://")? {
        ("tcp", address) => address.to_socket_addrs().ok()?.find_map(|address| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).and_then(|()| greeted(stream)).ok()
        }),
        ("ipc", path) => {
            let stream = UnixStream::connect(path).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).and_then(|()| greeted(stream)).ok()
        }
        _ => None,
    };
    greeting.map(|greeting| greeting[MECHANISM].starts_with(b"CURVE\0"))
}

fn greeted(mut stream: impl Read + Write) -> io::Result<[u8; GREETING_BYTES]> {
    let mut greeting = [0; GREETING_BYTES];
    stream.write_all(&BEGINNING)?;
    stream.read_exact(&mut greeting)?;
    Ok(greeting)
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Error};
    use super::*;
    use std::net::TcpListener;

    /// Returns the error of a client whose first connections are ended immediately.
    ///
    /// Later connections are greeted with `mechanism`; without one, the listener closes.
    fn answer_of_one_that_ends_connections(first: usize, mechanism: Option<&'static [u8]>) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(first) {
                drop(stream);
            }
            let Some(mechanism) = mechanism else { return };
            for stream in listener.incoming().flatten() {
                let mut greeting = [&BEGINNING[..], &[1], mechanism].concat();
                greeting.resize(GREETING_BYTES, 0);
                let _the_client_may_be_gone =
                    (&stream).write_all(&greeting).and_then(|()| (&stream).read(&mut [0; 11]));
            }
        });
        Client::connect(&endpoint).unwrap().wait_for_connection().unwrap_err()
    }

    #[test]
    fn a_node_that_ends_connections_and_is_gone_does_not_answer_and_asks_for_no_key() {
        let error = answer_of_one_that_ends_connections(2, None);
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_node_that_ends_connections_and_greets_with_curve_asks_for_a_key() {
        let error = answer_of_one_that_ends_connections(2, Some(b"CURVE"));
        assert!(error.to_string().contains("no key was shown"), "{error}");
    }

    #[test]
    fn who_greets_without_keys_asks_for_none() {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::ROUTER).unwrap();
        socket.bind("tcp://127.0.0.1:*").unwrap();
        assert_eq!(asks_for_key(&socket.get_last_endpoint().unwrap().unwrap()), Some(false));
        let folder = tempfile::tempdir().unwrap();
        let ipc = format!("ipc://{}", folder.path().join("socket").display());
        socket.bind(&ipc).unwrap();
        assert_eq!(asks_for_key(&ipc), Some(false));
        assert_eq!(asks_for_key("ipc://nowhere"), None);
    }
}
