//! Rendering of a body: a box around rows of text, with one section per frame.
//!
//! Three steps, each of which depends only on the result of the previous one: characters that act on a terminal become
//! visible ones, lines become rows that fit, rows become a box. Columns are counted as terminals show them: a
//! Chinese character takes two, a combining accent none.

use std::iter;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Largest number of columns of a row, between the sides of the box.
const MAX_COLUMNS: usize = 72;

/// Distance between tab stops, as on terminals.
const TAB_COLUMNS: usize = 8;

/// Text of one line of the box, and its width.
struct Row {
    text: String,
    columns: usize,
}

impl Row {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), columns: clusters(text).map(columns).sum() }
    }
}

/// Draws `frames`, as UTF-8 text whose lines all end in a newline.
pub(crate) fn render(frames: &[Vec<u8>]) -> String {
    let sections: Vec<Vec<Row>> = frames.iter().map(|frame| rows(frame)).collect();
    let columns = sections.iter().flatten().map(|row| row.columns).max().unwrap_or(0);
    let edge = "─".repeat(columns + 2);

    let mut picture = format!("┌{edge}┐\n");
    for (index, section) in sections.iter().enumerate() {
        if index > 0 {
            picture.push_str(&format!("├{edge}┤\n"));
        }
        for row in section {
            let padding = " ".repeat(columns - row.columns);
            picture.push_str(&format!("│ {}{padding} │\n", row.text));
        }
    }
    picture.push_str(&format!("└{edge}┘\n"));
    picture
}

/// Returns the rows of one frame; an empty frame has one empty row.
fn rows(frame: &[u8]) -> Vec<Row> {
    let text = String::from_utf8_lossy(frame);
    let mut rows: Vec<Row> = text.lines().flat_map(|line| wrap(&visible(line))).collect();
    if rows.is_empty() {
        rows.push(Row::new(""));
    }
    rows
}

/// Returns the line with a visible replacement for each character that a terminal would execute or hide.
fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut column = 0;
    for character in line.chars() {
        let start = shown.len();
        match character {
            '\t' => shown.extend(iter::repeat_n(' ', TAB_COLUMNS - column % TAB_COLUMNS)),
            '\0'..='\x1f' => shown.extend(char::from_u32(0x2400 + u32::from(character))),
            '\x7f' => shown.push('␡'),
            _ if is_hidden(character) => shown.push_str(&format!("<U+{:04X}>", u32::from(character))),
            _ => shown.push(character),
        }
        column += columns(&shown[start..]);
    }
    shown
}

/// Returns `true` if a terminal may show nothing for `character`, or act on it: C1 controls, line and paragraph
/// separators, interlinear annotation characters, and Unicode's "default ignorable" characters, among them all that
/// change the writing direction. Two of these occur in ordinary text and pass: U+FE0E and U+FE0F choose between ☎ and
/// ☎️.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9F}'
            | '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0D}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// Returns the rows of one line. Spaces at the end of a row are dropped, because they are invisible and would widen the
/// box.
fn wrap(line: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = line.trim_end_matches(' ');
    loop {
        let (row, tail) = rest.split_at(row_end(rest));
        rows.push(Row::new(row.trim_end_matches(' ')));
        rest = tail.trim_start_matches(' ');
        if rest.is_empty() {
            return rows;
        }
    }
}

/// Returns the end of the first row of `text`: after the last word that fits, or within a word longer than a row.
fn row_end(text: &str) -> usize {
    let indent = text.len() - text.trim_start_matches(' ').len();
    let (mut end, mut used) = (0, 0);
    let mut word_end = None;
    for cluster in clusters(text) {
        if cluster == " " && end > indent {
            word_end = Some(end);
        }
        used += columns(cluster);
        if used > MAX_COLUMNS {
            return word_end.unwrap_or(end);
        }
        end += cluster.len();
    }
    end
}

/// Splits `text` into characters, each with its combining marks, so that a row never begins with a mark.
fn clusters(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        let mut following = rest.char_indices().skip(1);
        let end = following.find(|(_, character)| character.width() != Some(0)).map_or(rest.len(), |(end, _)| end);
        let (cluster, tail) = rest.split_at(end);
        rest = tail;
        (!cluster.is_empty()).then_some(cluster)
    })
}

