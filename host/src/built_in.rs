//! The plugins that are part of the program, so that a node serves something in an empty folder.

use wasmnode_sandbox::BuiltIn;

macro_rules! built_in {
    ($name:literal) => {
        BuiltIn {
            service: $name,
            // Where the build script compiles them.
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/plugins/wasm32-wasip2/plugin/", $name, ".wasm")),
        }
    };
}

/// The shipped plugins.
pub const PLUGINS: &[BuiltIn] = &[built_in!("afficher"), built_in!("print")];
