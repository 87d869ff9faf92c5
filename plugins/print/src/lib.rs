//! The service `print`: puts a body on the node's console as it is and answers with a receipt, `printed 5 bytes`.
//!
//! `print` and `afficher` both show text, for different readers. `print` is for the operator's log: it changes
//! nothing but bytes that are no UTF-8, so that the log holds what was sent, and its answer stays small however
//! large the body is. `afficher` is for a person at a terminal: it frames, wraps and disarms the text, and its
//! answer is the picture itself. What `print` writes may therefore hold control characters; the node, which turns
//! stdout into log lines, escapes them.
//!
//! Each frame starts a line of its own. An empty frame is an empty line, and a body without frames writes nothing.

use std::io::{self, Write};

use bindings::exports::wasmnode::service::handler::{Body, Failure, Guest, Request};

#[allow(unsafe_code, reason = "generated: the canonical ABI passes pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "service" });
    export!(Print);
    use super::Print;
}

struct Print;

impl Guest for Print {
    fn handle(request: Request) -> Result<Body, Failure> {
        write(&mut io::stdout().lock(), &text(&request.body))?;
        Ok(vec![receipt(&request.body).into_bytes()])
    }
}

/// Writes `text` in one go: each write crosses into the node.
fn write(console: &mut impl Write, text: &str) -> Result<(), Failure> {
    let written = console.write_all(text.as_bytes()).and_then(|()| console.flush());
    written.map_err(|error| Failure::Failed(format!("cannot write to the console: {error}")))
}

/// The frames as text, each ended by a newline.
fn text(frames: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for frame in frames {
        text.push_str(&String::from_utf8_lossy(frame));
        if !frame.ends_with(b"\n") {
            text.push('\n');
        }
    }
    text
}

/// Says how many bytes came, as the client counts them: before any is replaced, and without the newlines added.
fn receipt(frames: &[Vec<u8>]) -> String {
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let unit = if bytes == 1 { "byte" } else { "bytes" };
    format!("printed {bytes} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(frames: &[&[u8]]) -> Body {
        frames.iter().map(|frame| frame.to_vec()).collect()
    }

    #[test]
    fn each_frame_starts_a_line_of_its_own() {
        assert_eq!(text(&body(&[b"one", b"two\nthree", b"", b"four"])), "one\ntwo\nthree\n\nfour\n");
    }

    #[test]
    fn a_frame_that_ends_its_last_line_gets_no_empty_line_after_it() {
        assert_eq!(text(&body(&[b"one\n", b"two\n\n"])), "one\ntwo\n\n");
    }

    #[test]
    fn a_body_without_frames_writes_nothing() {
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn control_characters_stay_as_they_are() {
        assert_eq!(text(&body(&[b"\x1b[31mred\t\r\0"])), "\x1b[31mred\t\r\0\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(text(&body(&[b"a\xffb"])), "a\u{FFFD}b\n");
    }

    #[test]
    fn a_character_torn_between_frames_is_not_joined() {
        assert_eq!(text(&body(&[b"\xc3", b"\xa9"])), "\u{FFFD}\n\u{FFFD}\n");
    }

    #[test]
    fn the_receipt_counts_the_bytes_of_all_frames() {
        assert_eq!(receipt(&body(&["é".as_bytes(), b"abc"])), "printed 5 bytes");
        assert_eq!(receipt(&body(&[b"\xff\xff"])), "printed 2 bytes");
        assert_eq!(receipt(&[]), "printed 0 bytes");
    }

    #[test]
    fn the_receipt_for_one_byte_is_singular() {
        assert_eq!(receipt(&body(&[b"", b"x"])), "printed 1 byte");
    }

    #[test]
    fn a_console_that_takes_less_than_the_text_fails_the_request() {
        let mut console = [0; 3];
        assert!(matches!(write(&mut console.as_mut_slice(), "four"), Err(Failure::Failed(_))));
        assert!(write(&mut console.as_mut_slice(), "fit").is_ok());
    }
}
