//! Paths: this benchmark is built in two packages, that of the product and `../rivals`.

use super::Result;
use std::path::{Path, PathBuf};

/// Returns the project's folder.
pub(crate) fn project() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("wit").is_dir()).unwrap_or(package)
}

/// Returns the target directory of the product.
pub(crate) fn target() -> PathBuf {
    match (option_env!("CARGO_TARGET_TMPDIR"), std::env::var_os("CARGO_TARGET_DIR")) {
        // Set only for the product's own benchmarks.
        (Some(tmp), _) => Path::new(tmp).join(".."),
        (None, target) => project().join(target.unwrap_or_else(|| "target".into())),
    }
}

/// Returns the path of the product's program. Cargo builds it along with the product's own benchmarks.
pub(crate) fn wasmnode() -> Result<PathBuf> {
    if let Some(program) = option_env!("CARGO_BIN_EXE_wasmnode") {
        return Ok(program.into());
    }
    let program = target().join("release/wasmnode");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is missing: `cargo build --release` makes it", program.display()).into())
    }
}
