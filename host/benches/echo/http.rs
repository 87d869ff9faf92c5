//! `wasmtime serve`: a component that answers HTTP requests with their bodies, in a new instance for each request and,
//! where the program supports it, in a reused one.
//!
//! HTTP/1.1 carries one request at a time, so there is one connection for each outstanding request.

use super::Result;
use super::connection::{Connection, PATIENCE, STAMP, stamp_of};
use super::contender::{Contender, Wanted};
use super::place;
use super::stage::{self, Stage};
use super::stream::{Stream, line};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;

/// Contenders, and the options of the program for each.
const SERVERS: [(&str, &[&str]); 2] = [
    (
        "wasmtime serve, fresh",
        &["-Wmax-memory-size=268435456", "-Opooling-allocator=y", "--max-instance-reuse-count", "1"],
    ),
    ("wasmtime serve, reused", &["-Wmax-memory-size=268435456", "--max-instance-reuse-count", "1000000000"]),
];

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted) -> Result<Vec<Contender>> {
    let servers: Vec<_> = SERVERS.into_iter().filter(|(name, _)| wanted.is(name)).collect();
    if servers.is_empty() {
        return Ok(Vec::new());
    }
    let Some(program) = Wanted::find("wasmtime") else { return Ok(Vec::new()) };
    let component = component()?;
    let mut contenders = Vec::new();
    for (name, options) in servers {
        let address = stage::free_address()?;
        let mut command = Command::new(&program);
        command.args(["serve", "-Scli", "--addr", &address.to_string()]).args(options).arg(&component);
        let output = std::fs::File::create(stage.folder().join("wasmtime.log"))?;
        let server = stage.start(command.stdout(output.try_clone()?).stderr(output))?;
        let contender =
            Contender::new(name, vec![server], move |payload| Ok(Box::new(Client::connect(address, payload)?)));
        contenders.push(Contender { is_serial: true, ..contender });
    }
    Ok(contenders)
}

/// Builds the component of `tests/guests/web`.
fn component() -> Result<PathBuf> {
    let target = place::target().join("tmp/guests");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--release", "--package", "web", "--target", "wasm32-wasip2"]);
    command.arg("--target-dir").arg(&target).current_dir(place::project());
    if !command.status()?.success() {
        return Err("the component for wasmtime could not be built".into());
    }
    Ok(target.join("wasm32-wasip2/release/web.wasm"))
}

struct Client {
    stream: Stream,
    request: Vec<u8>,
    payload: usize,
}

impl Client {
    fn connect(address: SocketAddr, payload: usize) -> Result<Self> {
        let stream = Stream::new(stage::connect(address)?, Some(PATIENCE))?;
        let mut request = format!("POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: {payload}\r\n\r\n").into_bytes();
        request.resize(request.len() + payload, b'x');
        Ok(Self { stream, request, payload })
    }
}

/// Returns the body and the length of the first response; `None` while it is incomplete.
fn response(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let Some((status, mut at)) = line(input) else { return Ok(None) };
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("wasmtime serve: {status}").into());
    }
    let mut content_length = None;
    loop {
        let Some((header, length)) = line(&input[at..]) else { return Ok(None) };
        at += length;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            content_length = Some(value.trim().parse::<usize>()?);
        }
    }
    if let Some(length) = content_length {
        return Ok(input.get(at..at + length).map(|body| (body.to_vec(), at + length)));
    }
    let mut chunks = Vec::new();
    loop {
        let Some((size, length)) = line(&input[at..]) else { return Ok(None) };
        let size = usize::from_str_radix(size, 16)?;
        at += length;
        let Some(chunk) = input.get(at..at + size) else { return Ok(None) };
        chunks.push(chunk);
        at += size + 2;
        if size == 0 {
            return Ok((at <= input.len()).then(|| (chunks.concat(), at)));
        }
    }
}

impl Connection for Client {
    fn send(&mut self, stamp: u64) -> Result<()> {
        let body = self.request.len() - self.payload;
        self.request[body..body + STAMP].copy_from_slice(&stamp.to_be_bytes());
        self.stream.output().extend_from_slice(&self.request);
        Ok(())
    }

    fn receive(&mut self, wait: bool) -> Result<Option<u64>> {
        self.stream.read_until(wait, |stream| {
            let Some((body, length)) = response(stream.input())? else { return Ok(None) };
            stream.take(length);
            stamp_of(&body, self.payload).map(Some)
        })
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.stream.fd())
    }
}
