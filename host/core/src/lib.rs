//! Decisions of a wasmnode: what happens to each request, and why.
//!
//! All modules are state machines without I/O, clock, threads or hash iteration: the same inputs at the same times give
//! the same outputs, byte for byte. The driver of the binary and the simulation of the tests use the same three
//! methods:
//!
//! ```
//! # use wasmnode_core::{Input, Node, NodeSettings, Time};
//! # let (mut node, now) = (Node::new(NodeSettings::default()), Time::ZERO);
//! node.handle(Input::Tick, now); // feed one input
//! while let Some(output) = node.next_output() {
//!     // act on each output
//! #   drop(output);
//! }
//! let sleep_until = node.next_wake(); // then wait for an input, or for this time
//! # let _ = sleep_until;
//! ```
//!
//! [`access`] authorizes principals, [`broker`] queues, dispatches and answers requests, [`links`] keeps the
//! connections to other nodes, [`members`] detects live members, [`directory`] holds the services of the zone,
//! [`paths`] those of other zones, and [`node`] composes them. The crate [`wasmnode_protocol`] defines the messages.

#![forbid(unsafe_code)]

pub mod access;
pub mod broker;
mod connection;
pub mod directory;
pub mod links;
pub mod members;
pub mod node;
pub mod paths;
mod policy;
pub mod settings;
mod time;

pub use access::{Access, Denial, Grant, Quota, Role};
pub use broker::{
    CallId, Caller, Counters, Event, Explanation, PeerStatus, RequestId, Run, ServiceStatus, Verdict, sentences,
};
pub use connection::{ConnectionId, LinkId, Transport};
pub use directory::{Directory, DirectoryEffect};
pub use members::{MalformedGossip, MemberEffect, Members};
pub use node::{Input, MemberStatus, Node, Output, ZoneEvent};
pub use paths::{PathEffect, Paths};
pub use settings::PLUGIN_DEADLINE;
pub use settings::{
    CallsAs, DirectorySettings, Limits, Majordomo, MembersSettings, Neighbour, NodeSettings, OnFailure, PathSettings,
    PeerSettings, RouterSettings, RunningSettings, Seed, ServiceSettings,
};
pub use time::Time;
pub use wasmnode_protocol::{
    Address, Body, Code, Failure, Frame, InvalidLabel, Label, Location, Pattern, ServiceName, failure, message, name,
    text,
};
