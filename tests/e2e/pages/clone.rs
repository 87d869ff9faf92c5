//! Folder in which a page is replayed, with the content of a built clone, and the programs.

use super::places::Places;
use crate::commands::repository;
use crate::node::wasmnode;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Configuration of a node in a session if a page names none.
pub(super) const DEFAULT: &str = "default.toml";

/// Default endpoints of a node without a configuration; a session replaces the address.
const DEFAULT_TEXT: &str = "[node]\nlisten = ['ipc://wasmnode.ipc', 'tcp://127.0.0.1:5555']\n";

/// Creates `clone`, `bin` and `tmp` in a folder, for a page of this name and text.
pub(super) fn make(home: &Path, name: &str, page: &str) -> Places {
    for folder in ["clone", "bin", "tmp"] {
        fs::create_dir(home.join(folder)).unwrap();
    }
    let mut examples = Vec::new();
    find_texts(Path::new(&repository("examples")), &home.join("clone/examples"), &mut examples);
    let texts = examples.iter().map(|example| example.text.as_str()).chain([page, DEFAULT_TEXT]);
    let places = Places::new(texts, &home.join("tmp"));
    for example in &examples {
        fs::create_dir_all(example.copy.parent().unwrap()).unwrap();
        fs::write(&example.copy, places.own(&example.text)).unwrap();
        fs::set_permissions(&example.copy, example.permissions.clone()).unwrap();
    }
    fs::write(home.join("clone").join(DEFAULT), places.own(DEFAULT_TEXT)).unwrap();
    for plugin in ["print", "afficher"] {
        copy_plugin(plugin, &home.join(format!("clone/plugins/{plugin}.wasm")));
    }
    symlink(wasmnode().get_program(), home.join("bin/wasmnode")).unwrap();
    write_cargo(&home.join("bin/cargo"), name);
    places
}

/// Copies a shipped plugin.
pub(super) fn copy_plugin(plugin: &str, copy: &Path) {
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(repository(&format!("plugins/{plugin}.wasm")), copy).unwrap();
}

struct Example {
    copy: PathBuf,
    text: String,
    permissions: fs::Permissions,
}

/// Collects the text files of a folder, and the paths of their copies.
fn find_texts(folder: &Path, copy: &Path, found: &mut Vec<Example>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, copy) = (entry.path(), copy.join(entry.file_name()));
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            find_texts(&path, &copy, found);
        } else if let Some(text) = metadata.is_file().then(|| fs::read_to_string(&path).ok()).flatten() {
            found.push(Example { copy, text, permissions: metadata.permissions() });
        }
    }
}

/// Writes a `cargo` for the page that builds `shout`: with the versions of this repository, and into a target directory
/// that later runs of the test reuse.
fn write_cargo(file: &Path, name: &str) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages").join(name);
    fs::create_dir_all(&target).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let script = format!(
        "#!/bin/sh\nset -e\ncp '{}' shout/Cargo.lock\nln -sfn '{target}' shout/target\n\
            PATH=${{PATH#*:}} exec '{cargo}' \"$@\" --quiet --target-dir '{target}'\n",
        repository("Cargo.lock"),
        target = target.display(),
    );
    fs::write(file, script).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}
