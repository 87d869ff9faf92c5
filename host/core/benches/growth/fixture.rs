//! A node with many entries in one table, and requests that it serves in a loop.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::time::Duration;
use wasmnode_core::message::peer::{self, Advert, Member, MemberKind, Offer, PeerMessage, Traits};
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::{
    Address, Body, ConnectionId, DirectorySettings, Frame, Input, Label, Limits, LinkId, MembersSettings, Node,
    NodeSettings, Output, RequestId, ServiceName, ServiceSettings, Time,
};

pub(crate) struct Fixture {
    node: Node,
    now: Time,
    /// Clients and the services that they request, in turn.
    requests: Vec<(ConnectionId, Vec<u8>)>,
    /// Whether Majordomo workers serve, not plugins or members.
    workers: bool,
    /// Number of requests sent, and of answers received.
    sent: u64,
    answers: u64,
    /// Whether each request has an idempotency key.
    keys: bool,
    body: Body,
    /// Requests that the node has started or forwarded, oldest first.
    tasks: VecDeque<Task>,
    links: BTreeMap<LinkId, Label>,
}

/// A request in a plugin, at a peer or at a worker.
enum Task {
    Run(RequestId),
    Forwarded(LinkId, u64),
    Handed(ConnectionId, Vec<Frame>),
}

impl Fixture {
    fn new(settings: NodeSettings) -> Self {
        let (now, requests) = (Time::from_micros(1_000_000), vec![(client(0), b"echo".to_vec())]);
        let mut fixture = Self {
            node: Node::new(settings),
            now,
            requests,
            workers: false,
            sent: 0,
            answers: 0,
            keys: false,
            body: vec![Frame::from(vec![b'x'; 64])],
            tasks: VecDeque::new(),
            links: BTreeMap::new(),
        };
        fixture.handle(Input::Tick);
        fixture
    }

    pub(crate) fn with_services(count: usize) -> Self {
        let mut fixture = Self::new(settings());
        let names: Vec<String> = (0..count).map(|number| format!("service-{number}")).collect();
        for name in &names {
            fixture.handle(Input::Offered(service(name)));
        }
        fixture.requests = names.into_iter().map(|name| (client(0), name.into_bytes())).collect();
        fixture.spread();
        fixture
    }

    /// Creates a node with this number of clients, each with a request that waits for another service.
    pub(crate) fn with_clients(count: usize) -> Self {
        let mut fixture = Self::new(settings());
        fixture.handle(Input::Offered(service("echo")));
        for number in 0..count {
            fixture.receive(client(number), request(b"later", 0, &fixture.body.clone(), None));
        }
        fixture.requests = (0..count).map(|number| (client(number), b"echo".to_vec())).collect();
        fixture.spread();
        fixture
    }

    pub(crate) fn with_workers(count: usize) -> Self {
        let mut fixture = Self::new(settings());
        fixture.workers = true;
        for number in 0..count {
            let ready = [&b"MDPW02"[..], &[1], b"echo"].map(Frame::copy_from_slice);
            fixture.receive(worker(number), ready.to_vec());
        }
        fixture
    }

    /// Creates a node with this number of peers that offer the service, among which it distributes requests.
    pub(crate) fn with_members(count: usize) -> Self {
        let mut fixture = Self::new(settings());
        for number in 0..count {
            fixture.join(number, MemberKind::Node, vec![offer(service("echo").into())]);
        }
        fixture
    }

    /// Creates a node with routes to this number of zones, each with one service, through one router.
    pub(crate) fn with_zones(count: usize) -> Self {
        let mut fixture = Self::new(settings());
        let names: Vec<String> = (0..count).map(|number| format!("echo@zone-{number}")).collect();
        let offers = names.iter().map(|name| offer(Address::from_str(name).unwrap()));
        fixture.join(0, MemberKind::Router, offers.collect());
        fixture.requests = names.into_iter().map(|name| (client(0), name.into_bytes())).collect();
        fixture.spread();
        fixture
    }

    /// Creates a node on which one request runs and the others wait; each answer starts the next, and another one
    /// arrives.
    pub(crate) fn with_waiting(count: usize) -> Self {
        let services = BTreeMap::from([(service("echo"), ServiceSettings { concurrency: 1, ..patient() })]);
        let mut fixture = Self::new(NodeSettings { services, ..settings() });
        fixture.handle(Input::Offered(service("echo")));
        for _ in 0..count {
            fixture.send();
        }
        fixture
    }

    pub(crate) fn with_kept_replies(count: usize) -> Self {
        let limits = Limits { kept_replies: count, ..settings().limits };
        let mut fixture = Self::new(NodeSettings { limits, ..settings() });
        fixture.handle(Input::Offered(service("echo")));
        fixture.keys = true;
        for _ in 0..count {
            fixture.serve_one();
        }
        fixture
    }

    pub(crate) fn with_bodies(bytes: usize) -> Self {
        let mut fixture = Self::new(settings());
        fixture.handle(Input::Offered(service("echo")));
        fixture.body = vec![Frame::from(vec![b'x'; bytes])];
        fixture
    }

