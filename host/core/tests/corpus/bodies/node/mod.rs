//! A node or a router with any inputs in any order: messages of its peers may be anything, inputs of its driver are
//! valid. After each step [`model`] compares the outputs with the answers that are due.

mod fixture;
mod model;
mod settings;

use super::reader::Reader;
use super::words::{any_advert, any_forward, any_gossip, any_member, any_service, any_update, any_zone, label};
use super::{Seen, Watch};
use model::Model;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::path::{self, RouterId};
use wasmnode_core::message::peer::{self, PeerMessage};
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::{
    CallId, Code, ConnectionId, Failure, Frame, Input, LinkId, Node, Output, RequestId, RunningSettings, Time,
};

/// Requested names and addresses, valid and invalid.
const ASKED: [&str; 16] = [
    "print",
    "storage.read",
    "resize",
    "loop",
    "print@paris",
    "print@lyon",
    "print@node1",
    "print@node2",
    "storage.read@node2.paris",
    "resize@nice1.nice",
    "node.services",
    "mmi.service",
    "mmi.other",
    "",
    "a b",
    "print@",
];

struct World<'a> {
    watch: &'a mut Watch<'a>,
    node: Node,
    now: Time,
    model: Model,
    settings: RunningSettings,
    peers: Vec<ConnectionId>,
    /// Links that exist.
    links: Vec<LinkId>,
    runs: BTreeSet<RequestId>,
    /// The last few messages, which may still turn out to be undeliverable.
    sent: Vec<(ConnectionId, Vec<Frame>)>,
    posted: Vec<(LinkId, Vec<Frame>)>,
    /// Requests that workers and peers got last.
    handed: Vec<(ConnectionId, Frame)>,
    forwarded: Vec<(LinkId, u64)>,
    /// The last request and the last update of each guest.
    numbers: BTreeMap<ConnectionId, (u64, u64)>,
    /// The epoch of the session with each neighbour.
    epochs: BTreeMap<ConnectionId, u64>,
    calls: u64,
}

pub fn run(input: &[u8]) {
    watch(input, &mut |_, _| {});
}

/// Runs the body, and reports its events.
pub fn watch<'a>(input: &[u8], watch: &'a mut Watch<'a>) {
    let mut input = Reader::new(input);
    let flags = input.u8();
    let settings = settings::of(flags);
    let mut world = World {
        watch,
        model: Model::new(&settings),
        settings: RunningSettings::of(&settings),
        node: Node::new(settings),
        now: Time::ZERO,
        peers: settings::peers(flags),
        links: Vec::new(),
        runs: BTreeSet::new(),
        sent: Vec::new(),
        posted: Vec::new(),
        handed: Vec::new(),
        forwarded: Vec::new(),
        numbers: BTreeMap::new(),
        epochs: BTreeMap::new(),
        calls: 0,
    };
    world.happens(Input::Tick);
    if flags & settings::ALONE == 0 {
        world.settle_in(flags & settings::ROUTER == settings::ROUTER);
    }
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.happens(Input::Stop);
    for request in std::mem::take(&mut world.runs) {
        world.happens(Input::Finished { request, result: Ok(Vec::new()) });
    }
    world.model.at_end(&world.node);
}

