//! Policy of a router: what other zones cannot reach, whatever they send.

use super::{OPEN, Site, neighbour, two, wait_until_reachable};
use crate::majordomo::dealer;
use crate::node::{Node, PATIENCE};
use std::time::Duration;
use wasmnode_client::{Code, Reply};
use wasmnode_core::message::peer::{self, Forward, Member, MemberKind, PeerMessage};
use wasmnode_core::message::trace::{self, Record};
use wasmnode_core::{Failure, Frame};

#[test]
fn what_is_not_exported_or_not_imported_cannot_be_called_by_any_name() {
    let exports = "export = ['*', '!secret']\nimport = ['*']\n";
    let imports = "export = ['*']\nimport = ['*', '!unwanted']\n";
    let zones = two(&["echo", "echo=secret", "echo=unwanted"], "", imports, exports);
    wait_until_reachable(&zones.node_a, "echo", true);
    wait_until_reachable(&zones.node_b, "secret", true);
    wait_until_reachable(&zones.node_b, "unwanted", true);
    for service in ["secret", "unwanted"] {
        for place in ["", "@b", "@node-b.b", "@router-b.b"] {
            let (code, reason) = zones.node_a.fail(&format!("{service}{place}"), &[b"x"]);
            assert_eq!(code, Code::UnknownService, "{service}{place}: {reason}");
        }
    }
    for own in ["node.services", "node.plugins", "node.members"] {
        zones.node_a.fail(&format!("{own}@node-b.b"), &[]);
        zones.node_a.fail(&format!("{own}@router-b.b"), &[]);
    }
}

/// Router of zone a that the test plays, byte by byte.
struct Forger {
    me: Member,
    /// Socket that the router under test dials, and socket that dials the router.
    dialled: zmq::Socket,
    dials: zmq::Socket,
    last: u64,
}

impl Forger {
    /// Listens at a site without a process, and sends a hello to the router as a router of this zone.
    fn new(site: &Site, zone: &str, router: &Node) -> Self {
        let dialled = zmq::Context::new().socket(zmq::ROUTER).unwrap();
        dialled.set_linger(0).unwrap();
        dialled.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
        dialled.bind(&site.endpoint).unwrap();
        let me = Member {
            name: site.name.parse().unwrap(),
            boot: 1,
            renewal: 0,
            role: MemberKind::Router,
            endpoint: site.endpoint.clone(),
        };
        let mut forger = Self { me, dialled, dials: dealer(&router.ipc(), None), last: 0 };
        forger.send(PeerMessage::Hello { zone: zone.parse().unwrap(), member: forger.me.clone() });
        forger
    }

    fn send(&mut self, message: PeerMessage) {
        let frames = peer::encode(message);
        self.dials.send_multipart(frames.iter().map(AsRef::<[u8]>::as_ref), 0).unwrap();
    }

    fn receive(&self) -> PeerMessage {
        let frames = self.dials.recv_multipart(0).expect("a message of the router");
        peer::decode(frames.into_iter().map(Frame::from).collect()).unwrap()
    }

    /// Opens a session, and waits for the advert of this service.
    fn open(&mut self, service: &[u8]) {
        assert!(matches!(self.receive(), PeerMessage::Welcome { .. }));
        self.send(PeerMessage::Open { epoch: 1 });
        loop {
            let mut frames = self.dialled.recv_multipart(0).expect("a message of the router");
            let link = frames.remove(0);
            let reply = match peer::decode(frames.into_iter().map(Frame::from).collect()).unwrap() {
                PeerMessage::Hello { .. } => {
                    PeerMessage::Welcome { zone: "a".parse().unwrap(), member: self.me.clone() }
                }
                PeerMessage::Ping { .. } => PeerMessage::Pong { unknown: Vec::new() },
                PeerMessage::Paths { update, .. } if update.windows(service.len()).any(|bytes| bytes == service) => {
                    return;
                }
                _ => continue,
            };
            let reply = peer::encode(reply);
            let frames: Vec<&[u8]> = [&link[..]].into_iter().chain(reply.iter().map(AsRef::as_ref)).collect();
            self.dialled.send_multipart(frames, 0).unwrap();
        }
    }

