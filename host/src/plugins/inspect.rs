//! What a file is, what it wants of the host, and whether it could serve.

use super::compile::{Attempt, CompileError, Compiler, Effort, is_core_module};
use super::engine::Sandbox;
use super::kind::Kind;
use super::loader::digest;
use crate::config::Config;
use std::fmt;
use std::time::{Duration, Instant};
use wasmnode_core::text::{self, MAX_LINE};
use wasmtime::component::Component;

/// Largest name of an import or an export that is shown, in bytes: longer ones are nobody's interface.
const MAX_NAME: usize = 256;

/// What the host offers, by the beginning of an interface's name, and on which condition. The first that fits counts.
const OFFERED: [(&str, &str); 11] = [
    ("wasmnode:service/calls@0.1", "yes; other services if `calls` grants them"),
    ("wasmnode:service/", "yes"),
    ("wasi:cli/environment@0.2", "yes; variables if `env` grants them"),
    ("wasi:cli/", "yes"),
    ("wasi:filesystem/", "yes; folders if `fs` grants them"),
    ("wasi:sockets/", "yes; connections if `net` grants them"),
    ("wasi:http/outgoing-handler@0.2", "yes; connections if `http` grants them"),
    ("wasi:http/types@0.2", "yes"),
    ("wasi:io/", "yes"),
    ("wasi:clocks/", "yes"),
    ("wasi:random/", "yes"),
];

/// What is known of a file; `Display` tells it in lines.
#[derive(Debug)]
pub struct Inspection {
    bytes: usize,
    digest: String,
    is_adapted: bool,
    compiled_in: Duration,
    imports: Vec<String>,
    /// Each with what it holds, as WIT has it.
    exports: Vec<(String, String)>,
    /// What kind of plugin it is, or why it is none.
    kind: Result<&'static str, String>,
}

impl Inspection {
    /// Whether a node would serve it.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.kind.is_ok()
    }
}

/// Looks into the bytes of a file. It is compiled under the limits of `config`, and with its cache.
///
/// # Errors
/// If they are no component, and cannot be made into one.
pub fn inspect(bytes: &[u8], config: &Config) -> Result<Inspection, String> {
    if bytes.len() as u64 > config.plugin_bytes {
        return Err(format!("its {} bytes are over limits.plugin = {}", bytes.len(), config.plugin_bytes));
    }
    let config = Config { instances: 1, ..config.clone() };
    let sandbox = Sandbox::new(&config)?;
    let compiler = Compiler::new(&sandbox.engine, &config);
    let refused = |error: CompileError| match error {
        CompileError::Refused(why) | CompileError::Unavailable(why) => why,
        CompileError::MoreEffort | CompileError::Stopped => "it was not compiled to the end".into(),
    };
    let digest = digest(bytes);
    let began = Instant::now();
    let component = compiler.component(bytes, &digest, &Attempt::new(Effort::Full)).map_err(refused)?;
    let compiled_in = began.elapsed();
    // What holds no text of interfaces serves all the same.
    let mut described = compiler.describe(bytes).unwrap_or_default();
    let exports = exports(&sandbox, &component).into_iter().map(|name| {
        let content = described.remove(&name).unwrap_or_default();
        (name, content)
    });
    Ok(Inspection {
        bytes: bytes.len(),
        digest,
        is_adapted: is_core_module(bytes),
        compiled_in,
        imports: imports(&sandbox, &component),
        exports: exports.collect(),
        kind: Kind::of(&sandbox, &component).map(|kind| kind.name()),
    })
}

/// The names of all that a component imports.
pub(super) fn imports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().imports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// The names of all that a component exports.
pub(super) fn exports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().exports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// A name that the author of a file chose.
fn shown(name: &str) -> String {
    text::line(name, MAX_NAME).into_owned()
}

/// Whether, and on which condition, the host offers an interface.
pub(super) fn offer(interface: &str) -> Option<&'static str> {
    let is_known = interface.starts_with("wasmnode:") || interface.contains("@0.2.");
    let (_, condition) = OFFERED.iter().find(|(name, _)| is_known && interface.starts_with(name))?;
    Some(condition)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adapted = if self.is_adapted { ", adapted from a core module of WASI preview 1" } else { "" };
        match &self.kind {
            Ok(kind) => writeln!(f, "kind      {kind}{adapted}")?,
            Err(why) => writeln!(f, "kind      none that serves: {}", text::line(why, MAX_LINE))?,
        }
        writeln!(f, "size      {} bytes", self.bytes)?;
        writeln!(f, "digest    {}", self.digest)?;
        writeln!(f, "compiled  in {:?}", self.compiled_in)?;
        for (index, name) in self.imports.iter().enumerate() {
            let lead = if index == 0 { "imports" } else { "" };
            writeln!(f, "{lead:<9} {name:<48} {}", offer(name).unwrap_or("NO: the host does not offer it"))?;
        }
        for (index, (name, content)) in self.exports.iter().enumerate() {
            let lead = if index == 0 { "exports" } else { "" };
            writeln!(f, "{lead:<9} {name}")?;
            for line in content.lines().filter(|line| !line.is_empty()) {
                writeln!(f, "            {}", text::line(line, MAX_LINE))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_grant_says_so() {
        assert_eq!(offer("wasi:cli/stdin@0.2.6"), Some("yes"));
        assert_eq!(offer("wasi:cli/environment@0.2.6"), Some("yes; variables if `env` grants them"));
        assert_eq!(offer("wasi:http/outgoing-handler@0.2.6"), Some("yes; connections if `http` grants them"));
        assert_eq!(offer("wasi:http/handler@0.3.0"), None);
        assert_eq!(offer("wasi:clocks/types@0.3.0"), None);
    }
}
