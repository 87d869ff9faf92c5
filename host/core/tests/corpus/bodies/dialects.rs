//! Decoders: none panics, and a decoded message is the same after encoding and decoding.

use super::reader::Reader;
use wasmnode_core::message::majordomo::{self, ToWorker};
use wasmnode_core::message::peer::{Member, MemberKind, PeerMessage};
use wasmnode_core::message::{self, Dialect, Frame, Message, Reply, WorkerCommand, native, path, peer};
use wasmnode_core::paths::Filter;
use wasmnode_core::{
    Address, Code, Failure, Label, MemberEffect, Members, MembersSettings, Pattern, ServiceName, Time,
};

/// Runs the decoder that the first byte selects on the rest.
pub fn run(input: &[u8]) {
    let mut input = Reader::new(input);
    match input.below(6) {
        0 => whole_message(input.frames()),
        1 => native_reply(input.frames()),
        2 => message_of_a_peer(input.frames()),
        3 => update(Frame::copy_from_slice(input.bytes(usize::MAX))),
        4 => gossip(input.bytes(usize::MAX)),
        _ => names(input.bytes(usize::MAX)),
    }
}

fn whole_message(frames: Vec<Frame>) {
    let _client = majordomo::client_of_request(&frames);
    match message::decode(frames) {
        Ok(Message::Request { dialect, request }) if dialect.is_native() => {
            let again = message::decode(native::encode_request(dialect, &request).unwrap());
            let fields: usize = request.body.iter().map(|frame| 3 + frame.len()).sum();
            let dialect = if fields > native::MAX_COMPACT { Dialect::Native } else { dialect };
            assert_eq!(again, Ok(Message::Request { dialect, request }));
        }
        Ok(Message::Request { dialect, request }) => {
            let failure = Reply::Failure(Failure::new(Code::Failed, ""));
            for reply in [Reply::Partial(request.body.clone()), Reply::Final(request.body.clone()), failure] {
                let _frames = majordomo::encode_reply(dialect, &request.service, reply, true);
            }
        }
        Ok(Message::Cancel { id }) => {
            assert_eq!(message::decode(native::encode_cancel(id)), Ok(Message::Cancel { id }));
        }
        Ok(Message::Worker { dialect, command: WorkerCommand::Final { client, body } }) => {
            let request = ToWorker::Request { client: client.clone(), body };
            let frames = majordomo::encode_to_worker(dialect, request);
            assert_eq!(majordomo::client_of_request(&frames), Some(&client));
        }
        Ok(Message::Worker { .. }) => {}
        Ok(Message::Peer(message)) => reads_the_same(message),
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
}

fn native_reply(frames: Vec<Frame>) {
    if let Ok((id, reply)) = native::decode_reply(frames) {
        for dialect in [Dialect::Native, Dialect::NativeCompact] {
            let again = native::decode_reply(native::encode_reply(dialect, id, reply.clone()));
            assert_eq!(again, Ok((id, reply.clone())));
        }
    }
}

fn message_of_a_peer(frames: Vec<Frame>) {
    let number = peer::request_id(&frames);
    if let Ok(message) = peer::decode(frames) {
        if let PeerMessage::Request(forward) = &message {
            assert_eq!(number, Some(forward.id));
        }
        reads_the_same(message);
    }
}

fn reads_the_same(message: PeerMessage) {
    assert_eq!(peer::decode(peer::encode(message.clone())), Ok(message));
}

fn update(frame: Frame) {
    if let Ok(update) = path::decode(frame) {
        assert_eq!(path::decode(path::encode(&update)), Ok(update));
    }
}

/// Checks that a member's datagrams can be decoded by their receivers, after it has received one.
fn gossip(data: &[u8]) {
    let member = |name: &str| Member {
        name: name.parse().unwrap(),
        boot: 1,
        renewal: 0,
        role: MemberKind::Node,
        endpoint: format!("tcp://{name}:1"),
    };
    let settings = MembersSettings { limit: 3, ..MembersSettings::default() };
    let mut me = Members::new(member("node1"), &settings, 1);
    me.introduce(&member("node2"), Time::ZERO);
    let _refused = me.receive(data, Time::from_micros(1));
    for second in 0..3 {
        me.wake(Time::from_micros(second * 1_000_000));
        while let Some(effect) = me.next_effect() {
            if let MemberEffect::Gossip { to, data } = effect {
                assert_eq!(Members::new(to, &settings, 2).receive(&data, Time::ZERO), Ok(()));
            }
        }
        assert!(me.alive().count() <= settings.limit);
    }
}

fn names(bytes: &[u8]) {
    if let Ok(name) = ServiceName::from_bytes(bytes) {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(address) = Address::from_bytes(bytes) {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(label) = text.parse::<Label>() {
        assert_eq!(label.as_str(), text);
    }
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.to_string(), text);
    }
    let _filter = text.parse::<Filter>();
}
