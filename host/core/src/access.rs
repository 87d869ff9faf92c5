//! Authorization: the rights of principals, whose keys the driver has authenticated.
//!
//! A connection belongs to its [principal](crate::ConnectionId::principal), the name under which its key is trusted; no
//! message on it changes that. Without rules there are no principals, and every client may call every service; but
//! clients on tcp ([`ConnectionId::is_unproven`]) can neither change what the node serves nor register a worker under
//! the name of a plugin.

mod denial;

pub use denial::Denial;

use crate::connection::ConnectionId;
use crate::failure::{Code, Failure};
use crate::message::peer::{Member, MemberKind};
use crate::name::{Label, Pattern, ServiceName};
use std::collections::BTreeMap;

/// Rules of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Rights of each trusted principal, by name.
    pub grants: BTreeMap<Label, Grant>,
}

/// Rights of one principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its role.
    pub role: Role,
    /// The services that it may call.
    pub allow: Vec<Pattern>,
    /// The services that it may serve as a worker.
    pub work: Vec<Pattern>,
    /// Whether it may change what the node serves (`node.plugins`).
    pub is_admin: bool,
    /// Its quota of requests.
    pub quota: Quota,
}

/// Quota of a principal, on all its connections together; `None`: unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests per second.
    pub requests_per_second: Option<u64>,
    /// Bytes of request bodies per second.
    pub bytes_per_second: Option<u64>,
    /// Largest number of requests without an answer.
    pub outstanding: Option<usize>,
}

/// Role of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The node's own user, who may claim any identity.
    Owner,
    /// A client, which may also register workers.
    Client,
    /// A node or router of the own zone.
    Peer {
        /// The services that it may advertise.
        offer: Vec<Pattern>,
    },
    /// A router of another zone. The policy of the neighbour decides on its adverts and requests.
    Router {
        /// That zone.
        zone: Label,
    },
}

impl Access {
    fn grant_of(&self, connection: &ConnectionId) -> Option<&Grant> {
        self.grants.get(connection.principal()?)
    }

    /// Returns `true` if the principal of a connection is trusted.
    #[must_use]
    pub fn knows(&self, connection: &ConnectionId) -> bool {
        self.grant_of(connection).is_some()
    }

    /// Returns `true` if a connection may change what the node serves.
    #[must_use]
    pub fn is_admin(&self, connection: &ConnectionId) -> bool {
        self.grant_of(connection).is_some_and(|grant| grant.is_admin)
    }

