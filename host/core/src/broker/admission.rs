//! Admission of requests: every limit, and the failure that names it.

use super::service::Service;
use super::{Broker, Destination, Pending, RequestContext, Requester};
use crate::failure::{Code, Failure};
use crate::message::{self, Body};
use crate::name::{Label, Pattern, ServiceName};
use crate::settings::CallsAs;
use crate::time::Time;

/// Largest number of zones that a failure names.
const MAX_ZONES: usize = 8;

impl Broker {
    pub(super) fn may_submit(&mut self, context: &RequestContext, now: Time) -> Result<(), Failure> {
        let limits = &self.settings.limits;
        let refuse = |code, reason: String| Err(Failure::new(code, reason));
        let is_call = matches!(context.requester, Requester::Call { .. });
        if self.draining && !is_call {
            return refuse(Code::Draining, format!("node {} is shutting down", self.settings.name));
        }
        self.may_carry(&context.body)?;
        let bytes = message::size(&context.body);
        if self.requests.len() >= limits.requests {
            return refuse(Code::Overloaded, format!("limits.requests = {} is reached", limits.requests));
        }
        if !self.requests.has_room(bytes) {
            return refuse(Code::Overloaded, format!("limits.held-bytes = {} is reached", limits.held_bytes));
        }
        self.may_ask(&context.requester)?;
        self.may_queue(context)?;
        match &context.requester {
            Requester::Client { connection, .. } => {
                connection.principal().map_or(Ok(()), |user| self.quotas.admit(user, bytes, now))
            }
            Requester::Call { .. } => Ok(()),
        }
    }

    /// Checks the body of a request or a reply against the limits of a message.
    pub(super) fn may_carry(&self, body: &Body) -> Result<(), Failure> {
        self.may_carry_sum(message::size(body), body.len())
    }

