//! Detection of dead tcp connections by the system, such as after a cable is pulled: within [`LOST_AFTER`] seconds.
//!
//! An idle connection is probed. While data is unacknowledged, the system retransmits it instead of probing; then the
//! time since the last progress counts. That time also counts while the other side's receive window is zero, so a
//! process that is frozen with full buffers loses its connection too.

use super::ffi;

/// Silence after which the other side is probed, in seconds.
const IDLE: i32 = 8;

/// Interval of the probes, in seconds.
const INTERVAL: i32 = 4;

/// Number of probes without an answer after which the connection ends.
const PROBES: i32 = 3;

/// Seconds after which an unresponsive connection has ended.
const LOST_AFTER: i32 = IDLE + INTERVAL * PROBES;

/// Sets the options of the connections that a socket makes or accepts afterwards.
pub(super) fn apply(socket: &mut zmq::Socket) -> Result<(), zmq::Error> {
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(IDLE)?;
    socket.set_tcp_keepalive_intvl(INTERVAL)?;
    socket.set_tcp_keepalive_cnt(PROBES)?;
    ffi::set(socket, ffi::TCP_MAXRT, &(LOST_AFTER * 1_000).to_ne_bytes())
}
