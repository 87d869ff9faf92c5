//! NATS: the installed server, with a responder in a separate process, and clients that implement its text protocol.

use super::Result;
use super::connection::{Connection, PATIENCE, STAMP, stamp_of};
use super::contender::{Contender, Wanted};
use super::stage::{self, Stage};
use super::stream::{Stream, line};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::Duration;

const NAME: &str = "NATS tcp";

/// By default, the server rejects bodies of a mebibyte, and disconnects a reader for which many of them wait.
const SETTINGS: &str = "max_payload: 8MB\nmax_pending: 512MB\n";

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted) -> Result<Vec<Contender>> {
    if !wanted.is(NAME) {
        return Ok(Vec::new());
    }
    let Some((server, address)) = start_server(stage)? else { return Ok(Vec::new()) };
    let (responder, _) = stage.start_role(&["nats-responder", &address.to_string()])?;
    Ok(vec![Contender::new(NAME, vec![server, responder], move |payload| {
        Ok(Box::new(Client::connect(address, payload)?))
    })])
}

/// Starts the server, if it is installed; returns its process, and the address at which it listens or will soon listen.
pub(crate) fn start_server(stage: &mut Stage) -> Result<Option<(u32, SocketAddr)>> {
    let Some(program) = Wanted::find("nats-server") else { return Ok(None) };
    let address = stage::free_address()?;
    let settings = stage.folder().join(format!("nats-{}.conf", address.port()));
    std::fs::write(&settings, SETTINGS)?;
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &address.port().to_string(), "--log", "nats.log", "--config"]);
    Ok(Some((stage.start(command.arg(settings))?, address)))
}

/// Answers each request with its body.
pub(crate) fn respond(address: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    let mut stream = log_in(address, "SUB echo 1\r\n", None)?;
    stage::ready(&address.to_string());
    loop {
        while let Some(message) = message(&mut stream)? {
            let Message { reply, body } = &message;
            let answer = format!("PUB {reply} {}\r\n", body.len());
            stream.output().extend_from_slice(answer.as_bytes());
            stream.output().extend_from_slice(body);
            stream.output().extend_from_slice(b"\r\n");
        }
        stream.read(true)?;
    }
}

/// Connects and subscribes; the server has the subscription when this function returns.
fn log_in(address: SocketAddr, subscribe: &str, patience: Option<Duration>) -> Result<Stream> {
    let mut stream = Stream::new(stage::connect(address)?, patience)?;
    let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}PING\r\n");
    stream.output().extend_from_slice(hello.as_bytes());
    loop {
        while let Some((text, length)) = line(stream.input()) {
            let is_pong = text == "PONG";
            stream.take(length);
            if is_pong {
                return Ok(stream);
            }
        }
        stream.read(true)?;
    }
}

struct Message {
    reply: String,
    body: Vec<u8>,
}

/// Takes the next complete message, and answers the server's pings before it.
fn message(stream: &mut Stream) -> Result<Option<Message>> {
    while let Some((text, length)) = line(stream.input()) {
        if let Some(fields) = text.strip_prefix("MSG ") {
            let fields: Vec<&str> = fields.split(' ').collect();
            let size: usize = fields.last().ok_or("no size")?.parse()?;
            // subject, subscription, reply subject (if the sender needs one), size
            let reply = if fields.len() == 4 { fields[2].to_owned() } else { String::new() };
            let Some(body) = stream.input().get(length..length + size) else { return Ok(None) };
            let message = Message { reply, body: body.to_vec() };
            if stream.input().len() < length + size + 2 {
                return Ok(None);
            }
            stream.take(length + size + 2);
            return Ok(Some(message));
        }
        match text {
            "PING" => stream.output().extend_from_slice(b"PONG\r\n"),
            text if text.starts_with("-ERR") => return Err(format!("nats-server: {text}").into()),
            _ => {}
        }
        stream.take(length);
    }
    Ok(None)
}

struct Client {
    stream: Stream,
    request: Vec<u8>,
    payload: usize,
}

impl Client {
    fn connect(address: SocketAddr, payload: usize) -> Result<Self> {
        let inbox = format!("_INBOX.{:016x}", fastrand::u64(..));
        let stream = log_in(address, &format!("SUB {inbox} 1\r\n"), Some(PATIENCE))?;
        let mut request = format!("PUB echo {inbox} {payload}\r\n").into_bytes();
        request.resize(request.len() + payload, b'x');
        request.extend_from_slice(b"\r\n");
        Ok(Self { stream, request, payload })
    }
}

impl Connection for Client {
    fn send(&mut self, stamp: u64) -> Result<()> {
        let body = self.request.len() - 2 - self.payload;
        self.request[body..body + STAMP].copy_from_slice(&stamp.to_be_bytes());
        self.stream.output().extend_from_slice(&self.request);
        Ok(())
    }

    fn receive(&mut self, wait: bool) -> Result<Option<u64>> {
        self.stream.read_until(wait, |stream| {
            message(stream)?.map(|message| stamp_of(&message.body, self.payload)).transpose()
        })
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.stream.fd())
    }
}