    /// Sends a valid request with the changes of `forge`, and returns the answer.
    fn ask(&mut self, service: &str, forge: impl FnOnce(&mut Forward)) -> Reply {
        self.last += 1;
        let mut forward = Forward {
            id: self.last,
            remaining: Some(Duration::from_secs(60)),
            hops: 30,
            is_trace: false,
            has_alternative: false,
            service: service.parse().unwrap(),
            caller: "forger".into(),
            allowed: None,
            traceparent: None,
            idempotency_key: None,
            chain: Vec::new(),
            zone: Some("b".parse().unwrap()),
            node: None,
            crossed: vec!["a".parse().unwrap()],
            body: vec![Frame::from_static(b"x")],
        };
        forge(&mut forward);
        self.send(PeerMessage::Request(forward.into()));
        match self.receive() {
            PeerMessage::Reply { id, reply } if id == self.last => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Traces a service; returns the nodes of the path, and the answer. Nothing else of the other zone may be reported.
    fn trace(&mut self, service: &str) -> (Vec<String>, Reply) {
        let Reply::Partial(records) = self.ask(service, |forward| forward.is_trace = true) else {
            panic!("no records of {service}");
        };
        let records = records.into_iter().map(|record| trace::decode(record).unwrap());
        let name = |record: Record| {
            let known = ["goes to node node-b", "runs here", "refuses it: 403 forbidden"];
            assert!(known.contains(&record.decision.as_str()), "{record:?}");
            record.node.to_string()
        };
        let names = records.map(name).collect();
        match self.receive() {
            PeerMessage::Reply { id, reply } if id == self.last => (names, reply),
            other => panic!("{other:?}"),
        }
    }

    fn fail(&mut self, service: &str, forge: impl FnOnce(&mut Forward)) -> Code {
        match self.ask(service, forge) {
            Reply::Failure(Failure { code, .. }) => code,
            other => panic!("{service} was accepted: {other:?}"),
        }
    }
}

/// Starts zone b, whose router has the site as its neighbour of zone a.
fn zone_b(site: &Site, settings: &str) -> (Node, Node) {
    let router = Site::new("router-b", "b", &[]);
    let seed = router.endpoint.clone();
    let node = Site::new("node-b", "b", &["echo", "echo=secret"]).start(&seed, "");
    let router = router.start(&seed, &neighbour("a", &site.endpoint, settings));
    wait_until_reachable(&router, "echo", true);
    wait_until_reachable(&router, "secret", true);
    (node, router)
}

#[test]
fn a_neighbour_that_forges_its_requests_gets_nothing_that_is_not_exported() {
    let site = Site::new("router-a", "a", &[]);
    let (node, router) = zone_b(&site, "export = ['echo']\nimport = ['*']\n");
    let mut forger = Forger::new(&site, "a", &router);
    forger.open(b"echo");
    assert_eq!(forger.ask("echo", |_| {}), Reply::Final(vec!["x".into()]));
    let way = vec!["router-b".to_owned(), "node-b".to_owned()];
    assert_eq!(forger.trace("echo"), (way, Reply::Final(Vec::new())));
    assert_eq!(forger.fail("secret", |_| {}), Code::Forbidden);
    assert_eq!(forger.fail("secret", |forward| forward.zone = None), Code::Forbidden);
    assert_eq!(forger.fail("secret", |forward| forward.node = Some("node-b".parse().unwrap())), Code::Forbidden);
    assert_eq!(forger.fail("secret", |forward| forward.crossed.clear()), Code::Forbidden);
    assert_eq!(forger.fail("secret", |forward| forward.chain.push("echo".parse().unwrap())), Code::Forbidden);
    for node in ["node-b", "router-b"] {
        let at = |forward: &mut Forward| forward.node = Some(node.parse().unwrap());
        assert_eq!(forger.fail("node.services", at), Code::Forbidden);
    }
    // A trace of the service fails with the same text, and names no node but the router.
    let Reply::Failure(refused) = forger.ask("secret", |_| {}) else { panic!("secret was accepted") };
    let (names, reply) = forger.trace("secret");
    assert_eq!((names, reply), (vec!["router-b".to_owned()], Reply::Failure(refused)));
    // Policy lets these pass, but they were not advertised.
    assert_eq!(forger.fail("echo", |forward| forward.zone = Some("c".parse().unwrap())), Code::UnknownService);
    assert_eq!(forger.fail("echo", |forward| forward.zone = Some("a".parse().unwrap())), Code::UnknownService);
    // The request claims to have been here, or to come from far away.
    assert_eq!(forger.fail("echo", |forward| forward.crossed.push("b".parse().unwrap())), Code::Loop);
    let zones = || (0..peer::MAX_CROSSED).map(|number| format!("zone{number}").parse().unwrap());
    assert_eq!(forger.fail("echo", |forward| forward.crossed = zones().collect()), Code::Loop);
    assert_eq!(forger.fail("echo", |forward| forward.hops = 0), Code::Loop);
    let services = node.report();
    let secret = services["services"].as_array().unwrap().iter().find(|entry| entry["name"] == "secret").unwrap();
    assert_eq!((&secret["replied"], &secret["failed"]), (&0.into(), &0.into()), "{services}");
}

#[test]
fn a_neighbour_without_a_session_may_call_nothing() {
    let site = Site::new("router-a", "a", &[]);
    let (_node, router) = zone_b(&site, OPEN);
    let mut forger = Forger::new(&site, "a", &router);
    assert!(matches!(forger.receive(), PeerMessage::Welcome { .. }));
    assert_eq!(forger.fail("echo", |_| {}), Code::UnknownService);
}

#[test]
fn a_zone_that_is_no_neighbour_is_refused_and_its_messages_are_ignored() {
    let site = Site::new("router-mars", "mars", &[]);
    let (_node, mut router) = zone_b(&site, OPEN);
    let mut forger = Forger::new(&site, "mars", &router);
    for _ in 0..2 {
        match forger.receive() {
            PeerMessage::Refused(why) => assert!(!why.is_empty()),
            other => panic!("{other:?}"),
        }
        forger.send(PeerMessage::Open { epoch: 1 });
    }
    router.wait_for("router-mars is of zone mars");
}
