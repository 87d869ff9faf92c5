//! Agreement of the documents with the code, and targets of their links.

use crate::sources::{Source, root, source};
use std::collections::BTreeSet;
use std::path::Path;
use wasmnode::config::Config;
use wasmnode_core::Code;

const CONFIGURATION: &str = "docs/reference/configuration.md";
const CODES: &str = "docs/reference/codes.md";

/// Calls by which the code reads a key.
const READS: [&str; 5] = [".take(", ".list(", ".table(", ".tables(", "policy("];

/// Keys whose default depends on another value.
const OPEN_DEFAULTS: [&str; 3] = ["defaults.deadline", "node.name", "limits.plugin-descriptors"];

/// Returns the links to a missing file or heading.
pub(crate) fn dead_links(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for document in sources.iter().filter(|source| source.is_document()) {
        for (at, _) in document.text.match_indices("](") {
            let target = document.text[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
            let path = if file.is_empty() { document.path.clone().into() } else { folder.join(file) };
            let Ok(found) = root().join(&path).canonicalize() else {
                violations.push(format!("{}: {target} leads to no file", document.path));
                continue;
            };
            let has = |anchor: &str| {
                let text = std::fs::read_to_string(&found).unwrap_or_default();
                text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor)
            };
            if anchor.is_some_and(|anchor| !has(anchor)) {
                violations.push(format!("{}: {target} leads to no heading", document.path));
            }
        }
    }
    violations
}

/// Returns the anchor of a heading, as repository sites make it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the keys that only the code or only the reference has.
pub(crate) fn keys(sources: &[Source]) -> Vec<String> {
    let read = keys_of_code(sources);
    let text = &source(sources, CONFIGURATION).text;
    let named: BTreeSet<&str> = text.split(['`', '"', ' ', '{', '[', '.']).collect();
    let unnamed = read.iter().filter(|key| !named.contains(key.as_str()));
    let unnamed = unnamed.map(|key| format!("{CONFIGURATION} does not name the key {key}"));
    let documented = documented(text).into_iter().map(|entry| entry.key);
    let unread = documented.filter(|key| !read.contains(key.rsplit('.').next().unwrap_or_default()));
    unnamed.chain(unread.map(|key| format!("{CONFIGURATION} names {key}, which no code reads"))).collect()
}

fn keys_of_code(sources: &[Source]) -> BTreeSet<String> {
    let is_reader = |source: &&Source| {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        source.path.starts_with("host/src/config") && !["tests.rs", "traffic.rs"].contains(&name)
    };
    let mut keys = BTreeSet::new();
    for source in sources.iter().filter(is_reader) {
        let code = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for read in READS {
            for (at, _) in code.match_indices(read) {
                let key =
                    code[at + read.len()..].trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                keys.extend(
                    key.filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '-')).map(String::from),
                );
            }
        }
    }
    assert!(keys.len() > 50, "the readers are found: {keys:?}");
    keys
}

/// Key as documented in the reference.
struct Documented {
    section: String,
    key: String,
    /// Default as written in the reference; `None` if it is not a value.
    default: Option<String>,
}

/// Returns the documented keys: rows of tables, and items that begin with a key in bold type.
fn documented(text: &str) -> Vec<Documented> {
    let (mut section, mut entries) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section =
                heading.rsplit_once('[').map_or("", |(_, rest)| rest.split(']').next().unwrap_or_default()).into();
        }
        let item = line.strip_prefix("- **`").and_then(|rest| rest.split_once("`**"));
        let row = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | "));
        let Some((key, rest)) = item.or(row).filter(|_| !section.is_empty()) else { continue };
        let default = match item {
            Some(_) => rest.split_once("default `").and_then(|(_, rest)| rest.split('`').next()).map(String::from),
            None => rest.split(" |").next().map(value_of_cell),
        };
        entries.push(Documented { section: section.clone(), key: key.into(), default });
    }
    assert!(entries.len() > 50, "the reference is read");
    entries
}

/// `10,000` as a number, `256 MiB` as text.
fn value_of_cell(cell: &str) -> String {
    let plain = cell.replace(',', "");
    if plain.chars().all(|c| c.is_ascii_digit()) { plain } else { format!("\"{}\"", cell.replace(' ', "")) }
}

/// Returns the defaults in the reference that differ from the code: a file that sets one would differ from a file that
/// leaves it out.
pub(crate) fn defaults(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for Documented { section, key, default } in documented(&source(sources, CONFIGURATION).text) {
        let Some(default) = default.filter(|_| !OPEN_DEFAULTS.contains(&format!("{section}.{key}").as_str())) else {
            continue;
        };
        // Defaults that begin with `$` are described in prose; a neighbour's defaults need a neighbour.
        if default.starts_with('$') || section == "router" && default.starts_with('[') {
            continue;
        }
        let router = "[router.neighbour.r]\nendpoint = 'tcp://127.0.0.1:1'\n";
        let rest = if section == "router" { router } else { "" };
        let read = |text: &str| Config::parse(&format!("{text}{rest}"), Path::new("node.toml"));
        match (read(&format!("[{section}]\n{key} = {default}\n")), read("")) {
            (Ok(set), Ok(unset)) if set == unset => {}
            (Ok(_), _) => violations.push(format!("{section}.{key}: {default} is not the default")),
            (Err(error), _) => violations.push(format!("{section}.{key}: {error}")),
        }
    }
    violations
}

/// Returns the differences between the table of failure codes and the code.
pub(crate) fn codes(sources: &[Source]) -> Vec<String> {
    let text = &source(sources, CODES).text;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.parse::<u16>().ok()?, cells.next()?.to_owned()))
    };
    let documented: BTreeSet<(u16, String)> = text.lines().filter_map(row).collect();
    let known: BTreeSet<(u16, String)> =
        Code::ALL.into_iter().map(|code| (code.number(), code.name().to_owned())).collect();
    let differ = documented.symmetric_difference(&known);
    differ.map(|(number, name)| format!("{number} {name} is only in {CODES} or only in the code")).collect()
}

#[test]
fn a_dead_link_is_noticed() {
    let dead = |text: &str| dead_links(&[Source::new("docs/guide/keys.md", text)]).len();
    assert_eq!(dead("[a](nothing.md) [b](../reference/codes.md#nothing) [c](#nothing)"), 3);
    assert_eq!(dead("[a](clients.md) [b](../reference/codes.md#exit-codes-of-commands) [c](https://example.org)"), 0);
}

#[test]
fn a_key_or_default_or_code_that_is_not_as_documented_is_noticed() {
    let mut sources = crate::sources::sources();
    let mut edit = |path: &str, from: &str, to: &str| {
        let source = sources.iter_mut().find(|source| source.path == path).unwrap();
        assert!(source.text.contains(from), "{path}: {from}");
        source.text = source.text.replace(from, to);
    };
    edit(CONFIGURATION, "| `call-depth` | 8 |", "| `call-dept` | 8 |");
    edit(CONFIGURATION, "| `frames` | 256 |", "| `frames` | 257 |");
    edit(CODES, "| 404 | unknown service |", "| 404 | not found |");
    assert_eq!(keys(&sources).len(), 2, "{:?}", keys(&sources));
    assert_eq!(defaults(&sources).len(), 2, "{:?}", defaults(&sources));
    assert_eq!(codes(&sources).len(), 2, "{:?}", codes(&sources));
}
