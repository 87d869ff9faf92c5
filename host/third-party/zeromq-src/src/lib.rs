//! libzmq with CURVE and limits for the `zmq` crate.
//!
//! `zmq-sys` 0.12 always builds the libzmq of `zeromq-src` 0.2 and always passes `with_libsodium(None)`, so its library
//! can neither encrypt nor authenticate. `[patch.crates-io]` replaces `zeromq-src` with this crate. It has the three
//! functions that the build script of `zmq-sys` calls; they build the libzmq 4.3.5 of the current `zeromq-src` with the
//! libsodium that `libsodium-sys-stable` builds from its bundled, signed source.
//!
//! `libzmq.patch` bounds what a connection may take before its message is complete, and removes ways for a peer to
//! abort the process or to stay undetected; its head gives the reason for each edit. The build script of this crate
//! applies it to a copy of the source, and fails where an edit does not fit. The options that the patch adds are named
//! in `host/src/transport/zmq/ffi.rs`.
//!
//! `platform.hpp` defines what libzmq's own build detects on Linux. Without it, threads would wake each other through
//! socket pairs, TCP keep-alives would be ignored, and the user behind an ipc socket would be unknown.
//!
//! The size of a connection's reads and writes can be set only with libzmq's draft options, so the draft API is built
//! in; a node also uses its draft events and monitor.
//!
//! Remove this crate when a `zmq` release offers CURVE by itself and its libzmq has the limits.

#[cfg(test)]
mod patch;

use std::path::{Path, PathBuf};
use std::{fs, io};

const PLATFORM: &str = include_str!("platform.hpp");

/// Path of the patched source: folders `include` and `src`.
const SOURCE: &str = env!("LIBZMQ_SOURCE");

/// Macros that libzmq's build defines on Linux, besides `platform.hpp`.
const DEFINED: [&str; 11] = [
    "HAVE_STRNLEN",
    "ZMQ_BUILD_DRAFT_API",
    "ZMQ_HAVE_CURVE",
    "ZMQ_HAVE_IPC",
    "ZMQ_HAVE_LINUX",
    "ZMQ_HAVE_STRUCT_SOCKADDR_UN",
    "ZMQ_HAVE_UIO",
    "ZMQ_IOTHREAD_POLLER_USE_EPOLL",
    "ZMQ_POLL_BASED_ON_POLL",
    "ZMQ_USE_CV_IMPL_STL11",
    "ZMQ_USE_LIBSODIUM",
];

/// Prefixes of the files of transports that no endpoint of a node uses.
const LEFT_OUT: [&str; 2] = ["ws_", "wss_"];

/// Builds and links libzmq; the interface of `zeromq_src::Build` as far as `zmq-sys` uses it.
#[derive(Debug, Default)]
pub struct Build(());

/// Location of a library, which `zmq-sys` never passes.
#[derive(Debug)]
pub enum LibLocation {}

impl Build {
    /// Starts a build with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }

    /// Ignores the argument: this libzmq always has libsodium.
    pub fn with_libsodium(&mut self, _overruled: Option<LibLocation>) -> &mut Self {
        self
    }

    /// Compiles libzmq and prints the link instructions of the build script that calls it.
    pub fn build(&mut self) {
        if let Err(error) = compile() {
            println!("cargo::error=cannot build libzmq: {error}");
        }
    }
}

fn compile() -> io::Result<()> {
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let (out, source) = (Path::new(&out), Path::new(SOURCE));
    let mut build = cc::Build::new();
    build.cpp(true).std("c++11").include(headers(out)?).include(source.join("include")).include(source.join("src"));
    for name in DEFINED {
        build.define(name, "1");
    }
    build.define("ZMQ_STATIC", "1").out_dir(out.join("lib")).files(files(&source.join("src"))?);
    build.try_compile("zmq").map_err(io::Error::other)?;
    println!("cargo:rustc-link-search=native={}", env!("SODIUM_LIB"));
    println!("cargo:rustc-link-lib=static=sodium");
    println!("cargo:include={}", source.join("include").display());
    println!("cargo:lib={}", out.join("lib").display());
    Ok(())
}

/// Returns all files to compile, in a fixed order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".cpp") && !LEFT_OUT.iter().any(|beginning| name.starts_with(beginning)) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Creates the folder of the two headers.
fn headers(out: &Path) -> io::Result<PathBuf> {
    let folder = out.join("headers");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("platform.hpp"), PLATFORM)?;
    fs::write(folder.join("sodium.h"), concat!("#include \"", env!("SODIUM_INCLUDE"), "/sodium.h\"\n"))?;
    Ok(folder)
}
