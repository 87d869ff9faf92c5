//! Clients: each sends requests for services anywhere to one node, and cancels some of them.

use crate::scenario::{SERVICES, chance, frame, pick};
use fastrand::Rng;
use wasmnode_core::message::Request;

/// Location of a node.
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) zone: String,
}

/// Returns the request of this number by a client of the node at `home`; `nodes` are all nodes.
pub(crate) fn ask(number: u64, home: &Place, nodes: &[Place], is_gentle: bool, rng: &mut Rng) -> Request {
    let service = pick(rng, &SERVICES);
    let Place { node, zone } = &nodes[rng.usize(..nodes.len())];
    let home = &home.zone;
    let address = match rng.u32(..100) {
        0..50 if is_gentle && zone != home => format!("{service}@{zone}"),
        _ if is_gentle => service.to_owned(),
        0..12 => format!("{service}@{node}"),
        12..15 => format!("{service}@{node}.{zone}"),
        15..18 => format!("{service}@{home}"),
        18 => format!("{service}@{node}.elsewhere"),
        19 => format!("{service}@nobody"),
        20 => "nothing".to_owned(),
        21 => format!("{service}@"),
        22..55 if zone != home => format!("{service}@{zone}"),
        _ => service.to_owned(),
    };
    let deadlines = if is_gentle { &[None, Some(2_000)][..] } else { &[None, None, Some(50), Some(300), Some(3_000)] };
    Request {
        id: number,
        service: frame(address),
        deadline_ms: pick(rng, deadlines),
        wait: chance(rng, 300),
        trace: false,
        traceparent: None,
        idempotency_key: chance(rng, 250).then(|| frame(format!("key {number}"))),
        body: vec![frame(format!("q{number}"))],
    }
}
