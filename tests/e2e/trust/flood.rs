//! The flood of `flood`, over tcp and with keys: by a client with all rights, and by one with few.

use super::*;
use crate::flood::{flood, messages};
use std::cell::Cell;

/// Default number of messages: fewer, because encryption, and a handshake for each hundred, take longer.
const MESSAGES: usize = 20_000;

#[test]
fn thousands_of_good_and_bad_messages_of_trusted_keys_later_the_node_answers_and_has_not_grown() {
    let (party, all, little) =
        (Party::new("node1", &["echo", "trap"]), Party::new("all", &[]), Party::new("little", &[]));
    party.trusts(&all, &["--work", "*"]);
    party.trusts(&little, &["--allow", "echo"]);
    let key = party.pair;
    let node = party.start("[majordomo]\nheartbeat = '100ms'\nexpiry = '300ms'\n");
    let connections = Cell::new(0);
    flood(&node, messages(MESSAGES), &|| {
        connections.set(connections.get() + 1);
        let who = if connections.get() % 2 == 0 { &all } else { &little };
        who.dealer(&node, &key)
    });
    let counters = node.report()["counters"].clone();
    println!("{} connections; {counters}", connections.get());
    assert!(counters["forbidden"].as_u64().unwrap() > 100, "{counters}");
    assert_eq!(counters["rejected"], 0, "they are trusted: {counters}");
}
