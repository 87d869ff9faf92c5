//! What libzmq has and the `zmq` crate does not, by its C interface.

use super::unread::Token;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use tracing::warn;
use wasmnode_core::Frame;

/// Under which routing id a ROUTER addresses the next connection that it makes (`zmq_setsockopt(3)`).
pub(super) const CONNECT_ROUTING_ID: i32 = 61;

/// Whether a socket lets nobody in while there is nobody to ask who is trusted.
pub(super) const ZAP_ENFORCE_DOMAIN: i32 = 93;

/// Bytes that a connection reads at a time: `ZMQ_IN_BATCH_SIZE`, one of libzmq's drafts.
pub(super) const IN_BATCH_SIZE: i32 = 101;

/// Bytes that a connection gathers before it writes them: `ZMQ_OUT_BATCH_SIZE`, another.
pub(super) const OUT_BATCH_SIZE: i32 = 102;

/// How long what was sent may stay unacknowledged, in milliseconds: `ZMQ_TCP_MAXRT`, for `TCP_USER_TIMEOUT` of
/// `tcp(7)`.
pub(super) const TCP_MAXRT: i32 = 80;

/// What a ROUTER reports of connections, each in an empty message of its routing id: `ZMQ_ROUTER_NOTIFY`, another
/// draft.
pub(super) const ROUTER_NOTIFY: i32 = 97;

/// That they end.
pub(super) const NOTIFY_DISCONNECT: i32 = 2;

/// That they are made, and that they end.
pub(super) const NOTIFY_CONNECT_AND_DISCONNECT: i32 = 1 | NOTIFY_DISCONNECT;

/// Most frames of one message that arrives; one of the options of `libzmq.patch`, as the two below.
pub(super) const MAX_FRAMES: i32 = 1001;

/// Most bytes of the unfinished messages of all connections of the process.
pub(super) const MAX_UNFINISHED: i32 = 1002;

/// Ends the connection with the routing id that is set.
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

/// Sends one part of a message in a copy.
///
/// # Errors
/// libzmq's reason; nothing is sent then.
#[allow(unsafe_code, reason = "the crate moves a small part about more than it takes to copy it")]
pub(super) fn send_copy(socket: &mut zmq::Socket, part: &[u8], flags: i32) -> Result<(), zmq::Error> {
    // SAFETY: the socket is that of an exclusive borrow; libzmq copies `part.len()` bytes before it returns.
    checked(unsafe { zmq_sys::zmq_send(socket.as_mut_ptr(), part.as_ptr().cast(), part.len(), flags) })
}

/// Sends one part of a message without copying it: libzmq lets go of the bytes, and of the token, when it has written
/// them.
///
/// # Errors
/// libzmq's reason; nothing is sent then.
#[allow(unsafe_code, reason = "the crate sends without a copy only bytes that nobody shares")]
pub(super) fn send_shared(
    socket: &mut zmq::Socket,
    part: &Frame,
    token: Option<Token>,
    flags: i32,
) -> Result<(), zmq::Error> {
    unsafe extern "C" fn release(_bytes: *mut c_void, part: *mut c_void) {
        // SAFETY: it is the box that was given away below, and libzmq gives it back once.
        drop(unsafe { Box::from_raw(part.cast::<(Frame, Option<Token>)>()) });
    }
    let part = Box::new((part.clone(), token));
    let (bytes, length) = (part.0.as_ptr().cast_mut().cast(), part.0.len());
    let (part, mut message) = (Box::into_raw(part), MaybeUninit::uninit());
    // SAFETY: the bytes stay where they are until `release` is called, on whichever thread, and nobody writes to them.
    let made = unsafe { zmq_sys::zmq_msg_init_data(message.as_mut_ptr(), bytes, length, Some(release), part.cast()) };
    checked(made).inspect_err(|_| {
        // SAFETY: libzmq has made no message, so it will not give the box back.
        drop(unsafe { Box::from_raw(part) });
    })?;
    // SAFETY: the message was made above; libzmq takes it over if it sends it.
    let sent = super::uninterrupted(|| {
        checked(unsafe { zmq_sys::zmq_msg_send(message.as_mut_ptr(), socket.as_mut_ptr(), flags) })
    });
    sent.inspect_err(|_| {
        // SAFETY: the message was not sent, so it is still there to be closed; that calls `release`.
        unsafe { zmq_sys::zmq_msg_close(message.as_mut_ptr()) };
    })
}