    /// Checks a size in bytes and frames against the limits of a message.
    pub(super) fn may_carry_sum(&self, bytes: usize, frames: usize) -> Result<(), Failure> {
        let limits = &self.settings.limits;
        let reason = if bytes > limits.message {
            format!("a body of {bytes} bytes is over limits.message = {}", limits.message)
        } else if frames > limits.frames {
            format!("a body of {frames} frames is over limits.frames = {}", limits.frames)
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::TooLarge, reason))
    }

    fn may_ask(&self, requester: &Requester) -> Result<(), Failure> {
        let Requester::Client { connection, dialect, id, .. } = requester else { return Ok(()) };
        let Some(client) = self.clients.get(connection) else { return Ok(()) };
        let limits = &self.settings.limits;
        let (name, limit) = match dialect {
            message::Dialect::Peer => ("limits.requests-per-peer", limits.requests_per_peer),
            _ => ("limits.requests-per-client", limits.requests_per_client),
        };
        if client.outstanding() >= limit {
            let reason = format!("{name} = {limit} is reached; wait for answers");
            return Err(Failure::new(Code::Overloaded, reason));
        }
        if dialect.has_ids() && client.request(*id).is_some() {
            return Err(Failure::new(Code::Malformed, format!("request id {id} has no answer yet; use another")));
        }
        Ok(())
    }

    fn may_queue(&self, context: &RequestContext) -> Result<(), Failure> {
        let name = &context.service;
        if context.patience.is_none() && !self.is_reachable(name, &context.destination) {
            return Err(self.unknown(name, &context.destination));
        }
        self.full_queue(name).map_or(Ok(()), Err)
    }

    /// Returns the failure of requests for a service whose queue is full, or `None` if it has room.
    pub(crate) fn full_queue(&self, name: &ServiceName) -> Option<Failure> {
        let is_full = |service: &&Service| match service.queued() {
            // A request that need not wait takes no place.
            0 => service.settings.queue == 0 && !service.is_ready(),
            queued => queued >= service.settings.queue,
        };
        let service = self.services.get(name).filter(is_full)?;
        let reason = format!("the queue of {name} is full: service.{name}.queue = {}", service.settings.queue);
        Some(Failure::new(Code::Overloaded, reason))
    }

    pub(super) fn may_call(&self, caller: &Pending, callee: &ServiceName) -> Result<(), Failure> {
        let name = &caller.context.service;
        if !self.settings.of(name).calls.iter().any(|pattern| pattern.matches(callee)) {
            let reason = format!("service {name} may not call {callee}; service.{name}.calls would have to list it");
            return Err(Failure::new(Code::Forbidden, reason));
        }
        if self.settings.of(name).calls_as == CallsAs::Caller {
            self.may_be_called_for(caller, callee)?;
        }
        if name == callee || caller.context.chain.contains(callee) {
            return Err(Failure::new(Code::Loop, format!("{callee} is already part of this chain of calls")));
        }
        let limit = self.settings.limits.call_depth;
        if caller.context.chain.len() >= limit {
            return Err(Failure::new(Code::Loop, format!("the chain of calls is over limits.call-depth = {limit}")));
        }
        Ok(())
    }

    /// Checks whether the original user of a request may call a service.
    fn may_be_called_for(&self, request: &Pending, callee: &ServiceName) -> Result<(), Failure> {
        let may = |allowed: Vec<Pattern>| allowed.iter().any(|pattern| pattern.matches(callee));
        if self.allowed(request).is_none_or(may) {
            return Ok(());
        }
        let (name, caller) = (&request.context.service, request.context.caller());
        let reason = format!(
            "service {name} calls in its caller's name (service.{name}.calls-as), and {caller} may not call {callee}; \
             `allow` of the user's key would have to list it"
        );
        Err(Failure::new(Code::Forbidden, reason))
    }

    /// Returns the services that the original user of a request may call, or `None` for all. Both the rules of the
    /// user's node apply, and those of this node for the connection that the request came on.
    pub(super) fn allowed(&self, request: &Pending) -> Option<Vec<Pattern>> {
        let (peer, forwarded) = match &request.context.requester {
            Requester::Client { connection, .. } => (connection, request.context.allowed.as_deref()),
            // A call ends with the request that makes it, so a call without one is allowed nothing.
            Requester::Call { parent, .. } => {
                return self.requests.get(parent).map_or(Some(vec![]), |it| self.allowed(it));
            }
        };
        let here = self.settings.access.as_ref().and_then(|access| access.allowed(peer));
        match (here, forwarded) {
            (None, None) => None,
            (Some(only), None) | (None, Some(only)) => Some(only.to_vec()),
            (Some(here), Some(forwarded)) => {
                Some(here.iter().flat_map(|one| forwarded.iter().filter_map(|other| one.and(other))).collect())
            }
        }
    }

    pub(super) fn unknown(&self, service: &ServiceName, place: &Destination) -> Failure {
        let (node, zone) = (&self.settings.name, &self.settings.zone);
        let reason = match place {
            Destination::Anywhere => {
                format!("no node offers {service}; node {node} searched zone {zone}{}", self.other_zones())
            }
            Destination::Home => format!("no node offers {service} in zone {zone}, according to node {node}"),
            Destination::Zone(asked) | Destination::NodeIn { zone: asked, .. } => {
                format!("no node offers {service} in zone {asked}, according to node {node} of zone {zone}")
            }
            Destination::Here => format!("node {node} does not offer {service}"),
            Destination::Node(asked) => {
                format!("node {asked} does not offer {service}, according to node {node}")
            }
        };
        Failure::new(Code::UnknownService, reason)
    }

    /// Returns a text that names the zones that routers lead to, up to [`MAX_ZONES`]: ` and zones lyon, nice`.
    fn other_zones(&self) -> String {
        let named: Vec<&str> = self.services.zones().take(MAX_ZONES).map(Label::as_str).collect();
        match (named.as_slice(), self.services.zones().len() - named.len()) {
            ([], _) => ", and no router leads to another".into(),
            ([one], _) => format!(" and zone {one}"),
            (all, 0) => format!(" and zones {}", all.join(", ")),
            (first, more) => format!(" and zones {} and {more} more", first.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::LinkId;
    use crate::message::peer::Traits;
    use crate::name::Address;
    use crate::settings::NodeSettings;
    use crate::time::Time;

    fn reason(broker: &Broker) -> String {
        broker.unknown(&"nothing".parse().unwrap(), &Destination::Anywhere).reason
    }

    #[test]
    fn a_service_that_nobody_offers_is_refused_with_the_zones_that_were_asked_as_long_as_they_are_few() {
        let (mut broker, now, link) = (Broker::new(NodeSettings::default()), Time::ZERO, LinkId(1));
        broker.peer_up(link, &"r".parse().unwrap(), None, true, now);
        assert!(reason(&broker).ends_with("searched zone local, and no router leads to another"));
        let offer = |broker: &mut Broker, address: &str| {
            broker.peer_offers(link, &address.parse::<Address>().unwrap(), Traits::default(), 1, now);
        };
        offer(&mut broker, "print@lyon");
        offer(&mut broker, "scan@lyon");
        assert!(reason(&broker).ends_with("searched zone local and zone lyon"));
        offer(&mut broker, "print@nice");
        assert!(reason(&broker).ends_with("searched zone local and zones lyon, nice"));
        broker.peer_withdraws(link, &"print@lyon".parse().unwrap(), now);
        broker.peer_withdraws(link, &"print@nice".parse().unwrap(), now);
        assert!(reason(&broker).ends_with("and zone lyon"), "scan is there still: {}", reason(&broker));
        (0..12).for_each(|number| offer(&mut broker, &format!("print@a{number:02}")));
        assert!(reason(&broker).ends_with("and zones a00, a01, a02, a03, a04, a05, a06, a07 and 5 more"));
        broker.peer_down(link, "it was cut", now);
        assert!(reason(&broker).ends_with("and no router leads to another"));
    }
}
