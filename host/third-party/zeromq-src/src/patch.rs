//! Unified diffs, applied exactly: each hunk at the line that it names, with all of its context. A difference is an
//! error, because a hunk that is applied elsewhere would change another function.

/// The hunks for one file.
#[derive(Debug)]
pub(crate) struct File<'a> {
    /// Its path, without the `b/` in front.
    pub(crate) path: &'a str,
    hunks: Vec<Hunk<'a>>,
}

#[derive(Debug)]
struct Hunk<'a> {
    /// Number of its first line in the file as it was, from 1.
    start: usize,
    lines: Vec<&'a str>,
}

/// Reads a patch of any number of files; text before the first is a comment.
///
/// # Errors
/// If a line is not part of a unified diff.
pub(crate) fn files(patch: &str) -> Result<Vec<File<'_>>, String> {
    let mut files: Vec<File<'_>> = Vec::new();
    let is_name = |line: &&str| line.starts_with("--- a/");
    for line in patch.lines().skip_while(|line| !is_name(line)).filter(|line| !is_name(line)) {
        if let Some(path) = line.strip_prefix("+++ b/") {
            files.push(File { path, hunks: Vec::new() });
            continue;
        }
        let malformed = || format!("libzmq.patch: {line:?} is not a line of a unified diff");
        let file = files.last_mut().ok_or_else(malformed)?;
        if let Some(range) = line.strip_prefix("@@ -") {
            let start = range.split([',', ' ']).next().and_then(|start| start.parse().ok()).ok_or_else(malformed)?;
            file.hunks.push(Hunk { start, lines: Vec::new() });
        } else if line.starts_with([' ', '+', '-']) {
            file.hunks.last_mut().ok_or_else(malformed)?.lines.push(line);
        } else {
            return Err(malformed());
        }
    }
    Ok(files)
}

impl File<'_> {
    /// Returns the text with all hunks applied.
    ///
    /// # Errors
    /// If a line of the text differs from the patch.
    pub(crate) fn apply(&self, text: &str) -> Result<String, String> {
        let (mut old, mut new) = (text.lines().zip(1..).peekable(), String::new());
        for hunk in &self.hunks {
            let mut number = hunk.start;
            while let Some((line, _)) = old.next_if(|(_, at)| *at < number) {
                push(&mut new, line);
            }
            for line in &hunk.lines {
                let (sign, line) = line.split_at(1);
                if sign != "+" {
                    let found = old.next().filter(|(found, at)| (*found, *at) == (line, number));
                    found.ok_or_else(|| format!("line {number} is not {line:?}"))?;
                    number += 1;
                }
                if sign != "-" {
                    push(&mut new, line);
                }
            }
        }
        old.for_each(|(line, _)| push(&mut new, line));
        Ok(new)
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str =
        "Why.\n--- a/src/a\n+++ b/src/a\n@@ -2,2 +2,3 @@\n two\n-three\n+3\n+4\n@@ -5 +6 @@\n-five\n+6\n";

    fn apply(patch: &str, text: &str) -> Result<String, String> {
        files(patch)?.iter().try_fold(text.to_owned(), |text, file| file.apply(&text))
    }

    #[test]
    fn hunks_are_applied_at_their_lines() {
        assert_eq!(files(PATCH).unwrap()[0].path, "src/a");
        assert_eq!(apply(PATCH, "one\ntwo\nthree\nfour\nfive\n").unwrap(), "one\ntwo\n3\n4\nfour\n6\n");
    }

    #[test]
    fn a_difference_in_the_context_is_an_error() {
        for text in [
            "one\ntwo\nthree",
            "one\ntwo\ntree\nfour\nfive\n",
            "two\nthree\nfour\nfive\n",
            "0\none\ntwo\nthree\nfour\nfive",
        ] {
            let why = apply(PATCH, text).unwrap_err();
            assert!(why.contains(" is not "), "{why}");
        }
    }

    #[test]
    fn a_malformed_patch_is_an_error() {
        for patch in [
            "--- a/a\n@@ -1 +1 @@\n",
            "--- a/a\n+++ b/a\n+1\n",
            "--- a/a\n+++ b/a\n@@ 1 @@\n",
            "--- a/a\n+++ b/a\n@@ -1 +1 @@\nx\n",
        ] {
            let why = files(patch).unwrap_err();
            assert!(why.contains("is not a line of a unified diff"), "{patch}");
        }
    }
}
