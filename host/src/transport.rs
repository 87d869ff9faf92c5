//! Transports: each turns a protocol into inputs of the core, and the core's outputs back.

pub(crate) mod zmq;
