//! Foreign text stays text: it forges no line of the log, and moves no cursor.

use crate::node::{Folder, Node, run};
use wasmnode_client::Code;

const HOSTILE: &str = "first\nWARN run: forged\r\u{1b}[2J\u{202e}\u{200b}";
const SHOWN: &str = r"first WARN run: forged \u{1b}[2J\u{202e}\u{200b}";

#[test]
fn text_of_a_guest_is_one_line_of_the_log_and_of_its_failure() {
    let mut node = Node::start(&["say"], "");
    assert_eq!(node.fail("say", &[HOSTILE.as_bytes()]), (Code::Rejected, SHOWN.to_owned()));
    let line = node.wait_for("first");
    assert!(line.contains(SHOWN) && line.contains("service=\"say\" request="), "{line}");
    node.signal("-TERM");
    let forged = node.log_to_its_end().iter().find(|line| line.trim_start().starts_with("WARN run"));
    assert_eq!(forged, None);
}

#[test]
fn the_command_line_prints_a_failure_as_one_line_without_control_characters() {
    let node = Node::start(&["say"], "");
    let said = String::from_utf8(run(&["call", "say", HOSTILE, "--to", &node.ipc()]).stderr).unwrap();
    assert_eq!(said, format!("wasmnode: 422 rejected: {SHOWN}\n"));
}

#[test]
fn a_text_of_any_length_is_truncated_with_a_mark() {
    let mut node = Node::start(&["say"], "");
    let (_, why) = node.fail("say", &[&[b'y'; 100_000]]);
    assert!(why.len() <= 4096 && why.ends_with("y… [cut]"), "{} bytes", why.len());
    let line = node.wait_for("yyyy");
    assert!(line.len() < 9 << 10 && line.contains("y… [cut] service="), "{} bytes", line.len());
}

#[test]
fn names_of_files_and_what_they_import_are_shown_as_one_line() {
    let folder = Folder::new(&["say"]);
    let module = wat::parse_str(r#"(module (import "odd\n\1b[2J" "f" (func)) (func (export "_start")))"#).unwrap();
    folder.plugin("imports", &module);
    folder.plugin("right\u{202e}left", &module);
    folder.plugin("new\nline", &module);
    let file = folder.path("plugins/imports.wasm");
    let mut node = Node::start_in(folder, "", &[]);
    let line = node.wait_for("imports.wasm is not loaded");
    assert!(line.contains(r"odd \u{1b}[2J"), "{line}");
    node.wait_for(r"right\u{202e}left.wasm is not loaded");
    node.wait_for("new line.wasm is not loaded");
    let said = run(&["plugins", "--to", &node.ipc()]).stdout;
    let inspected = run(&["inspect", file.to_str().unwrap()]).stderr;
    for text in [said, inspected] {
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r"odd \u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    }
}
