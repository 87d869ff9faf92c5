//! libzmq with CURVE for the `zmq` crate.
//!
//! `zmq-sys` 0.12 always builds the libzmq of `zeromq-src` 0.2 and always passes `with_libsodium(None)`, so its library
//! can neither encrypt nor authenticate. `[patch.crates-io]` puts this crate in that place. It has the three functions
//! that the build script of `zmq-sys` calls, and answers them with the current `zeromq-src` and the libsodium that
//! `libsodium-sys-stable` builds from its bundled, signed source.
//!
//! It also has libzmq tell which user is behind an ipc socket, where the system does: upstream leaves that to the
//! `configure` script that it does not run.
//!
//! Drop it when a `zmq` release offers both by itself.

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
        tell_users();
        let libsodium = LibLocation::new(env!("SODIUM_LIB"), env!("SODIUM_INCLUDE"));
        upstream::Build::new().with_libsodium(Some(libsodium)).build();
    }
}

/// Has the C++ compiler, which is called with the flags in the environment, define what `configure` would.
fn tell_users() {
    let define = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "android") => "-DZMQ_HAVE_SO_PEERCRED",
        Ok("macos" | "freebsd") => "-DZMQ_HAVE_LOCAL_PEERCRED",
        _ => return,
    };
    let flags = std::env::var("CXXFLAGS").unwrap_or_default();
    std::env::set_var("CXXFLAGS", format!("{flags} {define}"));
}
