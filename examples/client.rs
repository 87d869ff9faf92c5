//! A client in thirty lines: three parallel requests on one connection, with the answers in order of arrival.
//!
//! ```console
//! $ cargo run --release                     # a node, in one terminal
//! $ cargo run --release --example client    # this, in another
//! ```

use std::error::Error;
use std::time::Duration;
use wasmnode_client::{Client, Reply, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5555".into());
    let mut client = Client::connect(&endpoint)?;
    for name in ["Ada", "Grace", "Margaret"] {
        let request = Request::new("afficher").body([format!("hello, {name}")]).deadline(Duration::from_secs(1));
        client.send(request)?;
    }
    let mut unanswered = 3;
    while unanswered > 0 {
        let (id, reply) = client.receive(Some(Duration::from_secs(2)))?;
        unanswered -= usize::from(!matches!(reply, Reply::Partial(_)));
        match reply {
            Reply::Partial(body) => println!("{id}: {} frames so far", body.len()),
            Reply::Final(body) => body.iter().for_each(|frame| println!("{id}:\n{}", String::from_utf8_lossy(frame))),
            Reply::Failure(failure) => println!("{id}: failed: {failure}"),
        }
    }
    Ok(())
}
