//! One HTTP/1.1 exchange with a host: its name is resolved once, the addresses are checked, and the connection goes to
//! one that passed.

use crate::host_state::blocking::Blocking;
use crate::host_state::egress::Response;
use crate::host_state::egress_policy::{self, Denied, NodeAddresses};
use bytes::Bytes;
use http::Request;
use http::uri::{PathAndQuery, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Timeout of a step of an exchange if the guest sets none; the deadline of its request is usually shorter.
const LONGEST: Duration = Duration::from_secs(600);

/// The rest of an exchange, which drives the connection.
pub(crate) type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Host that a request is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EgressTarget {
    /// Name or address; an IPv6 address has no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Address in the grant; without one, the name is looked up.
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_encrypted: bool,
}

/// Name look-ups of one service.
#[derive(Debug, Clone)]
pub(crate) struct Lookups {
    /// Threads for look-ups, which cannot be cancelled while a name server does not answer. Separate from the threads
    /// for files, so that neither kind delays the other.
    blocking: Blocking,
    addresses: Arc<NodeAddresses>,
}

/// Reason why there is no response.
#[derive(Debug)]
pub(crate) enum ExchangeFailure {
    /// The host's name resolves only to addresses that are denied to guests.
    Denied(SocketAddr, Denied),
    /// Anything else.
    Http(Error),
}

impl From<Error> for ExchangeFailure {
    fn from(error: Error) -> Self {
        Self::Http(error)
    }
}

impl fmt::Display for ExchangeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(address, why) => write!(f, "its name resolves to {}, {why}", address.ip()),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl Lookups {
    pub(crate) fn new(addresses: Arc<NodeAddresses>) -> Self {
        Self { blocking: Blocking::new(), addresses }
    }

    /// Resolves a host, and returns the addresses that may be reached.
    async fn resolve(&self, target: &EgressTarget) -> Result<Vec<SocketAddr>, ExchangeFailure> {
        if let Some(address) = target.address {
            return Ok(vec![(address, target.port).into()]);
        }
        let dns_error = |error: &dyn fmt::Display| Error::DnsError { rcode: Some(error.to_string()), info_code: None };
        let (host, port, addresses) = (target.host.clone(), target.port, Arc::clone(&self.addresses));
        let lookup = self.blocking.run(move || {
            let found = (host.as_str(), port).to_socket_addrs()?;
            Ok::<_, std::io::Error>(
                found.map(|address| (address, egress_policy::check(address, &addresses))).collect::<Vec<_>>(),
            )
        });
        let found = lookup.await.map_err(|error| dns_error(&error))?.map_err(|error| dns_error(&error))?;
        let passed: Vec<SocketAddr> = found.iter().filter(|(_, verdict)| verdict.is_ok()).map(|(it, _)| *it).collect();
        match found.first() {
            Some((address, Err(why))) if passed.is_empty() => Err(ExchangeFailure::Denied(*address, *why)),
            _ => Ok(passed),
        }
    }
}

/// Sends a request, and returns the response once its head has arrived.
pub(crate) async fn exchange(
    lookups: &Lookups,
    target: &EgressTarget,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<(Response, Rest), ExchangeFailure> {
    let options = options.unwrap_or_default();
    let within = options.connect_timeout.unwrap_or(LONGEST);
    // The connection is made to the host itself and not to a proxy, so the request line has the path alone (RFC 9112,
    // 3.2.1).
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let connect = async {
        let addresses = lookups.resolve(target).await?;
        TcpStream::connect(&*addresses).await.map_err(|error| ExchangeFailure::Http(Error::Connect(error)))
    };
    let stream = timeout(within, connect).await.map_err(|_| Error::ConnectionTimeout)??;
    if target.is_encrypted {
        let stream = timeout(within, encrypt(&target.host, stream)).await.map_err(|_| Error::ConnectionTimeout)??;
        Ok(talk(stream, request, options).await?)
    } else {
        Ok(talk(stream, request, options).await?)
    }
}

/// Encrypts a connection with TLS; trusts the root certificates of browsers.
async fn encrypt(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    static CONFIG: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().ok()?;
        Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    });
    let config = CONFIG.clone().ok_or(Error::ConfigurationError)?;
    let name = ServerName::try_from(host.to_owned())?;
    TlsConnector::from(config).connect(name, stream).await.map_err(Error::Tls)
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response, Rest), Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let first = options.first_byte_timeout.unwrap_or(LONGEST);
    let sent = timeout(first, sender.send_request(request));
    tokio::pin!(sent);
    // Drives the connection until the head of the response has arrived; after that, `rest` does.
    let (response, is_over) = tokio::select! {
        biased;
        sent = &mut sent => (sent, false),
        over = &mut connection => {
            over?;
            (sent.await, true)
        }
    };
    let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
    let pause = options.between_bytes_timeout.unwrap_or(LONGEST);
    let response = response.map(|body| Paced { body, pause, waited: Box::pin(sleep(pause)) }.boxed_unsync());
    let rest = async move { if is_over { Ok(()) } else { connection.await.map_err(Error::from) } };
    Ok((response, Box::new(rest)))
}

/// Body of a response, which fails if no data arrives for too long.
struct Paced {
    body: Incoming,
    pause: Duration,
    waited: Pin<Box<Sleep>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let until = tokio::time::Instant::now() + self.pause;
                self.waited.as_mut().reset(until);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => self.waited.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn get(target: &EgressTarget) -> Result<(Response, Rest), ExchangeFailure> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get("http://a.example/x?y").body(body).unwrap();
        run(exchange(&Lookups::new(Arc::default()), target, request, None))
    }

    fn target(host: &str, port: u16, address: Option<&str>) -> EgressTarget {
        let address = address.map(|address| address.parse().unwrap());
        EgressTarget { host: host.into(), port, address, is_encrypted: false }
    }

    #[test]
    fn a_name_that_resolves_to_this_machine_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        // The last three are names to the parser, and addresses to the system's resolver.
        for host in ["localhost", "127.1", "2130706433", "0x7f000001"] {
            let failed = get(&target(host, port, None)).err();
            assert!(matches!(failed, Some(ExchangeFailure::Denied(_, Denied::NotPublic))), "{host}: {failed:?}");
        }
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "a connection was made");
    }

    #[test]
    fn a_host_with_a_granted_address_receives_requests_at_that_address_and_under_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut received = [0; 1024];
            let length = stream.read(&mut received).unwrap();
            stream.write_all(b"HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&received[..length]).into_owned()
        });
        let (response, _) = get(&target("nobody.invalid", port, Some("127.0.0.1"))).unwrap();
        assert_eq!(response.status(), 204);
        assert!(server.join().unwrap().starts_with("GET /x?y HTTP/1.1\r\n"));
    }

    #[test]
    fn an_encrypted_connection_names_the_host_and_not_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let mut hello = [0; 2048];
            let length = listener.accept().unwrap().0.read(&mut hello).unwrap();
            hello[..length].to_vec()
        });
        let target = EgressTarget { is_encrypted: true, ..target("nobody.invalid", port, Some("127.0.0.1")) };
        assert!(matches!(get(&target).err(), Some(ExchangeFailure::Http(Error::Tls(_)))));
        let hello = server.join().unwrap();
        assert!(hello.windows(14).any(|bytes| bytes == b"nobody.invalid"));
    }
}
