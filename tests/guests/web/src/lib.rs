//! A handler of HTTP requests whose path selects a good or bad behaviour.

mod fetch;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Web;

wasip2::http::proxy::export!(Web);

impl Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
        match path.split_once('/').unwrap_or((path, "")) {
            ("", _) => respond(out, 200, &body(&request)),
            ("see", _) => respond(out, 200, seen(&request).as_bytes()),
            ("status", status) => respond(out, status.parse().unwrap(), &body(&request)),
            ("fetch", host) => respond(out, 200, fetch::fetch(host).as_bytes()),
            ("crowd", host) => respond(out, 200, crowd(host).as_bytes()),
            ("endless", _) => endless(out),
            ("hoard", _) => hoard(),
            ("hog", _) => loop {
                std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
            },
            ("spin", _) => loop {
                std::hint::spin_loop();
            },
            ("short", _) => short(out),
            ("half", _) => half(out, 200),
            ("half-streaming", _) => half_streaming(out),
            ("dropped", _) => drop(begin(out, 200, Fields::new())),
            ("half-refusal", _) => half(out, 404),
            ("error", _) => ResponseOutparam::set(out, Err(ErrorCode::DnsTimeout)),
            ("trap", _) => panic!("as requested"),
            _ => {}
        }
    }
}

fn body(request: &IncomingRequest) -> Vec<u8> {
    fetch::read(request.consume().unwrap())
}

/// Returns the method, the path and the headers of a request, as text.
fn seen(request: &IncomingRequest) -> String {
    let mut seen = format!("{:?} {}\n", request.method(), request.path_with_query().unwrap());
    let mut headers = request.headers().entries();
    headers.sort();
    for (name, value) in headers {
        seen += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    seen
}

fn begin(out: ResponseOutparam, status: u16, headers: Fields) -> OutgoingBody {
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn respond(out: ResponseOutparam, status: u16, content: &[u8]) {
    let body = begin(out, status, Fields::new());
    let stream = body.write().unwrap();
    for chunk in content.chunks(4096) {
        stream.blocking_write_and_flush(chunk).unwrap();
    }
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

/// Sends a response without an end.
fn endless(out: ResponseOutparam) {
    let body = begin(out, 200, Fields::new());
    let stream = body.write().unwrap();
    loop {
        let _whether_or_not_it_is_read = stream.blocking_write_and_flush(&[b'x'; 4096]);
    }
}

/// Sends a response that is shorter than its `content-length`.
fn short(out: ResponseOutparam) {
    let body = begin(out, 200, Fields::from_list(&[("content-length".to_owned(), b"9".to_vec())]).unwrap());
    body.write().unwrap().blocking_write_and_flush(b"short").unwrap();
    let _fails = OutgoingBody::finish(body, None);
}

/// Sends half a response, whose body is neither finished nor dropped.
fn half(out: ResponseOutparam, status: u16) {
    let body = begin(out, status, Fields::new());
    body.write().unwrap().blocking_write_and_flush(b"half").unwrap();
    std::mem::forget(body);
}

/// Sends half a response, whose stream also stays open.
fn half_streaming(out: ResponseOutparam) {
    let body = begin(out, 200, Fields::new());
    let stream = body.write().unwrap();
    stream.blocking_write_and_flush(b"half").unwrap();
    std::mem::forget((stream, body));
}

/// Sends seventeen concurrent requests to a host, and returns the result of the last.
fn crowd(host: &str) -> String {
    let responses: Vec<_> = (0..17).map(|_| fetch::send(host).unwrap()).collect();
    fetch::receive(&responses[16])
}

/// Creates resources, and never drops them.
fn hoard() {
    loop {
        std::mem::forget(Fields::new());
    }
}