    /// Sends one request, and answers the oldest one that is being served.
    pub(crate) fn serve_one(&mut self) {
        self.send();
        let answers = self.answers;
        let done = self.tasks.pop_front().unwrap();
        let body = self.body.clone();
        match done {
            Task::Run(request) => self.handle(Input::Finished { request, result: Ok(body) }),
            Task::Forwarded(link, id) => {
                let frames = peer::encode(PeerMessage::Reply { id, reply: Reply::Final(body) });
                self.handle(Input::LinkMessage { link, frames });
            }
            Task::Handed(from, mut frames) => {
                frames[1] = Frame::from_static(&[4]);
                self.receive(from, frames);
            }
        }
        assert_eq!(self.answers, answers + 1, "one request is answered at a time");
    }

    fn send(&mut self) {
        let which = usize::try_from(self.sent).unwrap() % self.requests.len();
        self.sent += 1;
        self.now = self.now + Duration::from_micros(1);
        let (peer, name) = self.requests[which].clone();
        let key = self.keys.then(|| Frame::copy_from_slice(&self.sent.to_be_bytes()));
        self.receive(peer, request(&name, self.sent, &self.body, key));
    }

    /// Shuffles the requests, so that successive ones do not use adjacent entries of the tables.
    fn spread(&mut self) {
        let count = self.requests.len();
        let requests = std::mem::take(&mut self.requests);
        self.requests = (0..count).map(|place| requests[place * 7_919 % count].clone()).collect();
    }

    /// Adds a member, with links in both directions and its offers.
    fn join(&mut self, number: usize, role: MemberKind, offers: Vec<Offer>) {
        let name: Label = format!("member-{number}").parse().unwrap();
        let endpoint = format!("tcp://{name}:1");
        let member = Member { name, boot: 1, renewal: 0, role, endpoint };
        let (zone, guest) = (settings().zone, ConnectionId::new(format!("guest-{number}").into_bytes()));
        self.receive(guest.clone(), peer::encode(PeerMessage::Hello { zone: zone.clone(), member: member.clone() }));
        let link = self.link_to(&member.name);
        self.handle(Input::LinkMessage { link, frames: peer::encode(PeerMessage::Welcome { zone, member }) });
        self.receive(guest, peer::encode(PeerMessage::Advert(Advert::Whole { version: 1, offers })));
    }

    /// Returns the link to a member, once the node has dialled it.
    fn link_to(&mut self, name: &Label) -> LinkId {
        loop {
            if let Some((link, _)) = self.links.iter().find(|(_, to)| *to == name) {
                return *link;
            }
            self.now = self.node.next_wake().unwrap().max(self.now);
            self.handle(Input::Tick);
        }
    }

    fn receive(&mut self, from: ConnectionId, frames: Vec<Frame>) {
        self.handle(Input::Message { from, frames });
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(input, self.now);
        while let Some(output) = self.node.next_output() {
            match output {
                Output::Run(request) => self.tasks.push_back(Task::Run(request.id)),
                Output::Dial { link, endpoint, .. } => {
                    let name = endpoint.trim_start_matches("tcp://").trim_end_matches(":1");
                    self.links.insert(link, name.parse().unwrap());
                }
                Output::Post { link, frames } => {
                    let id = peer::request_id(&frames);
                    self.tasks.extend(id.map(|id| Task::Forwarded(link, id)));
                }
                Output::Send { to, frames } if frames[0].starts_with(native::MAGIC) => {
                    let (_, reply) = native::decode_reply(frames).unwrap();
                    assert!(matches!(reply, Reply::Final(_)), "{to} gets {reply:?}");
                    self.answers += 1;
                }
                Output::Send { to, frames } if self.workers && frames.len() > 2 => {
                    self.tasks.push_back(Task::Handed(to, frames));
                }
                _ => {}
            }
        }
    }
}

fn settings() -> NodeSettings {
    NodeSettings {
        endpoint: "tcp://me:1".into(),
        limits: Limits { workers: 10_000, requests_per_client: 200_000, ..Limits::default() },
        members: MembersSettings { limit: 1_000, ..MembersSettings::default() },
        routes: DirectorySettings { offers: 10_000, routes: 100_000, ..DirectorySettings::default() },
        defaults: patient(),
        ..NodeSettings::default()
    }
}

fn patient() -> ServiceSettings {
    ServiceSettings { queue: 200_000, ..ServiceSettings::default() }
}

fn request(service: &[u8], id: u64, body: &Body, idempotency_key: Option<Frame>) -> Vec<Frame> {
    let service = Frame::copy_from_slice(service);
    let (trace, traceparent, deadline_ms) = (false, None, Some(1_000_000));
    let body = body.clone();
    let request = Request { id, service, deadline_ms, wait: true, trace, traceparent, idempotency_key, body };
    native::encode_request(Dialect::NativeCompact, &request).unwrap()
}

fn offer(service: Address) -> Offer {
    Offer { service, cost: 0, traits: Traits::default() }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn client(number: usize) -> ConnectionId {
    ConnectionId::new(format!("client-{number}").into_bytes())
}

fn worker(number: usize) -> ConnectionId {
    ConnectionId::new(format!("worker-{number}").into_bytes())
}
