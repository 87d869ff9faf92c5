//! Passes on where libsodium was built: Cargo tells it only to the build script of a direct dependent.

fn main() {
    for (from, to) in [("DEP_SODIUM_LIB", "SODIUM_LIB"), ("DEP_SODIUM_INCLUDE", "SODIUM_INCLUDE")] {
        let Ok(path) = std::env::var(from) else {
            println!("cargo::error=libsodium-sys-stable did not say where it built libsodium ({from})");
            return;
        };
        println!("cargo::rustc-env={to}={path}");
    }
}
