//! Components that export `wasi:http/incoming-handler` as plugins: a request becomes an HTTP request, and the body of
//! the response is the reply.
//!
//! No network is involved. A request is `POST /` with its frames joined as the body, unless it begins like an HTTP/1.1
//! message: if the first line of its first frame is `METHOD /path HTTP/1.1`, then that line, the header lines after it
//! and an empty line give method, path, query and headers, and the rest of the frame and the other frames are the body.
//! The node sets `wasmnode-service`, `wasmnode-request-id`, `wasmnode-remaining-us`, `wasmnode-caller`,
//! `content-length` and, if the request has them, `traceparent` and `idempotency-key`, and replaces existing ones.
//!
//! A status of 200 to 299 is a reply, 400 to 499 a rejection, any other a failure. The handler runs once for each
//! request, in an instance of its own, and the answer is sent when it has returned.

use crate::engine::backtrace;
use crate::host_state::HostState;
use crate::host_state::wasi_context::ServiceContext;
use crate::host_state::wasi_context::WasiContext;
use crate::run::job::{Outcome, Run};
use crate::run::store::{explain, over_reply_limit, store};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::request::Builder;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use tokio::sync::oneshot::{self, Receiver, Sender};
use wasmnode_protocol::{Body, Code, Failure, Frame};
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Largest size of a request's head, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// Largest part of a failure's body that the reason quotes, in bytes.
const REASON: usize = 1 << 10;

/// Response of a handler, or its error.
type Sent = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Serves one request.
pub(crate) async fn serve(context: &Arc<ServiceContext>, handler: &ProxyPre<HostState>, request: &Run) -> Outcome {
    let incoming = match incoming(request) {
        Ok(incoming) => incoming,
        Err(failure) => return Outcome::failed(failure),
    };
    let outside = match context.open_folders().await {
        Ok(roots) => WasiContext::logging(context, roots),
        Err(failure) => return Outcome::failed(failure),
    };
    let limit = context.settings.reply;
    let mut store = store(context, handler.engine(), Some(outside), request.id).await;
    store.data_mut().begin(request.id, limit);
    let (sender, sent) = oneshot::channel();
    let run = async move {
        let ran = run(handler, &mut store, incoming, sender).await;
        store.data_mut().abort_bodies();
        let guest = store.data();
        ran.map(|()| (guest.has_sent_partials(), guest.reply_left()))
            .map_err(|error| (explain(context, &error, guest), backtrace::of(&error)))
    };
    // A response over the limit ends the run immediately, because the rest would not be read.
    let collect = async { collect(context, sent).await.map_err(|failure| (failure, None)) };
    let ended = tokio::try_join!(run, collect);
    match ended {
        Ok(((sent_partials, reply_left), (_, body))) if body.len() > reply_left => {
            Outcome { result: Err(over_reply_limit(context)), sent_partials, backtrace: None }
        }
        Ok(((sent_partials, _), (status, body))) => {
            Outcome { result: interpret(context, status, body), sent_partials, backtrace: None }
        }
        // Partial replies may have been sent; the failure must not overtake them.
        Err((failure, backtrace)) => Outcome { result: Err(failure), sent_partials: true, backtrace },
    }
}

async fn run(
    handler: &ProxyPre<HostState>,
    store: &mut Store<HostState>,
    request: http::Request<Full<Bytes>>,
    sender: Sender<Sent>,
) -> wasmtime::Result<()> {
    let request = request.map(|body| body.map_err(|never| -> wasmtime_wasi_http::Error { match never {} }));
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let sender = store.data_mut().http().new_response_outparam(sender)?;
    let instance = handler.instantiate_async(&mut *store).await?;
    instance.wasi_http_incoming_handler().call_handle(store, request, sender).await
}

/// Waits for the response and the end of its body.
async fn collect(context: &ServiceContext, sent: Receiver<Sent>) -> Result<(StatusCode, Vec<u8>), Failure> {
    let failure = |code, what: &str| Failure::new(code, format!("{} {what}", context.service));
    let (head, mut body) = match sent.await {
        Ok(Ok(response)) => response.into_parts(),
        Ok(Err(error)) => return Err(failure(Code::Failed, &format!("answered with an error: {error:?}"))),
        Err(_) => return Err(failure(Code::Crashed, "ended without a response")),
    };
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| failure(Code::Crashed, "aborted its response"))?;
        // Frames without data are trailers, which a reply cannot carry.
        let data = frame.into_data().unwrap_or_default();
        if whole.len() + data.len() > context.settings.reply {
            return Err(over_reply_limit(context));
        }
        whole.extend_from_slice(&data);
    }
    Ok((head.status, whole))
}

/// Returns the reply or the failure that a response means.
fn interpret(context: &ServiceContext, status: StatusCode, body: Vec<u8>) -> Result<Body, Failure> {
    if status.is_success() {
        return Ok(vec![body.into()]);
    }
    let code = if status.is_client_error() { Code::Rejected } else { Code::Failed };
    let why = String::from_utf8_lossy(&body[..body.len().min(REASON)]);
    Err(Failure::new(code, format!("{} answered with {status}: {}", context.service, why.trim())))
}

