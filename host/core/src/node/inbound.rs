//! A node that has dialled this one.

use crate::message::peer::Member;
use crate::name::Label;

#[derive(Debug)]
pub(super) struct InboundPeer {
    pub(super) member: Member,
    /// The number of its last request: they ascend, so what comes again is a copy.
    pub(super) last_request: u64,
    /// Whether it has said more than hello.
    pub(super) is_used: bool,
    /// The zone that it is of, if it is another.
    pub(super) zone: Option<Label>,
    /// What it has opened a session with, if it is a router.
    pub(super) opened: Option<u64>,
}

impl InboundPeer {
    /// Zones know nothing of each other's names: two nodes of different zones may be called the same.
    pub(super) fn is_called(&self, name: &Label, zone: Option<&Label>) -> bool {
        self.member.name == *name && self.zone.as_ref() == zone
    }

    /// Whether another process of its name in this node's zone is outranked by it: that one will be told so, and takes
    /// nobody's place.
    pub(super) fn outranks(&self, other: &Member) -> bool {
        self.zone.is_none() && self.member > *other && !self.member.is_same_process(other)
    }

    /// A member of this node's zone has this identity: if the guest is that process, it has it too.
    pub(super) fn update_member(&mut self, member: &Member) {
        if self.zone.is_none() && self.member.is_same_process(member) {
            self.member.clone_from(member);
        }
    }
}
