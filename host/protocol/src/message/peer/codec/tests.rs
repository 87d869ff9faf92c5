use super::*;
use crate::failure::Code;
use crate::message::{self, Message};
use fastrand::Rng;

/// Offset of a request's fields: after "print".
const FIELDS: usize = 26 + 5;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn full_forward() -> Forward {
    Forward {
        id: 7,
        remaining: Some(Duration::from_micros(250_000)),
        hops: 3,
        is_trace: false,
        has_alternative: true,
        service: name("print"),
        caller: "client:00éf".into(),
        allowed: None,
        traceparent: Some(Frame::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        idempotency_key: Some(Frame::from_static(b"order-1")),
        chain: vec![name("web"), name("impôts.calcul")],
        zone: Some(name("lyon")),
        node: Some(name("node2")),
        crossed: vec![name("paris"), name("dijon")],
        body: vec![Frame::from_static(b"a"), Frame::new()],
    }
}

fn bare_forward() -> Forward {
    let forward = full_forward();
    let (caller, body) = (String::new(), Vec::new());
    let (zone, node, crossed) = (None, None, Vec::new());
    Forward {
        has_alternative: false,
        caller,
        traceparent: None,
        idempotency_key: None,
        chain: Vec::new(),
        zone,
        node,
        crossed,
        body,
        ..forward
    }
}

fn member() -> Member {
    let (boot, renewal, endpoint) = (1_700_000_000_000_000, 2, "tcp://[::1]:5555".into());
    Member { name: name("node2"), boot, renewal, role: MemberKind::Node, endpoint }
}

fn offers() -> Vec<Offer> {
    vec![
        Offer { service: name("print"), cost: 0, traits: Traits { idempotent: true, by_workers: false } },
        Offer { service: name("afficher@lyon"), cost: 7, traits: Traits { idempotent: false, by_workers: true } },
    ]
}

/// Returns one message of each command, and several of commands with kinds of their own.
fn messages() -> Vec<PeerMessage> {
    let body = vec![Frame::from_static(b"x"), Frame::new()];
    let reply = |reply| PeerMessage::Reply { id: u64::MAX, reply };
    let withdrawn = vec![name("scan"), name("x@lyon")];
    vec![
        PeerMessage::Hello { zone: name("paris"), member: member() },
        PeerMessage::Welcome { zone: name("paris"), member: Member { role: MemberKind::Router, ..member() } },
        PeerMessage::Refused("the zone is another".into()),
        PeerMessage::Refused(String::new()),
        PeerMessage::Gossip(Frame::from_static(b"any \0 bytes")),
        PeerMessage::Gossip(Frame::new()),
        PeerMessage::Advert(Advert::Whole { version: 9, offers: offers() }),
        PeerMessage::Advert(Advert::Whole { version: 1, offers: Vec::new() }),
        PeerMessage::Advert(Advert::Change { version: 10, offers: offers(), withdrawn }),
        PeerMessage::Advert(Advert::Still { version: u64::MAX }),
        PeerMessage::Pull,
        PeerMessage::Open { epoch: 5 },
        PeerMessage::Paths { epoch: 5, update: Frame::from_static(b"an update") },
        PeerMessage::Request(full_forward().into()),
        PeerMessage::Request(bare_forward().into()),
        PeerMessage::Request(Box::new(Forward { is_trace: true, ..bare_forward() })),
        reply(Reply::Partial(body.clone())),
        reply(Reply::Final(body)),
        reply(Reply::Failure(Failure::new(Code::Overloaded, "the queue is full"))),
        PeerMessage::Cancel { id: 3 },
        PeerMessage::Ping { outstanding: vec![1, u64::MAX] },
        PeerMessage::Pong { unknown: Vec::new() },
    ]
}

/// Returns the frames with `more` appended to the header.
fn with_more(message: PeerMessage, more: &[u8]) -> Vec<Frame> {
    let mut frames = encode(message);
    frames[0] = [frames[0].as_ref(), more].concat().into();
    frames
}

fn refusal(frames: Vec<Frame>) -> &'static str {
    let malformed = decode(frames).unwrap_err();
    assert!(matches!(malformed.sender, Sender::Peer { .. }), "{malformed:?}");
    malformed.reason
}

