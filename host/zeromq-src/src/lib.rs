//! libzmq with CURVE for the `zmq` crate.
//!
//! `zmq-sys` 0.12 always builds the libzmq of `zeromq-src` 0.2 and always passes `with_libsodium(None)`, so its library
//! can neither encrypt nor authenticate. `[patch.crates-io]` puts this crate in that place. It has the three functions
//! that the build script of `zmq-sys` calls, and answers them with the current `zeromq-src` and the libsodium that
//! `libsodium-sys-stable` builds from its bundled, signed source.
//!
//! Drop it when a `zmq` release offers CURVE by itself.

use upstream::LibLocation;

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
        let libsodium = LibLocation::new(env!("SODIUM_LIB"), env!("SODIUM_INCLUDE"));
        upstream::Build::new().with_libsodium(Some(libsodium)).build();
    }
}
