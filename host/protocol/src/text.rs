//! Escaping of foreign text for logs, tables and terminals.
//!
//! Every text from outside passes [`line()`], or is rejected by [`is_shown`], where it enters. Logging, storing,
//! forwarding or printing it later needs no further care: it is one line of bounded length, without characters that
//! move a cursor, or reorder or hide other text. The places are:
//!
//! | text | where it enters |
//! |---|---|
//! | reasons of failures: guests, workers, peers, errors of libraries | [`Failure::new`](crate::Failure::new) |
//! | names of services, in messages, file names and patterns | refused by `ServiceName::from_str` |
//! | names of nodes and zones | refused by `Label::from_str`: ASCII letters and digits |
//! | identities that workers choose | hexadecimal unless they are a line: `ConnectionId::shown` |
//! | callers, endpoints and decisions of traces from peers | refused by the codecs of [`crate::message`] and gossip |
//! | lines of guests: `log`, stdout, stderr | sandbox: `ServiceLog::line` |
//! | function names in backtraces, `traceparent` in the log | sandbox: `engine/backtrace.rs`, `run/failed_runs.rs` |
//! | why a file is refused: imports, section contents, comments of signatures | sandbox: `Loader::refuse` |
//! | names of imports and exports of a file | sandbox: `guests/interfaces.rs` |
//! | names of files in folders that others write | host: [`shown`] |
//! | mistakes in TOML files | host: `Report::add` in `config/error.rs` |
//! | what a node reports, on the way to a terminal | host: `read` in `cli.rs` |
//! | every field of every line of the node's log, as a second check | host: `cli/log.rs` |
//!
//! Bodies of requests and replies are data, not text: they pass byte for byte, except that the command line escapes
//! control and bidi characters of a body that it prints on a terminal.

use std::borrow::Cow;
use std::path::Path;

/// Largest line of a log, in bytes: long enough for a person to read in one go.
pub const MAX_LINE: usize = 8 << 10;

/// Largest name of a file in a message, in bytes: the longest path on Linux (`PATH_MAX`).
pub const MAX_PATH: usize = 4 << 10;

/// Mark at the end of a text that was longer than its limit.
const CUT: &str = "… [cut]";

/// Returns `text` as one line of at most `limit` bytes.
///
/// Line breaks at the end are dropped; every other line break and every tab becomes a space. Each other character that
/// is not shown as itself is replaced by its escape (`\u{1b}`). A result of more than `limit` bytes is cut between
/// characters and ends with `… [cut]`. A text that already is such a line is returned without a copy.
///
/// # Examples
/// ```
/// use wasmnode_protocol::text::line;
///
/// assert_eq!(line("first\nsecond\r\n", 80), "first second");
/// assert_eq!(line("\u{1b}[31mred", 80), r"\u{1b}[31mred");
/// assert_eq!(line("much too long a text", 16), "much to… [cut]");
/// ```
#[must_use]
pub fn line(text: &str, limit: usize) -> Cow<'_, str> {
    let text = text.trim_end_matches(is_break);
    if text.len() <= limit && is_line(text) {
        return Cow::Borrowed(text);
    }
    let most = limit.saturating_sub(CUT.len());
    let (mut line, mut kept) = (String::with_capacity(text.len().min(limit)), 0);
    let mut last = ' ';
    for c in text.chars() {
        match c {
            '\n' if last == '\r' => {}
            _ if is_break(c) || c == '\t' => line.push(' '),
            _ if is_shown(c) => line.push(c),
            _ => line.extend(c.escape_default()),
        }
        last = c;
        if line.len() > limit {
            line.truncate(kept);
            line.push_str(&CUT[..CUT.floor_char_boundary(limit - kept)]);
            break;
        }
        if line.len() <= most {
            kept = line.len();
        }
    }
    Cow::Owned(line)
}

/// Returns an owned text as [`line()`] does; a text that already is such a line is returned without a copy.
#[must_use]
pub fn into_line(text: String, limit: usize) -> String {
    let made = match line(&text, limit) {
        Cow::Borrowed(same) if same.len() == text.len() => None,
        made => Some(made.into_owned()),
    };
    made.unwrap_or(text)
}

/// Returns bytes that should be text as one line of at most `limit` bytes; invalid UTF-8 becomes U+FFFD.
#[must_use]
pub fn line_of(bytes: &[u8], limit: usize) -> String {
    // A character has at most four bytes and becomes at least one: the rest would be cut.
    let enough = &bytes[..bytes.len().min(limit.saturating_mul(4))];
    line(&String::from_utf8_lossy(enough), limit).into_owned()
}

