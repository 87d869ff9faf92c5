//! Load on a zone, and its outcome: each request has exactly one answer, and its workers record each run.

use crate::majordomo::Worker;
use crate::node::{Node, PATIENCE};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wasmnode_client::{Body, Client, Failure, Reply, Request};

/// Largest number of outstanding requests.
const WINDOW: usize = 64;

/// Margin beyond the deadline in which an answer may arrive on a busy machine.
const DELAY: Duration = Duration::from_secs(10);

/// Outcome of one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) result: Result<Body, Failure>,
    pub(crate) took: Duration,
}

/// Returns a body that no other request has.
pub(crate) fn unique_body() -> Vec<u8> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("request {}", LAST.fetch_add(1, SeqCst)).into_bytes()
}

/// Sends a node `count` requests, to these services in turn, many at a time; calls `answered` with the number of
/// answers after each.
pub(crate) fn load(node: &Node, services: &[&str], count: usize, mut answered: impl FnMut(usize)) -> Vec<Answer> {
    let mut client = node.client();
    let (mut unanswered, mut answers) = (BTreeMap::new(), Vec::new());
    while answers.len() < count {
        while unanswered.len() < WINDOW && answers.len() + unanswered.len() < count {
            let service = services[(answers.len() + unanswered.len()) % services.len()];
            let body = unique_body();
            let id = client.send(Request::new(service).body([body.clone()])).unwrap();
            unanswered.insert(id, (body, Instant::now()));
        }
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        let (body, since) = unanswered.remove(&id).expect("an answer to a request that has none yet");
        answers.push(Answer { body, result: result(reply), took: since.elapsed() });
        answered(answers.len());
    }
    assert_no_further_answer(&mut client);
    answers
}

/// Returns the result of a final reply; panics for a partial one.
pub(crate) fn result(reply: Reply) -> Result<Body, Failure> {
    match reply {
        Reply::Final(body) => Ok(body),
        Reply::Failure(failure) => Err(failure),
        Reply::Partial(body) => panic!("unexpected partial reply: {body:?}"),
    }
}

/// Checks that no further answers arrive: they would precede the answer to this request.
pub(crate) fn assert_no_further_answer(client: &mut Client) {
    let last = client.send(Request::new("mmi.service").body(["x"]).deadline(PATIENCE)).unwrap();
    assert_eq!(client.receive(Some(PATIENCE)).unwrap().0, last, "a request was answered twice");
}

/// Checks that each answer is the body of its request.
pub(crate) fn assert_all_succeeded(answers: &[Answer]) {
    for answer in answers {
        assert_eq!(answer.result, Ok(vec![answer.body.clone().into()]), "after {:?}", answer.took);
    }
}

/// Returns the failures, each of which must be in time.
pub(crate) fn failures(answers: &[Answer], deadline: Duration) -> Vec<&Failure> {
    let failed = answers.iter().filter_map(|answer| Some((answer.result.as_ref().err()?, answer.took)));
    let in_time = |(failure, took)| {
        assert!(took < deadline + DELAY, "after {took:?}: {failure}");
        failure
    };
    failed.map(in_time).collect()
}

/// Number of runs of each request at the workers that share this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<BTreeMap<Vec<u8>, u32>>>);

impl Runs {
    fn note(&self, body: &[u8]) {
        *self.0.lock().unwrap().entry(body.to_vec()).or_default() += 1;
    }

    pub(crate) fn of(&self, body: &[u8]) -> u32 {
        self.0.lock().unwrap().get(body).copied().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Returns the requests that ran more than once.
    pub(crate) fn repeated(&self) -> Vec<String> {
        let runs = self.0.lock().unwrap();
        let repeated = runs.iter().filter(|(_, count)| **count > 1);
        repeated.map(|(body, count)| format!("{} ran {count} times", String::from_utf8_lossy(body))).collect()
    }
}

/// Majordomo workers of one service at one node, in threads of the test. They record each run, answer with the body,
/// and register again if their node restarts.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    endpoint: String,
    service: String,
    runs: Runs,
    takes: Duration,
    is_over: AtomicBool,
    holds: AtomicBool,
    held: AtomicUsize,
}

impl Crew {
    /// Registers workers, and waits until the node lists them.
    pub(crate) fn new(node: &Node, service: &str, workers: usize, runs: &Runs) -> Self {
        Self::slow(node, service, workers, runs, Duration::ZERO)
    }

    /// Registers workers that take `takes` for each request.
    pub(crate) fn slow(node: &Node, service: &str, workers: usize, runs: &Runs, takes: Duration) -> Self {
        let shared = Arc::new(Shared {
            endpoint: node.ipc(),
            service: service.into(),
            runs: runs.clone(),
            takes,
            is_over: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            held: AtomicUsize::new(0),
        });
        let worker = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.work())
        };
        let threads = (0..workers).map(worker).collect();
        node.wait_for_workers(service, workers as u64);
        Self { shared, threads }
    }

    /// Makes the workers keep their requests without an answer.
    pub(crate) fn hold(&self) {
        self.shared.holds.store(true, SeqCst);
    }

    /// Lets the workers answer the kept requests, and continue.
    pub(crate) fn release(&self) {
        self.shared.holds.store(false, SeqCst);
    }

    /// Returns the number of kept requests.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.load(SeqCst)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a worker has panicked");
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut worker = Worker::v2(&self.endpoint, &self.service);
        let mut kept: Option<(Vec<u8>, Body)> = None;
        while !self.is_over.load(SeqCst) {
            if !self.holds.load(SeqCst)
                && let Some((whom, body)) = kept.take()
            {
                worker.reply(&whom, &body);
                self.held.fetch_sub(1, SeqCst);
            }
            if !worker.has_message(if kept.is_some() { 10 } else { 100 }) {
                worker.heartbeat();
                continue;
            }
            match worker.request_or_end() {
                Ok((whom, body)) => {
                    self.runs.note(&body[0]);
                    std::thread::sleep(self.takes);
                    if self.holds.load(SeqCst) {
                        kept = Some((whom, body));
                        self.held.fetch_add(1, SeqCst);
                    } else {
                        worker.reply(&whom, &body);
                    }
                }
                // The node has restarted, and does not list this worker.
                Err(true) => {
                    worker = Worker::v2(&self.endpoint, &self.service);
                    if kept.take().is_some() {
                        self.held.fetch_sub(1, SeqCst);
                    }
                }
                Err(false) => {}
            }
        }
    }
}
