//! Peers and listeners that break the protocol, byte by byte.

use super::zmtp::{MORE, RawPeer, declaration, frame, greeting, message, ping};
use super::*;

/// Longer than three of libzmq's heartbeats.
const STALL: Duration = Duration::from_millis(3_500);

/// Listener to dial, which becomes a raw peer once it is connected.
fn listener(near: &mut Fixture, link: u64, minor: u8) -> RawPeer {
    let (listener, endpoint) = plain_listener();
    near.sockets.dial(LinkId(link), &endpoint, None);
    RawPeer::on(listener.accept().unwrap().0).shaken(minor, b"")
}

/// Sends this many messages, and waits until libzmq has read them, because a reset discards unread ones.
fn send_until_answered(peer: &mut RawPeer, messages: usize) {
    peer.send(&[message(&[b"x"]).repeat(messages), ping(0)].concat());
    while !peer.read_frame().unwrap().1.starts_with(b"\x04PONG") {}
}

#[test]
fn a_client_that_floods_a_stalled_loop_and_resets_its_connection_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}/a", folder.path().display())] {
        let mut near = Fixture::new();
        let endpoint = near.bind(&endpoint);
        for fixed in [&b""[..], b"fixed"] {
            let mut hostile = RawPeer::open(&endpoint, fixed);
            send_until_answered(&mut hostile, 500);
            // More than libzmq holds; then what it answers when it reads on.
            hostile.send(&[message(&[b"x"]).repeat(1_000), ping(0), message(&[b"x"]), ping(0)].concat());
            hostile.reset();
        }
        // The loop is stalled while libzmq's thread runs and its timers expire.
        std::thread::sleep(STALL);
        for _ in 0..1_000 {
            assert!(matches!(near.next(), Input::Message { .. }));
        }
        let mut good = RawPeer::open(&endpoint, b"");
        good.send(&message(&[b"last"]));
        let last = [Frame::from_static(b"last")];
        while !matches!(near.next(), Input::Message { frames, .. } if frames == last) {}
    }
}

#[test]
fn a_listener_that_floods_a_stalled_loop_and_resets_its_connection_harms_no_other() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    let mut hostile = listener(&mut near, 1, 1);
    send_until_answered(&mut hostile, 19_000);
    hostile.send(&[message(&[b"x"]).repeat(6_000), ping(0), message(&[b"x"]), ping(0)].concat());
    hostile.reset();
    std::thread::sleep(STALL);
    let mut received = 0;
    while matches!(near.next(), Input::LinkMessage { .. }) {
        received += 1;
    }
    assert!(received >= 19_000, "{received}");
    near.sockets.dial(LinkId(2), &far.bind("tcp://127.0.0.1:*"), None);
    near.exchange(2, &mut far);
}

#[test]
fn a_peer_with_zmtp_3_0_gets_no_ping_and_may_be_idle() {
    let mut near = Fixture::new();
    let endpoint = near.bind("tcp://127.0.0.1:*");
    let mut peers = [RawPeer::connect(&endpoint).shaken(0, b""), listener(&mut near, 1, 0)];
    let mut modern = listener(&mut near, 2, 1);
    for peer in &mut peers {
        assert!(peer.is_silent_for(STALL / 2));
        peer.send(&message(&[b"x"]));
    }
    let mut received = [near.next(), near.next()].map(|input| matches!(input, Input::Message { .. }));
    received.sort_unstable();
    assert_eq!(received, [false, true], "one as a client, one as a link");
    assert!(modern.read_frame().unwrap().1.starts_with(b"\x04PING"), "links to those who know it have heartbeats");
}

#[test]
fn a_listener_that_exceeds_a_limit_ends_the_link_with_a_reason() {
    let (mut near, mut far) = (Fixture::new(), Fixture::new());
    let cases: [(&[u8], &str); 3] = [
        (&declaration(0, (2 << 20) + 1), "longer than twice limits.message"),
        (&frame(MORE, b"").repeat(600), "more than twice limits.frames"),
        (&frame(MORE, &[0; 1 << 10]).repeat(2_100)[..], "more than twice limits.frames"),
    ];
    for (link, (bytes, why)) in (1..).zip(cases) {
        let mut hostile = listener(&mut near, link, 1);
        hostile.flood(bytes, bytes.len());
        let reason = near.down(link);
        assert!(reason.contains(why), "{reason}");
    }
    let large = frame(MORE, &vec![0; 128 << 10]);
    let mut hostile = listener(&mut near, 8, 1);
    hostile.flood(&large, 4 << 20);
    assert!(near.down(8).contains("longer than twice limits.message"), "the sum of its frames counts");

    let (listener, endpoint) = plain_listener();
    near.sockets.dial(LinkId(9), &endpoint, None);
    let mut hostile = RawPeer::on(listener.accept().unwrap().0);
    hostile.send(&[greeting(1, "NULL"), declaration(4, 5_000)].concat());
    let reason = near.down(9);
    assert!(reason.contains("handshake was longer than 4 KiB"), "{reason}");
    near.sockets.dial(LinkId(10), &far.bind("tcp://127.0.0.1:*"), None);
    near.exchange(10, &mut far);
}

