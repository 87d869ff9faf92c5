//! The service `afficher` (French: to display): displays a body on the node's console, framed, wrapped and safe for
//! a terminal, and answers with exactly what it displayed.
//!
//! `print` and `afficher` both write text, for different readers. `print` is for the operator's log: it writes the
//! text unchanged and answers with a receipt. `afficher` is for people: untrusted text cannot move the cursor, change
//! colours, or reorder or hide words, so the client can show the answer on its own terminal without another check.
//!
//! The picture can be up to a few hundred times as large as the body (an empty frame takes two lines of the box).
//! It is not limited here, because the node limits memory, time and the size of the reply.

mod render;

use std::io::{self, Write};

use bindings::exports::wasmnode::service::handler::{Body, Failure, Guest, Request};

#[allow(unsafe_code, reason = "generated: the canonical ABI passes pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "service" });
    export!(Afficher);
    use super::Afficher;
}

struct Afficher;

impl Guest for Afficher {
    fn handle(request: Request) -> Result<Body, Failure> {
        let picture = render::render(&request.body);
        write(&mut io::stdout().lock(), &picture)?;
        Ok(vec![picture.into_bytes()])
    }
}

/// Writes `text` in one call, because each write crosses into the node.
fn write(console: &mut impl Write, text: &str) -> Result<(), Failure> {
    let written = console.write_all(text.as_bytes()).and_then(|()| console.flush());
    written.map_err(|error| Failure::Failed(format!("cannot write to the console: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_to_the_console_fails_the_request() {
        let mut console = [0; 3];
        assert!(matches!(write(&mut console.as_mut_slice(), "four"), Err(Failure::Failed(_))));
        assert!(write(&mut console.as_mut_slice(), "fit").is_ok());
    }
}
