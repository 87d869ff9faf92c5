//! Outgoing HTTP requests of plugins: only to hosts that `http` grants, and with a limit on concurrent ones.
//!
//! Each request is checked before its name is looked up; no redirect is followed. The request is sent exactly as it was
//! checked: the compared host and port are written back into it, and the connection goes to an address that was also
//! checked (`exchange.rs`).

use crate::calls::RunId;
use crate::host_state::egress_policy::Denied;
use crate::host_state::exchange::{EgressTarget, ExchangeFailure, Rest, exchange};
use crate::host_state::wasi_context::ServiceContext;
use crate::settings::HttpGrant;
use http::Request;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::Level;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

/// Largest number of requests of one instance in flight; each uses a socket of the node.
const MAX_AT_A_TIME: usize = 16;

/// Size of a chunk of an outgoing body, in bytes; the host buffers two.
const CHUNK: usize = 16 << 10;

/// Largest size of the headers of one message, in bytes.
const MAX_HEADERS: usize = 32 << 10;

pub(crate) type Response = http::Response<WasiBody>;

/// Sends or rejects the outgoing requests of one instance.
pub(crate) struct Egress {
    context: Arc<ServiceContext>,
    free: Arc<Semaphore>,
    /// Request that the instance serves.
    request: RunId,
}

impl Egress {
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, free: Arc::new(Semaphore::new(MAX_AT_A_TIME)), request: RunId(0) }
    }

    /// Sets the request that is served next.
    pub(crate) fn begin(&mut self, request: RunId) {
        self.request = request;
    }

    /// Checks a request against the grants, writes the granted host and port into it, and returns the target of the
    /// connection.
    fn authorize(&self, request: &mut Request<WasiBody>) -> Result<EgressTarget, Error> {
        let uri = request.uri();
        let wanted = uri.authority().and_then(|authority| target(authority, uri.scheme()));
        let grant = |wanted: &HttpGrant| self.context.settings.grants.http.iter().find(|it| grants(it, uri, wanted));
        let Some((wanted, grant)) = wanted.and_then(|wanted| grant(&wanted).map(|grant| (wanted, grant))) else {
            let service = &self.context.service;
            let requested = uri.authority().map_or("no host", Authority::as_str);
            let line = format!("a request to {requested} is refused: service.{service}.http does not grant it");
            self.context.log.line(Level::WARN, self.request, &line);
            return Err(Error::HttpRequestDenied);
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTPS);
        let port = wanted.port.unwrap_or_else(|| usual_port(Some(&scheme)));
        let host = wanted.host.trim_matches(['[', ']']).to_owned();
        // If the host is an address, the grant names that address.
        let address = grant.address.or_else(|| host.parse().ok());
        let target = EgressTarget { host, port, address, is_encrypted: scheme != Scheme::HTTP };
        let authorized = Uri::builder().scheme(scheme).authority(wanted.to_string()).path_and_query(path);
        *request.uri_mut() = authorized.build().map_err(|_| Error::HttpRequestUriInvalid)?;
        Ok(target)
    }
}

/// Returns the host, and the port that a connection would use.
fn target(authority: &Authority, scheme: Option<&Scheme>) -> Option<HttpGrant> {
    let HttpGrant { host, port, .. } =
        HttpGrant::parse(authority.as_str()).filter(|requested| requested.address.is_none())?;
    Some(HttpGrant { host, port: port.or(Some(usual_port(scheme))), address: None })
}

fn usual_port(scheme: Option<&Scheme>) -> u16 {
    if scheme == Some(&Scheme::HTTP) { 80 } else { 443 }
}

fn grants(granted: &HttpGrant, uri: &Uri, wanted: &HttpGrant) -> bool {
    let port = granted.port.unwrap_or_else(|| usual_port(uri.scheme()));
    granted.host == wanted.host && Some(port) == wanted.port
}

/// Returns the log line for a host whose name resolves to a denied address, with the grant that would allow it.
fn remedy(context: &ServiceContext, host: &str, address: SocketAddr, why: Denied) -> String {
    let address = match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    };
    format!(
        "a request to {host} is refused: its name resolves to {address}, {why}; to allow that address, \
         grant it: service.{}.http = [\"{host}@{address}\"]",
        context.service
    )
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<(Response, Rest), Error>> + Send> {
        let target = match self.authorize(&mut request) {
            Ok(target) => target,
            Err(refused) => return Box::new(async move { Err(refused) }),
        };
        let free = Arc::clone(&self.free).try_acquire_owned().ok();
        let Some(permits) = free.and_then(|free| Some((free, self.context.take_descriptor(self.request)?))) else {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        };
        let (context, id) = (Arc::clone(&self.context), self.request);
        Box::new(async move {
            // Only the host and port are logged, because a query may hold a secret.
            let authority = request.uri().authority().map(Authority::to_string).unwrap_or_default();
            let warn = |line: &str| context.log.line(Level::WARN, id, line);
            let (response, rest) =
                exchange(&context.lookups, &target, request, options).await.map_err(|failed| match failed {
                    ExchangeFailure::Denied(address, why) => {
                        warn(&remedy(&context, &target.host, address, why));
                        Error::DestinationIpProhibited
                    }
                    ExchangeFailure::Http(error) => {
                        warn(&format!("a request to {authority} failed: {error}"));
                        error
                    }
                })?;
            let rest: Rest = Box::new(async move {
                let _taken_until_the_end = permits;
                Box::into_pin(rest).await
            });
            Ok((response, rest))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// Creates the HTTP state of one instance, with its limits.
pub(crate) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(MAX_HEADERS);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_without_a_port_is_for_the_default_port() {
        let is_granted = |granted: &str, uri: &str| {
            let (granted, uri): (_, Uri) = (HttpGrant::parse(granted).unwrap(), uri.parse().unwrap());
            let wanted = uri.authority().and_then(|authority| target(authority, uri.scheme()));
            wanted.is_some_and(|wanted| grants(&granted, &uri, &wanted))
        };
        for (granted, uri) in [
            ("a.example", "https://a.example/x"),
            ("a.example", "http://A.example"),
            ("a.example", "https://a.example:443"),
            ("a.example:80", "http://a.example"),
            ("[::1]:8", "http://[::1]:8/"),
            ("a.example@10.0.0.1:8", "http://a.example:8"),
        ] {
            assert!(is_granted(granted, uri), "{granted} {uri}");
        }
        for (granted, uri) in [
            ("a.example", "https://a.example:80"),
            ("a.example", "http://a.example:443"),
            ("a.example:80", "https://a.example"),
            ("a.example", "https://b.a.example"),
            ("a.example", "https://a.example@b.example"),
            ("a.example", "https://b@a.example"),
            ("a.example:8", "http://a.example:80008"),
            ("a.example@10.0.0.1:8", "http://10.0.0.1:8"),
            ("a.example@10.0.0.1:8", "http://a.example@10.0.0.1:8"),
        ] {
            assert!(!is_granted(granted, uri), "{granted} {uri}");
        }
    }
}
