//! Owners of idempotency keys.
//!
//! A user's name is given by its node, and a node's name by its zone. So a key belongs to the whole chain by which its
//! user is known here: user at node of zone, as far as each is vouched for by the next.

use crate::broker::pending::Pending;
use crate::name::Label;

/// User that made a request, identified by the whole chain. All users of a zone without keys count as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// The zones through which a request of another zone came, in order. Each router vouches for its neighbour.
    zones: Vec<Label>,
    /// The user's node, by its name among the others. `None` for this node, and for users without keys, because these
    /// may repeat a request at another node.
    node: Option<String>,
    /// The user's name at that node; `None` without a key.
    user: Option<String>,
}

impl Owner {
    /// Returns the owner of a request.
    pub(super) fn of(pending: &Pending) -> Self {
        // The last zone is this one.
        let zones = pending.context.crossed.split_last().map_or(&[][..], |(_, before)| before);
        Self::at(zones, &pending.context.caller().to_text())
    }

    /// Returns the owner of a caller (in the text of [`crate::broker::Caller`]) whose request came through these zones.
    pub(super) fn at(zones: &[Label], caller: &str) -> Self {
        let zones = zones.to_vec();
        let (path, user) = caller.rsplit_once('/').unwrap_or(("", caller));
        if !user.starts_with("user:") {
            return Self { zones, node: None, user: None };
        }
        // The routers through which a request of another zone comes differ between attempts.
        let node = if zones.is_empty() { path } else { path.rsplit('/').next().unwrap_or(path) };
        let node = (!node.is_empty()).then(|| node.to_owned());
        Self { zones, node, user: Some(user.to_owned()) }
    }

    /// Returns the shares that the owner's replies belong to, outermost first.
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
    fn a_node_cannot_impersonate_another_by_the_names_of_its_users() {
        let claimed = owner(&[], "node:a/node:b/user:shop");
        assert_ne!(claimed, owner(&[], "node:b/user:shop"));
        assert_ne!(claimed, owner(&[], "node:a/user:shop"));
    }

    #[test]
    fn a_user_may_repeat_a_request_through_another_router_and_without_a_key_at_another_node() {
        let by = |router: &str| owner(&["lyon"], &format!("node:{router}/node:there/node:a/user:shop"));
        assert_eq!(by("router1"), by("router2"));
        assert_eq!(owner(&[], "client:1"), owner(&[], "node:a/client:2"));
    }
}
