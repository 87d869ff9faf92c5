//! Authorization: the node checks messages against the access rules ([`Access`]) before it acts on them.

use super::{Node, Output, ZoneEvent};
use crate::access::{Access, Denial};
use crate::connection::{ConnectionId, LinkId};
use crate::failure::Failure;
use crate::links::Links;
use crate::message::peer::Member;
use crate::message::{Dialect, WorkerCommand};
use crate::name::{Label, ServiceName};
use crate::time::Time;
use std::collections::BTreeSet;

impl Node {
    /// Returns the failure if a connection may not call a service.
    pub(super) fn forbids(&self, from: &ConnectionId, service: &ServiceName) -> Option<Failure> {
        self.access.as_ref().and_then(|access| access.may_call(from, service).err())
    }

    /// Handles a worker's command, and refuses a worker that registers for a service that it may not serve.
    pub(super) fn receive_from_worker(
        &mut self,
        from: &ConnectionId,
        dialect: Dialect,
        command: WorkerCommand,
        now: Time,
    ) {
        if let (Some(access), WorkerCommand::Ready { service }) = (&self.access, &command)
            && let Ok(name) = ServiceName::from_bytes(service)
            && let Err(why) = access.may_work(from, &name)
        {
            self.broker.count_forbidden();
            return self.broker.refuse_worker(from, dialect, service, why.to_string(), now);
        }
        self.broker.worker(from, dialect, command, now);
    }

    /// Checks that a node that has dialled this one is the member that it claims to be.
    pub(super) fn check_claimed_identity(
        &self,
        from: &ConnectionId,
        zone: &Label,
        member: &Member,
    ) -> Result<(), Denial> {
        match &self.access {
            Some(access) => access.may_join(from, &self.zone.zone, zone, member),
            None => Ok(()),
        }
    }

    /// Checks that a dialled node is the expected one. The driver has checked its key by the name that it was dialled
    /// by.
    pub(super) fn check_dialled_identity(&mut self, link: LinkId, member: &Member) -> Result<(), Denial> {
        if self.access.is_none() {
            return Ok(());
        }
        let expected = self.links_of(link).and_then(|links| links.expected(link).cloned());
        let (zone, name) = (self.zone_behind(link), &member.name);
        match expected {
            Some(expected) if expected != *name => Err(Denial::Dialled { expected, node: name.clone() }),
            _ if !self.access.as_ref().is_some_and(|access| access.may_be_asked(name, zone)) => {
                Err(Denial::NotANode(name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if a member may advertise a service.
    pub(super) fn may_offer(&self, member: &Label, service: &ServiceName) -> bool {
        self.access.as_ref().is_none_or(|access| access.may_offer(member, service))
    }

    /// Replaces the access rules. Connections, links and workers that the new rules do not allow are closed, and their
    /// requests end.
    pub(super) fn trust(&mut self, access: Access, now: Time) {
        let zone = &self.zone.zone;
        let inbound = self
            .zone
            .inbound_peers()
            .filter(|(peer, its, member)| access.may_join(peer, zone, its.unwrap_or(zone), member).is_err());
        let inbound: Vec<ConnectionId> = inbound.map(|(peer, ..)| peer.clone()).collect();
        let peers = self.broker.peers().filter(|peer| !access.knows(peer));
        let gone: BTreeSet<ConnectionId> = peers.chain(&inbound).cloned().collect();
        let workers = self.broker.registrations().filter(|(peer, service)| access.may_work(peer, service).is_err());
        let workers: Vec<ConnectionId> = workers.map(|(peer, _)| peer.clone()).collect();
        let had = |name: &Label| self.access.as_ref().is_some_and(|before| before.grants.contains_key(name));
        let is_revoked = |name: &Label| had(name) && !access.grants.contains_key(name);
        let is_cut = |(_, name): &(LinkId, &Label)| !access.may_be_asked(name, None) || is_revoked(name);
        let mut links: Vec<LinkId> = self.zone.links.up().filter(is_cut).map(|(link, _)| link).collect();
        if let Some(router) = &self.router {
            links.extend(
                router.links_up().filter(|(_, name, zone)| !access.may_be_asked(name, Some(zone))).map(|up| up.0),
            );
        }
        self.broker.trust(&access, now);
        self.access = Some(access);
        for peer in workers {
            self.broker.expel_worker(&peer, "its key may not serve it", now);
        }
        for link in links {
            if let Some(links) = self.links_of(link) {
                links.refused(link, "its key is not trusted as a node's", now);
            }
        }
        for peer in gone {
            self.inbound_closed(&peer, now);
            self.broker.connection_closed(&peer, now);
            self.settle(now);
            self.outputs.push_back(Output::Disconnect(peer));
        }
    }

    /// Rejects an offer that a member may not advertise.
    pub(super) fn refuse_offer(&mut self, member: &Label, service: &ServiceName) {
        self.broker.count_forbidden();
        let why = format!("advertises {service}, but `offer` of its key does not list it");
        self.outputs.push_back(Output::Zone(ZoneEvent::PeerRefused { node: member.to_string(), why }));
    }
}

impl super::Router {
    /// Iterates over the links to neighbours that carry requests, each with the neighbour and its zone.
    fn links_up(&self) -> impl Iterator<Item = (LinkId, &Label, &Label)> {
        self.joints().flat_map(|(zone, links): (&Label, &Links)| links.up().map(move |(link, name)| (link, name, zone)))
    }
}
