//! Parser of dialogue files: titles, lines, and the dialects in which each dialogue is played.

use crate::notation::Dialects;
use wasmnode_core::message::Dialect;

/// One dialogue of a file.
pub(crate) struct Dialogue {
    pub(crate) title: String,
    /// Line numbers and lines, without comments and blank lines.
    pub(crate) lines: Vec<(usize, Vec<String>)>,
    workers: Vec<Dialect>,
    clients: Vec<Dialect>,
}

impl Dialogue {
    /// Returns every combination of the dialects that the dialogue names.
    pub(crate) fn dialects(&self) -> Vec<Dialects> {
        let pairs = self.workers.iter().flat_map(|&worker| self.clients.iter().map(move |&client| (worker, client)));
        pairs.map(|(worker, client)| Dialects { worker, client }).collect()
    }
}

/// Parses a file; a dialogue begins at each `# title:`.
pub(crate) fn dialogues(text: &str) -> Vec<Dialogue> {
    let mut dialogues: Vec<Dialogue> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("# title:") {
            dialogues.push(Dialogue {
                title: title.trim().into(),
                lines: Vec::new(),
                workers: vec![Dialect::Majordomo02],
                clients: vec![Dialect::Majordomo02],
            });
            continue;
        }
        let words = words(line);
        let Some(dialogue) = dialogues.last_mut() else {
            assert!(words.is_empty(), "line {}: comes before the first title", index + 1);
            continue;
        };
        match words.first().map(String::as_str) {
            None => {}
            Some("workers") => dialogue.workers = words[1..].iter().map(|word| dialect(word)).collect(),
            Some("clients") => dialogue.clients = words[1..].iter().map(|word| dialect(word)).collect(),
            Some(_) => dialogue.lines.push((index + 1, words)),
        }
    }
    dialogues
}

fn dialect(word: &str) -> Dialect {
    match word {
        "0.1" => Dialect::Majordomo01,
        "0.2" => Dialect::Majordomo02,
        "0.2-enveloped" => Dialect::Majordomo02Enveloped,
        _ => panic!("{word} is not a dialect: 0.1, 0.2 or 0.2-enveloped"),
    }
}

/// Splits a line at its white space, except within quotes and parentheses; `#` begins a comment.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut depth) = (false, false, 0);
    for letter in line.chars() {
        if !quoted && letter == '#' {
            break;
        }
        if !quoted && depth == 0 && letter.is_whitespace() {
            words.push(std::mem::take(&mut word));
            continue;
        }
        match letter {
            '"' if !escaped => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        escaped = quoted && letter == '\\' && !escaped;
        word.push(letter);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
