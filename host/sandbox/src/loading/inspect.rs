//! Inspection of a file: its kind, its imports and exports, and whether it could serve.

use crate::error::SandboxError;
use crate::guests::interfaces::{exports, imports, offer};
use crate::guests::kind::{Kind, Unfit};
use crate::linker::Sandbox;
use crate::loading::compile::{Attempt, CompileError, Compiler, Effort, is_core_module};
use crate::loading::content::digest;
use crate::settings::Settings;
use std::fmt;
use std::time::{Duration, Instant};
use wasmnode_protocol::text::{self, MAX_LINE};

/// Result of an inspection; `Display` formats it in lines.
#[derive(Debug)]
pub struct Inspection {
    bytes: usize,
    digest: String,
    is_adapted: bool,
    compiled_in: Duration,
    imports: Vec<String>,
    /// Exports by name, each with its WIT.
    exports: Vec<(String, String)>,
    /// Kind of plugin, or the reason why the file cannot serve.
    kind: Result<&'static str, Unfit>,
}

impl Inspection {
    /// Returns `true` if a node would serve the file.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.kind.is_ok()
    }
}

/// Inspects the bytes of a file. They are compiled under the limits of `settings`, and with its cache.
///
/// # Errors
/// If the bytes are not a component, and cannot be made into one.
pub fn inspect(bytes: &[u8], settings: &Settings) -> Result<Inspection, InspectError> {
    if bytes.len() as u64 > settings.plugin_bytes {
        return Err(InspectError::TooLarge { bytes: bytes.len(), limit: settings.plugin_bytes });
    }
    let settings = Settings { instances: 1, ..settings.clone() };
    let sandbox = Sandbox::new(&settings)?;
    let compiler = Compiler::new(&sandbox.engine, &settings);
    let refused = |error| InspectError::Refused(NotCompiled(error));
    let digest = digest(bytes);
    let began = Instant::now();
    let component = compiler.component(bytes, &digest, &Attempt::new(Effort::Full)).map_err(refused)?;
    let compiled_in = began.elapsed();
    // A component without a description of its interfaces can still serve.
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

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adapted = if self.is_adapted { ", adapted from a core module of WASI preview 1" } else { "" };
        match &self.kind {
            Ok(kind) => writeln!(f, "kind      {kind}{adapted}")?,
            Err(why) => writeln!(f, "kind      unusable: {}", text::line(&why.to_string(), MAX_LINE))?,
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

/// Reason why a file cannot be inspected.
#[derive(Debug)]
#[non_exhaustive]
pub enum InspectError {
    /// The file is larger than a plugin may be.
    TooLarge {
        /// Size of the file in bytes.
        bytes: usize,
        /// `limits.plugin`.
        limit: u64,
    },
    /// The file is not a component, and cannot be made into one.
    Refused(NotCompiled),
    /// Nothing can be inspected.
    Sandbox(SandboxError),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => write!(f, "its {bytes} bytes are over limits.plugin = {limit}"),
            Self::Refused(error) => error.fmt(f),
            Self::Sandbox(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InspectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sandbox(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::TooLarge { .. } => None,
        }
    }
}

impl From<SandboxError> for InspectError {
    fn from(error: SandboxError) -> Self {
        Self::Sandbox(error)
    }
}

/// Reason why there is no component in a file.
#[derive(Debug)]
pub struct NotCompiled(pub(crate) CompileError);

impl fmt::Display for NotCompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotCompiled {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
