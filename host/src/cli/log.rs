//! Format of the fields in a line of the node's log.

use std::fmt;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use wasmnode_core::text::{MAX_LINE, line};

/// Writes the message, then the other fields as `name=value`, each as one line: untrusted text can neither begin a line
/// of the log nor move a terminal's cursor.
pub(super) fn fields() -> impl for<'a> FormatFields<'a> + 'static {
    debug_fn(field).delimited(" ")
}

fn field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = line(&value, MAX_LINE);
    match field.name() {
        "message" => out.write_str(&value),
        name => write!(out, "{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};
    use tracing::info;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_its_fields_hold() {
        let lines = Lines::default();
        let writer = lines.clone();
        let format =
            tracing_subscriber::fmt().fmt_fields(fields()).with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::with_default(format.without_time().finish(), || {
            let name = "b\u{1b}[2J\u{202e}";
            info!(name, other = %"c\nd", "a\nINFO forged {}", "x\r");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = r#"a INFO forged x name="b\u{1b}[2J\u{202e}" other=c d"#;
        assert!(written.ends_with(&format!("{expected}\n")) && written.lines().count() == 1, "{written:?}");
    }
}
