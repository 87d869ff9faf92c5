//! Destinations of requests. Those of clients depend on the address, those of other nodes on what the routers allow.

use super::Node;
use crate::broker::{Caller, Destination, RequestContext, Requester};
use crate::connection::ConnectionId;
use crate::failure::{Code, Failure};
use crate::message::peer::{self, Forward, Member, MemberKind, PeerMessage};
use crate::message::{Dialect, Reply};
use crate::name::{Label, Location};
use crate::time::Time;

impl Node {
    /// Returns the destination of a location: this node, a peer, another zone, or the nearest provider.
    pub(super) fn locate(&self, place: &Location) -> Destination {
        let (me, zone) = (&self.zone.me().name, &self.zone.zone);
        let at = |node: &Label| if node == me { Destination::Here } else { Destination::Node(node.clone()) };
        match place {
            Location::Nearest => Destination::Anywhere,
            Location::Named(name) if name == me || self.zone.members.get(name).is_some() => at(name),
            Location::Named(name) if name == zone => Destination::Home,
            Location::Named(name) => Destination::Zone(name.clone()),
            Location::Node { node, zone: asked } if asked == zone => at(node),
            Location::Node { node, zone } => Destination::NodeIn { zone: zone.clone(), node: node.clone() },
        }
    }

    pub(super) fn serve(&mut self, from: &ConnectionId, sender: &Member, forward: Box<Forward>, now: Time) {
        let (node, zone) = (sender.name.clone(), self.zone.zone_of_inbound(from).cloned());
        let forbidden = self.forbids(from, &forward.service).map_or(Ok(()), Err);
        let place = match forbidden.and_then(|()| self.destination(sender, zone.as_ref(), &forward)) {
            Ok(place) => place,
            Err(failure) => {
                let id = forward.id;
                if forward.is_trace {
                    let records = vec![self.broker.record_of_refusal(forward.hops, &forward.service, failure.code)];
                    self.send(from.clone(), peer::encode(PeerMessage::Reply { id, reply: Reply::Partial(records) }));
                }
                let reply = PeerMessage::Reply { id, reply: Reply::Failure(failure) };
                return self.send(from.clone(), peer::encode(reply));
            }
        };
        let mut crossed = forward.crossed;
        if let Some(neighbour) = &zone {
            // The request came through these zones, whatever it claims.
            for zone in [neighbour, &self.zone.zone] {
                if !crossed.contains(zone) {
                    crossed.push(zone.clone());
                }
            }
        }
        let context = RequestContext {
            crossed,
            hops: forward.hops,
            is_outward: zone.is_none() && sender.role == MemberKind::Router,
            is_trace: forward.is_trace,
            has_alternative: self.router.is_some() && forward.has_alternative,
            requester: Requester::Client {
                connection: from.clone(),
                dialect: Dialect::Peer,
                id: forward.id,
                asked: None,
            },
            service: forward.service,
            destination: place,
            caller: Some(Caller::Remote { node, caller: forward.caller }),
            allowed: forward.allowed,
            chain: forward.chain,
            body: forward.body,
            deadline: forward.remaining,
            patience: None,
            traceparent: forward.traceparent,
            idempotency_key: forward.idempotency_key,
        };
        self.broker.submit(context, now);
    }

    /// Returns the destination of a forwarded request: a node serves it itself; a router forwards it, if it may.
    fn destination(&self, sender: &Member, from: Option<&Label>, forward: &Forward) -> Result<Destination, Failure> {
        let (me, own) = (&self.zone.me().name, &self.zone.zone);
        let zone = forward.zone.as_ref().unwrap_or(own);
        if self.router.is_none() {
            let reason = format!("node {me} of zone {own} is not a router");
            return if zone == own { Ok(Destination::Here) } else { Err(Failure::new(Code::UnknownService, reason)) };
        }
        if from.is_some() && forward.crossed.contains(own) {
            let reason = format!("the request has been in zone {own} already, where router {me} is");
            return Err(Failure::new(Code::Loop, reason));
        }
        if forward.hops == 0 || forward.crossed.len() >= peer::MAX_CROSSED {
            return Err(Failure::new(Code::Loop, format!("the request came too far, to router {me} of zone {own}")));
        }
        if let Some(from) = from {
            self.may_pass(sender, from, zone, &forward.service)?;
        }
        Ok(match (&forward.node, zone == own) {
            (Some(node), true) => Destination::Node(node.clone()),
            (None, true) => Destination::Home,
            (Some(node), false) => Destination::NodeIn { zone: zone.clone(), node: node.clone() },
            (None, false) => Destination::Zone(zone.clone()),
        })
    }
}
