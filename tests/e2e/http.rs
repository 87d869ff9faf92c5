//! HTTP without a network, for requests to a plugin, and with one, for requests of a plugin.

use crate::commands::repository;
use crate::node::{Folder, Node, PATIENCE, run};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use wasmnode_client::{Code, Request};

/// Folder of the guests of `tests/guests/web`, built once.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--release", "--package", "web", "--target", "wasm32-wasip2", "--target-dir"]);
    assert!(command.arg(&target).current_dir(repository("")).status().unwrap().success());
    target.join("wasm32-wasip2/release")
});

/// Returns one of these guests.
pub(crate) fn component(guest: &str) -> Vec<u8> {
    fs::read(BUILT.join(format!("{guest}.wasm"))).unwrap()
}

/// Starts a node that serves these guests, each under its own name.
fn start(guests: &[&str], settings: &str) -> Node {
    let folder = Folder::new(&[]);
    for guest in guests {
        folder.plugin(guest, &component(guest));
    }
    Node::start_in(folder, settings, &[])
}

/// Starts a server that answers so many requests with "bonjour"; the closure returns the first line of each.
fn server(requests: usize) -> (SocketAddr, impl FnOnce() -> Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let answer = |_| {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let head: Vec<String> =
                stream.by_ref().lines().map(Result::unwrap).take_while(|it| !it.is_empty()).collect();
            stream.get_mut().write_all(b"HTTP/1.1 201 Made\r\ncontent-length: 7\r\n\r\nbonjour").unwrap();
            head[0].clone()
        };
        (0..requests).map(answer).collect()
    });
    (address, move || thread.join().unwrap())
}

#[test]
fn a_body_is_posted_and_the_body_of_the_response_is_the_reply() {
    let node = start(&["web"], "");
    assert_eq!(node.call("web", &[b"two ", b"frames"]).unwrap(), ["two frames"]);
    assert_eq!(node.call("web", &[&[7; 300_000]]).unwrap()[0], vec![7; 300_000]);
    assert_eq!(node.call("web", &[]).unwrap(), [""]);
}

#[test]
fn a_request_may_set_method_path_and_headers_and_the_node_adds_its_own() {
    let node = start(&["web"], "");
    let head = "PATCH /see?a=b HTTP/1.1\r\nAccept: text/plain\r\nwasmnode-service: me\r\n\r\n";
    let ask = Request::new("web").body([head]).deadline(PATIENCE).traceparent("00-1-2-01").idempotency_key(b"key");
    let seen = node.client().call(ask, |_| {}).unwrap();
    let seen = String::from_utf8(seen[0].to_vec()).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..3], ["Method::Patch /see?a=b", "accept: text/plain", "content-length: 0"], "{seen}");
    assert_eq!(lines[3..5], ["idempotency-key: key", "traceparent: 00-1-2-01"], "{seen}");
    let names: Vec<&str> = lines[5..].iter().map(|line| line.split_once(':').unwrap().0).collect();
    assert_eq!(names, ["wasmnode-caller", "wasmnode-remaining-us", "wasmnode-request-id", "wasmnode-service"]);
    assert!(seen.ends_with("wasmnode-service: web\n"), "{seen}");
    let (code, why) = node.fail("web", &[b"GET / HTTP/1.1\r\nno header\r\n\r\n"]);
    assert!(code == Code::Malformed && why.contains("\"no header\" is not a header line"), "{why}");
}

