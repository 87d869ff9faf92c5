//! Creates the source that libzmq is built from: a copy of that in the `zeromq-src` crate, with `libzmq.patch` applied.
//!
//! Also passes on the location of libsodium's build, which Cargo reports only to the build script of a direct
//! dependent.

#[path = "src/patch.rs"]
mod patch;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Folders of the crate with the sources of libzmq.
const FOLDERS: [&str; 2] = ["include", "src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/patch.rs");
    println!("cargo::rerun-if-changed=libzmq.patch");
    if let Err(reason) = run() {
        println!("cargo::error={reason}");
    }
}

fn run() -> Result<(), String> {
    for (from, to) in [("DEP_SODIUM_LIB", "SODIUM_LIB"), ("DEP_SODIUM_INCLUDE", "SODIUM_INCLUDE")] {
        let path = variable(from).map_err(|_| format!("libsodium-sys-stable does not report its build ({from})"))?;
        println!("cargo::rustc-env={to}={path}");
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let (from, to) = (find_upstream(&out)?.join("vendor"), out.join("libzmq"));
    for folder in FOLDERS {
        copy(&from.join(folder), &to.join(folder))
            .map_err(|error| format!("cannot copy {}: {error}", from.join(folder).display()))?;
    }
    let edits = fs::read_to_string("libzmq.patch").map_err(|error| format!("cannot read libzmq.patch: {error}"))?;
    for file in patch::files(&edits)? {
        let path = to.join(file.path);
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let patched = file.apply(&text).map_err(|why| format!("libzmq.patch does not fit {}: {why}", file.path))?;
        fs::write(&path, patched).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    println!("cargo::rustc-env=LIBZMQ_SOURCE={}", to.display());
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("Cargo does not set {name}"))
}

/// Returns the folder of the `zeromq-src` crate. Cargo metadata is run for a package that depends on nothing else,
/// because for this workspace it fails without a network if crates that only tests and other platforms need are
/// missing.
fn find_upstream(out: &Path) -> Result<PathBuf, String> {
    let folder = out.join("locate");
    let manifest = "[package]\nname = 'locate'\nversion = '0.0.0'\nedition = '2021'\n[lib]\npath = 'lib.rs'\n\
                    [dependencies]\nzeromq-src = '=0.3.6'\n[workspace]\n";
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("Cargo.toml"), manifest))
        .and_then(|()| fs::write(folder.join("lib.rs"), ""))
        .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
    let asked = Command::new(variable("CARGO")?)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &variable("HOST")?])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    let packages: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
    let found = packages["packages"].as_array().into_iter().flatten().find(|package| package["name"] == "zeromq-src");
    let manifest = found.and_then(|package| package["manifest_path"].as_str()).ok_or_else(|| {
        let said = String::from_utf8_lossy(&asked.stderr).replace('\n', " ");
        format!("cargo metadata does not find the source of zeromq-src 0.3.6: {said}")
    })?;
    Ok(Path::new(manifest).with_file_name(""))
}

/// Copies the files of a folder without sub-folders.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            // Written instead of copied, because the registry's files may be read-only.
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
