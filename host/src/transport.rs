//! Transports: each converts a protocol to inputs of the core, and the core's outputs to the protocol.

pub(crate) mod zmq;
