//! Messages between nodes, made from an input: names that coincide, arbitrary numbers.

use super::reader::Reader;
use wasmnode_core::message::path::{
    Changes, DeadLink, Group, Hop, Keepalive, OfferedService, RouteKey, RouterId, Tombstone, Update, UpdateContent,
};
use wasmnode_core::message::peer::{Advert, Forward, Member, MemberKind, Offer, Traits, encode_member};
use wasmnode_core::message::{Body, Frame};
use wasmnode_core::{Address, Label, ServiceName};

const NAMES: [&str; 6] = ["node1", "node2", "node3", "gate", "lyon1", "nice1"];
const ZONES: [&str; 4] = ["paris", "lyon", "nice", "rome"];
const SERVICES: [&str; 6] = ["print", "storage.read", "resize", "loop", "node.services", "mmi.service"];

pub fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub fn service(text: &str) -> ServiceName {
    text.parse().unwrap()
}

pub fn any_name(input: &mut Reader<'_>) -> Label {
    label(input.pick(&NAMES).unwrap())
}

pub fn any_zone(input: &mut Reader<'_>) -> Label {
    label(input.pick(&ZONES).unwrap())
}

pub fn any_service(input: &mut Reader<'_>) -> ServiceName {
    service(input.pick(&SERVICES).unwrap())
}

pub fn any_member(input: &mut Reader<'_>) -> Member {
    let name = any_name(input);
    let numbers = input.u8();
    let role = if matches!(name.as_str(), "gate" | "lyon1" | "nice1") ^ (numbers & 1 == 1) {
        MemberKind::Router
    } else {
        MemberKind::Node
    };
    let boot = u64::from(numbers >> 1 & 3);
    Member { endpoint: format!("tcp://{name}:1"), name, boot, renewal: u16::from(numbers >> 3 & 3), role }
}

/// Returns up to three values.
fn few<T>(input: &mut Reader<'_>, mut thing: impl FnMut(&mut Reader<'_>) -> T) -> Vec<T> {
    (0..input.below(4)).map(|_| thing(input)).collect()
}

pub fn any_forward(id: u64, body: Body, input: &mut Reader<'_>) -> Forward {
    let given = input.u8();
    Forward {
        id,
        remaining: Some(input.number()).filter(|ms| ms % 8 != 7).map(std::time::Duration::from_millis),
        hops: input.u8(),
        is_trace: given & 64 == 64,
        has_alternative: given & 128 == 128,
        service: any_service(input),
        caller: if given & 1 == 1 { "node:node3/user:shop".into() } else { String::new() },
        allowed: None,
        traceparent: None,
        idempotency_key: (given & 2 == 2).then(|| Frame::from_static(b"key")),
        chain: if given & 4 == 4 { few(input, any_service) } else { Vec::new() },
        zone: (given & 8 == 8).then(|| any_zone(input)),
        node: (given & 16 == 16).then(|| any_name(input)),
        crossed: if given & 32 == 32 { few(input, any_zone) } else { Vec::new() },
        body,
    }
}

fn any_address(input: &mut Reader<'_>) -> Address {
    let service = any_service(input);
    if input.flag() { Address::in_zone(service, any_zone(input)) } else { service.into() }
}

pub fn any_traits(input: &mut Reader<'_>) -> Traits {
    let flags = input.u8();
    Traits { idempotent: flags & 1 == 1, by_workers: flags & 2 == 2 }
}

fn any_offer(input: &mut Reader<'_>) -> Offer {
    Offer { service: any_address(input), cost: input.number() as u32, traits: any_traits(input) }
}

pub fn any_advert(input: &mut Reader<'_>) -> Advert {
    let version = input.number();
    match input.below(3) {
        0 => Advert::Whole { version, offers: few(input, any_offer) },
        1 => Advert::Change { version, offers: few(input, any_offer), withdrawn: few(input, any_address) },
        _ => Advert::Still { version },
    }
}

fn any_router(input: &mut Reader<'_>) -> RouterId {
    RouterId { zone: any_zone(input), router: any_name(input) }
}

fn any_key(input: &mut Reader<'_>) -> RouteKey {
    RouteKey { zone: any_zone(input), service: any_service(input) }
}

/// Returns a group whose first hop is usually the neighbour that sends it.
fn any_group(with: &RouterId, input: &mut Reader<'_>) -> Group {
    let mut path = few(input, |input| Hop { at: any_router(input), epoch: input.number() });
    if input.flag() {
        path.insert(0, Hop { at: with.clone(), epoch: input.number() });
    }
    if let Some(last) = path.last_mut().filter(|_| input.flag()) {
        last.epoch = 0;
    }
    let (boot, cost) = (input.number(), input.number() as u32);
    let offered = |input: &mut Reader<'_>| OfferedService {
        service: any_service(input),
        version: input.number(),
        traits: any_traits(input),
    };
    Group { path, boot, cost, services: few(input, offered) }
}

/// Returns an update that the router `with` might send.
pub fn any_update(with: &RouterId, number: u64, input: &mut Reader<'_>) -> Update {
    let content = match input.below(10) {
        0 => UpdateContent::BeginRefresh,
        1 => UpdateContent::EndRefresh,
        2 => UpdateContent::Digest { routes: input.number() as u32, digest: input.number() },
        3 => UpdateContent::RequestRefresh,
        _ => UpdateContent::Changes(Changes {
            causes: few(input, |input| DeadLink::new(any_router(input), any_router(input), input.number())),
            tombstones: few(input, |input| Tombstone {
                origin: any_router(input),
                boot: input.number(),
                version: input.number(),
                service: input.flag().then(|| any_service(input)),
            }),
            withdrawn: few(input, any_key),
            groups: few(input, |input| any_group(with, input)),
            fresh: few(input, |input| Keepalive {
                origin: any_router(input),
                boot: input.number(),
                version: input.number(),
            }),
        }),
    };
    Update { number, content }
}

/// Returns a datagram of the membership protocol, as `members` documents it.
pub fn any_gossip(input: &mut Reader<'_>) -> Frame {
    let mut data = Vec::new();
    put_member(&any_member(input), &mut data);
    data.extend([0, input.below(3)]);
    put_member(&any_member(input), &mut data);
    let kind = input.below(11);
    data.push(kind);
    if kind <= 5 {
        data.push(input.u8());
    }
    if (2..=5).contains(&kind) {
        put_member(&any_member(input), &mut data);
    }
    let updates = input.below(4);
    if updates > 0 {
        data.extend([0, updates]);
    }
    for _ in 0..updates {
        put_member(&any_member(input), &mut data);
        data.extend([0, input.below(3), input.below(4)]);
    }
    data.into()
}

/// Encodes a member as messages do, except for the number of the role.
fn put_member(member: &Member, data: &mut Vec<u8>) {
    encode_member(member, data);
    let role = data.len() - member.endpoint.len() - 3;
    data[role] -= 1;
}
