//! What libzmq has and the `zmq` crate does not: the only unsafe code of the node.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Under which routing id a ROUTER addresses the next connection that it makes (`zmq_setsockopt(3)`).
pub(super) const CONNECT_ROUTING_ID: i32 = 61;

/// Whether a socket lets nobody in while there is nobody to ask who is trusted.
pub(super) const ZAP_ENFORCE_DOMAIN: i32 = 93;

/// Sets an option of a socket, which libzmq copies and checks.
///
/// # Errors
/// libzmq's reason for refusing the option or its value.
#[allow(unsafe_code, reason = "the crate exposes neither these options nor a setter by number")]
pub(super) fn set(socket: &mut zmq::Socket, option: i32, value: &[u8]) -> Result<(), zmq::Error> {
    // SAFETY: `as_mut_ptr` is the live socket of an exclusive borrow; libzmq reads `value.len()` bytes before it returns.
    let result = unsafe { zmq_sys::zmq_setsockopt(socket.as_mut_ptr(), option, value.as_ptr().cast(), value.len()) };
    if result == 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error();
    Err(errno.map_or(zmq::Error::EINVAL, zmq::Error::from_raw))
}

/// What becomes readable when the socket has something to tell. It becomes so once for each time, not for as long as
/// there is something to read (`ZMQ_FD` in `zmq_getsockopt(3)`).
#[allow(unsafe_code, reason = "the crate gives only the number of the descriptor")]
pub(super) fn descriptor(socket: &zmq::Socket) -> BorrowedFd<'_> {
    // SAFETY: libzmq keeps a socket's descriptor open until the socket is closed, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}