/// Returns a request as an HTTP request.
///
/// # Errors
/// If the request begins like an HTTP/1.1 message and violates its format after that.
fn incoming(request: &Run) -> Result<http::Request<Full<Bytes>>, Failure> {
    let mut frames = request.body.clone();
    let head = match frames.first().map(read_head) {
        Some(Some(read)) => {
            let (head, rest) = read?;
            frames[0] = rest;
            head
        }
        _ => http::Request::post("/"),
    };
    let body = join(&frames);
    let made = head.body(Full::new(body.clone()));
    let mut made = made.map_err(|error| malformed(format!("the head of the request: {error}")))?;
    let headers = made.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert("wasmnode-request-id", request.id.0.into());
    headers.insert("wasmnode-remaining-us", request.remaining_us().into());
    set(headers, "wasmnode-service", request.service.as_str().as_bytes())?;
    set(headers, "wasmnode-caller", request.caller.as_bytes())?;
    if let Some(trace) = &request.traceparent {
        set(headers, "traceparent", trace)?;
    }
    if let Some(key) = &request.idempotency_key {
        set(headers, "idempotency-key", key)?;
    }
    Ok(made)
}

/// Returns the head at the start of a frame, and the rest of the frame; `None` if the frame does not begin like
/// HTTP/1.1.
fn read_head(frame: &Frame) -> Option<Result<(Builder, Frame), Failure>> {
    let mut lines = frame[..frame.len().min(MAX_HEAD)].split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    let words: Vec<&[u8]> = first.trim_ascii_end().split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = words[..] else { return None };
    if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) || !target.starts_with(b"/") {
        return None;
    }
    let head = http::Request::builder().method(method).uri(target);
    Some(read_fields(head, lines, first.len(), frame))
}

fn read_fields<'a>(
    mut head: Builder,
    lines: impl Iterator<Item = &'a [u8]>,
    mut length: usize,
    frame: &Frame,
) -> Result<(Builder, Frame), Failure> {
    for line in lines {
        length += line.len();
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Ok((head, frame.slice(length..)));
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            let why = format!("the head of the request: \"{}\" is not a header line", line.escape_ascii());
            return Err(malformed(why));
        };
        head = head.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    if frame.len() > MAX_HEAD {
        return Err(malformed(format!("the head of the request is longer than {MAX_HEAD} bytes")));
    }
    Ok((head, Frame::new()))
}

/// Joins the frames of a body into one.
pub(crate) fn join(body: &Body) -> Frame {
    match &body[..] {
        [one] => one.clone(),
        frames => frames.concat().into(),
    }
}

/// Sets a header; a value that a header cannot hold is escaped.
fn set(headers: &mut HeaderMap, name: &'static str, value: &[u8]) -> Result<(), Failure> {
    let escaped = |_| HeaderValue::try_from(value.escape_ascii().to_string());
    let value = HeaderValue::from_bytes(value).or_else(escaped);
    let value = value.map_err(|error| malformed(format!("{name}: {error}")))?;
    headers.insert(name, value);
    Ok(())
}

/// Returns the failure of a request whose head breaks the format of HTTP/1.1.
fn malformed(why: String) -> Failure {
    Failure::new(Code::Malformed, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::RunId;
    use std::time::{Duration, Instant};

    fn request(frames: &[&'static str]) -> Run {
        Run {
            id: RunId(7),
            service: "web".parse().unwrap(),
            body: frames.iter().map(|frame| Frame::from_static(frame.as_bytes())).collect(),
            caller: "client:63".into(),
            deadline: Instant::now(),
            remaining: Duration::from_micros(5),
            traceparent: None,
            idempotency_key: Some(Frame::from_static(b"k\n")),
        }
    }

    fn converted(frames: &[&'static str]) -> String {
        let made = incoming(&request(frames)).unwrap();
        let one = made.headers().get("one").map_or("", |value| value.to_str().unwrap());
        let length = made.headers()[CONTENT_LENGTH].to_str().unwrap();
        format!("{} {} {one} {length}", made.method(), made.uri())
    }

    #[test]
    fn a_body_is_posted_unless_it_begins_like_http() {
        assert_eq!(converted(&[]), "POST /  0");
        assert_eq!(converted(&["ab", "c"]), "POST /  3");
        assert_eq!(converted(&["GET /a?b HTTP/1.1"]), "GET /a?b  0");
        assert_eq!(converted(&["PUT /a HTTP/1.1\r\none: 1\r\n\r\nab", "c"]), "PUT /a 1 3");
        assert_eq!(converted(&["PUT /a HTTP/1.1\none:1\n", "abc"]), "PUT /a 1 3");
        for body in [
            "get / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET a HTTP/1.1",
            "GET  / HTTP/1.1",
            " / HTTP/1.1",
            "x\nGET / HTTP/1.1",
        ] {
            assert_eq!(converted(&[body]), format!("POST /  {}", body.len()));
        }
    }

    #[test]
    fn a_malformed_head_is_refused() {
        let long = format!("GET / HTTP/1.1\r\none: {}", "x".repeat(MAX_HEAD));
        for head in ["GET / HTTP/1.1\r\none", "GET / HTTP/1.1\r\no e: 1", "GET /\u{1} HTTP/1.1", long.leak()] {
            assert!(incoming(&request(&[head])).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_client_cannot_set_the_headers_of_the_node() {
        let head = "GET / HTTP/1.1\r\nwasmnode-caller: me\r\nWasmnode-Request-Id: 1\r\ncontent-length: 9\r\n\r\n";
        let made = incoming(&request(&[head])).unwrap();
        let all = |name| made.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("wasmnode-caller"), ["client:63"]);
        assert_eq!((all("wasmnode-request-id"), all("content-length")), (vec!["7"], vec!["0"]));
        assert_eq!(all("idempotency-key"), ["k\\n"]);
    }
}
