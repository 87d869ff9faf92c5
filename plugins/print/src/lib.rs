//! The service `print`: writes a body to the node's log unchanged and answers with a receipt, `printed 5 bytes`.
//!
//! `print` and `afficher` both write text, for different readers. `print` is for the operator's log: it replaces only
//! bytes that are not UTF-8, so that the log has what was sent, and its answer is small for a body of any size.
//! `afficher` is for people at a terminal: it frames, wraps and disarms the text, and its answer is the picture itself.
//! The output of `print` can therefore contain control characters; the node, which turns stdout into log lines, escapes
//! them.
//!
//! Each frame starts a new line. An empty frame is an empty line, and a body without frames writes nothing.

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

/// Writes `text` in one call, because each write crosses into the node.
fn write(console: &mut impl Write, text: &str) -> Result<(), Failure> {
    let written = console.write_all(text.as_bytes()).and_then(|()| console.flush());
    written.map_err(|error| Failure::Failed(format!("cannot write to the console: {error}")))
}

/// Returns the frames as text, each with a newline at its end.
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

/// Returns the number of received bytes as text: before any is replaced, and without the added newlines.
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
    fn each_frame_starts_a_new_line() {
        assert_eq!(text(&body(&[b"one", b"two\nthree", b"", b"four"])), "one\ntwo\nthree\n\nfour\n");
    }

    #[test]
    fn a_frame_that_ends_with_a_newline_is_not_followed_by_an_empty_line() {
        assert_eq!(text(&body(&[b"one\n", b"two\n\n"])), "one\ntwo\n\n");
    }

    #[test]
    fn a_body_without_frames_writes_nothing() {
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn control_characters_are_unchanged() {
        assert_eq!(text(&body(&[b"\x1b[31mred\t\r\0"])), "\x1b[31mred\t\r\0\n");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(text(&body(&[b"a\xffb"])), "a\u{FFFD}b\n");
    }

    #[test]
    fn a_character_split_between_frames_is_not_joined() {
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
    fn a_short_write_to_the_console_fails_the_request() {
        let mut console = [0; 3];
        assert!(matches!(write(&mut console.as_mut_slice(), "four"), Err(Failure::Failed(_))));
        assert!(write(&mut console.as_mut_slice(), "fit").is_ok());
    }
}
