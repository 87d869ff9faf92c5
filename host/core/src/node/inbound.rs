//! A node that has dialled this one.

use crate::message::peer::Member;
use crate::name::Label;

#[derive(Debug)]
pub(super) struct InboundPeer {
    pub(super) member: Member,
    /// Number of its last request. Numbers ascend, so a request that does not exceed it is a duplicate.
    pub(super) last_request: u64,
    /// Whether it has sent more than HELLO.
    pub(super) is_used: bool,
    /// Its zone, if it is another.
    pub(super) zone: Option<Label>,
    /// Epoch with which it has opened a session, if it is a router.
    pub(super) opened: Option<u64>,
}

impl InboundPeer {
    /// Returns `true` if it has this name in this zone; nodes of different zones may share a name.
    pub(super) fn is_called(&self, name: &Label, zone: Option<&Label>) -> bool {
        self.member.name == *name && self.zone.as_ref() == zone
    }

    /// Returns `true` if it outranks another process with its name in this node's zone. The other process is notified
    /// of that, and replaces no connection.
    pub(super) fn outranks(&self, other: &Member) -> bool {
        self.zone.is_none() && self.member > *other && !self.member.is_same_process(other)
    }

    /// Adopts the identity of a member of this node's zone, if it is the same process.
    pub(super) fn update_member(&mut self, member: &Member) {
        if self.zone.is_none() && self.member.is_same_process(member) {
            self.member.clone_from(member);
        }
    }
}
