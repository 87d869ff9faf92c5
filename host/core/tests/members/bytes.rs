//! Arbitrary datagrams never break a node.

use crate::network::label;
use wasmnode_core::message::peer::{Member, MemberKind};
use wasmnode_core::{MemberEffect, Members, MembersSettings, Time};

fn member(name: &str) -> Member {
    Member { name: label(name), boot: 5, renewal: 0, role: MemberKind::Router, endpoint: "tcp://[::1]:5570".into() }
}

/// Returns every datagram of a small zone in which processes crash, restart, freeze and leave.
fn datagrams() -> Vec<Vec<u8>> {
    let mut nodes: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .zip(1..)
        .map(|(name, seed)| Members::new(member(name), &MembersSettings::default(), seed))
        .collect();
    let mut datagrams = Vec::new();
    for millisecond in 0..20_000 {
        let now = Time::from_micros(millisecond * 1_000);
        match millisecond {
            0..3 => nodes[1 + millisecond as usize].announce(&member("a"), now),
            15_000 => nodes[1].leave(now),
            _ => {}
        }
        for index in 0..nodes.len() {
            let is_gone = (index == 2 && millisecond > 3_000) || (index == 3 && (4_000..13_000).contains(&millisecond));
            if !is_gone && nodes[index].next_wake().is_some_and(|wake| wake <= now) {
                nodes[index].wake(now);
            }
            while let Some(effect) = nodes[index].next_effect() {
                let MemberEffect::Gossip { to, data } = effect else { continue };
                datagrams.push(data.to_vec());
                let to = usize::from(to.name.as_str().as_bytes()[0] - b'a');
                if !is_gone {
                    nodes[to].receive(&data, now).unwrap();
                }
            }
        }
    }
    datagrams
}

#[test]
fn random_and_mutated_datagrams_are_refused_or_accepted() {
    let mut random = fastrand::Rng::with_seed(1);
    let datagrams = datagrams();
    let (mut refused, mut taken) = (0, 0);
    for round in 0..400 {
        let mut node = Members::new(member("a"), &MembersSettings { limit: 6, ..Default::default() }, round);
        for step in 0..100 {
            let now = Time::from_micros(step * 100_000);
            let mut data = random.choice(&datagrams).unwrap().clone();
            match random.u8(..4) {
                0 => data.iter_mut().for_each(|byte| *byte = random.u8(..)),
                1 => data.truncate(random.usize(..=data.len())),
                2 => {
                    for _ in 0..random.usize(1..4) {
                        let position = random.usize(..data.len());
                        data[position] = random.u8(..) % [4, 255][random.usize(..2)];
                    }
                }
                _ => {}
            }
            match node.receive(&data, now) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            node.wake(now);
            while node.next_effect().is_some() {}
            assert!(node.alive().count() <= 6);
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 5_000 && refused > 5_000);
}

#[test]
fn a_truncated_datagram_is_refused_wherever_it_ends() {
    for data in datagrams().iter().take(50) {
        let mut node = Members::new(member("b"), &MembersSettings::default(), 1);
        let header_alone = (0..data.len()).filter(|length| node.receive(&data[..*length], Time::ZERO).is_ok()).count();
        assert!(header_alone <= 1, "only a header without updates is a datagram");
    }
}

#[test]
fn a_node_refuses_its_own_datagrams() {
    let mut node = Members::new(member("a"), &MembersSettings::default(), 1);
    node.announce(&member("b"), Time::ZERO);
    let Some(MemberEffect::Gossip { data, .. }) = node.next_effect() else { panic!("it announces itself") };
    assert!(node.receive(&data, Time::ZERO).is_err());
    assert_eq!(node.next_effect(), None);
}
