//! The notation of transcripts is complete: values that differ in one field are written differently.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/notation/mod.rs"]
mod notation;

mod node;
mod zone;

use notation::Notation;
use std::collections::BTreeMap;
use std::fmt::Debug;
use wasmnode_core::message::peer::{Member, MemberKind};
use wasmnode_core::{Code, Failure, Frame};

/// Checks that the notation of each value differs from those of all others.
fn all_differ<T: Notation + Debug>(things: &[T]) {
    let mut written = BTreeMap::new();
    for thing in things {
        let mut line = String::new();
        thing.write(&mut line);
        assert!(!line.contains('\n'), "{thing:?} has more than one line");
        if let Some(other) = written.insert(line, thing) {
            panic!("they are written alike: {thing:?} and {other:?}");
        }
    }
}

/// Returns a value, and the result of each of the changes to it.
fn variations<T: Clone>(thing: &T, changes: &[fn(&mut T)]) -> Vec<T> {
    let changed = changes.iter().map(|change| {
        let mut thing = thing.clone();
        change(&mut thing);
        thing
    });
    std::iter::once(thing.clone()).chain(changed).collect()
}

fn frame(text: &'static str) -> Frame {
    Frame::from_static(text.as_bytes())
}

fn frames() -> [Vec<Frame>; 8] {
    [
        vec![],
        vec![frame("")],
        vec![frame(""), frame("")],
        vec![frame("ab")],
        vec![frame("a"), frame("b")],
        vec![frame("a b")],
        vec![Frame::from_static(&[0xab])],
        vec![Frame::from_static(&[0xab, 0])],
    ]
}

fn results() -> Vec<Result<Vec<Frame>, Failure>> {
    let failures = [(Code::Failed, "a"), (Code::Failed, "b"), (Code::Crashed, "a")];
    let failures = failures.into_iter().map(|(code, why)| Err(Failure::new(code, why)));
    frames().into_iter().map(Ok).chain(failures).collect()
}

fn members() -> Vec<Member> {
    let (name, endpoint) = ("a".parse().unwrap(), "tcp://a".into());
    variations(
        &Member { name, boot: 1, renewal: 0, role: MemberKind::Node, endpoint },
        &[
            |member| member.name = "b".parse().unwrap(),
            |member| member.boot = 2,
            |member| member.renewal = 1,
            |member| member.role = MemberKind::Router,
            |member| member.endpoint = "tcp://b".into(),
        ],
    )
}
