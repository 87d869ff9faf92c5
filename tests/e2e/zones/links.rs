//! Routers with links through a bad network, which delays, throttles and cuts.

use super::redundancy::{Pairs, Team, pairs_behind};
use crate::load::{assert_all_succeeded, load};
use crate::node::PATIENCE;
use crate::proxy::Proxy;
use std::time::{Duration, Instant};
use wasmnode_client::Request;

/// Starts two zones with two routers each, and a proxy before each router, which the router of the other zone dials.
fn pairs() -> (Pairs, Vec<Proxy>, Team) {
    let proxies: Vec<Proxy> = (0..4).map(|_| Proxy::new()).collect();
    let pairs = pairs_behind(&proxies);
    let team = Team::new(&pairs.node_b, "job", 8);
    pairs.node_b.wait_for_workers("job", 8);
    pairs.wait_for_ways("job", 2);
    (pairs, proxies, team)
}

/// Sends requests of this size one after the other; returns the shortest time to an answer.
fn quickest(pairs: &Pairs, requests: usize, bytes: usize) -> Duration {
    let mut client = pairs.node_a.client();
    let once = |_| {
        let (began, body) = (Instant::now(), vec![b'x'; bytes]);
        let ask = Request::new("job").body([body.clone()]).deadline(PATIENCE);
        assert!(client.call(ask, |_| {}).unwrap() == [body]);
        began.elapsed()
    };
    (0..requests).map(once).min().unwrap()
}

#[test]
fn links_that_are_cut_again_and_again_fail_no_request_that_may_run_twice() {
    let (pairs, proxies, _team) = pairs();
    let mut cuts = 0;
    let answers = load(&pairs.node_a, &["job"], 4_000, |answered| {
        if answered % 250 == 125 {
            // The two links of one pair, in turn; the other pair stays connected.
            proxies[cuts % 2 * 2].cut();
            cuts += 1;
        }
    });
    assert_all_succeeded(&answers);
    pairs.wait_for_ways("job", 2);
}

#[test]
fn links_that_are_far_or_narrow_serve_slowly() {
    let (pairs, proxies, _team) = pairs();
    let delay = Duration::from_millis(30);
    proxies.iter().for_each(|proxy| proxy.delay(delay));
    let far = quickest(&pairs, 10, 10);
    proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
    proxies.iter().for_each(|proxy| proxy.throttle(1 << 20));
    let narrow = quickest(&pairs, 5, 256 << 10);
    println!("there and back: {far:?} at {delay:?} each way, {narrow:?} with 256 KiB at 1 MiB/s");
    assert!(far >= 2 * delay && narrow >= Duration::from_millis(400), "{far:?}, {narrow:?}");
}

#[test]
fn a_message_that_takes_longer_than_the_expiry_is_not_returned_while_its_path_is_the_only_one() {
    let (mut pairs, proxies, team) = pairs();
    pairs.routers[1].kill();
    pairs.wait_for_ways("job", 1);
    proxies.iter().for_each(|proxy| proxy.throttle(1 << 20));
    let took = quickest(&pairs, 1, 2 << 20);
    println!("2 MiB there and back at 1 MiB/s took {took:?}");
    assert!(took > Duration::from_secs(3));
    assert_eq!(team.runs().into_values().collect::<Vec<_>>(), [1]);
}