#[test]
fn every_message_survives_encoding_and_decoding() {
    for message in messages() {
        assert_eq!(decode(encode(message.clone())).as_ref(), Ok(&message));
        assert_eq!(message::decode(encode(message.clone())), Ok(Message::Peer(message)));
    }
}

#[test]
fn the_header_of_a_request_is_encoded_as_documented() {
    let forward = Forward { traceparent: None, ..full_forward() };
    let documented = [
        b"WNODP1\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\x03\xd0\x90\x03\x02\x05print".as_slice(),
        b"\x02\0\x07order-1\x03\0\x03web\x03\0\x0eimp\xc3\xb4ts.calcul\x04\0\x0cclient:00\xc3\xa9f",
        b"\x05\0\x04lyon\x06\0\x05node2\x07\0\x05paris\x07\0\x05dijon",
    ];
    assert_eq!(encode(PeerMessage::Request(forward.into()))[0], documented.concat());
}

#[test]
fn the_other_headers_are_encoded_as_documented() {
    let documented: [(_, &[u8]); 10] = [
        (
            PeerMessage::Hello { zone: name("paris"), member: Member { boot: 258, ..member() } },
            b"\x06\x02\x05paris\x05node2\0\0\0\0\0\0\x01\x02\0\x02\x01\0\x10tcp://[::1]:5555",
        ),
        (PeerMessage::Refused("no".into()), b"\x08no"),
        (
            PeerMessage::Advert(Advert::Change { version: 2, offers: offers(), withdrawn: vec![name("x")] }),
            b"\x0a\x02\0\0\0\0\0\0\0\x02\0\0\0\x02\x01\x05print\0\0\0\0\0\x02\x08afficher\x04lyon\0\0\0\x07\0\0\0\x01\x01x\0",
        ),
        (PeerMessage::Advert(Advert::Still { version: 2 }), b"\x0a\x03\0\0\0\0\0\0\0\x02"),
        (PeerMessage::Pull, b"\x0b"),
        (PeerMessage::Open { epoch: 3 }, b"\x0e\0\0\0\0\0\0\0\x03"),
        (PeerMessage::Paths { epoch: 4, update: Frame::from_static(b"x") }, b"\x0f\0\0\0\0\0\0\0\x04x"),
        (PeerMessage::Cancel { id: 1 }, b"\x05\0\0\0\0\0\0\0\x01"),
        (
            PeerMessage::Reply { id: 1, reply: Reply::Failure(Failure::new(Code::Deadline, "late")) },
            b"\x04\0\0\0\0\0\0\0\x01\x01\xf8late",
        ),
        (PeerMessage::Ping { outstanding: vec![5] }, b"\x0c\0\x01\0\0\0\0\0\0\0\x05"),
    ];
    for (message, bytes) in documented {
        assert_eq!(encode(message)[0], [MAGIC, bytes].concat());
    }
}

#[test]
fn a_header_costs_one_allocation_and_a_body_none() {
    for forward in [full_forward(), bare_forward()] {
        let header = request(&forward);
        assert_eq!(header.len(), header.capacity());
    }
    let introduction = introduction(HELLO, &name("paris"), &member());
    assert_eq!(introduction.len(), introduction.capacity());

    let frames = encode(PeerMessage::Request(full_forward().into()));
    let place = frames.as_ptr();
    let again = encode(decode(frames).unwrap());
    assert_eq!(again.as_ptr(), place, "a received body is sent from the same memory");
}

