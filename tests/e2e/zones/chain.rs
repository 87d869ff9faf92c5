//! Zones with other zones in between: in a row, and in a ring.

use super::{OPEN, Site, neighbour, wait_until_reachable};
use crate::guests;
use crate::node::{Node, PATIENCE};
use std::fs;
use std::time::{Duration, Instant};
use wasmnode_client::{Code, Request};

/// Time limit for a change two zones away: below a second on an idle machine.
const SOON: Duration = Duration::from_secs(5);

/// Starts zones with a node and a router each, named by a letter, and joins these pairs. Returns the nodes, in order,
/// and the routers.
fn zones(names: &[[&'static str; 3]], joined: &[(usize, usize)]) -> (Vec<Node>, Vec<Node>) {
    let routers: Vec<Site> = names.iter().map(|[zone, _, router]| Site::new(router, zone, &[])).collect();
    let endpoints: Vec<String> = routers.iter().map(|router| router.endpoint.clone()).collect();
    let start = |(number, site): (usize, Site)| {
        let ends = joined.iter().filter_map(|&(one, other)| match number {
            _ if one == number => Some(other),
            _ if other == number => Some(one),
            _ => None,
        });
        let settings: String = ends.map(|end| neighbour(names[end][0], &endpoints[end], OPEN)).collect();
        site.start(&endpoints[number], &settings)
    };
    let routers = routers.into_iter().enumerate().map(start).collect();
    let nodes = names.iter().zip(&endpoints);
    let nodes = nodes.map(|([zone, node, _], seed)| Site::new(node, zone, &[]).start(seed, "")).collect();
    (nodes, routers)
}

const NAMES: [[&str; 3]; 3] = [["a", "node-a", "router-a"], ["b", "node-b", "router-b"], ["c", "node-c", "router-c"]];

/// Puts a plugin into a node's folder atomically.
fn drop_in(node: &Node, service: &str) {
    let unfinished = node.folder.path("unfinished");
    fs::write(&unfinished, guests::component(include_str!("../../guests/echo.wat"))).unwrap();
    fs::rename(&unfinished, node.folder.path(&format!("plugins/{service}.wasm"))).unwrap();
}

#[test]
fn a_service_two_zones_away_appears_and_disappears_within_a_second() {
    let (nodes, _routers) = zones(&NAMES, &[(0, 1), (1, 2)]);
    drop_in(&nodes[2], "first");
    wait_until_reachable(&nodes[0], "first", true);
    for address in ["first", "first@c", "first@node-c.c"] {
        assert_eq!(nodes[0].call(address, &[b"x"]).unwrap(), ["x"], "{address}");
    }
    let mut client = nodes[0].client();
    client.send(Request::new("second").body(["x"]).wait(true).deadline(PATIENCE)).unwrap();
    drop_in(&nodes[2], "second");
    let began = Instant::now();
    client.receive(Some(PATIENCE)).unwrap();
    let came = began.elapsed();
    fs::remove_file(nodes[2].folder.path("plugins/second.wasm")).unwrap();
    let went = wait_until_reachable(&nodes[0], "second", false);
    println!("callable two zones away after {came:?}, and no longer after {went:?}");
    assert!(came < SOON && went < SOON, "{came:?}, {went:?}");
    assert_eq!(nodes[0].fail("second", &[b"x"]).0, Code::UnknownService);
}

/// Returns the number of requests that these nodes have forwarded.
fn forwarded(nodes: &[Node]) -> u64 {
    nodes.iter().map(|node| node.report()["counters"]["forwarded"].as_u64().unwrap()).sum()
}

#[test]
fn a_withdrawal_in_a_ring_of_zones_neither_loops_nor_storms() {
    let (nodes, routers) = zones(&NAMES, &[(0, 1), (1, 2), (2, 0)]);
    drop_in(&nodes[2], "gone");
    wait_until_reachable(&nodes[0], "gone", true);
    wait_until_reachable(&nodes[1], "gone", true);
    let before = forwarded(&nodes) + forwarded(&routers);
    fs::remove_file(nodes[2].folder.path("plugins/gone.wasm")).unwrap();
    let (mut client, mut asked, mut refused, mut longest) = (nodes[0].client(), 0, 0, Duration::ZERO);
    while refused < 100 {
        let began = Instant::now();
        let answer = client.call(Request::new("gone").body(["x"]).deadline(PATIENCE), |_| {});
        (asked, longest) = (asked + 1, longest.max(began.elapsed()));
        match answer {
            Ok(_) => assert_eq!(refused, 0, "it came back"),
            Err(wasmnode_client::Error::Failure(failure)) => {
                assert!([Code::UnknownService, Code::Loop].contains(&failure.code), "{failure}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let passed_on = forwarded(&nodes) + forwarded(&routers) - before;
    println!("{asked} requests while a service went were passed on {passed_on} times, the slowest took {longest:?}");
    assert!(passed_on <= asked * 6, "{asked} requests were passed on {passed_on} times");
    assert!(longest < SOON, "{longest:?}");
}
