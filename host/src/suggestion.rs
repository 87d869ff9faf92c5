//! Suggestions for misspelt words.

/// Largest number of letters that a misspelt word may differ by.
const MOST: usize = 2;

/// Returns the known word that is nearest to a misspelt one.
///
/// The two differ by at most two inserted, deleted or replaced letters, and share at least one.
///
/// ```
/// use wasmnode::suggestion::nearest;
///
/// assert_eq!(nearest("inof", ["error", "info"]), Some("info"));
/// assert_eq!(nearest("everything", ["error", "info"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.chars().count();
    let known = known.into_iter().filter(|known| known.chars().count().abs_diff(letters) <= MOST);
    let near = known.map(|known| (distance(word, known), known)).min();
    near.filter(|(distance, known)| (1..=MOST).contains(distance) && *distance < known.chars().count())
        .map(|(_, known)| known)
}

/// Returns the number of insertions, deletions and replacements that turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.chars().enumerate() {
            next.push((row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_between_words_counts_letters() {
        assert_eq!(distance("", "memory"), 6);
        assert_eq!(distance("memory", "memory"), 0);
        assert_eq!(distance("memroy", "memory"), 2);
        assert_eq!(distance("log_lines", "log-lines"), 1);
        assert_eq!(distance("\u{e9}", "e"), 1);
    }

    #[test]
    fn a_known_or_unrelated_word_is_not_a_misspelling() {
        assert_eq!(nearest("print", ["print"]), None);
        assert_eq!(nearest("xy", ["ab", "a"]), None);
        assert_eq!(nearest("pritn", ["afficher", "print", "printer"]), Some("print"));
        assert_eq!(nearest(&"x".repeat(1 << 20), ["print"]), None);
    }
}