/// Returns a number with its noun, which takes an `s` unless the number is 1.
///
/// # Examples
/// ```
/// use wasmnode_protocol::text::count;
///
/// assert_eq!([0, 1, 2].map(|number| count(number, "request")), ["0 requests", "1 request", "2 requests"]);
/// ```
#[must_use]
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Returns a path as one line of at most [`MAX_PATH`] bytes.
#[must_use]
pub fn shown(file: &Path) -> String {
    line_of(file.as_os_str().as_encoded_bytes(), MAX_PATH)
}

/// Returns the first three words of a text, which it shares with texts that differ only in later names and numbers.
#[must_use]
pub fn beginning(text: &str) -> &str {
    text.match_indices(' ').nth(2).map_or(text, |(end, _)| &text[..end])
}

/// Returns `true` if a text is one line in which each character is shown as itself.
#[must_use]
pub fn is_line(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_shown)
}

/// Returns `true` if a character is shown as itself in every position.
///
/// Control characters, characters that reorder text (bidi), and those without width or ink, which could hide in a name,
/// are not. Spaces of all widths, and marks that combine with the letter before them, are.
#[must_use]
pub fn is_shown(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Fillers, joiners and selectors, which are invisible although the tables of `std` list them as printable.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ if c.is_control() || is_break(c) => false,
        _ if c.is_alphanumeric() || c.is_whitespace() => true,
        _ => is_printable(c),
    }
}

/// Returns `true` if a character changes the direction of the text around it (Unicode Annex 9).
#[must_use]
pub fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `true` if some programs treat a character as the end of a line.
fn is_break(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Returns `true` if `std` prints a character as itself after a letter: it is assigned, no format character, and not
/// for private use.
fn is_printable(c: char) -> bool {
    let mut text = [0; 5];
    text[0] = b'a';
    let length = c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..=length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_a_line_is_unchanged() {
        for text in
            ["", "plain", "Ça a marché : « oui »", "日本語\u{3000}です", "हिन्दी", "e\u{301}", "✓ 🚀", "a\u{a0}b"]
        {
            assert!(matches!(line(text, 80), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn line_breaks_and_tabs_become_spaces_or_are_dropped_at_the_end() {
        assert_eq!(line("a\nb\r\nc\rd\te\u{b}f\u{85}g\u{2028}h\u{2029}i\n\r\n", 80), "a b c d e f g h i");
        assert_eq!(line("\n\n", 80), "");
        assert_eq!(line("a\n\nb", 80), "a  b");
    }

    #[test]
    fn control_bidi_and_invisible_characters_are_escaped() {
        for hidden in [
            '\0',
            '\u{7}',
            '\u{8}',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2064}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{ffa0}',
            '\u{e001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{f0000}',
            '\u{10ffff}',
        ] {
            let made = line(&format!("a{hidden}b"), 80).into_owned();
            assert_eq!(made, format!("a\\u{{{:x}}}b", hidden as u32), "{hidden:?}");
            assert!(is_line(&made) && !is_shown(hidden));
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        assert_eq!(line(&"x".repeat(20), 20), "x".repeat(20));
        assert_eq!(line(&"x".repeat(21), 20), format!("{}… [cut]", "x".repeat(11)));
        assert_eq!(line(&"é".repeat(11), 20), format!("{}… [cut]", "é".repeat(5)));
        assert_eq!(line(&"\u{1b}".repeat(9), 20), r"\u{1b}… [cut]");
        for limit in 0..40 {
            for text in [&"é".repeat(60), &"\u{202e}".repeat(60), &"a\n".repeat(60)] {
                assert!(line(text, limit).len() <= limit, "{limit}: {}", line(text, limit));
            }
        }
    }

    #[test]
    fn escaping_a_line_again_changes_nothing() {
        for text in ["a\nb", "\u{1b}[2J", "x\u{202e}y", &"\t".repeat(99), &"é\n".repeat(99), "a \n"] {
            let once = line(text, 40).into_owned();
            assert_eq!(line(&once, 40), once);
        }
    }

    #[test]
    fn bytes_and_file_names_become_lines() {
        assert_eq!(line_of(b"a\xffb\n", 80), "a\u{fffd}b");
        assert_eq!(line_of(&[b'x'; 1_000], 16).len(), 16);
        assert_eq!(shown(Path::new("plugins/a\nb.wasm")), "plugins/a b.wasm");
        assert_eq!(shown(Path::new("plugins/\u{202e}msaw.wasm")), r"plugins/\u{202e}msaw.wasm");
    }
}