#[test]
fn a_status_without_success_is_a_failure_with_the_body_as_the_reason() {
    let mut node = start(&["web"], "");
    for (head, code, reason) in [
        ("status/404", Code::Rejected, "web answered with 404 Not Found: no such page"),
        ("status/503", Code::Failed, "web answered with 503 Service Unavailable: no such page"),
        ("status/302", Code::Failed, "web answered with 302 Found: no such page"),
        ("error", Code::Failed, "web answered with an error: ErrorCode::DnsTimeout"),
        ("silent", Code::Crashed, "web ended without a response"),
        ("short", Code::Crashed, "web aborted its response"),
        ("half", Code::Crashed, "web aborted its response"),
        ("half-streaming", Code::Crashed, "web aborted its response"),
        ("half-refusal", Code::Crashed, "web aborted its response"),
        ("dropped", Code::Crashed, "web aborted its response"),
        ("trap", Code::Crashed, "an instance of web crashed: wasm trap"),
    ] {
        let (failed, why) = node.fail("web", &[format!("POST /{head} HTTP/1.1").as_bytes(), b"no such page"]);
        assert!(failed == code && why.starts_with(reason), "{head}: {failed} {why}");
    }
    node.wait_for("as requested");
    assert_eq!(node.call("web", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_response_without_an_end_is_cut_at_the_limit_and_fills_no_memory() {
    let node = start(&["web"], "[service.web]\nreply = '1MiB'\ndeadline = '3m'\n");
    node.call("web", &[b"x"]).unwrap();
    let before = node.memory();
    for _ in 0..20 {
        let (code, why) = node.fail("web", &[b"GET /endless HTTP/1.1"]);
        assert!(code == Code::TooLarge && why.contains("service.web.reply = 1048576"), "{code} {why}");
    }
    let grown = node.memory().saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB");
}

#[test]
fn memory_and_time_are_limited() {
    let node = start(&["web"], "[service.web]\nmemory = '8MiB'\ndeadline = '2s'\n");
    let (code, why) = node.fail("web", &[b"GET /hog HTTP/1.1"]);
    assert!(code == Code::Exhausted && why.contains("service.web.memory = 8388608"), "{code} {why}");
    assert_eq!(node.fail("web", &[b"GET /spin HTTP/1.1"]).0, Code::Deadline);
}

#[test]
fn an_instance_that_hoards_resources_of_the_host_is_ended() {
    let node = start(&["web"], "[service.web]\ndeadline = '3m'\n");
    let (code, why) = node.fail("web", &[b"GET /hoard HTTP/1.1"]);
    assert!(code == Code::Exhausted && why.contains("more than 1000 open resources"), "{code} {why}");
}

#[test]
fn any_kind_of_plugin_reaches_only_granted_hosts() {
    let (granted, asked) = server(2);
    let (other, unasked) = server(0);
    let port = granted.port();
    let settings = format!("[defaults]\nhttp = ['LOCALHOST@127.0.0.1:{port}', '127.0.0.1']\ndeadline = '3m'\n");
    let mut node = start(&["web", "fetch"], &settings);
    let by = |service, whom: &str| match service {
        "web" => node.call("web", &[format!("GET /fetch/{whom} HTTP/1.1").as_bytes()]).unwrap(),
        _ => node.call("fetch", &[whom.as_bytes()]).unwrap(),
    };
    for service in ["web", "fetch"] {
        assert_eq!(by(service, &format!("localhost:{port}")), ["201 bonjour"]);
        for whom in
            [other.to_string(), granted.to_string(), format!("me@localhost:{port}"), format!("localhost.:{port}")]
        {
            assert_eq!(by(service, &whom), ["ErrorCode::HttpRequestDenied"], "{service} {whom}");
        }
    }
    assert_eq!((asked(), unasked()), (vec!["GET /hello HTTP/1.1".to_owned(); 2], vec![]));
    let line = node.wait_for(&format!("a request to {other} is refused"));
    assert!(line.contains("service.web.http does not grant it"), "{line}");
}

#[test]
fn a_name_leads_no_guest_to_this_machine_unless_the_grant_names_the_address() {
    let (address, asked) = server(2);
    let port = address.port();
    let settings = format!("[defaults]\nhttp = ['localhost:{port}', '127.0.0.1:{port}']\ndeadline = '3m'\n");
    let mut node = start(&["web", "fetch"], &settings);
    let web = |whom: &str| node.call("web", &[format!("GET /fetch/{whom} HTTP/1.1").as_bytes()]).unwrap();
    assert_eq!(web(&format!("localhost:{port}")), ["ErrorCode::DestinationIpProhibited"]);
    let by_command = node.call("fetch", &[format!("localhost:{port}").as_bytes()]).unwrap();
    assert_eq!(by_command, ["ErrorCode::DestinationIpProhibited"]);
    for whom in [format!("[::ffff:127.0.0.1]:{port}"), format!("2130706433:{port}"), format!("0.0.0.0:{port}")] {
        assert_eq!(web(&whom), ["ErrorCode::HttpRequestDenied"], "{whom}");
    }
    assert_eq!(web(&format!("127.0.0.1:{port}")), ["201 bonjour"]);
    assert_eq!(node.call("fetch", &[format!("127.0.0.1:{port}").as_bytes()]).unwrap(), ["201 bonjour"]);
    assert_eq!(asked().len(), 2);
    let line = node.wait_for("its name resolves to");
    assert!(line.contains(&format!("service.web.http = [\"localhost@127.0.0.1:{port}\"]")), "{line}");
}

#[test]
fn an_instance_has_at_most_sixteen_requests_in_flight() {
    // The listener accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let node = start(&["web"], &format!("[service.web]\nhttp = ['{address}']\n"));
    let crowd = format!("GET /crowd/{address} HTTP/1.1");
    assert_eq!(node.call("web", &[crowd.as_bytes()]).unwrap(), ["ErrorCode::ConnectionLimitReached"]);
}

#[test]
fn without_a_grant_no_request_is_sent() {
    let (address, _) = server(0);
    let node = start(&["fetch"], "");
    assert_eq!(node.call("fetch", &[address.to_string().as_bytes()]).unwrap(), ["ErrorCode::HttpRequestDenied"]);
}

#[test]
fn inspect_reports_the_kind_and_what_a_grant_would_allow() {
    let done = run(&["inspect", BUILT.join("web.wasm").to_str().unwrap()]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.starts_with("kind      handler of HTTP requests"), "{said}");
    let outgoing = said.lines().find(|line| line.contains("wasi:http/outgoing-handler@0.2")).unwrap();
    assert!(outgoing.ends_with("yes; connections if `http` grants them"), "{said}");
}
