//! Detection of nodes that require keys, by their greeting (ZMTP 3, ZeroMQ RFC 23), because libzmq does not report why
//! a connection ended.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Timeout of each step: establishing a TCP connection, and reading from it.
const STEP_TIMEOUT: Duration = Duration::from_millis(500);

/// First bytes of a greeting: the signature, and the major version.
///
/// The node responds with its whole greeting. The next field would be the mechanism of this side, and a wrong one would
/// end the connection.
const GREETING_START: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3];

/// Length of a whole greeting. The name of the mechanism in it is padded with zeros.
const GREETING_BYTES: usize = 64;
const MECHANISM: std::ops::Range<usize> = 12..32;

/// Returns `true` if the node at an endpoint requires keys (CURVE); `None` if no greeting arrives.
pub(super) fn requires_key(endpoint: &str) -> Option<bool> {
    let greeting = match endpoint.split_once("://")? {
        ("tcp", address) => address.to_socket_addrs().ok()?.find_map(|address| {
            let stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT).ok()?;
            stream.set_read_timeout(Some(STEP_TIMEOUT)).and_then(|()| exchange_greetings(stream)).ok()
        }),
        ("ipc", path) => {
            let stream = UnixStream::connect(path).ok()?;
            stream.set_read_timeout(Some(STEP_TIMEOUT)).and_then(|()| exchange_greetings(stream)).ok()
        }
        _ => None,
    };
    greeting.map(|greeting| greeting[MECHANISM].starts_with(b"CURVE\0"))
}

fn exchange_greetings(mut stream: impl Read + Write) -> io::Result<[u8; GREETING_BYTES]> {
    let mut greeting = [0; GREETING_BYTES];
    stream.write_all(&GREETING_START)?;
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
    /// Later connections receive a greeting with `mechanism`; without one, the listener closes.
    fn error_after_ended_connections(first: usize, mechanism: Option<&'static [u8]>) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(first) {
                drop(stream);
            }
            let Some(mechanism) = mechanism else { return };
            for stream in listener.incoming().flatten() {
                let mut greeting = [&GREETING_START[..], &[1], mechanism].concat();
                greeting.resize(GREETING_BYTES, 0);
                let _the_client_may_be_gone =
                    (&stream).write_all(&greeting).and_then(|()| (&stream).read(&mut [0; 11]));
            }
        });
        Client::connect(&endpoint).unwrap().wait_for_connection().unwrap_err()
    }

    #[test]
    fn a_node_that_ends_connections_and_then_stops_is_unreachable() {
        let error = error_after_ended_connections(2, None);
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_node_that_ends_connections_and_greets_with_curve_requires_a_key() {
        let error = error_after_ended_connections(2, Some(b"CURVE"));
        assert!(error.to_string().contains("no key was presented"), "{error}");
    }

    #[test]
    fn a_node_that_greets_without_curve_requires_no_key() {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::ROUTER).unwrap();
        socket.bind("tcp://127.0.0.1:*").unwrap();
        assert_eq!(requires_key(&socket.get_last_endpoint().unwrap().unwrap()), Some(false));
        let folder = tempfile::tempdir().unwrap();
        let ipc = format!("ipc://{}", folder.path().join("socket").display());
        socket.bind(&ipc).unwrap();
        assert_eq!(requires_key(&ipc), Some(false));
        assert_eq!(requires_key("ipc://nowhere"), None);
    }
}
