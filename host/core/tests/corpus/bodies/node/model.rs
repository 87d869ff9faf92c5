//! Model of the answers that a node owes: at most one for each request at any time, exactly one once it has stopped.

use super::settings::OUTSTANDING;
use std::collections::{BTreeMap, BTreeSet};
use wasmnode_core::message::peer::{self, PeerMessage};
use wasmnode_core::message::{self, Message, Reply, Sender, native};
use wasmnode_core::{
    Access, Address, CallId, ConnectionId, Event, Frame, Input, LinkId, Node, NodeSettings, Output, RequestId, Time,
    ZoneEvent,
};

/// Requester of an answer, for requests that cannot be distinguished.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Requester {
    Native(ConnectionId, u64),
    Majordomo(ConnectionId),
    /// A peer need not get an answer: a duplicate gets none, nor does a request before HELLO.
    Peer(ConnectionId, u64),
    Call(CallId),
}

#[derive(Debug, Default)]
struct Account {
    due: u64,
    answered: u64,
}

impl Account {
    fn open(&self) -> u64 {
        self.due - self.answered
    }
}

#[derive(Debug)]
pub struct Model {
    settings: NodeSettings,
    accounts: BTreeMap<Requester, Account>,
    /// Requests that certainly reached the broker, and requests of peers, which may have reached it.
    arrived: u64,
    may_have_arrived: u64,
    /// Requests with an idempotency key.
    keyed: usize,
    /// Runs, each with whether it was stopped.
    runs: BTreeMap<RequestId, bool>,
    ever_run: BTreeSet<RequestId>,
    /// All links so far, each with whether it exists.
    links: BTreeMap<LinkId, bool>,
    workers: usize,
    /// Number of sessions with other routers.
    sessions: usize,
    is_stopped: bool,
}

impl Model {
    pub fn new(settings: &NodeSettings) -> Self {
        Self {
            settings: settings.clone(),
            accounts: BTreeMap::new(),
            arrived: 0,
            may_have_arrived: 0,
            keyed: 0,
            runs: BTreeMap::new(),
            ever_run: BTreeSet::new(),
            links: BTreeMap::new(),
            workers: 0,
            sessions: 0,
            is_stopped: false,
        }
    }

    pub fn access(&self) -> Option<&Access> {
        self.settings.access.as_ref()
    }

    pub fn sessions(&self) -> usize {
        self.sessions
    }

    pub fn happens(&mut self, input: &Input) {
        match input {
            Input::Message { from, frames } => self.arrives(from, frames.clone()),
            Input::Call { call, .. } => {
                self.arrived += 1;
                self.owe(Requester::Call(*call));
            }
            Input::Finished { request, .. } => drop(self.runs.remove(request)),
            Input::LinkDown { link, .. } => drop(self.links.insert(*link, false)),
            Input::Stop => self.is_stopped = true,
            _ => {}
        }
    }

    fn arrives(&mut self, from: &ConnectionId, frames: Vec<Frame>) {
        match message::decode(frames) {
            Ok(Message::Request { dialect, request }) => {
                let address = Address::from_bytes(&request.service);
                let is_asked = address.is_ok_and(|address| !address.service.as_str().starts_with("mmi."));
                self.arrived += u64::from(is_asked);
                self.keyed += usize::from(request.idempotency_key.is_some());
                self.owe(match dialect {
                    dialect if dialect.is_native() => Requester::Native(from.clone(), request.id),
                    _ => Requester::Majordomo(from.clone()),
                });
            }
            Ok(Message::Peer(PeerMessage::Request(forward))) => {
                self.may_have_arrived += 1;
                self.keyed += usize::from(forward.idempotency_key.is_some());
                self.owe(Requester::Peer(from.clone(), forward.id));
            }
            Err(malformed) => {
                if let Sender::NativeClient(id) = malformed.sender {
                    self.owe(Requester::Native(from.clone(), id));
                }
            }
            Ok(_) => {}
        }
    }

    fn owe(&mut self, requester: Requester) {
        self.accounts.entry(requester).or_default().due += 1;
    }

    pub fn acts(&mut self, output: &Output) {
        match output {
            Output::Send { to, frames } => self.sends(to, frames),
            Output::Answer { call, .. } => self.answers(&Requester::Call(*call)),
            Output::Event(Event::UnreportedFailure { connection, .. }) => {
                self.answers(&Requester::Majordomo(connection.clone()));
            }
            Output::Event(Event::Refused { connection, why }) if why.starts_with("sends an invalid request") => {
                self.answers(&Requester::Majordomo(connection.clone()));
            }
            Output::Event(Event::WorkerJoined { .. }) => self.workers += 1,
            Output::Event(Event::WorkerLeft { .. }) => self.workers -= 1,
            Output::Zone(ZoneEvent::SessionUp { .. }) => self.sessions += 1,
            Output::Zone(ZoneEvent::SessionDown { .. }) => self.sessions -= 1,
            Output::Run(request) => {
                assert!(self.ever_run.insert(request.id), "{:?} runs twice", request.id);
                self.runs.insert(request.id, false);
            }
            Output::Stop(request) => {
                assert_eq!(self.runs.insert(*request, true), Some(false), "{request:?} is stopped, and does not run");
            }
            Output::Dial { link, .. } => assert_eq!(self.links.insert(*link, true), None, "{link} is used again"),
            Output::HangUp(link) => assert_eq!(self.links.insert(*link, false), Some(true), "{link} does not stand"),
            Output::Post { link, frames } => {
                assert_eq!(self.links.get(link), Some(&true), "{link} does not stand");
                assert!(peer::decode(frames.clone()).is_ok(), "{frames:?} cannot be read");
            }
            _ => {}
        }
    }

