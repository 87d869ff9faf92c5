//! What is on the wire between clients, workers, nodes and routers: names, failure codes, and every message byte for
//! byte.
//!
//! Third parties implement against this crate. It decides nothing, and needs no I/O, clock or thread:
//! [`message::decode`] reads the frames of one message, and the modules of [`message`] encode and document each
//! dialect.

#![forbid(unsafe_code)]

pub mod failure;
pub mod message;
pub mod name;
pub mod text;

pub use failure::{Code, Failure};
pub use message::{Body, Frame};
pub use name::{Address, InvalidLabel, Label, Location, Pattern, ServiceName};
