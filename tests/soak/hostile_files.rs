//! Hostile files in the folders of plugins and keys, which are placed and removed repeatedly.

use crate::node::Folder;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A core module that is cut inside its code section.
const CUT: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x13\x02\x06_start\0\0\x06memory\x02\0\x0a\x07\x01\x05\0\x41\x01";

/// Number of loops and locals of a module that is small, and very slow to compile.
const BOMB: usize = 40;

/// The folders of one node.
pub(crate) struct Files {
    plugins: PathBuf,
    trusted: PathBuf,
    /// Hostile files that are present.
    present: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn of(folder: &Folder) -> Self {
        Self { plugins: folder.path("plugins"), trusted: folder.path("keys/trusted"), present: Vec::new() }
    }

    /// Replaces the hostile files with others.
    pub(crate) fn change(&mut self, random: &mut fastrand::Rng) {
        self.clear();
        let name = format!("hostile{}", random.u8(..4));
        let (plugin, key) = (self.plugins.join(format!("{name}.wasm")), self.trusted.join(format!("{name}.toml")));
        match random.u8(..9) {
            0 => fs::write(&plugin, CUT).unwrap(),
            1 => fs::write(&plugin, std::iter::repeat_with(|| random.u8(..)).take(5_000).collect::<Vec<_>>()).unwrap(),
            2 => fs::write(&plugin, bomb(BOMB)).unwrap(),
            3 => make_fifo(&plugin),
            4 => fs::create_dir(&plugin).unwrap(),
            5 => symlink("/nonexistent", &plugin).unwrap(),
            6 => symlink("/dev/zero", &plugin).unwrap(),
            7 => fs::copy(self.plugins.join("echo.wasm"), &plugin).map(drop).unwrap(),
            _ => make_fifo(&self.plugins.join(format!("{name}.wasm.minisig"))),
        }
        match random.u8(..6) {
            0 => fs::write(&key, "key = 'nonsense'\n").unwrap(),
            1 => make_fifo(&key),
            2 => fs::create_dir(&key).unwrap(),
            3 => symlink("me@host:1", self.trusted.join(format!(".#{name}.toml"))).unwrap(),
            4 => fs::write(&key, [0xff, 0xfe]).unwrap(),
            _ => fs::write(self.trusted.join("copy (2).toml"), "").unwrap(),
        }
        self.present = [&self.plugins, &self.trusted].into_iter().flat_map(|folder| hostile_in(folder)).collect();
    }

    /// Removes the hostile files.
    pub(crate) fn clear(&mut self) {
        for path in self.present.drain(..) {
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            if is_folder { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
    }
}

fn hostile_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_hostile = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.contains("hostile") || name.contains("copy")
    };
    entries.filter(is_hostile).collect()
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Returns a command whose only function nests `size` loops; the innermost changes `size` variables.
fn bomb(size: usize) -> Vec<u8> {
    let locals = "(local i64)".repeat(size);
    let changes: String =
        (0..size).map(|local| format!("(local.set {local} (i64.add (local.get {local}) (i64.const 1)))")).collect();
    let (begin, end) = ("(loop ".repeat(size), " (br_if 0 (i32.const 0)))".repeat(size));
    let text =
        format!("(module (memory (export \"memory\") 1) (func (export \"_start\") {locals} {begin}{changes}{end}))");
    wat::parse_str(text).unwrap()
}
