//! Two zones that two pairs of routers join, under repeated failures: one router after the other is killed under load
//! and restarted. `WASMNODE_STORM` sets the number of requests.

use super::redundancy::{Team, pairs, wait_for_ways};
use crate::load::assert_no_further_answer;
use crate::node::{Node, PATIENCE};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use wasmnode_client::{Client, Code, Reply, Request};

/// Number of requests in an ordinary run of the tests.
const REQUESTS: u64 = 6_000;

/// Largest number of outstanding requests.
const WINDOW: usize = 32;

/// Number of answers between two steps: a router is killed, restarted, the next is killed, and so on.
const CALM: u64 = 750;

/// Outcome of one request.
struct Answer {
    reply: Reply,
    took: Duration,
}

/// Kills and restarts the routers in turn, one step for each message, and only while the other pair is connected.
/// Returns how many were killed.
fn storm(node: &Node, routers: &mut [Node], steps: &Receiver<()>) -> u64 {
    let mut kills = 0;
    while steps.recv().is_ok() {
        let victim = usize::try_from(kills % 4).unwrap();
        routers[victim].kill();
        kills += 1;
        let is_over = steps.recv().is_err();
        routers[victim].start_again();
        if is_over {
            break;
        }
        for service in ["job", "once"] {
            wait_for_ways(node, service, 2);
        }
    }
    kills
}

/// Calls both services in turn, and triggers a step after each [`CALM`] answers.
fn load(mut client: Client, requests: u64, steps: &Sender<()>) -> BTreeMap<u64, Answer> {
    let (mut unanswered, mut answers) = (BTreeMap::new(), BTreeMap::new());
    while (answers.len() as u64) < requests {
        while unanswered.len() < WINDOW && ((answers.len() + unanswered.len()) as u64) < requests {
            let number = (answers.len() + unanswered.len()) as u64 + 1;
            let ask = Request::new(service_of(number)).body([number.to_string()]).deadline(PATIENCE);
            assert_eq!(client.send(ask).unwrap(), number);
            unanswered.insert(number, Instant::now());
        }
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        let since = unanswered.remove(&id).expect("an answer to a request that has none yet");
        answers.insert(id, Answer { reply, took: since.elapsed() });
        if (answers.len() as u64).is_multiple_of(CALM) {
            steps.send(()).unwrap();
        }
    }
    assert_no_further_answer(&mut client);
    answers
}

fn service_of(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "job" } else { "once" }
}

#[test]
fn in_a_storm_every_request_has_one_answer_and_what_must_not_run_twice_does_not() {
    let requests = std::env::var("WASMNODE_STORM").map_or(REQUESTS, |number| number.parse().unwrap());
    let mut pairs = pairs();
    let teams = ["job", "once"].map(|service| Team::new(&pairs.node_b, service, 8));
    for service in ["job", "once"] {
        pairs.node_b.wait_for_workers(service, 8);
        pairs.wait_for_ways(service, 2);
    }
    let (began, client, (steps, coming)) = (Instant::now(), pairs.node_a.client(), channel());
    let answers = std::thread::spawn(move || load(client, requests, &steps));
    let kills = storm(&pairs.node_a, &mut pairs.routers, &coming);
    let answers = answers.join().unwrap();
    let (took, slowest) = (began.elapsed(), answers.values().map(|answer| answer.took).max().unwrap());
    let [job, once] = teams.each_ref().map(Team::runs);
    let mut lost = 0;
    for (number, Answer { reply, .. }) in &answers {
        let runs = if number.is_multiple_of(2) { &job } else { &once };
        let runs = runs.get(&number.to_string()).copied().unwrap_or_default();
        match reply {
            Reply::Final(body) => assert!(body[0] == number.to_string() && runs > 0, "{number}: {body:?}"),
            Reply::Failure(failure) if failure.code == Code::Lost && service_of(*number) == "once" => lost += 1,
            other => panic!("request {number} for {}: {other:?}", service_of(*number)),
        }
    }
    assert!(once.values().all(|runs| *runs == 1), "{:?}", once.iter().filter(|(_, runs)| **runs > 1));
    let again = job.values().map(|runs| runs - 1).sum::<u64>();
    println!(
        "{requests} requests in {took:?}, {kills} routers killed: {lost} of {} that must not run twice were lost, none ran \
         twice; all {} others were answered, with {again} second runs; the slowest answer took {slowest:?}",
        requests.div_ceil(2),
        requests / 2,
    );
    assert!(kills > 0);
}