#[test]
fn a_message_of_just_twice_the_limits_arrives() {
    let mut near = Fixture::new();
    let endpoint = near.bind("tcp://127.0.0.1:*");
    let mut client = RawPeer::open(&endpoint, b"");
    let (part, count) = (vec![0; 4 << 10], 512 + 16);
    for bytes in [vec![&b""[..]; count + 1], vec![&part[..]; 512], vec![&vec![0; 2 << 20][..]]] {
        client.send(&message(&bytes));
        match near.next() {
            Input::Message { frames, .. } => assert_eq!(frames.len(), bytes.len()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_id_reserved_by_libzmq_is_replaced() {
    let mut near = Fixture::new();
    let endpoint = near.bind("tcp://127.0.0.1:*");
    let mut ids = std::collections::BTreeSet::new();
    let mut peers: Vec<RawPeer> = Vec::new();
    let mut next = Vec::new();
    for round in 0..4 {
        for is_chosen in [false, true, true] {
            let identity = if is_chosen { next } else { Vec::new() };
            let mut peer = RawPeer::open(&endpoint, &identity);
            peer.send(&message(&[b"x"]));
            let Input::Message { from, .. } = near.next() else { panic!("not a message") };
            assert_eq!((from.as_bytes()[0], from.as_bytes().len()), (0, 5), "{identity:?}");
            let number = u32::from_be_bytes(from.as_bytes()[1..].try_into().unwrap());
            next = [&[0][..], &number.wrapping_add(1).to_be_bytes()].concat();
            assert!(ids.insert(from.as_bytes().to_vec()), "round {round}: {from} was there already");
            peers.push(peer);
        }
    }
    let mut long = RawPeer::open(&endpoint, &[b'x'; 300]);
    long.send(&message(&[b"x"]));
    let Input::Message { from, .. } = near.next() else { panic!("not a message") };
    assert_eq!(from.as_bytes()[0], 0);
}

#[test]
fn a_truncated_ping_returns_no_memory_beyond_it() {
    let mut near = Fixture::new();
    let endpoint = near.bind("tcp://127.0.0.1:*");
    let mut peer = RawPeer::open(&endpoint, b"");
    peer.send(&frame(4, b"\x04PING"));
    peer.send(&frame(4, b"\x04PING\0\0context"));
    assert_eq!(peer.read_frame().unwrap().1, b"\x04PONGcontext");
}

#[test]
fn the_unfinished_messages_of_all_connections_are_bounded_and_their_memory_is_released() {
    // The limit is per process, so other tests count too.
    let intake = Intake { unfinished: 48 << 20, ..INTAKE };
    let (sending, events) = event_queue().unwrap();
    let sockets = Sockets::open(intake, 1 << 20, DialTimeouts::default(), None, Reports::new(sending)).unwrap();
    let mut near = Fixture { sockets, events, rejected: 0, over_limit: 0 };
    let endpoint = near.bind("tcp://127.0.0.1:*");
    for _ in 0..3 {
        let part = frame(MORE, &vec![0; 1 << 20]);
        let mut peers: Vec<_> = (0..64).map(|_| RawPeer::open(&endpoint, b"")).collect();
        for peer in &mut peers {
            peer.flood(&part, part.len());
        }
        near.wait_until(|near| near.over_limit > 0);
        near.over_limit = 0;
        // Connections that send nothing more make room for one that does.
        let mut slow = RawPeer::open(&endpoint, b"");
        for half in message(&[&vec![0; 2 << 20]]).chunks(1 << 20) {
            slow.send(half);
        }
        while !matches!(near.next(), Input::Message { .. }) {}
        drop(peers);
        // All their memory is free again.
        let mut good = RawPeer::open(&endpoint, b"");
        good.send(&message(&[&vec![0; 1 << 20]]));
        while !matches!(near.next(), Input::Message { .. }) {}
    }
}
