//! Inputs and outputs of a node, the same for every transport.

use super::ZoneEvent;
use crate::access::Access;
use crate::broker::{CallId, Event, RequestId, Run};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::Failure;
use crate::message::{Body, Frame, Reply, Request};
use crate::name::{Label, ServiceName};
use crate::settings::RunningSettings;
use std::time::Duration;

/// Input that a driver reports to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message arrived, its frames without the routing id.
    Message {
        /// The connection it came from.
        from: ConnectionId,
        /// All frames.
        frames: Vec<Frame>,
    },
    /// A client sent a request, on a transport that decodes its own protocol. Replies are [`Output::Reply`].
    Request {
        /// Its connection.
        from: ConnectionId,
        /// The request, with a number of the client's choice.
        request: Box<Request>,
    },
    /// A client cancels a request that it made by [`Input::Request`]. No effect if it is already answered.
    Cancel {
        /// Its connection.
        from: ConnectionId,
        /// The number of the request.
        id: u64,
    },
    /// A message could not be sent, because the connection is gone.
    Undeliverable {
        /// The connection.
        to: ConnectionId,
        /// The message.
        frames: Vec<Frame>,
    },
    /// A connection has ended. All its messages were reported before.
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
    /// A link has ended, or could not be established. Messages sent on it may or may not have arrived. Reported once
    /// per link, and not for a link that the node closed itself ([`Output::HangUp`]).
    LinkDown {
        /// The link.
        link: LinkId,
        /// The reason, as far as it is known.
        why: String,
    },
    /// A plugin has started to offer this service.
    Offered(ServiceName),
    /// The plugin of this service is gone.
    Withdrawn(ServiceName),
    /// The plugin of this service crashed in its last requests, so requests are refused without a run. A duration of
    /// zero ends the quarantine.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// Duration of the quarantine.
        lasts: Duration,
    },
    /// A run sends a partial reply.
    Partial {
        /// The run.
        request: RequestId,
        /// The reply's frames.
        body: Body,
    },
    /// A run has ended. Every [`Output::Run`] is confirmed by exactly one of these, stopped or not.
    Finished {
        /// The run.
        request: RequestId,
        /// The reply, or the reason why there is none.
        result: Result<Body, Failure>,
    },
    /// A run calls a service.
    Call {
        /// The driver's number for the call.
        call: CallId,
        /// The run.
        parent: RequestId,
        /// The service called.
        service: ServiceName,
        /// The frames of the call.
        body: Body,
    },
    /// Replace the access rules for all keys. Only for a node that has had rules from the start.
    Trust(Access),
    /// Replace settings. Requests that are held keep their deadlines.
    Reconfigure(Box<RunningSettings>),
    /// Nothing but time has passed.
    Tick,
    /// Accept no further requests.
    Drain,
    /// End everything immediately.
    Stop,
}

/// Action for the driver to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these frames.
    Send {
        /// The connection.
        to: ConnectionId,
        /// All frames, without the routing id.
        frames: Vec<Frame>,
    },
    /// Reply to a client, on a transport that encodes its own protocol. The one reply that is not partial is the
    /// answer.
    Reply {
        /// The connection that the request came on.
        to: ConnectionId,
        /// The client's number of the request.
        id: u64,
        /// The reply.
        reply: Reply,
    },
    /// Connect to another node. Messages sent on the link meanwhile wait for the connection.
    Dial {
        /// The number of the new link.
        link: LinkId,
        /// Endpoint of the other node.
        endpoint: String,
        /// Name of the node expected there, if it is known. Where keys are required, that node's key is expected too.
        name: Option<Label>,
    },
    /// Send these frames on a link.
    Post {
        /// The link.
        link: LinkId,
        /// All frames.
        frames: Vec<Frame>,
    },
    /// Close a link, and drop all messages that wait to be sent on it.
    HangUp(LinkId),
    /// Close a connection that the access rules do not allow.
    Disconnect(ConnectionId),
    /// Run a plugin.
    Run(Box<Run>),
    /// Stop a run.
    Stop(RequestId),
    /// Answer a call of a run.
    Answer {
        /// The call.
        call: CallId,
        /// The reply, or the reason why there is none.
        result: Result<Body, Failure>,
    },
    /// Report an event to the operator.
    Event(Event),
    /// Report an event of the zone to the operator.
    Zone(ZoneEvent),
}
