//! Cost of ZeroMQ without libzmq's threads: a bare echo of the same frames by a server that implements ZMTP itself, in
//! the thread that waits for its connection, as far as a DEALER without keys and heartbeats needs it.

use super::Result;
use super::connection::native;
use super::contender::{Contender, Wanted};
use super::stage::{self, Stage};
use super::stream::Stream;
use std::net::{TcpListener, TcpStream};

/// Length of a greeting in bytes (RFC 37, ZMTP 3.1).
const GREETING: usize = 64;

/// Flags of a frame: its length takes eight bytes; it is a command.
const LONG: u8 = 2;
const COMMAND: u8 = 4;

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let name = "bare tcp, no libzmq";
    if !wanted.is(name) {
        return Ok(Vec::new());
    }
    let (id, endpoint) = stage.start_role(&["direct", "127.0.0.1:0"])?;
    Ok(vec![Contender::over_zeromq(name, vec![id], (context, &endpoint, None), native("fresh"))])
}

/// Sends each message back.
pub(crate) fn echo(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    stage::ready(&format!("tcp://{}", listener.local_addr()?));
    for client in listener.incoming() {
        let client = client?;
        std::thread::spawn(move || serve(client).map_err(|error| error.to_string()));
    }
    Ok(())
}

fn serve(client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let mut stream = Stream::new(client, None)?;
    stream.output().extend(hello());
    while stream.input().len() < GREETING {
        stream.read(true)?;
    }
    stream.take(GREETING);
    let mut echoed = Vec::new();
    loop {
        while let Some((length, is_command)) = frame(stream.input()) {
            if !is_command {
                echoed.extend_from_slice(&stream.input()[..length]);
            }
            stream.take(length);
        }
        stream.output().append(&mut echoed);
        stream.read(true)?;
    }
}

/// Returns a greeting without security, and the READY command of a ROUTER.
fn hello() -> Vec<u8> {
    let mut hello = vec![0; GREETING];
    (hello[0], hello[9], hello[10], hello[11]) = (0xFF, 0x7F, 3, 1);
    hello[12..16].copy_from_slice(b"NULL");
    let ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00";
    hello.extend([COMMAND, ready.len() as u8]);
    hello.extend(ready);
    hello
}

/// Returns the length in bytes of the first frame, with its header, and whether it is a command; `None` while it is
/// incomplete.
fn frame(bytes: &[u8]) -> Option<(usize, bool)> {
    let (flags, rest) = bytes.split_first()?;
    let length = if flags & LONG == 0 {
        2 + usize::from(*rest.first()?)
    } else {
        9 + usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?
    };
    (bytes.len() >= length).then_some((length, flags & COMMAND != 0))
}
