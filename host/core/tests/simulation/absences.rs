//! Clients with identities of their own whose connections end and come back: each reply reaches its client once, and
//! none is sent to a client that is away.

use crate::scenario::{chance, frame, name, up_to};
use crate::seeds::number_from;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::{Code, ConnectionId, Failure, Input, Node, NodeSettings, Output, RequestId, Time};

const SEEDS: u64 = 500;
const STEPS: usize = 400;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// Model of a client.
#[derive(Default)]
struct Client {
    asked: u64,
    /// Requests without a final answer.
    owed: BTreeSet<u64>,
    /// Start of its absence, if it is away.
    away_since: Option<Time>,
}

struct World {
    seed: u64,
    node: Node,
    now: Time,
    clients: BTreeMap<ConnectionId, Client>,
    runs: VecDeque<RequestId>,
    reconnect: Duration,
    /// Number of answers held for a client that was away.
    held: u64,
    /// Number of clients that stayed away for too long.
    given_up: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = NodeSettings::default();
        let reconnect = settings.limits.reconnect;
        let clients = NAMES.map(|name| (ConnectionId::new(name), Client::default())).into();
        let (node, now, runs) = (Node::new(settings), Time::from_micros(1_000_000), VecDeque::new());
        let mut world = Self { seed, node, now, clients, runs, reconnect, held: 0, given_up: 0 };
        world.feed(Input::Offered(name("add")));
        world
    }

    fn require(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        assert!(holds, "{}\n  seed {} at {} us", otherwise(), self.seed, self.now.as_micros());
    }

    fn feed(&mut self, input: Input) {
        self.node.handle(input, self.now);
        while let Some(output) = self.node.next_output() {
            match output {
                Output::Run(run) => self.runs.push_back(run.id),
                Output::Send { to, frames } => {
                    let (id, reply) = native::decode_reply(frames).unwrap();
                    self.answered(&to, id, &reply);
                }
                _ => {}
            }
        }
    }

    fn answered(&mut self, to: &ConnectionId, id: u64, reply: &Reply) {
        let is_farewell = matches!(reply, Reply::Failure(Failure { code: Code::Cancelled, .. }));
        let client = self.clients.get_mut(to).unwrap();
        let (is_away, is_owed) = (client.away_since.is_some(), client.owed.contains(&id));
        if !matches!(reply, Reply::Partial(_)) {
            client.owed.remove(&id);
        }
        self.require(is_owed, || format!("{to} gets {reply:?} for {id}, which it is not owed"));
        self.require(!is_away || is_farewell, || format!("{to} gets {reply:?} while it is away"));
    }

    fn ask(&mut self, from: &ConnectionId) {
        let client = self.clients.get_mut(from).unwrap();
        client.asked += 1;
        client.owed.insert(client.asked);
        let request = Request {
            id: client.asked,
            service: frame("add"),
            // Longer than any run or absence, so that only these end a request.
            deadline_ms: Some(3_600_000),
            wait: false,
            trace: false,
            traceparent: None,
            idempotency_key: None,
            body: vec![frame(format!("{from} asks {}", client.asked))],
        };
        let frames = native::encode_request(Dialect::Native, &request).unwrap();
        self.feed(Input::Message { from: from.clone(), frames });
    }

    /// Ends the connection of a client.
    fn leave(&mut self, who: &ConnectionId) {
        self.clients.get_mut(who).unwrap().away_since = Some(self.now);
        self.feed(Input::Gone(who.clone()));
    }

    /// Reconnects a client, which sends a message without effect.
    fn come_back(&mut self, who: &ConnectionId) {
        let client = self.clients.get_mut(who).unwrap();
        let since = client.away_since.take().unwrap();
        let before = client.owed.len();
        self.feed(Input::Message { from: who.clone(), frames: native::encode_cancel(u64::MAX) });
        self.held += (before - self.clients[who].owed.len()) as u64;
        if self.now >= since + self.reconnect {
            self.given_up += 1;
            // Its requests have ended, and no reply to them may follow.
            self.clients.get_mut(who).unwrap().owed.clear();
        }
    }

    fn finish(&mut self, rng: &mut Rng) {
        let Some(request) = self.runs.remove(rng.usize(..=self.runs.len())) else { return };
        if rng.bool() {
            self.feed(Input::Partial { request, body: vec![frame("half")] });
        }
        self.feed(Input::Finished { request, result: Ok(vec![frame("done")]) });
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.node.next_wake().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.feed(Input::Tick);
        }
        self.now = until;
    }

    fn step(&mut self, rng: &mut Rng) {
        let who = ConnectionId::new(NAMES[rng.usize(..NAMES.len())]);
        match (rng.u8(..10), self.clients[&who].away_since.is_some()) {
            (0..=3, false) => self.ask(&who),
            (4, false) => self.leave(&who),
            (4, true) => self.come_back(&who),
            (5..=7, _) => self.finish(rng),
            (8, _) => self.wait(up_to(rng, Duration::from_secs(2))),
            _ if chance(rng, 100) => self.wait(up_to(rng, self.reconnect * 2)),
            _ => {}
        }
    }

    /// Reconnects all clients, and ends all runs.
    fn settle(&mut self, rng: &mut Rng) {
        let is_away = |(_, client): &(&ConnectionId, &Client)| client.away_since.is_some();
        let away: Vec<ConnectionId> = self.clients.iter().filter(is_away).map(|(who, _)| who.clone()).collect();
        away.iter().for_each(|who| self.come_back(who));
        while !self.runs.is_empty() {
            self.finish(rng);
        }
        let owed: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.has_requests()).map(|(who, _)| who).collect();
        self.require(owed.is_empty(), || format!("{owed:?} never get an answer"));
        self.require(self.node.outstanding() == 0, || "requests are left over".to_owned());
    }
}

impl Client {
    fn has_requests(&self) -> bool {
        !self.owed.is_empty()
    }
}

#[test]
fn a_client_that_comes_back_gets_each_reply_once() {
    let seeds = match number_from("WASMNODE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("WASMNODE_SEEDS").unwrap_or(SEEDS),
    };
    let (mut held, mut given_up, count) = (0, 0, seeds.end - seeds.start);
    for seed in seeds {
        let (mut rng, mut world) = (Rng::with_seed(seed), World::new(seed));
        (0..STEPS).for_each(|_| world.step(&mut rng));
        world.settle(&mut rng);
        held += world.held;
        given_up += world.given_up;
    }
    assert!(count < SEEDS || held > 0 && given_up > 0, "{held} replies held, {given_up} clients given up");
}
