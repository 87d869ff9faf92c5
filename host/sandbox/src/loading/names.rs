//! Names of files in the plugin folder, and of the services that they serve.

use crate::error::NotLoadable;
use std::path::Path;
use wasmnode_protocol::ServiceName;

/// Longest name of a service that has a file, in bytes: with `.wasm.minisig`, the 255 of file systems.
const NAME_BYTES: usize = 242;

/// Returns the service that a file of the plugin folder is to serve.
///
/// # Errors
/// If the name of the file is not that of a service, and why.
pub(crate) fn service_name(file: &Path) -> Result<ServiceName, String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).ok_or("its name is not UTF-8")?;
    let extension = file.extension().unwrap_or_default();
    if extension != "wasm" {
        return Err(format!("its name ends in .{}, not in .wasm; rename the file", extension.display()));
    }
    let name: ServiceName = stem.parse().map_err(|error| format!("{error}; rename the file"))?;
    loadable(&name).map_err(|why| format!("{why}; rename the file"))?;
    Ok(name)
}

/// Checks that a file of the plugin folder could serve under this name.
///
/// # Errors
/// If none could, and why.
pub fn loadable(name: &ServiceName) -> Result<(), NotLoadable> {
    let text = name.as_str();
    let why = match () {
        () if name.is_reserved() => format!("the node answers {name} itself"),
        () if text.contains('/') => format!("{name} is a path, and the name of a plugin has no '/'"),
        () if text.len() > NAME_BYTES => format!("{name} is longer than {NAME_BYTES} bytes, too long for a file"),
        () if text.starts_with('.') => format!("{name} begins with a dot, and such files are not loaded"),
        () => return Ok(()),
    };
    Err(NotLoadable(why))
}
