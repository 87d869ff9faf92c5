//! Foreign Majordomo services over real sockets, which have only the deadlines that are configured.

use crate::majordomo::{Frames, Worker, answer, ask, dealer};
use crate::node::{Node, PATIENCE};
use crate::zone;
use std::thread::JoinHandle;
use std::time::Duration;
use wasmnode_client::{Code, Error, Request};

/// Longer than the default deadline of a plugin, 2 s.
pub(crate) const LONG: Duration = Duration::from_millis(2_500);

/// Serves so many requests, each after `each`, during which the worker sends nothing; answers with the number of the
/// request.
pub(crate) fn work(worker: Worker, requests: usize, each: Duration) -> JoinHandle<Worker> {
    std::thread::spawn(move || {
        for number in 0..requests {
            let (client, _) = worker.request();
            std::thread::sleep(each);
            worker.reply(&client, &[number.to_string().into()]);
        }
        worker
    })
}

fn assert_status(code: &str, reason: &str, frames: &Frames) {
    let text: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
    let is_so = text.len() == 6 && text[3] == "wasmnode-failure" && text[4] == code && text[5].contains(reason);
    assert!(is_so, "{text:?}");
}

#[test]
fn a_worker_may_take_longer_than_a_plugin_and_waiting_requests_are_served() {
    let node = Node::start(&[], "");
    let worker = Worker::v2(&node.ipc(), "slow");
    node.wait_for_workers("slow", 1);
    let (first, second) = (dealer(&node.ipc(), None), dealer(&node.tcp, None));
    ask(&first, "slow", "a");
    node.wait_for_busy_workers("slow", 1);
    ask(&second, "slow", "b");
    let worker = work(worker, 2, LONG);
    let other = dealer(&node.ipc(), None);
    ask(&other, "mmi.service", "slow");
    assert_eq!(answer(&other)[3], b"200", "it is busy");
    assert_eq!([answer(&first)[3].clone(), answer(&second)[3].clone()], [b"0", b"1"]);
    drop(worker.join().unwrap());
}

#[test]
fn a_worker_at_a_peer_has_no_deadline_but_the_clients_and_the_one_that_is_set_for_its_service() {
    let node1 = zone::node("node1", &[], &[], "[service.strict]\ndeadline = '300ms'\n");
    let node2 = zone::node("node2", &[], &[&node1], "");
    let [slow, strict] = ["slow", "strict"].map(|service| Worker::v2(&node2.ipc(), service));
    zone::wait_for_members(&node1, &[("node2", 2)]);
    let client = dealer(&node1.tcp, None);
    ask(&client, "slow", "a");
    let slow = work(slow, 1, LONG);
    assert_eq!(answer(&client)[3], b"0");
    let slow = slow.join().unwrap();
    let late = |ask: Request| match node1.client().call(ask, |_| {}) {
        Err(Error::Failure(failure)) if failure.code == Code::Deadline => failure.reason,
        other => panic!("{other:?}"),
    };
    let reason = late(Request::new("slow").body(["x"]).deadline(Duration::from_millis(400)));
    assert!(reason.contains("while node node2 had the request") && reason.contains("deadline of 400ms"), "{reason}");
    let reason = late(Request::new("strict").body(["x"]).deadline(PATIENCE));
    assert!(reason.contains("service.strict.deadline = 300ms"), "{reason}");
    drop((slow, strict));
}

#[test]
fn a_hundred_thousand_requests_are_answered_that_were_sent_before_the_first_answer_was_read() {
    const REQUESTS: usize = 100_000;
    let node = Node::start(&[], "");
    let worker = Worker::v2(&node.ipc(), "echo");
    node.wait_for_workers("echo", 1);
    let client = dealer(&node.tcp, None);
    for number in 0..REQUESTS {
        ask(&client, "echo", &number.to_string());
    }
    let worker = work(worker, REQUESTS, Duration::ZERO);
    for number in 0..REQUESTS {
        assert_eq!(answer(&client)[3], number.to_string().into_bytes());
    }
    drop(worker.join().unwrap());
}

#[test]
fn requests_beyond_a_workers_queue_are_refused_immediately_and_the_log_names_the_limit() {
    let settings = "[limits]\nrequests-per-client = 3\nheld-bytes = '1MiB'\n[service.job]\nqueue = 1\n";
    let mut node = Node::start(&[], settings);
    let worker = Worker::v2(&node.ipc(), "job");
    node.wait_for_workers("job", 1);
    let client = dealer(&node.ipc(), None);
    for body in ["runs", "waits", "is refused"] {
        ask(&client, "job", body);
    }
    node.wait_for("for job ends without a reply: 429 overloaded: the queue of job is full: service.job.queue = 1");
    let other = Worker::v2(&node.ipc(), "other");
    ask(&client, "other", "runs");
    ask(&client, "other", "is refused");
    node.wait_for("429 overloaded: limits.requests-per-client = 3 is reached");
    let large = dealer(&node.ipc(), None);
    ask(&large, "other", &"x".repeat(1 << 20));
    node.wait_for("429 overloaded: limits.held-bytes = 1048576 is reached");
    drop((worker, other));
}

#[test]
fn a_deadline_for_all_workers_is_kept_and_its_failure_names_it() {
    let settings = "[majordomo]\ndeadline = '300ms'\non-failure = 'status'\n";
    let node = Node::start(&[], settings);
    let worker = Worker::v2(&node.ipc(), "slow");
    node.wait_for_workers("slow", 1);
    let client = dealer(&node.ipc(), None);
    ask(&client, "slow", "a");
    assert_status(
        "504",
        "may have run: majordomo.deadline = 300ms, as service.slow.deadline is not set",
        &answer(&client),
    );
    worker.request();
    worker.expect_disconnect();
    ask(&client, "gone", "a");
    assert_status("404", "it waited for majordomo.wait = 2s", &answer(&client));
}

#[test]
fn titanic_may_be_three_workers() {
    let node = Node::start(&[], "");
    let parts = ["titanic.request", "titanic.reply", "titanic.close"];
    let workers = parts.map(|service| Worker::v2(&node.ipc(), service));
    let client = dealer(&node.ipc(), None);
    for (service, worker) in parts.into_iter().zip(workers) {
        node.wait_for_workers(service, 1);
        ask(&client, "mmi.service", service);
        assert_eq!(answer(&client)[3], b"200");
        ask(&client, service, "0af7651916cd43dd8448eb211c80319c");
        let (whom, _) = worker.request();
        assert!(whom.iter().all(u8::is_ascii_alphanumeric), "the address of the client is printable: {whom:?}");
        worker.reply(&whom, &["200".into()]);
        assert_eq!(answer(&client)[3], b"200");
    }
}
