//! Sizes of files, and widths of lines that rustfmt does not format.

use crate::sources::Source;

/// Largest number of lines of a source file.
const LINES: usize = 500;

/// Largest number of lines of the README.
const README_LINES: usize = 200;

/// Largest number of characters of a line: the limit of rustfmt for code.
const WIDTH: usize = 120;

/// Returns the files that are too long, and the comments and documents that are too wide. Templates of projects are
/// exempt.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let sources = sources.iter().filter(|source| !source.path.starts_with("host/src/cli/new/"));
    sources.flat_map(|source| too_long(source).into_iter().chain(too_wide(source))).collect()
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let most = match source.path.as_str() {
        "README.md" => README_LINES,
        _ if source.is_rust() => LINES,
        _ => return None,
    };
    (lines > most).then(|| format!("{}: {lines} lines are more than {most}", source.path))
}

/// Returns the lines that are too wide. Lines with a URL are exempt, and in Rust files tables and blocks of code in
/// comments.
fn too_wide(source: &Source) -> Vec<String> {
    let mut is_code = false;
    let mut violations = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!']).trim_start());
        let text = if source.is_document() { Some(line) } else { comment };
        let Some(text) = text else {
            is_code = false;
            continue;
        };
        is_code ^= text.trim_start().starts_with("```");
        let is_free = is_code && source.is_rust() || text.starts_with('|') && source.is_rust() || text.contains("://");
        if line.chars().count() > WIDTH && !is_free {
            violations.push(format!("{}:{}: more than {WIDTH} characters", source.path, number + 1));
        }
    }
    violations
}

#[test]
fn a_file_that_is_too_long_and_a_comment_that_is_too_wide_are_noticed() {
    let wide = "x".repeat(WIDTH);
    for (path, text) in [
        ("host/src/a.rs", "\n".repeat(LINES + 1)),
        ("README.md", "\n".repeat(README_LINES + 1)),
        ("host/src/a.rs", format!("/// {wide}")),
        ("host/src/a.rs", format!("    // {wide}")),
        ("docs/a.md", format!("| {wide} |")),
    ] {
        assert_eq!(violations(&[Source::new(path, &text)]).len(), 1, "{path}");
    }
    for text in [format!("//! | {wide} |"), format!("let a = \"{wide}\";"), format!("//! ```text\n//! {wide}\n//! ```")]
    {
        assert_eq!(violations(&[Source::new("host/src/a.rs", &text)]), Vec::<String>::new());
    }
}