    fn sends(&mut self, to: &ConnectionId, frames: &[Frame]) {
        let size = frames.iter().map(Frame::len).sum::<usize>();
        assert!(size <= self.settings.limits.message + 4_200, "{size} bytes are sent");
        if let Ok((id, reply)) = native::decode_reply(frames.to_vec()) {
            return self.replies(&Requester::Native(to.clone(), id), &reply);
        }
        match peer::decode(frames.to_vec()) {
            Ok(PeerMessage::Reply { id, reply }) => return self.replies(&Requester::Peer(to.clone(), id), &reply),
            Ok(_) => return,
            Err(_) => {}
        }
        let frames = if frames[0].is_empty() { &frames[1..] } else { frames };
        match (frames[0].as_ref(), frames[1].as_ref()) {
            (b"MDPC01", _) | (b"MDPC02", [3]) => self.answers(&Requester::Majordomo(to.clone())),
            (b"MDPC02", [2]) | (b"MDPW01" | b"MDPW02", _) => {}
            _ => panic!("{frames:?} is of no dialect"),
        }
    }

    fn replies(&mut self, requester: &Requester, reply: &Reply) {
        match reply {
            Reply::Partial(_) => {
                let is_open = self.accounts.get(requester).is_some_and(|account| account.open() > 0);
                assert!(is_open, "{requester:?} gets a partial reply and waits for none");
            }
            Reply::Final(_) | Reply::Failure(_) => self.answers(requester),
        }
    }

    fn answers(&mut self, requester: &Requester) {
        let account = self.accounts.entry(requester.clone()).or_default();
        account.answered += 1;
        assert!(account.answered <= account.due, "{requester:?} gets an answer too many");
    }

    pub fn at_rest(&self, node: &Node, now: Time) {
        self.check_counters(node);
        self.check_limits(node, now);
        if self.is_stopped {
            self.check_paid();
        }
    }

    pub fn at_end(&self, node: &Node) {
        assert_eq!(node.outstanding(), 0, "something is left over");
        assert_eq!(self.workers, 0, "a worker is left over");
    }

    fn check_paid(&self) {
        for (requester, account) in &self.accounts {
            let is_paid = account.open() == 0 || matches!(requester, Requester::Peer(..));
            assert!(is_paid, "{requester:?} never gets an answer: {account:?}");
        }
    }

    fn check_counters(&self, node: &Node) {
        let counters = node.counters();
        let stopping = self.runs.values().filter(|is_stopped| **is_stopped).count();
        assert!(node.outstanding() >= stopping, "{} outstanding, {stopping} stopping", node.outstanding());
        let open = node.outstanding() - stopping;
        let known = counters.replied + counters.failed.values().sum::<u64>() + open as u64;
        assert!(counters.accepted <= known && counters.replied <= counters.accepted, "{counters:?}, {open} open");
        let arrived = self.arrived..=self.arrived + self.may_have_arrived;
        assert!(arrived.contains(&known), "{arrived:?} have arrived: {counters:?}, {open} open");
        assert!(open <= self.settings.limits.requests, "{open} requests are held");
    }

    fn check_limits(&self, node: &Node, now: Time) {
        let limits = &self.settings.limits;
        assert!(self.workers <= limits.workers);
        let retried = usize::try_from(node.counters().retried).unwrap();
        let mut workers = 0;
        for status in node.services(now) {
            let settings = self.settings.services.get(&status.name).unwrap_or(&self.settings.defaults);
            assert!(status.running <= settings.concurrency, "{status:?}");
            // An admitted request is not refused later: neither one that comes back, nor one that waited for the reply
            // to its key and starts because there was none.
            let let_in = retried + self.keyed.min(usize::try_from(status.failed).unwrap());
            assert!(status.queued <= settings.queue + let_in, "{status:?}");
            workers += status.workers_idle + status.workers_busy;
            for hop in &status.peers {
                assert!(hop.outstanding <= limits.requests_per_peer, "{hop:?}");
            }
        }
        assert_eq!(workers, self.workers, "workers");
        for member in node.members() {
            assert!(member.offers <= self.settings.routes.offers, "{member:?}");
        }
        assert!(node.members().len() <= 1 + self.settings.members.limit);
        self.check_clients();
    }

    /// Checks the outstanding requests of each connection and each user. Majordomo clients that get no failures may
    /// seem to have more.
    fn check_clients(&self) {
        let (mut by_peer, mut by_user) = (BTreeMap::new(), BTreeMap::new());
        for (requester, account) in &self.accounts {
            let (Requester::Native(peer, _) | Requester::Majordomo(peer)) = requester else { continue };
            *by_peer.entry(peer).or_insert(0) += account.open();
            *by_user.entry(peer.principal()).or_insert(0) += account.open();
        }
        let most = self.settings.limits.requests_per_client as u64;
        assert!(by_peer.values().all(|open| *open <= most), "{by_peer:?}");
        let shop = by_user.iter().find(|(user, _)| user.is_some_and(|user| user.as_str() == "shop"));
        assert!(shop.is_none_or(|(_, open)| *open <= OUTSTANDING as u64), "{by_user:?}");
    }
}