impl World<'_> {
    fn step(&mut self, input: &mut Reader<'_>) {
        match input.below(32) {
            0..=4 => self.client(input),
            5..=8 => self.majordomo(input),
            9..=14 => self.guest(input),
            15..=19 => self.link(input),
            20..=23 => self.plugin(input),
            24 => self.stranger(input),
            25 => self.undeliverable(input),
            26 => self.lost_link(input),
            27..=29 => self.time(input),
            30 => match self.model.access().is_some() {
                true => self.happens(Input::Trust(settings::access(input.u8()))),
                false => self.happens(Input::Reconfigure(Box::new(self.settings.clone()))),
            },
            _ => match input.u8() {
                0..=3 => self.happens(Input::Stop),
                4..=11 => self.happens(Input::Drain),
                _ => self.happens(Input::Offered(any_service(input))),
            },
        }
    }

    fn peer(&self, input: &mut Reader<'_>) -> ConnectionId {
        input.pick(&self.peers).unwrap().clone()
    }

    fn send(&mut self, from: ConnectionId, frames: Vec<Frame>) {
        self.happens(Input::Message { from, frames });
    }

    /// A native client.
    fn client(&mut self, input: &mut Reader<'_>) {
        let (from, id) = (self.peer(input), input.u8() % 6);
        if input.below(5) == 0 {
            return self.send(from, native::encode_cancel(id.into()));
        }
        let service = Frame::from_static(input.pick(&ASKED).unwrap().as_bytes());
        let given = input.u8();
        let request = Request {
            id: id.into(),
            service,
            deadline_ms: (given & 1 == 1).then(|| 1 + u32::from(input.u8())),
            wait: given & 2 == 2,
            trace: given & 16 == 16,
            traceparent: (given & 4 == 4).then(|| Frame::from_static(b"00-00-00-01")),
            idempotency_key: (given & 8 == 8).then(|| Frame::copy_from_slice(&[input.u8()])),
            body: input.body(),
        };
        let dialect = if given & 32 == 32 { Dialect::NativeCompact } else { Dialect::Native };
        self.send(from, native::encode_request(dialect, &request).unwrap());
    }

    /// A Majordomo client, or a worker.
    fn majordomo(&mut self, input: &mut Reader<'_>) {
        let from = self.peer(input);
        let kind = input.u8();
        let (is_01, command) = (kind & 1 == 1, kind >> 1 & 7);
        let mut frames = if kind & 17 == 0 { Vec::new() } else { vec![Frame::new()] };
        let shifted = |number: u8| Frame::copy_from_slice(&[number - u8::from(is_01)]);
        if command < 2 {
            frames.push(Frame::from_static(if is_01 { b"MDPC01" } else { b"MDPC02" }));
            frames.extend((!is_01).then(|| Frame::from_static(&[1])));
            frames.push(Frame::from_static(input.pick(&ASKED).unwrap().as_bytes()));
            frames.extend(input.body());
            return self.send(from, frames);
        }
        frames.push(Frame::from_static(if is_01 { b"MDPW01" } else { b"MDPW02" }));
        match command {
            2 | 3 => {
                frames.push(Frame::from_static(&[1]));
                frames.push(Frame::from_static(input.pick(&ASKED).unwrap().as_bytes()));
            }
            4 | 5 => {
                frames.push(shifted(if command == 4 && !is_01 { 3 } else { 4 }));
                let handed = input.pick(&self.handed).cloned();
                let (worker, client) = handed.unwrap_or((from, Frame::from_static(b"nobody")));
                frames.extend([client, Frame::new()]);
                frames.extend(input.body());
                return self.send(worker, frames);
            }
            6 => frames.push(shifted(5)),
            _ => frames.push(shifted(6)),
        }
        self.send(from, frames);
    }

    /// Another node that has dialled this one.
    fn guest(&mut self, input: &mut Reader<'_>) {
        let from = self.peer(input);
        let (last, updates) = self.numbers.entry(from.clone()).or_default();
        let message = match input.below(16) {
            0..=2 => {
                let member = any_member(input);
                let zone = match member.name.as_str() {
                    "lyon1" => label("lyon"),
                    "nice1" => label("nice"),
                    _ => any_zone(input),
                };
                *updates = 0;
                PeerMessage::Hello { zone, member }
            }
            3 | 4 => PeerMessage::Gossip(any_gossip(input)),
            5 | 6 => PeerMessage::Advert(any_advert(input)),
            7 => PeerMessage::Pull,
            8 => PeerMessage::Open { epoch: input.number() },
            9 | 10 => {
                *updates += 1;
                let with = match input.below(2) {
                    0 => RouterId { zone: label("lyon"), router: label("lyon1") },
                    _ => RouterId { zone: label("nice"), router: label("nice1") },
                };
                let update = path::encode(&any_update(&with, *updates, input));
                let epoch =
                    if input.below(16) == 0 { input.number() } else { self.epochs.get(&from).copied().unwrap_or(1) };
                PeerMessage::Paths { epoch, update }
            }
            11 | 12 => {
                *last = if input.u8() == 255 { input.number() } else { last.saturating_add(1) };
                let body = input.body();
                PeerMessage::Request(any_forward(*last, body, input).into())
            }
            13 => PeerMessage::Cancel { id: *last },
            14 => PeerMessage::Ping { outstanding: vec![*last, input.number()] },
            _ => PeerMessage::Pong { unknown: Vec::new() },
        };
        self.send(from, peer::encode(message));
    }

    /// A node that this one has dialled.
    fn link(&mut self, input: &mut Reader<'_>) {
        let Some(mut link) = input.pick(&self.links).copied() else { return };
        let forwarded = input.pick(&self.forwarded).copied();
        let failure = |input: &mut Reader<'_>| Failure::new(*input.pick(&Code::ALL).unwrap(), "there");
        let frames = match input.below(10) {
            0..=2 => {
                let member = any_member(input);
                let zone = match link.0 >> 40 {
                    1 => label("lyon"),
                    2 => label("nice"),
                    _ => label("paris"),
                };
                peer::encode(PeerMessage::Welcome { zone, member })
            }
            3 => peer::encode(PeerMessage::Refused("full".into())),
            4 => peer::encode(PeerMessage::Pong { unknown: forwarded.iter().map(|(_, id)| *id).collect() }),
            5 => input.frames(),
            _ => {
                let (at, id) = forwarded.unwrap_or((link, input.number()));
                if self.links.contains(&at) {
                    link = at;
                }
                let reply = match input.below(4) {
                    0 => Reply::Partial(input.body()),
                    1 | 2 => Reply::Final(input.body()),
                    _ => Reply::Failure(failure(input)),
                };
                peer::encode(PeerMessage::Reply { id, reply })
            }
        };
        self.happens(Input::LinkMessage { link, frames });
    }

    /// The plugins, and what runs in them.
    fn plugin(&mut self, input: &mut Reader<'_>) {
        let run = input.u8();
        let runs: Vec<RequestId> = self.runs.iter().copied().collect();
        let request = runs.get(usize::from(run).checked_rem(runs.len()).unwrap_or(0)).copied();
        match (input.below(8), request) {
            (0 | 1, _) => self.happens(Input::Offered(any_service(input))),
            (2, _) => self.happens(Input::Withdrawn(any_service(input))),
            (3, Some(request)) => self.happens(Input::Partial { request, body: input.body() }),
            (4, Some(parent)) => {
                self.calls += 1;
                let (service, body) = (any_service(input), input.body());
                self.happens(Input::Call { call: CallId(self.calls), parent, service, body });
            }
            (5, Some(request)) => {
                self.runs.remove(&request);
                let failure = Failure::new(*input.pick(&Code::ALL).unwrap(), "it failed");
                self.happens(Input::Finished { request, result: Err(failure) });
            }
            (_, Some(request)) => {
                self.runs.remove(&request);
                self.happens(Input::Finished { request, result: Ok(input.body()) });
            }
            (_, None) => self.happens(Input::Finished { request: RequestId(run.into()), result: Ok(Vec::new()) }),
        }
    }

    /// Sends arbitrary frames, most often with a valid beginning.
    fn stranger(&mut self, input: &mut Reader<'_>) {
        const BEGINNINGS: [&[u8]; 6] = [b"", b"WNODC1", b"WNODP1", b"MDPC02", b"MDPW02", b"\0"];
        let from = self.peer(input);
        let mut first = input.pick(&BEGINNINGS).unwrap().to_vec();
        first.extend(input.frame());
        let mut frames = vec![Frame::from(first)];
        frames.extend((0..input.below(5)).map(|_| input.frame()));
        self.send(from, frames);
    }

    fn undeliverable(&mut self, input: &mut Reader<'_>) {
        if let Some((to, frames)) = input.take(&mut self.sent) {
            self.sent.retain(|(other, _)| *other != to);
            self.happens(Input::Undeliverable { to, frames });
        }
    }

    fn lost_link(&mut self, input: &mut Reader<'_>) {
        let unsent = input.take(&mut self.posted).filter(|(link, _)| self.links.contains(link));
        let link = if let Some((link, frames)) = unsent {
            self.happens(Input::Unsent { link, frames });
            Some(link).filter(|link| self.links.contains(link))
        } else {
            input.pick(&self.links).copied()
        };
        if let Some(link) = link {
            self.links.retain(|other| *other != link);
            self.happens(Input::LinkDown { link, why: "gone".into() });
        }
    }

    fn time(&mut self, input: &mut Reader<'_>) {
        const STEPS: [u64; 8] = [1, 10, 50, 100, 250, 250, 1_000, 2_500];
        let pass = |milliseconds| self.now + Duration::from_millis(milliseconds);
        self.now = match (input.u8(), self.node.next_wake()) {
            (255, _) => pass(100_000_000),
            (254, _) => pass(600_000),
            (250..254, _) => pass(10_000),
            (100.., Some(wake)) => self.now.max(wake),
            (step, _) => pass(STEPS[usize::from(step) % STEPS.len()]),
        };
        self.happens(Input::Tick);
    }

    /// Handles one input, and carries out all outputs.
    fn happens(&mut self, input: Input) {
        (self.watch)(self.now, Seen::Given(&input));
        self.model.happens(&input);
        self.node.handle(input, self.now);
        self.act();
        let mut rounds = 0;
        while self.node.next_wake().is_some_and(|wake| wake <= self.now) {
            (self.watch)(self.now, Seen::Given(&Input::Tick));
            self.node.handle(Input::Tick, self.now);
            self.act();
            rounds += 1;
            assert!(rounds < 100, "wakes endlessly at {:?}", self.now);
        }
        self.model.at_rest(&self.node, self.now);
    }

    fn act(&mut self) {
        while let Some(output) = self.node.next_output() {
            (self.watch)(self.now, Seen::Done(&output));
            self.model.acts(&output);
            match output {
                Output::Dial { link, .. } => self.links.push(link),
                Output::HangUp(link) => self.links.retain(|other| *other != link),
                Output::Run(request) => drop(self.runs.insert(request.id)),
                Output::Send { to, frames } => {
                    let client = wasmnode_core::message::majordomo::client_of_request(&frames).cloned();
                    keep(&mut self.handed, client.map(|client| (to.clone(), client)));
                    keep(&mut self.sent, Some((to, frames)));
                }
                Output::Post { link, frames } => {
                    keep(&mut self.forwarded, peer::request_id(&frames).map(|id| (link, id)));
                    keep(&mut self.posted, Some((link, frames)));
                }
                _ => {}
            }
        }
    }
}

/// Adds an entry, and keeps the last few.
fn keep<T>(things: &mut Vec<T>, thing: Option<T>) {
    things.extend(thing);
    if things.len() > 8 {
        things.remove(0);
    }
}
