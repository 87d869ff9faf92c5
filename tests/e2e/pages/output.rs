//! Comparison of an output with the one that a page shows.

/// Matches any text within a line, and alone in a line any number of lines.
const ANYTHING: char = '…';

/// Returns `true` if the output matches, line by line. Dates, digests and times are compared by their form, white space
/// by its presence.
pub(super) fn is_as_shown(shown: &[String], printed: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| form(line)).collect();
    let printed: Vec<String> = printed.lines().map(form).collect();
    lines_match(&shown, &printed)
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    let Some((line, rest)) = shown.split_first() else {
        return printed.is_empty();
    };
    if line.chars().eq([ANYTHING]) {
        return (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]));
    }
    printed.split_first().is_some_and(|(first, others)| line_matches(line, first) && lines_match(rest, others))
}

fn line_matches(shown: &str, printed: &str) -> bool {
    match shown.split_once(ANYTHING) {
        None => shown == printed,
        Some((before, rest)) => printed.strip_prefix(before).is_some_and(|printed| {
            let mut ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
            ends.any(|at| line_matches(rest, &printed[at..]))
        }),
    }
}

/// Returns a line with one space between words, and with placeholders for the words that differ in each run.
fn form(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_of_a_time = words.last().is_some_and(|last| is_number(last)) && UNITS.contains(&word);
        if is_of_a_time {
            words.pop();
        }
        words.push(if is_of_a_time || is_time(word) {
            "TIME"
        } else if is_date(word) {
            "DATE"
        } else if is_digest(word) {
            "DIGEST"
        } else {
            word
        });
    }
    words.join(" ")
}

const UNITS: [&str; 3] = ["µs", "ms", "s"];

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

/// `645.543µs`
fn is_time(word: &str) -> bool {
    UNITS.iter().filter_map(|unit| word.strip_suffix(unit)).any(is_number)
}

/// `2026-11-30T18:39:34Z`
fn is_date(word: &str) -> bool {
    let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
    word.chars().map(digits).eq("0000-00-00T00:00:00Z".chars())
}

/// A whole digest, or the eight digits in tables.
fn is_digest(word: &str) -> bool {
    let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(word.len(), 8 | 64) && word.bytes().all(is_hexadecimal)
}

#[test]
fn what_varies_is_compared_by_its_form_and_the_rest_by_its_text() {
    let is_shown = |shown: &str, printed: &str| {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        is_as_shown(&shown, printed)
    };
    for (shown, printed) in [
        ("a  b", "a b\n"),
        ("89c077c3  0  121 µs", "01d5c814 0 0.5 ms"),
        ("at 2026-11-24T12:18:07Z", "at 2027-01-02T00:00:00Z"),
        ("compiled in 645.543µs", "compiled in 1.2s"),
        ("a … c", "a long b c"),
        ("a\n…\nd", "a\nb\nc\nd"),
        ("…\na", "a"),
    ] {
        assert!(is_shown(shown, printed), "{shown:?} {printed:?}");
    }
    for (shown, printed) in [
        ("a", "b"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("0 121 µs", "1 121 µs"),
        ("0 121 µs", "0 -"),
        ("a … c", "a b d"),
        ("a\n…\nd", "a\nb\nc"),
    ] {
        assert!(!is_shown(shown, printed), "{shown:?} {printed:?}");
    }
}
