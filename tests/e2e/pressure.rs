//! Bounds on the output of one plugin, which delays no other.

use crate::node::{Node, PATIENCE};
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Reply, Request};

/// Largest growth of a node's memory after one plugin has produced as much as it can, in KiB.
const GROWTH: u64 = 96 << 10;

#[test]
fn a_flood_of_partial_replies_takes_little_memory_and_others_are_served_meanwhile() {
    let settings = "
        [limits]
        unread-bytes = '16MiB'
        [service.partial-flood]
        reply = '1GiB'
        deadline = '3m'
    ";
    let node = Node::start(&["partial-flood", "echo"], settings);
    let before = node.memory();
    let mut flooded = node.client();
    let id =
        flooded.send(Request::new("partial-flood").body([200_u16.to_le_bytes().to_vec()]).deadline(PATIENCE)).unwrap();
    let mut echo = node.client();
    let (mut parts, mut slowest) = (0_u32, Duration::ZERO);
    let failure = loop {
        match flooded.receive(Some(PATIENCE)).unwrap() {
            (answered, Reply::Partial(body)) => {
                assert_eq!((answered, body.len()), (id, 200));
                parts += 1;
            }
            (_, Reply::Failure(failure)) => break failure,
            other => panic!("{other:?}"),
        }
        if parts.is_multiple_of(1_000) {
            let asked = Instant::now();
            echo.call(Request::new("echo").body(["x"]).deadline(PATIENCE), |_| {}).unwrap();
            slowest = slowest.max(asked.elapsed());
            let grown = node.memory().saturating_sub(before);
            assert!(grown < GROWTH, "{grown} KiB more after {parts} partial replies");
        }
    };
    // Each partial reply counts 64 bytes for itself, and for each of its frames.
    assert_eq!((failure.code, parts), (Code::TooLarge, (1 << 30) / (201 * 64)));
    assert!(slowest < Duration::from_secs(2), "echo took {slowest:?}");
}

#[test]
fn a_flood_of_unread_partial_replies_takes_little_memory() {
    let settings = "[limits]\nunread-bytes = '16MiB'\n[service.partial-flood]\nreply = '256MiB'\ndeadline = '3m'\n";
    let node = Node::start(&["partial-flood", "echo"], settings);
    let before = node.memory();
    let mut deaf = node.client();
    deaf.send(Request::new("partial-flood").body([200_u16.to_le_bytes().to_vec()]).deadline(PATIENCE)).unwrap();
    node.wait_until_running("partial-flood");
    node.wait_until_quiet(PATIENCE);
    let grown = node.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB more");
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

#[test]
fn a_partial_reply_of_too_many_frames_is_a_failure_that_names_the_limit() {
    let node = Node::start(&["partial-flood"], "");
    let (code, why) = node.fail("partial-flood", &[&257_u16.to_le_bytes()]);
    assert_eq!(code, Code::TooLarge);
    assert!(why.contains("a partial reply of 257 frames is over limits.frames = 256"), "{why}");
}

#[test]
fn a_line_of_megabytes_is_cut_at_eight_kib() {
    let mut node = Node::start(&["log-bloat"], "[service.log-bloat]\ndeadline = '3m'\n");
    let before = node.memory();
    assert_eq!(node.call("log-bloat", &[b"x"]).unwrap(), ["x"]);
    node.wait_for("zzzz");
    let grown = node.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB more");
    node.signal("-TERM");
    let lines: Vec<usize> = node
        .log_to_its_end()
        .iter()
        .filter(|line| line.contains("zzzz"))
        .map(|line| line.matches('z').count())
        .collect();
    assert!(lines.len() == 10 && lines.iter().all(|length| (8_000..=8_192).contains(length)), "{lines:?}");
}

#[test]
fn too_many_random_bytes_in_one_call_are_a_failure_that_names_the_limit() {
    let node = Node::start(&["greedy", "echo"], "");
    for which in 0..2_u8 {
        let ask = |bytes: u32| [bytes.to_le_bytes().to_vec(), vec![which]];
        for _ in 0..20 {
            let reply = node.call("greedy", &ask(65_536).each_ref().map(|frame| &frame[..])).unwrap();
            assert_eq!(reply, [&65_536_u32.to_le_bytes()[..]]);
        }
        for bytes in [65_537, 64 << 20, u32::MAX] {
            let (code, why) = node.fail("greedy", &ask(bytes).each_ref().map(|frame| &frame[..]));
            assert_eq!(code, Code::Exhausted);
            assert!(why.contains(&format!("requested {bytes} random bytes in one call; the limit is 65536")), "{why}");
        }
    }
}
