//! Authentication of connections and links with keys.

use super::*;
use crate::keys::{self, Credential, Keys, Trusted};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;
use wasmnode_client::KeyPair;
use wasmnode_core::{Grant, Pattern, Quota, Role};

fn pair(folder: &TempDir, name: &str) -> KeyPair {
    keys::generate(&folder.path().join(name)).unwrap()
}

/// Returns the keys of a process that trusts these others.
fn trusting(own: KeyPair, others: &[(&str, KeyPair)]) -> Keys {
    let (allow, quota) = (vec![Pattern::everything()], Quota::default());
    let grant = Grant { role: Role::Client, allow, work: Vec::new(), is_admin: false, quota };
    let trusted = others.iter().map(|(name, pair)| {
        let trusted = Trusted { credential: Credential::Key(pair.public), grant: grant.clone() };
        (name.parse().unwrap(), trusted)
    });
    Keys { own, trusted: trusted.collect::<BTreeMap<_, _>>() }
}

fn name(text: &str) -> Label {
    text.parse().unwrap()
}

/// Returns two fixtures, `a` and `b`, which trust each other, and the endpoint of `b`.
fn two(folder: &TempDir) -> (Fixture, Fixture, String, [KeyPair; 2]) {
    let [a, b] = ["a", "b"].map(|name| pair(folder, name));
    let near = Fixture::guarded("a", &trusting(a, &[("b", b)]));
    let mut far = Fixture::guarded("b", &trusting(b, &[("a", a)]));
    let endpoint = far.bind("tcp://127.0.0.1:*");
    (near, far, endpoint, [a, b])
}

/// Returns the next message, and the name of its sender.
fn received(fixture: &mut Fixture) -> (ConnectionId, Option<Label>) {
    match fixture.next() {
        Input::Message { from, .. } => (from.clone(), from.principal().cloned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trusted_sender_is_identified_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far, endpoint, _) = two(&folder);
    near.sockets.dial(LinkId(1), &endpoint, Some(&name("b")));
    near.post(1, "question").unwrap();
    let (from, sender) = received(&mut far);
    assert_eq!(sender, Some(name("a")));
    far.sockets.send(from, frames("answer")).unwrap();
    assert_eq!(near.next(), message(1, "answer"));
}

#[test]
fn a_stranger_is_rejected_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far, endpoint, [_, b]) = two(&folder);
    let stranger = pair(&folder, "stranger");
    let mut strangers = [
        Fixture::guarded("stranger", &trusting(stranger, &[("b", b)])),
        Fixture::guarded("stranger", &trusting(stranger, &[("b", stranger)])),
        Fixture::new(),
    ];
    for stranger in &mut strangers {
        stranger.sockets.dial(LinkId(1), &endpoint, Some(&name("b")));
        stranger.post(1, "lost").unwrap();
        stranger.down(1);
    }
    near.sockets.dial(LinkId(1), &endpoint, Some(&name("b")));
    near.post(1, "question").unwrap();
    assert_eq!(received(&mut far).1, Some(name("a")));
    let start = Instant::now();
    while far.rejected < strangers.len() {
        assert!(start.elapsed() < DEADLINE, "{} were rejected", far.rejected);
        far.sockets.wait(far.events.fd(), Some(Duration::from_millis(10)));
        far.handle_events();
    }
    assert!(far.receive().is_none());
}

#[test]
fn a_node_without_a_trusted_key_is_not_dialled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, _far, endpoint, _) = two(&folder);
    for (link, expected, why) in [(1, Some(name("c")), "no key of c is trusted"), (2, None, "its name is not known")] {
        near.sockets.dial(LinkId(link), &endpoint, expected.as_ref());
        let reason = near.down(link);
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn the_nodes_own_user_connects_by_ipc_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let own = pair(&folder, "b");
    let mut far = Fixture::guarded("b", &trusting(own, &[]));
    let endpoint = far.bind(&format!("ipc://{}/socket", folder.path().display()));
    assert_eq!(std::fs::metadata(folder.path().join("socket")).unwrap().mode() & 0o777, 0o600);
    let mut near = Fixture::new();
    near.sockets.dial(LinkId(1), &endpoint, None);
    near.post(1, "question").unwrap();
    let (from, sender) = received(&mut far);
    assert_eq!(sender, Some(name("b")), "the node's own user");
    far.sockets.send(from, frames("answer")).unwrap();
    assert_eq!(near.next(), message(1, "answer"));
}

