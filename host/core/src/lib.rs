//! The decisions of a wasmnode: what happens to a request, and why.
//!
//! Everything here is a state machine without I/O, clock, threads or hash iteration: the same inputs at the same times
//! give the same outputs, byte for byte. The driver of the binary and the simulation of the tests use the same three
//! verbs:
//!
//! ```
//! # use wasmnode_core::{Input, Node, NodeSettings, Time};
//! # let (mut node, now) = (Node::new(NodeSettings::default()), Time::ZERO);
//! node.handle(Input::Tick, now); // one thing happened
//! while let Some(output) = node.next_output() {
//!     // do everything it decided
//! #   drop(output);
//! }
//! let sleep_until = node.next_wake(); // then wait for an input, or for this time
//! # let _ = sleep_until;
//! ```
//!
//! [`message`] is what can be said, [`access`] by whom, [`broker`] who waits for whom, [`links`] whom this node speaks with, [`members`] who is
//! alive, [`routes`] where a service is, [`node`] the composition; [`paths`] how zones are joined; [`text`] is how what others
//! wrote is shown.

#![forbid(unsafe_code)]

pub mod access;
pub mod broker;
pub mod directory;
pub mod failure;
pub mod links;
pub mod members;
pub mod message;
pub mod name;
pub mod node;
pub mod paths;
pub mod settings;
pub mod text;
mod time;

pub use access::{Access, Grant, Quota, Role};
pub use broker::{CallId, Caller, Counters, Event, PeerStatus, RequestId, Run, ServiceStatus};
pub use directory::{Directory, DirectoryEffect};
pub use failure::{Code, Failure};
pub use members::{MalformedGossip, MemberEffect, Members};
pub use message::{Body, ConnectionId, Frame, LinkId};
pub use name::{Address, InvalidLabel, Label, Location, Pattern, ServiceName};
pub use node::{Explanation, Input, MemberStatus, Node, Output, ZoneEvent};
pub use paths::{PathEffect, Paths};
pub use settings::PLUGIN_DEADLINE;
pub use settings::{
    CallsAs, DirectorySettings, Limits, Majordomo, MembersSettings, Neighbour, NodeSettings, OnFailure, PathSettings,
    PeerSettings, RouterSettings, Seed, ServiceSettings,
};
pub use time::Time;
