//! Functions and options of libzmq that the `zmq` crate lacks, by its C interface.

use super::unread::Token;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use tracing::warn;
use wasmnode_core::Frame;

/// Routing id of the next connection that a ROUTER makes (`zmq_setsockopt(3)`).
pub(super) const CONNECT_ROUTING_ID: i32 = 61;

/// Makes a socket reject every connection while there is no ZAP handler (`ZMQ_ZAP_ENFORCE_DOMAIN`).
pub(super) const ZAP_ENFORCE_DOMAIN: i32 = 93;

/// Bytes that a connection reads at a time: `ZMQ_IN_BATCH_SIZE`, one of libzmq's drafts.
pub(super) const IN_BATCH_SIZE: i32 = 101;

/// Bytes that a connection gathers before it writes them: `ZMQ_OUT_BATCH_SIZE`, another.
pub(super) const OUT_BATCH_SIZE: i32 = 102;

/// Longest time that sent data may stay unacknowledged, in milliseconds: `ZMQ_TCP_MAXRT`, for `TCP_USER_TIMEOUT` of
/// `tcp(7)`.
pub(super) const TCP_MAXRT: i32 = 80;

/// Events that a ROUTER reports of connections, each as an empty message from the routing id: `ZMQ_ROUTER_NOTIFY`,
/// another draft.
pub(super) const ROUTER_NOTIFY: i32 = 97;

/// Reports the end of connections.
pub(super) const NOTIFY_DISCONNECT: i32 = 2;

/// Reports the start and the end of connections.
pub(super) const NOTIFY_CONNECT_AND_DISCONNECT: i32 = 1 | NOTIFY_DISCONNECT;

/// Largest number of frames of one incoming message; an option of `libzmq.patch`, like the two below.
pub(super) const MAX_FRAMES: i32 = 1001;

/// Largest number of bytes of the unfinished messages of all connections of the process.
pub(super) const MAX_UNFINISHED: i32 = 1002;

/// Ends the connection whose routing id is the option's value.
pub(super) const END_CONNECTION: i32 = 1003;

/// Sets an option of a socket, which libzmq copies and checks.
///
/// # Errors
/// libzmq's reason for refusing the option or its value.
#[allow(unsafe_code, reason = "the crate exposes neither these options nor a setter by number")]
pub(super) fn set(socket: &mut zmq::Socket, option: i32, value: &[u8]) -> Result<(), zmq::Error> {
    // SAFETY: `as_mut_ptr` is the live socket of an exclusive borrow; libzmq reads `value.len()` bytes before it
    // returns.
    checked(unsafe { zmq_sys::zmq_setsockopt(socket.as_mut_ptr(), option, value.as_ptr().cast(), value.len()) })
}

/// Sends a copy of one part of a message.
///
/// # Errors
/// libzmq's reason; nothing is sent then.
#[allow(unsafe_code, reason = "the crate's message type costs more for a small part than the copy")]
pub(super) fn send_copy(socket: &mut zmq::Socket, part: &[u8], flags: i32) -> Result<(), zmq::Error> {
    // SAFETY: the socket is that of an exclusive borrow; libzmq copies `part.len()` bytes before it returns.
    checked(unsafe { zmq_sys::zmq_send(socket.as_mut_ptr(), part.as_ptr().cast(), part.len(), flags) })
}

/// Sends one part of a message without copying it: libzmq releases the bytes, and the token, when it has written them.
///
/// # Errors
/// libzmq's reason; nothing is sent then.
#[allow(unsafe_code, reason = "the crate sends only unshared bytes without a copy")]
pub(super) fn send_shared(
    socket: &mut zmq::Socket,
    part: &Frame,
    token: Option<Token>,
    flags: i32,
) -> Result<(), zmq::Error> {
    unsafe extern "C" fn release(_bytes: *mut c_void, part: *mut c_void) {
        // SAFETY: `part` is the box that was leaked below, and libzmq passes it to `release` exactly once.
        drop(unsafe { Box::from_raw(part.cast::<(Frame, Option<Token>)>()) });
    }
    let part = Box::new((part.clone(), token));
    let (bytes, length) = (part.0.as_ptr().cast_mut().cast(), part.0.len());
    let (part, mut message) = (Box::into_raw(part), MaybeUninit::uninit());
    // SAFETY: the bytes stay in place until `release` is called, on whichever thread, and nothing writes to them.
    let made = unsafe { zmq_sys::zmq_msg_init_data(message.as_mut_ptr(), bytes, length, Some(release), part.cast()) };
    checked(made).inspect_err(|_| {
        // SAFETY: libzmq has made no message, so it never calls `release`.
        drop(unsafe { Box::from_raw(part) });
    })?;
    // SAFETY: the message was made above; libzmq takes it over if it sends it.
    let sent = super::uninterrupted(|| {
        checked(unsafe { zmq_sys::zmq_msg_send(message.as_mut_ptr(), socket.as_mut_ptr(), flags) })
    });
    sent.inspect_err(|_| {
        // SAFETY: the message was not sent, so this code still owns it; closing it calls `release`.
        unsafe { zmq_sys::zmq_msg_close(message.as_mut_ptr()) };
    })
}

