//! Majordomo workers in another zone: no node or router on the way sets a deadline for them.

use super::{OPEN, two, wait_until_reachable};
use crate::majordomo::{Worker, answer, ask, dealer};
use crate::patience::{LONG, work};
use std::time::Duration;
use wasmnode_client::{Code, Error, Request};

#[test]
fn a_worker_zones_away_has_no_deadline_but_the_clients() {
    let zones = two(&[], "", OPEN, OPEN);
    let worker = Worker::v2(&zones.node_b.ipc(), "slow");
    wait_until_reachable(&zones.node_a, "slow", true);
    let client = dealer(&zones.node_a.tcp, None);
    ask(&client, "slow@b", "a");
    let worker = work(worker, 1, LONG);
    assert_eq!(answer(&client)[3], b"0");
    let worker = worker.join().unwrap();
    match zones.node_a.client().call(Request::new("slow").body(["x"]).deadline(Duration::from_millis(400)), |_| {}) {
        Err(Error::Failure(failure)) => {
            let is_named = failure.reason.contains("the client's deadline of 400ms");
            assert!(failure.code == Code::Deadline && is_named, "{failure}");
        }
        other => panic!("{other:?}"),
    }
    drop(worker);
}
