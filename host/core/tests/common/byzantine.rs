//! False statements of a router. The routers are `r0` of the zones `z0`, `z1` and so on.

use wasmnode_core::ServiceName;
use wasmnode_core::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, OfferedService, RouteKey, RouterId, Tombstone,
};
use wasmnode_core::message::peer::Traits;

/// Start of the first process.
pub(crate) const BOOT: u64 = 1_700_000_000_000_000;

pub(crate) fn router(zone: usize) -> RouterId {
    RouterId { zone: format!("z{zone}").parse().unwrap(), router: "r0".parse().unwrap() }
}

fn path(zones: &[usize], epoch: u64) -> Vec<Hop> {
    let hop =
        |(nth, zone): (usize, &usize)| Hop { at: router(*zone), epoch: if nth + 1 < zones.len() { epoch } else { 0 } };
    zones.iter().enumerate().map(hop).collect()
}

/// Returns changes about a service that are false or break a rule.
pub(crate) fn false_changes(rng: &mut fastrand::Rng, byzantine: usize, zones: usize, service: &ServiceName) -> Changes {
    let mut news = Changes::default();
    let mut any = || rng.usize(..zones);
    let (a, b, c) = (any(), any(), any());
    let epoch = [0, 1, BOOT + 1_000_000, u64::MAX][rng.usize(..4)];
    let boot = [0, BOOT, BOOT + 1, u64::MAX][rng.usize(..4)];
    let group = |path: Vec<Hop>, cost: u32| {
        let offered = OfferedService { service: service.clone(), version: u64::MAX, traits: Traits::default() };
        Group { path, boot, cost, services: vec![offered] }
    };
    match rng.u8(..7) {
        0 => news.groups.push(group(path(&[a, b], epoch), 1)),
        1 => news.groups.push(group(path(&[byzantine, a, b, c], epoch), 3)),
        2 => news.groups.push(group(path(&[byzantine, a, byzantine], epoch), 9)),
        3 => news.groups.push(group(Vec::new(), u32::MAX)),
        4 => news.causes.push(DeadLink::new(router(a), router(b), epoch)),
        5 => {
            let service = rng.bool().then(|| service.clone());
            news.tombstones.push(Tombstone { origin: router(a), boot, version: u64::MAX, service });
        }
        _ => {
            news.fresh.push(Keepalive { origin: router(a), boot, version: u64::MAX });
            news.withdrawn.push(RouteKey { zone: router(b).zone, service: service.clone() });
        }
    }
    news
}
