//! To whom an idempotency key belongs.
//!
//! The name of a user is one that its node has given it, and that of a node one of its zone. So a key belongs to the
//! whole way by which its user is known here: user at node of zone, as far as each of them is vouched for by the next.

use crate::broker::pending::Pending;
use crate::name::Label;

/// The user that asked, by the whole way by which it is known here; everybody of a zone who need not show a key is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// The zones by which a request of another zone came, the first one first. Each router vouches for its neighbour.
    zones: Vec<Label>,
    /// The node at which it asked, as the others call it; `None` for this node, and for users who show no key: these
    /// may ask again at another node.
    node: Option<String>,
    /// Its name at that node; `None` if it shows no key.
    user: Option<String>,
}

impl Owner {
    /// That of a request.
    pub(super) fn of(pending: &Pending) -> Self {
        // The last zone is this one.
        let zones = pending.context.crossed.split_last().map_or(&[][..], |(_, before)| before);
        Self::at(zones, &pending.context.caller().to_text())
    }

    /// That of a caller (as [`crate::broker::Caller`] shows it) that came by these zones.
    pub(super) fn at(zones: &[Label], caller: &str) -> Self {
        let zones = zones.to_vec();
        let (way, user) = caller.rsplit_once('/').unwrap_or(("", caller));
        if !user.starts_with("user:") {
            return Self { zones, node: None, user: None };
        }
        // Through which routers a request of another zone came differs from try to try.
        let node = if zones.is_empty() { way } else { way.rsplit('/').next().unwrap_or(way) };
        let node = (!node.is_empty()).then(|| node.to_owned());
        Self { zones, node, user: Some(user.to_owned()) }
    }

    /// Whose shares of what is kept its replies belong to, the largest first.
    pub(super) fn shares(&self) -> [String; 2] {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        if self.zones.is_empty() {
            return [text(&self.node), text(&self.user)];
        }
        let zones: Vec<&str> = self.zones.iter().map(Label::as_str).collect();
        [format!("zone:{}", zones.join("/")), format!("{}/{}", text(&self.node), text(&self.user))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(zones: &[&str], caller: &str) -> Owner {
        let zones: Vec<Label> = zones.iter().map(|zone| zone.parse().unwrap()).collect();
        Owner::at(&zones, caller)
    }

    #[test]
    fn users_of_one_name_at_different_nodes_or_of_different_zones_are_different() {
        let owners = [
            owner(&[], "user:shop"),
            owner(&[], "user:other"),
            owner(&[], "node:a/user:shop"),
            owner(&[], "node:b/user:shop"),
            owner(&["lyon"], "node:router/node:a/user:shop"),
            owner(&["lyon"], "node:router/node:b/user:shop"),
            owner(&["nice"], "node:router/node:a/user:shop"),
            owner(&["nice", "lyon"], "node:router/node:there/node:a/user:shop"),
            owner(&[], "client:1"),
            owner(&["lyon"], "node:router/node:a/client:1"),
        ];
        for (index, one) in owners.iter().enumerate() {
            assert!(owners.iter().skip(index + 1).all(|other| one != other), "{one:?}");
            assert!(owners.iter().skip(index + 1).all(|other| one.shares() != other.shares()), "{one:?}");
        }
    }

    #[test]
    fn nobody_becomes_another_by_what_it_calls_its_users() {
        let claimed = owner(&[], "node:a/node:b/user:shop");
        assert_ne!(claimed, owner(&[], "node:b/user:shop"));
        assert_ne!(claimed, owner(&[], "node:a/user:shop"));
    }

    #[test]
    fn a_user_may_ask_again_by_another_router_and_who_shows_no_key_at_another_node() {
        let by = |router: &str| owner(&["lyon"], &format!("node:{router}/node:there/node:a/user:shop"));
        assert_eq!(by("router1"), by("router2"));
        assert_eq!(owner(&[], "client:1"), owner(&[], "node:a/client:2"));
    }
}