/// What a function of libzmq returned: -1 is for an error.
fn checked(returned: i32) -> Result<(), zmq::Error> {
    if returned != -1 {
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error();
    Err(errno.map_or(zmq::Error::EINVAL, zmq::Error::from_raw))
}

/// What becomes readable when the socket has something to tell. It becomes so once for each time, not for as long as
/// there is something to read (`ZMQ_FD` in `zmq_getsockopt(3)`).
#[allow(unsafe_code, reason = "the crate gives only the number of the descriptor")]
pub(super) fn descriptor(socket: &zmq::Socket) -> BorrowedFd<'_> {
    // SAFETY: libzmq keeps a socket's descriptor open until the socket is closed, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

#[allow(unsafe_code, reason = "the crate does not declare it")]
unsafe extern "C" {
    /// One of libzmq's drafts (`zmq_socket_monitor_versioned(3)`).
    fn zmq_socket_monitor_versioned(
        socket: *mut c_void,
        endpoint: *const c_char,
        events: u64,
        version: c_int,
        kind: c_int,
    ) -> c_int;
}

/// Has the events of a socket told at an endpoint, in their second version: the event, the number of its values and
/// each value, as frames of eight bytes; then the address here, and the one of the other end.
///
/// # Errors
/// libzmq's reason for refusing the endpoint.
#[allow(unsafe_code, reason = "the crate knows only the first version, which leaves the other end's address out")]
pub(super) fn monitor(socket: &mut zmq::Socket, endpoint: &str, events: u64) -> Result<(), zmq::Error> {
    let endpoint = CString::new(endpoint).map_err(|_| zmq::Error::EINVAL)?;
    const VERSION: c_int = 2;
    let kind = zmq::PAIR as c_int;
    // SAFETY: the socket is that of an exclusive borrow, and libzmq reads the endpoint before it returns.
    checked(unsafe { zmq_socket_monitor_versioned(socket.as_mut_ptr(), endpoint.as_ptr(), events, VERSION, kind) })
}

/// Opens the sockets of a context, whose threads start with the first of them, so that these threads do not interrupt
/// the one that uses the sockets (`SCHED_BATCH` in `sched(7)`; `ZMQ_THREAD_SCHED_POLICY` in `zmq_ctx_set(3)`).
///
/// Each answer wakes the thread that writes to the network. Where the two share a core, it would run at once, write
/// that one answer, and sleep again; when it waits for its turn, it finds many. Where they do not, nothing changes. The
/// calling thread stays as it was.
pub(super) fn open_patiently<T>(open: impl FnOnce() -> T) -> T {
    match change_policy(libc::SCHED_OTHER, libc::SCHED_BATCH) {
        Ok(false) => open(),
        Ok(true) => {
            let opened = open();
            if let Err(error) = change_policy(libc::SCHED_BATCH, libc::SCHED_OTHER) {
                warn!("the node's thread stays one of SCHED_BATCH, which may answer late: {error}");
            }
            opened
        }
        Err(error) => {
            warn!("sockets are slower than they could be: the system refuses SCHED_BATCH: {error}");
            open()
        }
    }
}

/// Gives the calling thread another policy of scheduling, if it has the one that it is thought to have. Threads that it
/// starts inherit it.
#[allow(unsafe_code, reason = "no crate in use offers it, and the zmq crate not the handle that zmq_ctx_set needs")]
fn change_policy(from: i32, to: i32) -> io::Result<bool> {
    let (mut policy, mut parameters) = (0, MaybeUninit::<libc::sched_param>::uninit());
    // SAFETY: the calling thread lives, and both places may be written to.
    match unsafe { libc::pthread_getschedparam(libc::pthread_self(), &raw mut policy, parameters.as_mut_ptr()) } {
        0 if policy == from => {}
        0 => return Ok(false),
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    // SAFETY: as above; the call before has succeeded, and so filled the parameters in.
    match unsafe { libc::pthread_setschedparam(libc::pthread_self(), to, parameters.as_ptr()) } {
        0 => Ok(true),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_sent_without_a_copy_is_let_go_of_when_it_is_written_and_when_it_is_not_sent() {
        let context = zmq::Context::new();
        let [mut from, to] = [(); 2].map(|()| context.socket(zmq::PAIR).unwrap());
        to.bind("inproc://parts").unwrap();
        let part = Frame::from(vec![7; 1 << 20]);
        assert_eq!(send_shared(&mut from, &part, None, zmq::DONTWAIT), Err(zmq::Error::EAGAIN), "nobody is there");
        assert!(part.is_unique());
        from.connect("inproc://parts").unwrap();
        send_shared(&mut from, &part, None, zmq::DONTWAIT).unwrap();
        let arrived = to.recv_msg(0).unwrap();
        assert_eq!((&*arrived, part.is_unique()), (&*part, false));
        drop(arrived);
        assert!(part.is_unique());
    }

    #[test]
    fn threads_of_sockets_wait_for_their_turn_and_their_user_does_not() {
        let before = policy();
        let threads = open_patiently(|| std::thread::spawn(policy).join().unwrap());
        assert_eq!((threads, policy()), (libc::SCHED_BATCH, before));
    }

    /// That of the calling thread (`/proc/pid/stat` in `proc(5)`: field 41; the state after the name is field 3).
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(38).unwrap().parse().unwrap()
    }
}
