//! Wire protocol between clients, workers, nodes and routers: names, failure codes, and every message byte for byte.
//!
//! Third parties implement against this crate. It decides nothing, and needs no I/O, clock or thread.
//! [`message::decode`] reads the frames of one message, and the modules of [`message`] encode and document each
//! dialect.
//!
//! ```
//! use wasmnode_protocol::Frame;
//! use wasmnode_protocol::message::{Message, decode};
//!
//! // A request to `print`, as a Majordomo 0.2 client sends it (RFC 18).
//! let frames = vec![Frame::from_static(b"MDPC02"), Frame::from_static(b"\x01"), "print".into(), "hello".into()];
//! let Message::Request { request, .. } = decode(frames)? else { unreachable!() };
//! assert_eq!((&request.service[..], &request.body[0][..]), (&b"print"[..], &b"hello"[..]));
//! # Ok::<(), wasmnode_protocol::message::Malformed>(())
//! ```

#![forbid(unsafe_code)]

pub mod failure;
pub mod message;
pub mod name;
pub mod text;

pub use failure::{Code, Failure};
pub use message::{Body, Frame};
pub use name::{Address, InvalidLabel, Label, Location, Pattern, ServiceName};
