//! What a driver tells a node, and what the node decides: the same for every transport.

use super::ZoneEvent;
use crate::access::Access;
use crate::broker::{CallId, Event, RequestId, Run};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::Failure;
use crate::message::{Body, Frame, Reply, Request};
use crate::name::{Label, ServiceName};
use std::time::Duration;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message arrived, its frames without the routing id.
    Message {
        /// The connection it came from.
        from: ConnectionId,
        /// All frames.
        frames: Vec<Frame>,
    },
    /// A client asks, on a transport that reads its own protocol. Replies are [`Output::Reply`].
    Request {
        /// Its connection.
        from: ConnectionId,
        /// The request; its number is one of the client's own choice.
        request: Box<Request>,
    },
    /// A client withdraws a request that it made by [`Input::Request`]. No effect if that is answered already.
    Cancel {
        /// Its connection.
        from: ConnectionId,
        /// The number of the request.
        id: u64,
    },
    /// A message could not be sent: the connection is gone.
    Undeliverable {
        /// The connection.
        to: ConnectionId,
        /// The message.
        frames: Vec<Frame>,
    },
    /// A connection has ended. All its messages came before.
    Gone(ConnectionId),
    /// A message arrived on a link.
    LinkMessage {
        /// The link.
        link: LinkId,
        /// All frames.
        frames: Vec<Frame>,
    },
    /// A message could not be sent on a link: nothing of it has left the machine. [`Input::LinkDown`] follows.
    Unsent {
        /// The link.
        link: LinkId,
        /// The message.
        frames: Vec<Frame>,
    },
    /// A link is no more, or never came to be; whatever was sent on it may have arrived or not. Told once for each
    /// link, and not for one that the node hung up itself.
    LinkDown {
        /// The link.
        link: LinkId,
        /// Why, as far as is known.
        why: String,
    },
    /// A plugin offers this service from now on.
    Offered(ServiceName),
    /// The plugin of this service is gone.
    Withdrawn(ServiceName),
    /// The plugin of this service crashed in its last requests, and for so long requests are refused without a run;
    /// zero if they are run again.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// How long.
        lasts: Duration,
    },
    /// A run sends a partial reply.
    Partial {
        /// Which run.
        request: RequestId,
        /// The reply's frames.
        body: Body,
    },
    /// A run has ended. Every [`Output::Run`] is confirmed by exactly one of these, stopped or not.
    Finished {
        /// Which run.
        request: RequestId,
        /// Its reply, or why there is none.
        result: Result<Body, Failure>,
    },
    /// A run calls a service.
    Call {
        /// The driver's number for the call.
        call: CallId,
        /// Which run.
        parent: RequestId,
        /// The service called.
        service: ServiceName,
        /// The frames of the call.
        body: Body,
    },
    /// Other rules hold from now on for everybody who shows a key. Only for a node that had some from the start.
    Trust(Access),
    /// Nothing but time has passed.
    Tick,
    /// Accept no request any more.
    Drain,
    /// End everything now.
    Stop,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these frames.
    Send {
        /// The connection.
        to: ConnectionId,
        /// All frames, without the routing id.
        frames: Vec<Frame>,
    },
    /// Reply to a client, on a transport that writes its own protocol. Anything but a partial reply is the one answer.
    Reply {
        /// The connection that the request came on.
        to: ConnectionId,
        /// The client's number of the request.
        id: u64,
        /// What to reply.
        reply: Reply,
    },
    /// Connect to another node. What is sent on the link meanwhile waits for the connection.
    Dial {
        /// The number of the new link.
        link: LinkId,
        /// Where the other listens.
        endpoint: String,
        /// Who is expected there, if that is known: where keys are asked for, its key is.
        name: Option<Label>,
    },
    /// Send these frames on a link.
    Post {
        /// The link.
        link: LinkId,
        /// All frames.
        frames: Vec<Frame>,
    },
    /// Give up a link, with all that waits to be sent on it.
    HangUp(LinkId),
    /// End the connection of somebody who is no longer trusted.
    Disconnect(ConnectionId),
    /// Run a plugin.
    Run(Box<Run>),
    /// Stop a run.
    Stop(RequestId),
    /// Answer a call of a run.
    Answer {
        /// Which call.
        call: CallId,
        /// Its reply, or why there is none.
        result: Result<Body, Failure>,
    },
    /// Tell a person.
    Event(Event),
    /// Tell a person about the zone.
    Zone(ZoneEvent),
}