    /// Checks that a connection may call a service.
    ///
    /// # Errors
    /// Failure 403, with the name of the principal and the setting that would have to list the service.
    pub fn may_call(&self, connection: &ConnectionId, service: &ServiceName) -> Result<(), Failure> {
        let may = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(service));
        match (self.grant_of(connection), connection.principal()) {
            (Some(grant), _) if may(&grant.allow) => Ok(()),
            (Some(_), Some(name)) => {
                let reason = format!("{name} may not call {service}; `allow` of its key would have to list it");
                Err(Failure::new(Code::Forbidden, reason))
            }
            _ => Err(Failure::new(Code::Forbidden, Denial::NotTrusted.to_string())),
        }
    }

    /// Returns the services that a connection may call; `None`: all.
    #[must_use]
    pub fn allowed(&self, connection: &ConnectionId) -> Option<&[Pattern]> {
        let allow = self.grant_of(connection).map_or(&[][..], |grant| &grant.allow);
        (!allow.contains(&Pattern::everything())).then_some(allow)
    }

    /// Checks that a connection may serve a service as a worker.
    ///
    /// # Errors
    /// [`Denial::Work`]. Its text continues a sentence that begins with "refused a message: it".
    pub fn may_work(&self, connection: &ConnectionId, service: &ServiceName) -> Result<(), Denial> {
        let grant = self.grant_of(connection);
        if grant.is_some_and(|grant| grant.work.iter().any(|pattern| pattern.matches(service))) {
            return Ok(());
        }
        Err(Denial::Work(service.clone()))
    }

    /// Checks that a connection may claim to be a member of a zone.
    ///
    /// # Errors
    /// [`Denial`] with the reason.
    pub fn may_join(
        &self,
        connection: &ConnectionId,
        own: &Label,
        zone: &Label,
        member: &Member,
    ) -> Result<(), Denial> {
        let (name, principal) = (&member.name, connection.principal());
        let Some((grant, principal)) = self.grant_of(connection).zip(principal) else {
            return Err(Denial::NotTrusted);
        };
        let node = name.clone();
        match &grant.role {
            Role::Owner => Ok(()),
            _ if principal != name => Err(Denial::OtherName { principal: principal.clone(), node }),
            Role::Client => Err(Denial::Client(node)),
            Role::Peer { .. } if zone == own => Ok(()),
            Role::Peer { .. } => Err(Denial::OtherZone { node, own: own.clone(), zone: zone.clone() }),
            Role::Router { zone: its } if zone == its && member.role == MemberKind::Router => Ok(()),
            Role::Router { zone: its } => Err(Denial::RouterOnly { node, zone: its.clone() }),
        }
    }

    /// Returns `true` if a member of the own zone may advertise a service.
    #[must_use]
    pub fn may_offer(&self, member: &Label, service: &ServiceName) -> bool {
        match self.grants.get(member).map(|grant| &grant.role) {
            Some(Role::Peer { offer }) => offer.iter().any(|pattern| pattern.matches(service)),
            // A node of the own user on this machine may have any name, and its key need not be listed.
            Some(Role::Owner) | None => true,
            Some(Role::Client | Role::Router { .. }) => false,
        }
    }

    /// Returns `true` if this node may link with a node of a name, in the own zone (`None`) or another.
    #[must_use]
    pub fn may_be_asked(&self, member: &Label, zone: Option<&Label>) -> bool {
        match (self.grants.get(member).map(|grant| &grant.role), zone) {
            (Some(Role::Router { zone: its }), Some(zone)) => its == zone,
            (Some(Role::Client | Role::Router { .. }), None) | (Some(Role::Client | Role::Peer { .. }), Some(_)) => {
                false
            }
            (Some(Role::Owner | Role::Peer { .. }), _) | (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn access() -> Access {
        let grant = |part, allow: &[&str], work: &[&str]| Grant {
            role: part,
            allow: patterns(allow),
            work: patterns(work),
            is_admin: false,
            quota: Quota::default(),
        };
        let grants = [
            ("shop", grant(Role::Client, &["print", "storage.*"], &["resize"])),
            ("node2", grant(Role::Peer { offer: patterns(&["a*"]) }, &["*"], &[])),
            ("lyon1", grant(Role::Router { zone: label("lyon") }, &["*"], &[])),
            ("me", grant(Role::Owner, &["*"], &["*"])),
        ];
        Access { grants: grants.into_iter().map(|(name, grant)| (label(name), grant)).collect() }
    }

    fn peer(name: &str) -> ConnectionId {
        ConnectionId::authenticated(vec![1], label(name))
    }

    fn member(name: &str, role: MemberKind) -> Member {
        Member { name: label(name), boot: 1, renewal: 0, role, endpoint: String::new() }
    }

    #[test]
    fn what_no_rule_lists_is_refused_with_the_name_and_the_remedy() {
        let access = access();
        let call = |name, service: &str| access.may_call(&peer(name), &service.parse().unwrap());
        assert_eq!(call("shop", "print"), Ok(()));
        assert_eq!(call("shop", "storage.read"), Ok(()));
        let refused = call("shop", "printer").unwrap_err();
        assert_eq!(refused.code, Code::Forbidden);
        assert!(refused.reason.contains("shop may not call printer; `allow`"), "{refused}");
        assert_eq!(call("revoked", "print").unwrap_err().code, Code::Forbidden);
        assert_eq!(
            access.may_call(&ConnectionId::new(vec![1]), &"print".parse().unwrap()).unwrap_err().code,
            Code::Forbidden
        );
        assert_eq!(access.may_work(&peer("shop"), &"resize".parse().unwrap()), Ok(()));
        assert!(access.may_work(&peer("node2"), &"resize".parse().unwrap()).is_err());
    }

    #[test]
    fn a_node_cannot_join_under_a_name_or_in_a_zone_other_than_its_keys() {
        let access = access();
        let join = |key, zone: &str, name, role| {
            access.may_join(&peer(key), &label("paris"), &label(zone), &member(name, role)).is_ok()
        };
        assert!(join("node2", "paris", "node2", MemberKind::Node));
        assert!(join("node2", "paris", "node2", MemberKind::Router));
        assert!(join("lyon1", "lyon", "lyon1", MemberKind::Router));
        assert!(join("me", "paris", "anything", MemberKind::Node));
        for (key, zone, name, role) in [
            ("node2", "paris", "node3", MemberKind::Node),
            ("node2", "lyon", "node2", MemberKind::Node),
            ("shop", "paris", "shop", MemberKind::Node),
            ("lyon1", "paris", "lyon1", MemberKind::Router),
            ("lyon1", "lyon", "lyon1", MemberKind::Node),
            ("lyon1", "lyon", "lyon2", MemberKind::Router),
            ("revoked", "paris", "revoked", MemberKind::Node),
        ] {
            assert!(!join(key, zone, name, role), "{key} as {name} of {zone}");
        }
    }

    #[test]
    fn a_member_advertises_what_its_key_lists() {
        let access = access();
        let offers = |name: &str, service: &str| access.may_offer(&label(name), &service.parse().unwrap());
        assert!(offers("node2", "afficher"));
        assert!(!offers("node2", "print"));
        assert!(!offers("shop", "afficher"));
        assert!(!access.may_be_asked(&label("shop"), None));
        assert!(!access.may_be_asked(&label("lyon1"), None));
        assert!(access.may_be_asked(&label("lyon1"), Some(&label("lyon"))));
        assert!(!access.may_be_asked(&label("lyon1"), Some(&label("nice"))));
    }
}
