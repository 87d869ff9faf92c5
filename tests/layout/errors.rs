//! Errors are types of their own: a text has no source, and nobody can tell one from another.

use crate::sources::Source;

/// Paths below which a text may be an error: mistakes in a configuration are sentences, and nothing else reads them.
const CONFIGURATION: &str = "host/src/config";

/// Paths of tests, benchmarks, build scripts, and crates of others.
const APART: [&str; 5] = ["/tests/", "/tests.rs", "/benches/", "/build.rs", "/third-party/"];

/// Results whose error is a text, outside tests and the reader of the configuration.
pub(crate) fn texts(sources: &[Source]) -> Vec<String> {
    let is_checked = |source: &&Source| {
        let path = format!("/{}", source.path);
        source.is_rust() && !source.path.starts_with(CONFIGURATION) && !APART.iter().any(|apart| path.contains(apart))
    };
    let mut violations = Vec::new();
    for source in sources.iter().filter(is_checked) {
        let code = without_tests(&source.text);
        for (at, found) in code.match_indices("Result<") {
            let arguments = arguments(&code[at + found.len()..]);
            if let [_, "String"] = arguments[..] {
                let line = 1 + code[..at].matches('\n').count();
                violations.push(format!("{}:{line}: the error is a text; make it a type", source.path));
            }
        }
    }
    violations
}

/// Blanks comments, and items that are compiled only for tests; lines keep their numbers.
fn without_tests(text: &str) -> String {
    let (mut code, mut test) = (String::new(), None);
    for line in text.lines() {
        let (trimmed, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        if trimmed == "#[cfg(test)]" {
            test = Some(indent);
        }
        match test {
            None => code.push_str(line.split("//").next().unwrap_or_default()),
            // The formatter puts the end of an item below its beginning.
            Some(start) if start == indent && trimmed.ends_with(['}', ';']) => test = None,
            Some(_) => {}
        }
        code.push('\n');
    }
    code
}

/// The arguments of a type, from behind its `<`.
fn arguments(code: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start, mut before) = (Vec::new(), 0_usize, 0, ' ');
    for (at, letter) in code.char_indices() {
        match letter {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if before == '-' => {}
            ',' | '>' if depth == 0 => {
                found.extend(Some(code[start..at].trim()).filter(|argument| !argument.is_empty()));
                start = at + 1;
                if letter == '>' {
                    break;
                }
            }
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = letter;
    }
    found
}

#[test]
fn an_error_that_is_a_text_is_noticed() {
    for text in [
        "fn a() -> Result<(), String> {",
        "type A<T> = std::result::Result<Vec<T>, String>;",
        "a: Result<\n    impl Fn(u8, u8) -> u8,\n    String,\n>,",
        "fn a(b: &Result<(u8, String), String>) {",
        "#[cfg(test)]\nmod tests;\nfn a() -> Option<Result<u8, String>> {",
        "#[cfg(test)]\nmod tests {\n    fn a() {\n    }\n}\nfn a() -> Result<u8, String> {",
    ] {
        assert_eq!(texts(&[Source::new("host/core/src/a.rs", text)]).len(), 1, "{text}");
        for apart in
            ["host/src/config/a.rs", "host/src/config.rs", "host/src/a/tests.rs", "host/build.rs", "tests/a/b.rs"]
        {
            assert_eq!(texts(&[Source::new(apart, text)]), Vec::<String>::new(), "{apart}");
        }
    }
}

#[test]
fn errors_that_are_types_and_those_of_tests_are_not_noticed() {
    for text in [
        "fn a() -> Result<String, Error> {",
        "fn a() -> io::Result<(String, String)> {",
        "fn a() -> Result<BTreeMap<u8, String>, Error> {",
        "fn a() -> Result<(), (u8, String)> {",
        "// Result<(), String>",
        "#[cfg(test)]\nmod tests {\n    fn a() -> Result<(), String> {\n    }\n}",
        "    #[cfg(test)]\n    fn a() -> Result<(), String> {\n        b()\n    }",
    ] {
        assert_eq!(texts(&[Source::new("host/core/src/a.rs", text)]), Vec::<String>::new(), "{text}");
    }
}