/// Turns the return value of a libzmq function into a result: -1 reports an error.
fn checked(returned: i32) -> Result<(), zmq::Error> {
    if returned != -1 {
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error();
    Err(errno.map_or(zmq::Error::EINVAL, zmq::Error::from_raw))
}

/// Returns the descriptor that becomes readable when the socket has events. It is edge-triggered: it becomes readable
/// once for each event, and does not stay so while there is something to read (`ZMQ_FD` in `zmq_getsockopt(3)`).
#[allow(unsafe_code, reason = "the crate returns only the number of the descriptor")]
pub(super) fn descriptor(socket: &zmq::Socket) -> BorrowedFd<'_> {
    // SAFETY: libzmq keeps a socket's descriptor open until the socket is closed, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

#[allow(unsafe_code, reason = "the crate does not declare it")]
unsafe extern "C" {
    /// Draft function of libzmq (`zmq_socket_monitor_versioned(3)`).
    fn zmq_socket_monitor_versioned(
        socket: *mut c_void,
        endpoint: *const c_char,
        events: u64,
        version: c_int,
        kind: c_int,
    ) -> c_int;
}

/// Publishes a socket's events at an endpoint, in their second version: the event, the number of its values and each
/// value, as frames of eight bytes; then the local and the remote address.
///
/// # Errors
/// libzmq's reason for refusing the endpoint.
#[allow(unsafe_code, reason = "the crate has only the first version, which omits the remote address")]
pub(super) fn monitor(socket: &mut zmq::Socket, endpoint: &str, events: u64) -> Result<(), zmq::Error> {
    let endpoint = CString::new(endpoint).map_err(|_| zmq::Error::EINVAL)?;
    const VERSION: c_int = 2;
    let kind = zmq::PAIR as c_int;
    // SAFETY: the socket is that of an exclusive borrow, and libzmq reads the endpoint before it returns.
    checked(unsafe { zmq_socket_monitor_versioned(socket.as_mut_ptr(), endpoint.as_ptr(), events, VERSION, kind) })
}

/// Runs `open` under `SCHED_BATCH`, so that libzmq's I/O threads, which it spawns, inherit that policy and do not
/// preempt the caller (`sched(7)`; `ZMQ_THREAD_SCHED_POLICY` in `zmq_ctx_set(3)`).
///
/// Each answer wakes the thread that writes to the network. Where the two share a core, that thread would preempt the
/// caller, write the one answer, and sleep again; under `SCHED_BATCH` it waits for its turn and then finds many
/// answers. Where they do not share a core, nothing changes. The calling thread keeps its own policy.
pub(super) fn with_batch_policy<T>(open: impl FnOnce() -> T) -> T {
    match change_policy(libc::SCHED_OTHER, libc::SCHED_BATCH) {
        Ok(false) => open(),
        Ok(true) => {
            let opened = open();
            if let Err(error) = change_policy(libc::SCHED_BATCH, libc::SCHED_OTHER) {
                warn!("cannot restore the scheduling policy; the node keeps SCHED_BATCH and may answer late: {error}");
            }
            opened
        }
        Err(error) => {
            warn!("cannot use SCHED_BATCH for the network threads; throughput may be lower: {error}");
            open()
        }
    }
}

/// Changes the scheduling policy of the calling thread from `from` to `to`; returns `false` if it has another policy
/// than `from`. Threads that it starts inherit the policy.
#[allow(unsafe_code, reason = "no crate in use offers it, and the zmq crate hides the handle that zmq_ctx_set needs")]
fn change_policy(from: i32, to: i32) -> io::Result<bool> {
    let (mut policy, mut parameters) = (0, MaybeUninit::<libc::sched_param>::uninit());
    // SAFETY: the calling thread is alive, and both out-parameters are writable.
    match unsafe { libc::pthread_getschedparam(libc::pthread_self(), &raw mut policy, parameters.as_mut_ptr()) } {
        0 if policy == from => {}
        0 => return Ok(false),
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    // SAFETY: as above; the call before has succeeded, and so has initialized the parameters.
    match unsafe { libc::pthread_setschedparam(libc::pthread_self(), to, parameters.as_ptr()) } {
        0 => Ok(true),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_part_is_released_when_it_is_written_and_when_it_is_not_sent() {
        let context = zmq::Context::new();
        let [mut from, to] = [(); 2].map(|()| context.socket(zmq::PAIR).unwrap());
        to.bind("inproc://parts").unwrap();
        let part = Frame::from(vec![7; 1 << 20]);
        assert_eq!(send_shared(&mut from, &part, None, zmq::DONTWAIT), Err(zmq::Error::EAGAIN), "no peer is connected");
        assert!(part.is_unique());
        from.connect("inproc://parts").unwrap();
        send_shared(&mut from, &part, None, zmq::DONTWAIT).unwrap();
        let arrived = to.recv_msg(0).unwrap();
        assert_eq!((&*arrived, part.is_unique()), (&*part, false));
        drop(arrived);
        assert!(part.is_unique());
    }

    #[test]
    fn io_threads_inherit_the_batch_policy_and_the_caller_keeps_its_own() {
        let before = policy();
        let threads = with_batch_policy(|| std::thread::spawn(policy).join().unwrap());
        assert_eq!((threads, policy()), (libc::SCHED_BATCH, before));
    }

    /// Returns the policy of the calling thread (`/proc/pid/stat` in `proc(5)`: field 41; the state after the name is
    /// field 3).
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(38).unwrap().parse().unwrap()
    }
}