#[test]
fn a_connection_ends_with_its_trust() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far, endpoint, [a, b]) = two(&folder);
    let c = pair(&folder, "c");
    far.sockets.trust(&trusting(b, &[("a", a), ("c", c)]));
    let mut other = Fixture::guarded("c", &trusting(c, &[("b", b)]));
    for fixture in [&mut near, &mut other] {
        fixture.sockets.dial(LinkId(1), &endpoint, Some(&name("b")));
        fixture.post(1, "question").unwrap();
    }
    let (first, second) = (received(&mut far), received(&mut far));
    let (of_a, of_c) = if first.1 == Some(name("a")) { (first.0, second.0) } else { (second.0, first.0) };
    far.sockets.trust(&trusting(b, &[("c", c)]));
    far.sockets.disconnect(&of_a);
    assert!(far.sockets.send(of_a, frames("late")).is_err());
    far.sockets.send(of_c, frames("answer")).unwrap();
    assert_eq!(other.next(), message(1, "answer"));
    let start = Instant::now();
    let down = loop {
        match near.receive() {
            Some(input) => break input,
            None => near.sockets.wait(near.events.fd(), Some(Duration::from_millis(1))),
        }
        far.sockets.wait(far.events.fd(), Some(Duration::from_millis(1)));
        assert!(start.elapsed() < DEADLINE && far.receive().is_none());
    };
    assert_eq!(down, Input::LinkDown { link: LinkId(1), why: "the connection is lost".into() });
    near.sockets.dial(LinkId(2), &endpoint, Some(&name("b")));
    assert!(near.down(2).contains("does not trust this node"));
    other.post(1, "question").unwrap();
    assert_eq!(received(&mut far).1, Some(name("c")));
    assert!(far.receive().is_none());
}

#[test]
fn a_link_ends_with_the_trust_in_the_key_that_it_was_dialled_with() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far, endpoint, [a, b]) = two(&folder);
    let c = pair(&folder, "c");
    for (link, keys) in [(1, trusting(a, &[])), (2, trusting(a, &[("b", c)]))] {
        near.sockets.trust(&trusting(a, &[("b", b), ("c", c)]));
        near.sockets.dial(LinkId(link), &endpoint, Some(&name("b")));
        near.post(link, "question").unwrap();
        let (from, _) = received(&mut far);
        near.sockets.trust(&trusting(a, &[("b", b)]));
        far.sockets.send(from.clone(), frames("answer")).unwrap();
        assert_eq!(near.next(), message(link, "answer"), "the trust in another ended");
        near.sockets.trust(&keys);
        assert_eq!(near.down(link), "the trust in its key was revoked");
        assert!(near.post(link, "late").is_err());
    }
}

#[test]
fn all_connections_of_a_revoked_key_end_even_if_they_are_idle() {
    let folder = tempfile::tempdir().unwrap();
    let (mut near, mut far, endpoint, [a, b]) = two(&folder);
    let c = pair(&folder, "c");
    far.sockets.trust(&trusting(b, &[("a", a), ("c", c)]));
    let mut other = Fixture::guarded("c", &trusting(c, &[("b", b)]));
    let mut unread = None;
    for link in 1..=3 {
        near.sockets.dial(LinkId(link), &endpoint, Some(&name("b")));
        near.post(link, "question").unwrap();
        unread = Some(received(&mut far).0);
    }
    other.sockets.dial(LinkId(1), &endpoint, Some(&name("b")));
    other.post(1, "question").unwrap();
    let of_c = received(&mut far).0;
    let answer = Frame::from(vec![0; 1 << 20]);
    for _ in 0..32 {
        far.sockets.send(unread.clone().unwrap(), vec![answer.clone()]).unwrap();
    }
    near.post(1, "not received").unwrap();
    far.sockets.trust(&trusting(b, &[("c", c)]));
    far.wait_until(|_| answer.is_unique());
    let (mut ended, start) = (std::collections::BTreeSet::new(), Instant::now());
    while ended.len() < 3 {
        assert!(start.elapsed() < DEADLINE && far.receive().is_none());
        match near.receive() {
            Some(Input::LinkDown { link, .. }) => drop(ended.insert(link)),
            Some(Input::LinkMessage { link, frames }) => assert!(link == LinkId(3) && frames[0].len() == 1 << 20),
            Some(other) => panic!("{other:?}"),
            None => near.sockets.wait(near.events.fd(), Some(Duration::from_millis(1))),
        }
        far.sockets.wait(far.events.fd(), Some(Duration::from_millis(1)));
    }
    far.sockets.send(of_c, frames("answer")).unwrap();
    assert_eq!(other.next(), message(1, "answer"));
    assert!(far.receive().is_none());
}
