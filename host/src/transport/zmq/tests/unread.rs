//! Clients that send requests and do not read the answers.

use super::zmtp::{RawPeer, message};
use super::*;

const MIB: usize = 1 << 20;

/// Returns a client that has sent a request, with the id of its connection.
fn client_with_request(near: &mut Fixture, endpoint: &str, identity: &[u8]) -> (RawPeer, ConnectionId) {
    let mut peer = RawPeer::open(endpoint, identity);
    peer.send(&message(&[b"question"]));
    match near.next() {
        Input::Message { from, .. } => (peer, from),
        other => panic!("{other:?}"),
    }
}

/// Returns a fixture that listens in a folder, with its endpoint: the system buffers little for an ipc connection.
fn fixture(folder: &tempfile::TempDir, max_unread: usize) -> (Fixture, String) {
    let mut near = Fixture::with(DialTimeouts::default(), max_unread);
    let endpoint = near.bind(&format!("ipc://{}/a", folder.path().display()));
    (near, endpoint)
}

#[test]
fn an_ended_or_replaced_connection_closes_although_its_peer_has_unread_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, endpoint) = fixture(&folder, 64 * MIB);
    for is_taken_over in [false, true] {
        let answer = Frame::from(vec![0; MIB]);
        let (mut unread, from) = client_with_request(&mut near, &endpoint, b"fixed");
        for _ in 0..8 {
            near.sockets.send(from.clone(), vec![answer.clone()]).unwrap();
        }
        let successor = if is_taken_over {
            Some(client_with_request(&mut near, &endpoint, b"fixed"))
        } else {
            near.sockets.disconnect(&from);
            None
        };
        near.wait_until(|_| answer.is_unique());
        unread.wait_for_end();
        if let Some((mut peer, from)) = successor {
            near.sockets.send(from, frames("answer")).unwrap();
            assert_eq!(peer.read_message().unwrap().concat(), b"answer");
        }
    }
}

#[test]
fn unread_messages_are_bounded_and_the_largest_holders_lose_their_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, endpoint) = fixture(&folder, 16 * MIB);
    for size in [MIB, 2_000] {
        let payload = Frame::from(vec![0; size]);
        let mut greedy = Vec::new();
        for _ in 0..20 {
            let (peer, from) = client_with_request(&mut near, &endpoint, b"");
            for _ in 0..4 * MIB / size {
                near.sockets.send(from.clone(), vec![payload.clone()]).unwrap();
                assert!(near.sockets.unread.total() + near.sockets.send_queues.bytes() <= 16 * MIB);
            }
            greedy.push((peer, from));
        }
        assert_eq!(near.sockets.dropped(), 0, "their receivers did not hold most");
        let (mut good, from) = client_with_request(&mut near, &endpoint, b"");
        near.sockets.send(from, frames("answer")).unwrap();
        assert_eq!(good.read_message().unwrap().concat(), b"answer");
        let (_open, ids): (Vec<_>, Vec<_>) = greedy.into_iter().unzip();
        let ended = ids.into_iter().filter(|from| near.sockets.send(from.clone(), frames("more")).is_err()).count();
        assert!(ended >= 16, "{ended} of {size} bytes");
    }
}
