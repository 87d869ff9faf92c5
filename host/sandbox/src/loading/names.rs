//! Names of files in the plugin folder, and of the services that they serve.

use crate::error::NotLoadable;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use wasmnode_protocol::ServiceName;
use wasmnode_protocol::name::InvalidName;

/// Longest name of a service that has a file, in bytes: with `.wasm.minisig`, the 255 of file systems.
const NAME_BYTES: usize = 242;

/// Reason why the name of a file is not that of a service.
#[derive(Debug)]
pub(crate) enum NameError {
    /// The name is not UTF-8.
    NotUtf8,
    /// The name has this extension, and not that of a plugin.
    Extension(OsString),
    /// The name is not that of any service.
    Invalid(InvalidName),
    /// No file can serve under the name.
    NotLoadable(NotLoadable),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("its name is not UTF-8"),
            Self::Extension(extension) => {
                write!(f, "its name ends in .{}, not in .wasm; rename the file", extension.display())
            }
            Self::Invalid(source) => write!(f, "{source}; rename the file"),
            Self::NotLoadable(source) => write!(f, "{source}; rename the file"),
        }
    }
}

impl std::error::Error for NameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(source) => Some(source),
            Self::NotLoadable(source) => Some(source),
            Self::NotUtf8 | Self::Extension(_) => None,
        }
    }
}

/// Returns the service that a file of the plugin folder serves, by its name.
///
/// # Errors
/// The reason, if the name of the file is not that of a service.
pub(crate) fn service_name(file: &Path) -> Result<ServiceName, NameError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).ok_or(NameError::NotUtf8)?;
    let extension = file.extension().unwrap_or_default();
    if extension != "wasm" {
        return Err(NameError::Extension(extension.into()));
    }
    let name: ServiceName = stem.parse().map_err(NameError::Invalid)?;
    loadable(&name).map_err(NameError::NotLoadable)?;
    Ok(name)
}

/// Checks that a file of the plugin folder could serve under this name.
///
/// # Errors
/// The reason, if no file could.
pub fn loadable(name: &ServiceName) -> Result<(), NotLoadable> {
    let text = name.as_str();
    match () {
        () if name.is_reserved() => Err(NotLoadable::Reserved(name.clone())),
        () if text.contains('/') => Err(NotLoadable::Path(name.clone())),
        () if text.len() > NAME_BYTES => Err(NotLoadable::TooLong { name: name.clone(), limit: NAME_BYTES }),
        () if text.starts_with('.') => Err(NotLoadable::Hidden(name.clone())),
        () => Ok(()),
    }
}
