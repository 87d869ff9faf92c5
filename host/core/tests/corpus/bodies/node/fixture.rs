//! A zone at rest: peers, and neighbours of a router, with links in both directions and offers. So an input need not
//! establish these itself.

use super::World;
use crate::bodies::words::{label, service};
use wasmnode_core::message::path::{self, Changes, Group, Hop, OfferedService, RouterId, Update, UpdateContent};
use wasmnode_core::message::peer::{self, Advert, Member, MemberKind, Offer, PeerMessage, Traits};
use wasmnode_core::paths::link_epoch;
use wasmnode_core::{ConnectionId, Input, LinkId};

impl World<'_> {
    pub(super) fn settle_in(&mut self, is_router: bool) {
        self.happens(Input::Offered(service("print")));
        for (place, name) in [(3, "node2"), (4, "node3")] {
            let guest = self.peers[place].clone();
            self.is_linked(&guest, LinkId(place as u64 - 2), "paris", name);
            let offer =
                |name| Offer { service: service(name).into(), cost: 0, traits: Traits::of_plugin(name == "resize") };
            let advert = Advert::Whole { version: 1, offers: vec![offer("print"), offer("resize")] };
            self.send(guest, peer::encode(PeerMessage::Advert(advert)));
        }
        if !is_router {
            return;
        }
        for (place, name, zone) in [(5, "lyon1", "lyon"), (6, "nice1", "nice")] {
            let guest = self.peers[place].clone();
            let link = LinkId(((place as u64 - 4) << 40) + 1);
            self.is_linked(&guest, link, zone, name);
            self.send(guest.clone(), peer::encode(PeerMessage::Open { epoch: 1 }));
            let at = RouterId { zone: label(zone), router: label(name) };
            let offered = |name| OfferedService { service: service(name), version: 1, traits: Traits::of_plugin(true) };
            let services = vec![offered("print"), offered("resize")];
            let groups = vec![Group { path: vec![Hop { at, epoch: 0 }], boot: 1, cost: 0, services }];
            let update =
                Update { number: 1, content: UpdateContent::Changes(Changes { groups, ..Changes::default() }) };
            let opened = self.posted.iter().rev().find_map(|(on, frames)| match peer::decode(frames.clone()) {
                Ok(PeerMessage::Open { epoch }) if *on == link => Some(epoch),
                _ => None,
            });
            let (epoch, update) = (link_epoch(opened.unwrap(), 1), path::encode(&update));
            self.epochs.insert(guest.clone(), epoch);
            self.send(guest.clone(), peer::encode(PeerMessage::Paths { epoch, update }));
            self.numbers.insert(guest, (0, 1));
        }
        assert_eq!(self.model.sessions(), 2, "the neighbours are joined");
    }

    /// Adds a node that has dialled this one, and that has sent a welcome to it.
    fn is_linked(&mut self, guest: &ConnectionId, link: LinkId, zone: &str, name: &str) {
        let role = if zone == "paris" { MemberKind::Node } else { MemberKind::Router };
        let (zone, endpoint) = (label(zone), format!("tcp://{}:1", if role == MemberKind::Node { name } else { zone }));
        let member = Member { name: label(name), boot: 1, renewal: 0, role, endpoint };
        self.send(guest.clone(), peer::encode(PeerMessage::Hello { zone: zone.clone(), member: member.clone() }));
        self.happens(Input::LinkMessage { link, frames: peer::encode(PeerMessage::Welcome { zone, member }) });
    }
}
