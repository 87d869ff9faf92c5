//! Notation of the inputs and outputs of the machines of a zone: members, directory, paths.

use super::{Notation, words};
use wasmnode_core::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, OfferedService, RouteKey, Tombstone, Update, UpdateContent,
};
use wasmnode_core::message::peer::{Advert, Member, MemberKind, Offer, Traits};
use wasmnode_core::paths::{Policy, SessionKind, Speaker};
use wasmnode_core::{DirectoryEffect, MemberEffect, PathEffect};

impl Notation for MemberEffect {
    fn write(&self, line: &mut String) {
        match self {
            Self::Gossip { to, data } => words!(line, "gossip", to, data),
            Self::Up(member) => words!(line, "up", member),
            Self::Down(member) => words!(line, "down", member),
            Self::Renewed(member) => words!(line, "renewed", member),
            Self::NameTaken(member) => words!(line, "name-taken", member),
            Self::Refused(member) => words!(line, "refused", member),
        }
    }
}

impl Notation for Member {
    fn write(&self, line: &mut String) {
        let Self { name, boot, renewal, role, endpoint } = self;
        words!(line, name, boot, renewal, role, endpoint);
    }
}

impl Notation for MemberKind {
    fn write(&self, line: &mut String) {
        match self {
            Self::Node => words!(line, "node"),
            Self::Router => words!(line, "router"),
        }
    }
}

impl Notation for DirectoryEffect {
    fn write(&self, line: &mut String) {
        match self {
            Self::Advertise { to, advert } => words!(line, "tell", to, advert),
            Self::Pull { from } => words!(line, "pull", from),
            Self::Offered { by, offer } => words!(line, "offered-by", by, offer),
            Self::Withdrawn { by, service } => words!(line, "withdrawn-by", by, service),
            Self::Refused { from, why } => words!(line, "refused", from, why),
            Self::Unlisted { services } => words!(line, "unlisted", services),
        }
    }
}

impl Notation for Advert {
    fn write(&self, line: &mut String) {
        match self {
            Self::Whole { version, offers } => words!(line, "whole", version, offers),
            Self::Change { version, offers, withdrawn } => words!(line, "change", version, offers, withdrawn),
            Self::Still { version } => words!(line, "still", version),
        }
    }
}

impl Notation for Offer {
    fn write(&self, line: &mut String) {
        let Self { service, cost, traits } = self;
        words!(line, service, cost, traits);
    }
}

impl Notation for Traits {
    fn write(&self, line: &mut String) {
        let Self { idempotent, by_workers } = self;
        words!(line, "idempotent", idempotent, "by-workers", by_workers);
    }
}

impl Notation for PathEffect {
    fn write(&self, line: &mut String) {
        match self {
            Self::Send { session, update } => words!(line, session, "<", update),
            Self::Reachable { zone, service, traits, cost, hops } => {
                words!(line, "reachable", zone, service, traits, cost, hops);
            }
            Self::Unreachable { zone, service } => words!(line, "unreachable", zone, service),
            Self::Broken { session } => words!(line, "broken", session),
            Self::Refused { session, why } => words!(line, "refused", session, why),
            Self::Unlisted { service } => words!(line, "unlisted", service),
        }
    }
}

impl Notation for Update {
    fn write(&self, line: &mut String) {
        let Self { number, content: say } = self;
        words!(line, number, say);
    }
}

impl Notation for UpdateContent {
    fn write(&self, line: &mut String) {
        match self {
            Self::Changes(Changes { causes, tombstones, withdrawn, groups, fresh }) => {
                words!(line, "news", "dead", causes, "ended", tombstones);
                words!(line, "withdrawn", withdrawn, "groups", groups, "fresh", fresh);
            }
            Self::BeginRefresh => words!(line, "begin"),
            Self::EndRefresh => words!(line, "complete"),
            Self::Digest { routes, digest } => words!(line, "still", routes, digest),
            Self::RequestRefresh => words!(line, "ask"),
        }
    }
}

impl Notation for DeadLink {
    fn write(&self, line: &mut String) {
        let Self { a, b, epoch } = self;
        words!(line, a, b, epoch);
    }
}

impl Notation for Tombstone {
    fn write(&self, line: &mut String) {
        let Self { origin, boot, version, service } = self;
        words!(line, origin, boot, version, service);
    }
}

impl Notation for RouteKey {
    fn write(&self, line: &mut String) {
        let Self { zone, service } = self;
        words!(line, zone, service);
    }
}

impl Notation for Group {
    fn write(&self, line: &mut String) {
        let Self { path, boot, cost, services } = self;
        words!(line, path, boot, cost, services);
    }
}

impl Notation for Hop {
    fn write(&self, line: &mut String) {
        let Self { at, epoch } = self;
        words!(line, at, epoch);
    }
}

impl Notation for OfferedService {
    fn write(&self, line: &mut String) {
        let Self { service, version, traits } = self;
        words!(line, service, version, traits);
    }
}

impl Notation for Keepalive {
    fn write(&self, line: &mut String) {
        let Self { origin, boot, version } = self;
        words!(line, origin, boot, version);
    }
}

impl Notation for Speaker {
    fn write(&self, line: &mut String) {
        let Self { zone, router, boot } = self;
        words!(line, router, zone, boot);
    }
}

impl Notation for SessionKind {
    fn write(&self, line: &mut String) {
        match self {
            Self::External { cost, import, export } => words!(line, "abroad", cost, "import", import, "export", export),
            Self::Internal => words!(line, "home"),
        }
    }
}

impl Notation for Policy {
    fn write(&self, line: &mut String) {
        let Self { allow, deny } = self;
        words!(line, allow, "but", deny);
    }
}