#[test]
fn every_truncated_message_is_malformed_except_between_fields_and_in_free_text() {
    for message in messages() {
        let whole = encode(message.clone());
        for length in 0..whole[0].len() {
            let mut frames = whole.clone();
            frames[0].truncate(length);
            let result = decode(frames);
            let may_end = match &message {
                PeerMessage::Request(forward) => field_ends(forward).contains(&length),
                PeerMessage::Reply { reply: Reply::Failure(_), .. } => length >= 17,
                PeerMessage::Refused(_) | PeerMessage::Gossip(_) => length >= 7,
                PeerMessage::Paths { .. } => length >= 15,
                _ => false,
            };
            assert_eq!(result.is_ok(), may_end, "{message:?} cut at {length}");
            if let (Err(malformed), PeerMessage::Request(_)) = (&result, &message) {
                let sender = match length {
                    0..6 => Sender::Stranger,
                    6..15 => Sender::Peer { request: None },
                    _ => Sender::Peer { request: Some(7) },
                };
                assert_eq!(malformed.sender, sender, "cut at {length}");
            }
        }
    }
}

fn field_ends(forward: &Forward) -> Vec<usize> {
    let optional =
        [&forward.traceparent, &forward.idempotency_key].map(|value| value.as_ref().map_or(0, |v| 3 + v.len()));
    let chain = forward.chain.iter().map(|name| 3 + name.as_str().len());
    let caller = (!forward.caller.is_empty()).then_some(3 + forward.caller.len());
    let labels = forward.zone.iter().chain(&forward.node).chain(&forward.crossed).map(|label| 3 + label.as_str().len());
    let ends = optional.into_iter().chain(chain).chain(caller).chain(labels).scan(FIELDS, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(FIELDS).chain(ends).collect()
}

#[test]
fn a_field_of_an_unknown_type_is_ignored() {
    for message in messages() {
        let frames = with_more(message.clone(), b"\x63\0\x02hi\xff\0\0");
        match message {
            PeerMessage::Hello { .. } | PeerMessage::Welcome { .. } | PeerMessage::Request(_) => {
                assert_eq!(decode(frames), Ok(message));
            }
            PeerMessage::Reply { reply: Reply::Failure(_), .. }
            | PeerMessage::Refused(_)
            | PeerMessage::Gossip(_)
            | PeerMessage::Paths { .. } => {}
            _ => assert_eq!(refusal(frames), "has a header with bytes after its end", "{message:?}"),
        }
    }
}

#[test]
fn a_message_without_a_body_rejects_one() {
    for message in messages() {
        let may = match &message {
            PeerMessage::Request(_) => true,
            PeerMessage::Reply { reply, .. } => !matches!(reply, Reply::Failure(_)),
            _ => false,
        };
        let mut frames = encode(message);
        frames.push(Frame::new());
        assert_eq!(decode(frames).is_ok(), may);
    }
}

#[test]
fn a_hello_of_a_later_version_is_accepted() {
    for message in messages().into_iter().take(2) {
        let mut header = with_more(message.clone(), b"\x01\0\x03new")[0].to_vec();
        header[7] = 200;
        assert_eq!(decode(vec![header.clone().into()]), Ok(message));
        for old in [0, 1] {
            header[7] = old;
            assert!(refusal(vec![header.clone().into()]).ends_with("update the node that sent it"));
        }
    }
}

#[test]
fn an_offer_may_have_unknown_flags_but_a_request_may_not() {
    let mut advert = encode(PeerMessage::Advert(Advert::Whole { version: 9, offers: offers() }))[0].to_vec();
    advert[20] |= 0xfc;
    let decoded = decode(vec![advert.into()]).unwrap();
    assert_eq!(decoded, PeerMessage::Advert(Advert::Whole { version: 9, offers: offers() }));

    let mut request = encode(PeerMessage::Request(bare_forward().into()))[0].to_vec();
    request[24] = 0x80;
    let malformed = Malformed { sender: Sender::Peer { request: Some(7) }, reason: "has unknown flags" };
    assert_eq!(decode(vec![request.into()]), Err(malformed));
}

#[test]
fn values_over_a_limit_are_cut_or_refused() {
    let many: Vec<u64> = (0..5_000).collect();
    let pong = decode(encode(PeerMessage::Pong { unknown: many.clone() })).unwrap();
    assert_eq!(pong, PeerMessage::Pong { unknown: many[..MAX_NAMED].to_vec() });
    let reason = "é".repeat(Failure::MAX_REASON);
    let refused = decode(encode(PeerMessage::Refused(reason.clone()))).unwrap();
    assert_eq!(refused, PeerMessage::Refused(text::line(&reason, Failure::MAX_REASON).into()));
    for allowed in [vec![], vec!["print".parse().unwrap(), "storage.*".parse().unwrap()]] {
        let forward = Forward { allowed: Some(allowed), ..bare_forward() };
        assert_eq!(
            decode(encode(PeerMessage::Request(forward.clone().into()))),
            Ok(PeerMessage::Request(forward.into()))
        );
    }
    let many = vec!["print".parse().unwrap(); MAX_ALLOWED + 1];
    let cut = Forward { allowed: Some(many[1..].to_vec()), ..bare_forward() };
    let forward = Forward { allowed: Some(many), ..bare_forward() };
    assert_eq!(decode(encode(PeerMessage::Request(forward.into()))), Ok(PeerMessage::Request(cut.into())));
    for hidden in ["\u{1b}", "\u{202e}", "\n"] {
        let forward = Forward { caller: format!("user:{hidden}"), ..bare_forward() };
        assert!(decode(encode(PeerMessage::Request(forward.into()))).is_err(), "{hidden:?}");
    }

    let longest = Forward {
        chain: vec![name(&"x".repeat(255)); MAX_CHAIN],
        caller: "x".repeat(MAX_CALLER),
        idempotency_key: Some(vec![0; 255].into()),
        ..full_forward()
    };
    assert_eq!(decode(encode(PeerMessage::Request(longest.clone().into()))), Ok(PeerMessage::Request(longest.into())));
    for forward in [
        Forward { chain: vec![name("x"); MAX_CHAIN + 1], ..full_forward() },
        Forward { caller: "x".repeat(MAX_CALLER + 1), ..full_forward() },
        Forward { caller: "x".repeat(100_000), ..full_forward() },
        Forward { idempotency_key: Some(Frame::new()), ..full_forward() },
        Forward { idempotency_key: Some(vec![0; 256].into()), ..full_forward() },
        Forward { traceparent: Some(Frame::from_static(b"\xff")), ..full_forward() },
    ] {
        refusal(encode(PeerMessage::Request(forward.into())));
    }
    for endpoint in ["x".repeat(MAX_ENDPOINT + 1), "x".repeat(100_000), "tcp://a\nb".into(), "\u{7f}".into()] {
        let member = Member { endpoint, ..member() };
        refusal(encode(PeerMessage::Hello { zone: name("paris"), member }));
    }
}

#[test]
fn a_count_that_exceeds_the_bytes_is_refused_before_an_allocation() {
    let counted: [(&[u8], _); 5] = [
        (b"\x0a\x01\0\0\0\0\0\0\0\x02\xff\xff\xff\xff\0\x01a", "counts more names than it has"),
        (b"\x0a\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02\x01a", "counts more names than it has"),
        (b"\x0c\0\x02\0\0\0\0\0\0\0\x05", "counts more requests than it names"),
        (b"\x0c\x04\x01", "names more than 1,024 requests"),
        (b"\x0d\xff\xff", "names more than 1,024 requests"),
    ];
    for (bytes, reason) in counted {
        assert_eq!(refusal(vec![[MAGIC, bytes].concat().into()]), reason);
    }
}

#[test]
fn invalid_names_are_refused() {
    let misnamed: [&[u8]; 5] = [
        b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\x03\0\x07a@paris",
        b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\x03\0\x01a\x03\0\0",
        b"\x0a\x01\0\0\0\0\0\0\0\x02\0\0\0\x01\0\x01 \0\0\0\0\0",
        b"\x06\x02\x05par.s\x05node2\0\0\0\0\0\0\x01\x02\0\x02\x01\0\0",
        b"\x06\x02\x05paris\0\0\0\0\0\0\0\x01\x02\0\x02\x01\0\0",
    ];
    for bytes in misnamed {
        assert!(refusal(vec![[MAGIC, bytes].concat().into()]).contains("invalid"), "{bytes:?}");
    }
}

#[test]
fn an_id_is_found_in_requests_only() {
    for message in messages() {
        let expected = if let PeerMessage::Request(forward) = &message { Some(forward.id) } else { None };
        assert_eq!(request_id(&encode(message)), expected);
    }
    assert_eq!(request_id(&[]), None);
    assert_eq!(request_id(&[Frame::from_static(b"WNODP1\x01\0\0\0")]), None);
    assert_eq!(request_id(&[Frame::from_static(b"WNODC1\x01\0\0\0\0\0\0\0\x07")]), None);
}

#[test]
fn a_member_is_decoded_from_any_buffer_and_nothing_after_it() {
    let mut bytes = Vec::new();
    encode_member(&member(), &mut bytes);
    let whole = bytes.len();
    assert_eq!(member_len(&member()), whole);
    bytes.extend(b"more");
    let mut rest = bytes.as_slice();
    assert_eq!(decode_member(&mut rest), Ok(member()));
    assert_eq!(rest, b"more");
    for cut in 0..whole {
        let (front, back) = bytes.split_at(cut);
        assert_eq!(decode_member(&mut front.chain(back)), Ok(member()), "in two pieces, cut at {cut}");
        assert!(decode_member(&mut &bytes[..cut]).is_err());
    }
}

#[test]
fn random_bytes_are_decoded_without_a_panic() {
    let mut rng = Rng::with_seed(0x5eed);
    for _ in 0..20_000 {
        let mut header = MAGIC.to_vec();
        header.push(rng.u8(0..16));
        // Small bytes make counts and lengths that often fit.
        let top = if rng.bool() { 4 } else { 255 };
        header.extend((0..rng.usize(0..80)).map(|_| rng.u8(0..=top)));
        let body = (0..rng.usize(0..3)).map(|_| Frame::new());
        decodes_to_something_stable(std::iter::once(header.into()).chain(body).collect());
    }
}

#[test]
fn mutated_messages_are_decoded_without_a_panic() {
    let mut rng = Rng::with_seed(0xfeed);
    let messages: Vec<Vec<Frame>> = messages().into_iter().map(encode).collect();
    let understood = (0..40_000).filter(|_| {
        let mut frames = messages[rng.usize(..messages.len())].clone();
        let mut header = frames[0].to_vec();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut header, &mut rng);
        }
        frames[0] = header.into();
        decodes_to_something_stable(frames)
    });
    let understood = understood.count();
    assert!((4_000..36_000).contains(&understood), "{understood} of 40,000 does not test both outcomes");
}

fn mutate(header: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..=header.len());
    match rng.u8(0..5) {
        0 => header.truncate(at),
        1 => header.insert(at, rng.u8(..)),
        2 => drop(header.drain(at..header.len().min(at + 3))),
        3 => header.extend_from_within(at..),
        _ => header.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
    }
}

/// Returns `true` if the frames are a message, and checks that encoding and decoding it again preserves it.
fn decodes_to_something_stable(frames: Vec<Frame>) -> bool {
    let id = request_id(&frames);
    match decode(frames) {
        Ok(message) => {
            if let PeerMessage::Request(forward) = &message {
                assert_eq!(id, Some(forward.id));
            }
            assert_eq!(decode(encode(message.clone())), Ok(message));
            true
        }
        Err(Malformed { sender: Sender::Peer { request }, .. }) => {
            assert_eq!(request, id);
            false
        }
        Err(_) => false,
    }
}
