//! TCP sockets of guests; each counts against the plugins' limit of descriptors.

use crate::host_state::HostState;
use crate::host_state::descriptors::DescriptorPermit;
use std::collections::BTreeMap;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::{IoError, Network, SocketError, SocketResult, TcpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;

/// Descriptor permits of one guest's sockets, by the number of the socket in the guest's table.
#[derive(Default)]
pub(crate) struct GuestSockets(BTreeMap<u32, DescriptorPermit>);

/// Replaces functions of wasmtime-wasi with those of this module.
///
/// # Errors
/// If the interface does not match that of wasmtime-wasi.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp_create_socket::add_to_linker::<HostState, HasSelf<HostState>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl tcp_create_socket::Host for HostState {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.forget_closed_sockets();
        let permit = self.context().take_descriptor(self.request()).ok_or(ErrorCode::NewSocketLimit)?;
        let socket = tcp_create_socket::Host::create_tcp_socket(&mut self.sockets(), family)?;
        self.sockets.0.insert(socket.rep(), permit);
        Ok(socket)
    }
}

impl network::Host for HostState {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets(), error)
    }

    fn network_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets(), error)
    }
}

impl network::HostNetwork for HostState {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

impl HostState {
    /// Releases the permits of sockets that the guest has dropped. The streams of a socket are dropped before it.
    pub(crate) fn forget_closed_sockets(&mut self) {
        if self.sockets.0.is_empty() {
            return;
        }
        let mut places = std::mem::take(&mut self.sockets.0);
        let table = self.ctx().table;
        places.retain(|number, _| table.get(&Resource::<TcpSocket>::new_borrow(*number)).is_ok());
        self.sockets.0 = places;
    }
}
