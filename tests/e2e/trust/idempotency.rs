//! Idempotency keys of several users: replies are not shared, and one user cannot evict the kept replies of another.

use super::Party;
use crate::node::PATIENCE;
use crate::zone_failures::wait_for_peers;
use wasmnode_client::{Client, Request};

fn call(client: &mut Client, key: &str, body: &str) -> String {
    let ask = Request::new("echo").body([body.to_owned()]).idempotency_key(key.as_bytes()).deadline(PATIENCE);
    String::from_utf8(client.call(ask, |_| {}).unwrap().concat()).unwrap()
}

#[test]
fn users_of_the_same_name_at_two_nodes_have_separate_keys() {
    let (near, far) = (Party::new("node1", &["echo"]), Party::new("node2", &[]));
    near.trusts(&far, &["--role", "peer"]);
    far.trusts(&near, &["--role", "peer"]);
    let (one, other) = (Party::new("shop", &[]), Party::new("shop", &[]));
    near.trusts(&one, &[]);
    far.trusts(&other, &[]);
    let (near_key, far_key) = (near.pair, far.pair);
    let near = near.start("");
    let far = far.start(&format!("seeds = ['node1@{}']", near.tcp));
    wait_for_peers(&far, "echo", &["node1"]);
    let (mut one, mut other) = (one.client(&near, &near_key), other.client(&far, &far_key));
    assert_eq!(call(&mut one, "order-1", "of one"), "of one");
    assert_eq!(call(&mut other, "order-1", "of the other"), "of the other");
    assert_eq!(call(&mut one, "order-1", "again"), "of one", "each has its own reply, and runs once");
    assert_eq!(call(&mut other, "order-1", "again"), "of the other");
}

#[test]
fn the_many_keys_of_one_user_do_not_evict_the_replies_of_another() {
    const KEPT: usize = 50;
    let (party, shop, other) = (Party::new("node1", &["echo"]), Party::new("shop", &[]), Party::new("other", &[]));
    party.trusts(&shop, &[]);
    party.trusts(&other, &[]);
    let key = party.pair;
    let node = party.start(&format!("[limits]\nkept-replies = {KEPT}"));
    let (mut shop, mut other) = (shop.client(&node, &key), other.client(&node, &key));
    assert_eq!(call(&mut shop, "payment", "first"), "first");
    for number in 0..=2 * KEPT {
        call(&mut other, &format!("key {number}"), "x");
    }
    assert_eq!(call(&mut shop, "payment", "second"), "first");
    assert_eq!(call(&mut other, "key 0", "it ran again"), "it ran again", "its own oldest replies have given way");
}
