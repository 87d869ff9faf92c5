//! Conversion of untrusted bytes to a component, and description of its exports. FileName in a compiler process only,
//! because these parsers panic on some files.

use crate::error::EngineError;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, DecodedWasm, WitPrinter};

/// Adapters for core modules; part of the digest of the inputs to compiled code.
pub(super) const ADAPTERS: [&[u8]; 2] =
    [WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER];

/// Reason why a file is not a component.
#[derive(Debug)]
pub(super) enum NotAComponent {
    /// The file is not WebAssembly.
    NotWasm,
    /// The file is a core module that cannot be made into a component.
    Core(Box<dyn Error + Send + Sync>),
    /// The compiler refuses the component.
    Invalid(EngineError),
}

impl fmt::Display for NotAComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWasm => {
                f.write_str("it is not a WebAssembly file; build one first: `wasmnode new --help` has languages")
            }
            Self::Core(source) => {
                write!(f, "it is a core WebAssembly module that cannot be made into a component: {source}")?;
                let mut causes = std::iter::successors(source.source(), |&cause| cause.source());
                causes.try_for_each(|cause| write!(f, ": {cause}"))?;
                f.write_str("; build it for wasm32-wasip2, or as a WASI command")
            }
            Self::Invalid(source) => {
                write!(f, "it is not a valid component; perhaps it was copied in part: {source}")
            }
        }
    }
}

impl Error for NotAComponent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotWasm => None,
            Self::Core(source) => Some(&**source),
            Self::Invalid(source) => Some(source),
        }
    }
}

/// Returns the bytes of a component; converts a core module built for WASI preview 1.
///
/// # Errors
/// If the bytes are neither.
pub(super) fn as_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, NotAComponent> {
    if !super::is_wasm(bytes) {
        return Err(NotAComponent::NotWasm);
    }
    if super::is_core_module(bytes) { adapt(bytes).map(Cow::Owned) } else { Ok(Cow::Borrowed(bytes)) }
}

/// Converts a core module to a component: to a command if it has a `_start`, else to a library.
fn adapt(module: &[u8]) -> Result<Vec<u8>, NotAComponent> {
    let encode = |adapter: &[u8]| {
        let encoder = ComponentEncoder::default().validate(true).module(module)?;
        encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?.encode()
    };
    encode(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        .or_else(|_| encode(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER))
        .map_err(|error| NotAComponent::Core(error.into()))
}

/// Returns the exported interfaces of a component by name, each with its types and functions as WIT. There is no
/// documentation, because components carry none for the interfaces of a package.
pub(super) fn describe(component: &[u8]) -> Vec<(String, String)> {
    let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(component) else { return Vec::new() };
    let Some(world) = resolve.worlds.get(world) else { return Vec::new() };
    let names = world.exports.keys().map(|key| resolve.name_world_key(key));
    let content = |name: &String| {
        // The exported interface comes after an imported one of the same name.
        let (id, _) = resolve.interfaces.iter().rfind(|(id, _)| resolve.id_of(*id).as_ref() == Some(name))?;
        let mut printer = WitPrinter::default();
        printer.emit_docs(false).print_interface(&resolve, id).ok()?;
        Some(printer.output.to_string())
    };
    let described = |name: String| {
        let content = content(&name).unwrap_or_default();
        (name, content)
    };
    names.map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_core_module_names_all_causes() {
        let module = wat::parse_str("(module (import \"env\" \"missing\" (func)))").unwrap();
        let encoder = ComponentEncoder::default().validate(true).module(&module).unwrap();
        let adapter = WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
        let error = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).unwrap().encode().unwrap_err();
        assert!(error.chain().count() > 1, "{error:?}");
        let refused = as_component(&module).unwrap_err().to_string();
        assert!(refused.contains(&format!("into a component: {error:#}; build it for")), "{refused}");
    }
}
