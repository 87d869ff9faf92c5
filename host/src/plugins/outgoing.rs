//! What plugins ask of others by HTTP: only hosts that `http` grants, and not too many at a time.
//!
//! Each request is judged by itself, before a name is looked up; no redirection is followed. What is sent is what was
//! judged: the host and port that were compared are put back into the request.

use super::outside::Surroundings;
use crate::config::HttpGrant;
use http::Request;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::Level;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks, default_send_request};

/// Requests that one instance may have on their way at a time: each takes a socket of the node.
const MAX_AT_A_TIME: usize = 16;

/// Bytes of a body on its way from a guest that the host holds, twice.
const CHUNK: usize = 16 << 10;

/// Bytes that the headers of one message take in the host.
const MAX_HEADERS: usize = 32 << 10;

type Response = http::Response<WasiBody>;

/// The rest of an exchange, which drives the connection.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Sends the requests of one instance, or refuses them.
pub(super) struct Outgoing {
    around: Arc<Surroundings>,
    free: Arc<Semaphore>,
}

impl Outgoing {
    pub(super) fn new(around: Arc<Surroundings>) -> Self {
        Self { around, free: Arc::new(Semaphore::new(MAX_AT_A_TIME)) }
    }

    /// Puts the host and port that are granted into the request.
    fn judge(&self, request: &mut Request<WasiBody>) -> Result<(), Error> {
        let uri = request.uri();
        let wanted = uri.authority().and_then(|authority| target(authority, uri.scheme()));
        let is_granted = wanted
            .as_ref()
            .is_some_and(|wanted| self.around.settings.grants.http.iter().any(|it| grants(it, uri, wanted)));
        let Some(wanted) = wanted.filter(|_| is_granted) else {
            let service = &self.around.service;
            let asked = uri.authority().map_or("nobody", Authority::as_str).escape_default();
            let line = format!("a request to {asked} is refused: service.{service}.http does not grant it");
            self.around.log.line(Level::WARN, &line);
            return Err(Error::HttpRequestDenied);
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTPS);
        let judged = Uri::builder().scheme(scheme).authority(wanted.to_string()).path_and_query(path);
        *request.uri_mut() = judged.build().map_err(|_| Error::HttpRequestUriInvalid)?;
        Ok(())
    }
}

/// The host, and the port that a connection would go to.
fn target(authority: &Authority, scheme: Option<&Scheme>) -> Option<HttpGrant> {
    let HttpGrant { host, port } = HttpGrant::parse(authority.as_str())?;
    Some(HttpGrant { host, port: port.or(Some(usual_port(scheme))) })
}

fn usual_port(scheme: Option<&Scheme>) -> u16 {
    if scheme == Some(&Scheme::HTTP) { 80 } else { 443 }
}

fn grants(granted: &HttpGrant, uri: &Uri, wanted: &HttpGrant) -> bool {
    let port = granted.port.unwrap_or_else(|| usual_port(uri.scheme()));
    granted.host == wanted.host && Some(port) == wanted.port
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<(Response, Rest), Error>> + Send> {
        let place = match (self.judge(&mut request), Arc::clone(&self.free).try_acquire_owned()) {
            (Ok(()), Ok(place)) => place,
            (Err(refused), _) => return Box::new(async move { Err(refused) }),
            (Ok(()), Err(_)) => return Box::new(async { Err(Error::ConnectionLimitReached) }),
        };
        // Not the whole address: a query may hold a secret.
        let whom = request.uri().authority().map(Authority::to_string).unwrap_or_default();
        let around = Arc::clone(&self.around);
        Box::new(async move {
            let failed = |error: &Error| around.log.line(Level::WARN, &format!("a request to {whom} failed: {error}"));
            let (response, rest) = default_send_request(request, options).await.inspect_err(failed)?;
            let rest: Rest = Box::new(async move {
                let _taken_until_the_end = place;
                rest.await
            });
            Ok((response.map(BodyExt::boxed_unsync), rest))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// What the host knows of the messages of one instance.
pub(super) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(MAX_HEADERS);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_without_a_port_is_for_the_usual_one() {
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
        ] {
            assert!(!is_granted(granted, uri), "{granted} {uri}");
        }
    }
}
