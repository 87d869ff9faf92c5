use crate::message::peer::Member;
use std::sync::Arc;

/// Member as foca holds it: cheap to clone and compare, because foca does both for every member that it skips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    member: Arc<Member>,
    address: NameHash,
}

/// FNV-1a hash of a name, by which foca searches. Among 1,000 names, two have the same hash in one of 10^13 zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameHash(u64);

impl NameHash {
    pub(super) fn of(name: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }
}

impl Identity {
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// Returns an identity of the same process that replaces `past`: its own, or that of a dead process of its name.
    pub(super) fn after(&self, past: &Member) -> Self {
        let (boot, renewal) = match past.renewal.checked_add(1) {
            Some(renewal) if past.is_same_process(&self.member) => (past.boot, renewal),
            _ => (self.member.boot_after(past.boot), 0),
        };
        Member { boot, renewal, ..self.member().clone() }.into()
    }
}

impl From<Member> for Identity {
    fn from(member: Member) -> Self {
        Self { address: NameHash::of(member.name.as_str()), member: Arc::new(member) }
    }
}

impl foca::Identity for Identity {
    type Addr = NameHash;

    fn renew(&self) -> Option<Self> {
        Some(self.after(&self.member))
    }

    fn addr(&self) -> NameHash {
        self.address
    }

    /// Decides by the order of [`Member`]: the later boot, then the later renewal.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.member > adversary.member
    }
}