/// Returns the columns of a cluster, which can differ from those of its characters: U+FE0F makes a narrow ❤ a wide ❤️.
fn columns(cluster: &str) -> usize {
    cluster.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(frames: &[&[u8]]) -> String {
        render(&frames.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>())
    }

    /// Returns the rows between the sides of the box around `text`, without the padding.
    fn content(text: &str) -> Vec<String> {
        let picture = drawn(&[text.as_bytes()]);
        let inside = picture.lines().filter_map(|line| line.strip_prefix("│ ")?.strip_suffix(" │"));
        inside.map(|row| row.trim_end().to_owned()).collect()
    }

    #[test]
    fn the_box_is_as_wide_as_the_longest_line() {
        let expected = "\
            ┌───────┐\n\
            │ one   │\n\
            │ three │\n\
            └───────┘\n";
        assert_eq!(drawn(&[b"one\nthree"]), expected);
    }

    #[test]
    fn frames_are_separated() {
        let expected = "\
            ┌─────┐\n\
            │ one │\n\
            ├─────┤\n\
            │     │\n\
            ├─────┤\n\
            │ 2   │\n\
            └─────┘\n";
        assert_eq!(drawn(&[b"one", b"", b"2"]), expected);
    }

    #[test]
    fn an_empty_frame_is_an_empty_row_and_no_frames_are_no_rows() {
        assert_eq!(drawn(&[b""]), "┌──┐\n│  │\n└──┘\n");
        assert_eq!(drawn(&[]), "┌──┐\n└──┘\n");
    }

    #[test]
    fn newlines_of_either_kind_break_lines_and_the_last_one_adds_none() {
        assert_eq!(content("one\ntwo\r\n\nfour\n"), ["one", "two", "", "four"]);
    }

    #[test]
    fn lines_wrap_between_words_at_72_columns() {
        let (a, b) = ("a".repeat(40), "b".repeat(31));
        assert_eq!(content(&format!("{a} {b} c")), [format!("{a} {b}"), "c".to_owned()]);
        assert_eq!(content(&format!("{a} {b}b")), [a, format!("{b}b")]);
    }

    #[test]
    fn words_longer_than_a_row_are_cut() {
        let word = "x".repeat(100);
        assert_eq!(content(&format!("a {word} b")), ["a", &word[..72], &format!("{} b", &word[72..])]);
    }

    #[test]
    fn spaces_where_a_line_wraps_are_dropped() {
        let word = "x".repeat(70);
        assert_eq!(content(&format!("{word}     next  one")), [word.as_str(), "next  one"]);
        assert_eq!(content(&" ".repeat(200)), [""]);
    }

    #[test]
    fn spaces_at_the_end_do_not_widen_the_box() {
        assert_eq!(drawn(&[b"one   "]), drawn(&[b"one"]));
    }

    #[test]
    fn indentation_stays_and_never_wraps() {
        let word = "x".repeat(80);
        assert_eq!(content(&format!("  {word}")), [format!("  {}", &word[..70]), word[70..].to_owned()]);
        assert_eq!(content("  one\n two"), ["  one", " two"]);
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(content("\0\x1b[2J\x07\x7fa\rb\u{9b}31m"), ["␀␛[2J␇␡a␍b<U+009B>31m"]);
    }

    #[test]
    fn characters_that_hide_or_reorder_text_are_made_visible() {
        assert_eq!(content("a\u{202E}b\u{2066}c\u{200B}d\u{FEFF}e"), ["a<U+202E>b<U+2066>c<U+200B>d<U+FEFF>e"]);
        assert_eq!(content("\u{AD}\u{61C}\u{2028}\u{2060}\u{E0041}"), ["<U+00AD><U+061C><U+2028><U+2060><U+E0041>"]);
    }

    #[test]
    fn no_character_breaks_the_box() {
        let assigned = ('\0'..='\u{1FFFF}').chain('\u{E0000}'..='\u{E0FFF}');
        let all: String = assigned.flat_map(|character| ['a', character, 'b', '\n']).collect();
        let picture = drawn(&[all.as_bytes()]);
        let escaped = picture.chars().find(|shown| *shown != '\n' && (shown.is_control() || is_hidden(*shown)));
        assert_eq!(escaped, None);
        let width = picture.lines().next().map(UnicodeWidthStr::width);
        let dented = picture.lines().find(|line| Some(line.width()) != width);
        assert_eq!(dented, None);
    }

    #[test]
    fn tabs_extend_to_the_next_stop() {
        assert_eq!(content("\ta\tbc\t1234567\td"), ["        a       bc      1234567 d"]);
        assert_eq!(content("漢字\tx"), ["漢字    x"]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(drawn(&[b"a\xffb"]), drawn(&["a\u{FFFD}b".as_bytes()]));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(drawn(&["漢字\nabcd".as_bytes()]), "┌──────┐\n│ 漢字 │\n│ abcd │\n└──────┘\n");
        assert_eq!(content(&"字".repeat(37)), ["字".repeat(36), "字".to_owned()]);
    }

    #[test]
    fn a_wide_character_that_does_not_fit_starts_the_next_row() {
        assert_eq!(content(&format!("{}字", "x".repeat(71))), ["x".repeat(71), "字".to_owned()]);
    }

    #[test]
    fn accents_take_no_column_and_stay_with_their_letter() {
        assert_eq!(drawn(&["e\u{301}".as_bytes()]), "┌───┐\n│ e\u{301} │\n└───┘\n");
        let row = "e\u{301}".repeat(72);
        assert_eq!(content(&format!("{row}x")), [row.as_str(), "x"]);
    }

    #[test]
    fn emoji_form_makes_a_narrow_character_wide() {
        assert_eq!(drawn(&["❤\u{FE0F}\nab".as_bytes()]), "┌────┐\n│ ❤\u{FE0F} │\n│ ab │\n└────┘\n");
    }
}
