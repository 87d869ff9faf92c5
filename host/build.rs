//! Builds the shipped plugins along with the host, so that a node started from a clean clone has services to offer.
//!
//! Every folder of `plugins/` with a Cargo.toml is a plugin, named like its package: `plugins/print` is compiled for
//! wasm32-wasip2 and becomes `plugins/print.wasm`. The folder `plugins/` itself is not watched, because users drop
//! their own plugins there; a new plugin is noticed as a new member in the root manifest or the lock file.
//!
//! A second Cargo compiles them in a separate target directory, because the first one holds the lock of the usual
//! directory until this script has ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, time::SystemTime};

/// Target that plugins are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// Profile of the root manifest that plugins are compiled with.
const PROFILE: &str = "plugin";

/// Root of the workspace: Cargo runs this script in the package's folder.
const ROOT: &str = "..";

fn main() {
    if let Err(reason) = run() {
        println!("cargo::error={reason}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let folder = Path::new(ROOT).join("plugins");
    let plugins = find_plugins(&folder).map_err(|error| format!("cannot read the folder of the plugins: {error}"))?;
    let sources = sources(&folder, &plugins);
    for path in sources.iter().cloned().chain(plugins.iter().map(|plugin| component(&folder, plugin))) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    // Without a package, Cargo would build the host, and so run this script again and again.
    if plugins.is_empty() {
        return Ok(());
    }

    ensure_target()?;
    let built = compile(&plugins)?;
    let changed =
        last_change(&sources).map_err(|error| format!("cannot determine when the plugins changed: {error}"))?;
    for plugin in &plugins {
        let (from, to) = (component(&built, &plugin.replace('-', "_")), component(&folder, plugin));
        install(&from, &to, changed).map_err(|error| format!("cannot install {}: {error}", to.display()))?;
    }
    Ok(())
}

/// Returns the names of the plugins whose sources are here, in a fixed order.
fn find_plugins(folder: &Path) -> io::Result<Vec<String>> {
    let mut plugins = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            plugins.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    plugins.sort();
    Ok(plugins)
}

/// Returns all files and folders that the components are built from.
fn sources(folder: &Path, plugins: &[String]) -> Vec<PathBuf> {
    let shared = ["Cargo.toml", "Cargo.lock", "wit"].map(|name| Path::new(ROOT).join(name));
    shared.into_iter().chain(plugins.iter().map(|plugin| folder.join(plugin))).collect()
}

fn component(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("wasm")
}

/// Installs the standard library for plugins if it is missing, because rustup installs it only on request.
fn ensure_target() -> Result<(), String> {
    if has_target()? {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) && has_target()? {
        return Ok(());
    }
    Err(format!("the plugins need the Rust target {TARGET}: run `rustup target add {TARGET}`, then build again"))
}

fn has_target() -> Result<bool, String> {
    let asked = Command::new(variable("RUSTC")?).args(["--print", "target-libdir", "--target", TARGET]).output();
    let answer = asked.map_err(|error| format!("cannot run rustc: {error}"))?;
    Ok(answer.status.success() && Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir())
}

/// Compiles `plugins` and returns the folder that holds the components.
fn compile(plugins: &[String]) -> Result<PathBuf, String> {
    let target_dir = variable("OUT_DIR")?.join("plugins");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(ROOT).args(["build", "--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.arg("--target-dir").arg(&target_dir);
    for plugin in plugins {
        cargo.args(["--package", plugin]);
    }
    for (name, _) in env::vars_os().filter(|(name, _)| is_for_the_host(name)) {
        cargo.env_remove(name);
    }
    // Set, not removed: these two take precedence over a configuration file, which may hold flags for the machine's own
    // processor, or a common build directory, whose lock the first Cargo would hold.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "").env("CARGO_BUILD_BUILD_DIR", &target_dir);

    let ended = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !ended.success() {
        return Err("the plugins do not compile: see Cargo's messages below".to_owned());
    }
    Ok(target_dir.join(TARGET).join(PROFILE))
}

/// Returns `true` for an environment variable that configures the build of the host and would affect the plugins too.
/// For example, the wrapper is Clippy under `cargo clippy`, which checks without compiling.
fn is_for_the_host(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let prefixes = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_INCREMENTAL", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the time of the latest change of `paths` and their content.
fn last_change(paths: &[PathBuf]) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut left = paths.to_vec();
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        newest = newest.max(metadata.modified()?);
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(newest)
}

/// Moves the component `from` to `to` atomically, because a running node may watch the folder. The file gets the time
/// of its sources: Cargo would take a file newer than this script's start for a change, and run the script again.
fn install(from: &Path, to: &Path, changed: SystemTime) -> io::Result<()> {
    let component = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == component) {
        return Ok(());
    }
    let unfinished = to.with_extension(format!("{}.tmp", process::id()));
    let mut file = File::create(&unfinished)?;
    file.write_all(&component)?;
    file.set_modified(changed)?;
    fs::rename(&unfinished, to)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("Cargo did not set {name}"))
}
