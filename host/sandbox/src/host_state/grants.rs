//! WASI contexts with the grants of a plugin.

use crate::settings::Grants;
use std::net::SocketAddr;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

/// Returns a builder of a WASI context with the granted variables and connections; the folders are in `fs.rs`.
pub(crate) fn context(grants: &Grants) -> WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    for (name, value) in &grants.env {
        wasi.env(name, value);
    }
    if !grants.net.is_empty() {
        let net = grants.net.clone();
        wasi.allow_tcp(true);
        wasi.socket_addr_check(move |address, purpose| {
            let is_allowed = may_use(&net, address, purpose);
            Box::pin(async move { is_allowed })
        });
    }
    wasi
}

fn may_use(net: &[SocketAddr], address: SocketAddr, purpose: SocketAddrUse) -> bool {
    match purpose {
        SocketAddrUse::TcpConnect => net.contains(&address),
        // The system binds the local end of each connection to an address of its choice.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        _ => false,
    }
}
