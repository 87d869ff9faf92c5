//! Clients: each asks one node for services anywhere in the zone, and withdraws some of what it asked.

use crate::scenario::{SERVICES, ZONE, chance, frame, pick};
use fastrand::Rng;
use wasmnode_core::message::Ask;

/// What a client asks for as its request of this number, at a zone of so many nodes.
pub(crate) fn ask(number: u64, nodes: usize, is_gentle: bool, rng: &mut Rng) -> Ask {
    let service = pick(rng, &SERVICES);
    let node = rng.usize(..nodes);
    let address = match rng.u32(..100) {
        _ if is_gentle => service.to_owned(),
        0..12 => format!("{service}@n{node}"),
        12..15 => format!("{service}@n{node}.{ZONE}"),
        15..18 => format!("{service}@{ZONE}"),
        18 => format!("{service}@n{node}.elsewhere"),
        19 => format!("{service}@nobody"),
        20 => "nothing".to_owned(),
        21 => format!("{service}@"),
        _ => service.to_owned(),
    };
    let deadlines = if is_gentle { &[None, Some(2_000)][..] } else { &[None, None, Some(50), Some(300), Some(3_000)] };
    Ask {
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
