//! Nodes with limits so low that they are reached, and the peers of these nodes.

use crate::bodies::words::{label, service};
use std::collections::BTreeMap;
use wasmnode_core::paths::Policy;
use wasmnode_core::{
    Access, ConnectionId, DirectorySettings, Grant, Limits, Majordomo, MembersSettings, Neighbour, NodeSettings,
    OnFailure, PathSettings, PeerSettings, Quota, Role, RouterSettings, Seed, ServiceSettings,
};

/// Flags of the node in the first byte of an input.
pub const ROUTER: u8 = 1;
const KEYS: u8 = 2;
const SILENCE: u8 = 4;
pub const ALONE: u8 = 8;

/// Largest number of outstanding requests of one user, under all rules.
pub const OUTSTANDING: usize = 3;

/// Names under which the peers are trusted.
const USERS: [&str; 8] = ["shop", "shop", "me", "node2", "node3", "lyon1", "nice1", "stranger"];

pub fn of(flags: u8) -> NodeSettings {
    let neighbour = |name: &str, zone: &str, import| Neighbour {
        name: label(name),
        zone: label(zone),
        endpoint: format!("tcp://{zone}:1"),
        cost: 1,
        import,
        export: Policy::everything(),
    };
    let some = Policy { allow: vec!["*".parse().unwrap()], deny: vec!["storage.*@lyon".parse().unwrap()] };
    let neighbours = vec![neighbour("lyon1", "lyon", Policy::everything()), neighbour("nice1", "nice", some)];
    let paths = PathSettings { offers: 3, routes_per_neighbour: 4, routes: 6, causes: 4, ..PathSettings::default() };
    let on_failure = if flags & SILENCE == SILENCE { OnFailure::Silence } else { OnFailure::Status };
    let calling = ServiceSettings { calls: vec!["*".parse().unwrap()], concurrency: 2, queue: 3, ..Default::default() };
    let patient = ServiceSettings { idempotent: true, spill: 1, concurrency: 1, ..ServiceSettings::default() };
    NodeSettings {
        name: label(if flags & ROUTER == ROUTER { "gate" } else { "node1" }),
        zone: label("paris"),
        boot: 2,
        endpoint: "tcp://me:1".into(),
        seeds: vec![Seed { name: Some(label("node2")), endpoint: "tcp://node2:1".into() }, Seed::at("tcp://node3:1")],
        access: (flags & KEYS == KEYS).then(|| access(0)),
        limits: Limits {
            requests: 8,
            requests_per_client: 4,
            requests_per_peer: 4,
            held_bytes: 3_000,
            kept_replies: 2,
            kept_bytes: 1_000,
            message: 1_900,
            frames: 10,
            workers: 3,
            call_depth: 2,
            reconnect: std::time::Duration::from_secs(1),
        },
        majordomo: Majordomo { on_failure, ..Majordomo::default() },
        peers: PeerSettings::default(),
        members: MembersSettings { limit: 3, ..MembersSettings::default() },
        routes: DirectorySettings { offers: 3, routes: 5, ..DirectorySettings::default() },
        seed: 1,
        defaults: ServiceSettings { concurrency: 2, queue: 3, ..ServiceSettings::default() },
        services: BTreeMap::from([(service("print"), calling), (service("resize"), patient)]),
        router: (flags & ROUTER == ROUTER).then_some(RouterSettings { paths, neighbours }),
    }
}

/// Returns the access rules; each bit removes a grant, or a part of one.
pub fn access(less: u8) -> Access {
    let all = || vec!["*".parse().unwrap()];
    let mut grants = BTreeMap::new();
    for (bit, name) in ["shop", "me", "node2", "node3", "lyon1", "nice1"].into_iter().enumerate() {
        if less >> bit & 1 == 1 {
            continue;
        }
        let part = match name {
            "shop" => Role::Client,
            "me" => Role::Owner,
            "lyon1" => Role::Router { zone: label("lyon") },
            "nice1" => Role::Router { zone: label("nice") },
            _ => Role::Peer { offer: if less & 64 == 64 { vec!["print".parse().unwrap()] } else { all() } },
        };
        let quota = match name {
            "shop" => {
                Quota { requests_per_second: Some(50), bytes_per_second: Some(5_000), outstanding: Some(OUTSTANDING) }
            }
            _ => Quota::default(),
        };
        let work = if less & 128 == 128 { Vec::new() } else { all() };
        let allow = if name == "shop" { vec!["print".parse().unwrap(), "r*".parse().unwrap()] } else { all() };
        grants.insert(label(name), Grant { role: part, allow, work, is_admin: name == "me", quota });
    }
    Access { grants }
}

pub fn peers(flags: u8) -> Vec<ConnectionId> {
    let peer = |(id, user): (u8, &&str)| match flags & KEYS {
        KEYS => ConnectionId::authenticated(vec![0, id], label(user)),
        _ => ConnectionId::new(vec![0, id]),
    };
    (0..).zip(&USERS).map(peer).collect()
}
