//! libzmq with CURVE for the `zmq` crate.
//!
//! `zmq-sys` 0.12 always builds the libzmq of `zeromq-src` 0.2 and always passes `with_libsodium(None)`, so its library
//! can neither encrypt nor authenticate. `[patch.crates-io]` puts this crate in that place. It has the three functions
//! that the build script of `zmq-sys` calls, and answers them with the current `zeromq-src` and the libsodium that
//! `libsodium-sys-stable` builds from its bundled, signed source.
//!
//! `zeromq-src` builds libzmq with an empty `platform.hpp`, and so without what libzmq's own build finds on Linux: its
//! threads would wake each other through socket pairs, TCP keep-alives would be ignored, and nobody could tell which user is
//! behind an ipc socket. The folder that it is told
//! to find libsodium's header in comes before its own, so this crate's `platform.hpp` stands there.
//!
//! How much a connection reads and writes at a time can be set only among libzmq's drafts, so these are built in; a node uses
//! nothing else of them.
//!
//! Drop it when a `zmq` release offers CURVE by itself.

use std::path::{Path, PathBuf};
use upstream::LibLocation;

const PLATFORM: &str = include_str!("platform.hpp");

/// Builds and links libzmq; the interface of `zeromq_src::Build` as far as `zmq-sys` uses it.
#[derive(Debug, Default)]
pub struct Build(());

impl Build {
    /// Starts a build with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }

    /// Takes the caller's choice and overrules it: this libzmq always has libsodium.
    pub fn with_libsodium(&mut self, _overruled: Option<LibLocation>) -> &mut Self {
        self
    }

    /// Compiles libzmq and prints the link instructions of the build script that calls it.
    pub fn build(&mut self) {
        match headers() {
            Ok(headers) => {
                let libsodium = LibLocation::new(env!("SODIUM_LIB"), headers);
                upstream::Build::new().with_libsodium(Some(libsodium)).enable_draft(true).build();
            }
            Err(error) => println!("cargo::error=cannot write the headers that libzmq is built with: {error}"),
        }
    }
}

/// Makes the folder of the two headers.
fn headers() -> std::io::Result<PathBuf> {
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("OUT_DIR is not set"))?;
    let folder = Path::new(&out).join("headers");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("platform.hpp"), PLATFORM)?;
    std::fs::write(folder.join("sodium.h"), concat!("#include \"", env!("SODIUM_INCLUDE"), "/sodium.h\"\n"))?;
    Ok(folder)
}
