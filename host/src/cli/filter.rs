//! Filters of `--log` and RUST_LOG, in the syntax of the crate tracing-subscriber, except that names without a level
//! are rejected. The crate takes `inof` for a target, logs everything of that target, and nothing else.

use std::fmt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use wasmnode::suggestion::nearest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Forms of `--log`, for error texts.
const FORM: &str = "write error, warn, info, debug or trace, or \"info,plugin=debug\"";

/// Log targets that are not crates: what plugins log, and how their runs end.
const PARTS: [&str; 2] = ["plugin", "run"];

/// Lock file of the workspace: lists all linked crates, the workspace's own included, and others.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Checked filter, as it was written.
#[derive(Debug, Clone)]
pub(super) struct Filter(String);

/// Which part of a filter is wrong, and what to write.
#[derive(Debug)]
pub(super) enum InvalidFilter {
    /// It has no part.
    Empty,
    /// A part has a misspelt level.
    Level {
        /// The word.
        level: String,
        /// The level that was probably meant.
        near: &'static str,
    },
    /// A part is one word, and not similar to a level.
    Word(String),
    /// A part ends in something else than a level.
    NoLevel(String),
    /// A part names a part of the program that does not exist.
    Target {
        /// The name.
        target: String,
        /// The part that was probably meant.
        near: Option<&'static str>,
    },
    /// The crate does not understand it.
    Unparsed {
        /// The filter.
        filter: String,
        /// Error of the crate.
        source: ParseError,
    },
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "it is empty; {FORM}"),
            Self::Level { level, near } => write!(f, "{level:?} is not a level; did you mean {near}?"),
            Self::Word(word) => {
                write!(f, "{word:?} is not a level; for a part of the program, {word}=debug; {FORM}")
            }
            Self::NoLevel(directive) => write!(f, "{directive:?} does not end in a level; {FORM}"),
            Self::Target { target, near: Some(near) } => {
                write!(f, "{target:?} is not a part of this program; did you mean {near}?")
            }
            Self::Target { target, near: None } => {
                write!(
                    f,
                    "{target:?} is not a part of this program; its own are wasmnode, wasmnode_core, plugin and run"
                )
            }
            Self::Unparsed { filter, source } => write!(f, "{filter:?} is not a filter: {source}; {FORM}"),
        }
    }
}

impl std::error::Error for InvalidFilter {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unparsed { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Filter {
    /// Parses a filter that was written for this program.
    ///
    /// # Errors
    /// Which part of it is wrong, and what to write, also if it names a part of the program that does not exist.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidFilter> {
        let filter = Self::parse_any(text)?;
        for target in directives(text).filter_map(target_of) {
            if PARTS.contains(&target) || crates().any(|name| name == target) {
                continue;
            }
            let near = nearest(target, ["wasmnode", "wasmnode_core"].into_iter().chain(PARTS));
            return Err(InvalidFilter::Target { target: target.to_owned(), near });
        }
        Ok(filter)
    }

    /// Parses a filter that may be meant for other programs too.
    ///
    /// # Errors
    /// Which part of it is wrong, and what to write.
    pub(super) fn parse_any(text: &str) -> Result<Self, InvalidFilter> {
        if directives(text).next().is_none() {
            return Err(InvalidFilter::Empty);
        }
        for directive in directives(text) {
            let (is_bare, level) = match directive.rsplit_once('=') {
                _ if directive.ends_with([']', '}']) => continue,
                Some((_, level)) => (false, level.trim()),
                None => (true, directive),
            };
            if !is_level(level) {
                return Err(match (nearest(&level.to_ascii_lowercase(), LEVELS), is_bare) {
                    (Some(near), _) => InvalidFilter::Level { level: level.to_owned(), near },
                    (None, true) => InvalidFilter::Word(level.to_owned()),
                    (None, false) => InvalidFilter::NoLevel(directive.to_owned()),
                });
            }
        }
        let joined = directives(text).collect::<Vec<_>>().join(",");
        EnvFilter::try_new(&joined).map_err(|source| InvalidFilter::Unparsed { filter: text.to_owned(), source })?;
        Ok(Self(joined))
    }

    /// Returns the filter with a bare `debug` or `trace` narrowed to the node's own parts and plugins, because the
    /// libraries write tens of thousands of lines at `debug`.
    pub(super) fn of_own_parts(&self) -> Self {
        let narrowed = directives(&self.0).map(|directive| {
            if ["debug", "trace", "4", "5"].contains(&directive.to_ascii_lowercase().as_str()) {
                format!("info,wasmnode={directive},wasmnode_core={directive},plugin={directive}")
            } else {
                directive.to_owned()
            }
        });
        Self(narrowed.collect::<Vec<_>>().join(","))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".into())
    }
}

/// Returns the parts between commas.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Returns the part of the program that a directive names, without its modules; `None` for a bare level or a filter of
/// spans.
fn target_of(directive: &str) -> Option<&str> {
    let (target, _) = directive.split_once('=').filter(|_| !directive.contains(['[', '{']))?;
    target.trim().split("::").next()
}

/// Returns the names of crates as log targets spell them.
fn crates() -> impl Iterator<Item = String> {
    LOCK.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).map(|name| name.replace('-', "_"))
}

/// Returns `true` for a level: a name in any case, or a number.
fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) || matches!(word, "0" | "1" | "2" | "3" | "4" | "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_filters_are_kept_unchanged() {
        for good in ["info", "DEBUG", "3", "info,plugin=debug", "plugin[run{id=1}]=debug", "off"] {
            assert_eq!(Filter::parse(good).unwrap().0, good);
        }
        assert_eq!(Filter::parse(" warn , plugin=trace,").unwrap().0, "warn,plugin=trace");
        for good in ["wasmnode::driver=debug", "wasmnode_core=trace,cranelift_codegen=debug,run=debug"] {
            assert_eq!(Filter::parse(good).unwrap().0, good);
        }
        assert!(Filter::parse_any("another_program=debug").is_ok(), "as RUST_LOG may have it");
    }

    #[test]
    fn a_bare_fine_level_applies_to_own_parts_only() {
        let narrowed = |text: &str| Filter::parse(text).unwrap().of_own_parts().0;
        for unchanged in ["info", "warn,plugin=trace", "cranelift_codegen=debug", "off"] {
            assert_eq!(narrowed(unchanged), unchanged);
        }
        assert_eq!(narrowed("DEBUG"), "info,wasmnode=DEBUG,wasmnode_core=DEBUG,plugin=DEBUG");
        let both = narrowed("trace,hyper=debug");
        assert_eq!(both, "info,wasmnode=trace,wasmnode_core=trace,plugin=trace,hyper=debug");
        assert!(EnvFilter::try_new(both).is_ok());
    }

    #[test]
    fn a_misspelt_level_is_rejected_with_a_suggestion() {
        for (bad, said) in [
            ("inof", "\"inof\" is not a level; did you mean info?"),
            ("Wran", "did you mean warn?"),
            ("info,plugin=debgu", "\"debgu\" is not a level; did you mean debug?"),
            ("plugin", "for a part of the program, plugin=debug; write error"),
            ("plugin=", "\"plugin=\" does not end in a level"),
            ("info,[", "\"[\" is not a level"),
            ("", "it is empty; write error, warn"),
            (" , ", "it is empty"),
            ("info,plugn=debug", "\"plugn\" is not a part of this program; did you mean plugin?"),
            ("nothing_of_ours=debug", "its own are wasmnode, wasmnode_core, plugin and run"),
        ] {
            let why = Filter::parse(bad).unwrap_err().to_string();
            assert!(why.contains(said), "{bad}: {why}");
        }
    }
}
