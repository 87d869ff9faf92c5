//! What a plugin may reach, for WASI.

use crate::config::Grants;
use std::net::SocketAddr;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

/// A WASI context that has what is granted, and nothing else.
///
/// # Errors
/// If a folder is not there or may not be opened.
pub(super) fn context(grants: &Grants) -> Result<WasiCtxBuilder, String> {
    let mut wasi = without_folders(grants);
    for folder in &grants.fs {
        let permissions = if folder.write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(&folder.host, &folder.guest, permissions)
            .map_err(|error| format!("cannot open the folder {} that `fs` grants: {error:#}", folder.host.display()))?;
    }
    Ok(wasi)
}

/// A WASI context that has what is granted but the folders.
pub(super) fn without_folders(grants: &Grants) -> WasiCtxBuilder {
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
        // The system binds the near end of each connection to an address of its choice.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        _ => false,
    }
}
