use super::*;
use crate::name::Label;

fn any_label(rng: &mut fastrand::Rng) -> Label {
    let length = rng.usize(1..=8);
    (0..length).map(|_| rng.alphanumeric()).collect::<String>().parse().unwrap()
}

fn any_router(rng: &mut fastrand::Rng) -> RouterId {
    RouterId { zone: any_label(rng), router: any_label(rng) }
}

fn any_service(rng: &mut fastrand::Rng) -> ServiceName {
    any_label(rng).as_str().parse().unwrap()
}

fn some<T>(rng: &mut fastrand::Rng, most: usize, mut make: impl FnMut(&mut fastrand::Rng) -> T) -> Vec<T> {
    (0..rng.usize(0..=most)).map(|_| make(rng)).collect()
}

fn any_group(rng: &mut fastrand::Rng) -> Group {
    let offered = |rng: &mut fastrand::Rng| {
        let service = any_service(rng);
        OfferedService {
            service,
            version: rng.u64(..),
            traits: Traits { idempotent: rng.bool(), by_workers: rng.bool() },
        }
    };
    Group {
        path: some(rng, MAX_HOPS, |rng| Hop { at: any_router(rng), epoch: rng.u64(..) }),
        boot: rng.u64(..),
        cost: rng.u32(..),
        services: some(rng, 4, offered),
    }
}

fn any_news(rng: &mut fastrand::Rng) -> Changes {
    let tombstone = |rng: &mut fastrand::Rng| {
        let service = rng.bool().then(|| any_service(rng));
        Tombstone { origin: any_router(rng), boot: rng.u64(..), version: rng.u64(..), service }
    };
    Changes {
        causes: some(rng, 3, |rng| DeadLink::new(any_router(rng), any_router(rng), rng.u64(..))),
        tombstones: some(rng, 3, tombstone),
        withdrawn: some(rng, 3, |rng| RouteKey { zone: any_label(rng), service: any_service(rng) }),
        groups: some(rng, 3, any_group),
        fresh: some(rng, 3, |rng| Keepalive { origin: any_router(rng), boot: rng.u64(..), version: rng.u64(..) }),
    }
}

fn any_update(rng: &mut fastrand::Rng) -> Update {
    let say = match rng.u8(..8) {
        0 => UpdateContent::BeginRefresh,
        1 => UpdateContent::EndRefresh,
        2 => UpdateContent::Digest { routes: rng.u32(..), digest: rng.u64(..) },
        3 => UpdateContent::RequestRefresh,
        _ => UpdateContent::Changes(any_news(rng)),
    };
    Update { number: rng.u64(..), content: say }
}

#[test]
fn an_update_survives_encoding_and_decoding() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..2_000 {
        let update = any_update(&mut rng);
        assert_eq!(decode(encode(&update)), Ok(update));
    }
}

#[test]
fn a_truncated_update_is_malformed() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let bytes = encode(&any_update(&mut rng));
        assert!((0..bytes.len()).all(|end| decode(bytes.slice(..end)).is_err()));
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(decode(longer.into()).is_err());
    }
}

#[test]
fn mutated_updates_never_panic_and_encode_as_they_decode() {
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..20_000 {
        let mut bytes = encode(&any_update(&mut rng)).to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        if let Ok(update) = decode(bytes.into()) {
            assert_eq!(decode(encode(&update)), Ok(update));
        }
    }
}

#[test]
fn a_count_without_entries_allocates_nothing() {
    let mut bytes = vec![0; 8];
    bytes.push(NEWS);
    bytes.put_u32(u32::MAX);
    assert_eq!(decode(bytes.into()), Err("counts more entries than it has"));
}
