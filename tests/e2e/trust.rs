//! Keys: which connections are accepted, in which role, and what happens to all others. Each stranger here is a real
//! process on a real socket, and others are served meanwhile.

mod connections;
mod files;
mod flood;
mod idempotency;
mod peers;
mod strangers;

use crate::http::component;
use crate::majordomo::{Worker, answer, ask, dealer};
use crate::node::{Folder, Node, PATIENCE, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use wasmnode::keys;
use wasmnode_client::KeyPair;
use wasmnode_client::{Client, Code, Credentials, Error, Reply, Request};

/// Process with keys in its own folder; a node, if it is started.
struct Party {
    name: &'static str,
    folder: Folder,
    pair: KeyPair,
}

impl Party {
    fn new(name: &'static str, plugins: &[&str]) -> Self {
        let folder = Folder::new(plugins);
        let made = run(&["keygen", "--keys", folder.path("keys").to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        let pair = keys::load_pair(&folder.path("keys")).unwrap();
        assert!(String::from_utf8(made.stdout).unwrap().starts_with(&format!("{}\n", pair.public)));
        Self { name, folder, pair }
    }

    fn keys(&self) -> String {
        self.folder.path("keys").to_str().unwrap().to_owned()
    }

    /// Trusts another party, with the command `wasmnode trust`.
    fn trusts(&self, other: &Self, as_what: &[&str]) {
        trust(&self.keys(), other, as_what);
    }

    /// Starts its node, which requires keys.
    fn start(self, settings: &str) -> Node {
        let name = self.name;
        Node::start_in(self.folder, &format!("name = '{name}'\n{settings}\n[security]\nkeys = 'keys'\n"), &[])
    }

    /// Connects its client to a node with this key.
    fn client(&self, node: &Node, key: &KeyPair) -> Client {
        Client::connect_with(&node.tcp, &Credentials { own: self.pair, node: key.public }).unwrap()
    }

    /// Connects a plain socket with its keys to a node with this key.
    fn dealer(&self, node: &Node, key: &KeyPair) -> zmq::Socket {
        let socket = self.socket(&zmq::Context::new(), key);
        socket.connect(&node.tcp).unwrap();
        socket
    }

    /// Returns such a socket before it is connected.
    fn socket(&self, context: &zmq::Context, key: &KeyPair) -> zmq::Socket {
        let socket = context.socket(zmq::DEALER).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
        socket.set_curve_publickey(self.pair.public.as_bytes()).unwrap();
        socket.set_curve_secretkey(self.pair.secret.as_bytes()).unwrap();
        socket.set_curve_serverkey(key.public.as_bytes()).unwrap();
        socket
    }
}

fn trust(keys: &str, other: &Party, as_what: &[&str]) {
    let key = other.pair.public.to_string();
    let arguments = [&["trust", other.name, &key, "--keys", keys], as_what].concat();
    let trusted = run(&arguments);
    assert!(trusted.status.success(), "{trusted:?}");
}

fn distrust(keys: &str, name: &str) {
    assert!(run(&["distrust", name, "--keys", keys]).status.success());
}

fn keys_of(node: &Node) -> String {
    node.folder.path("keys").to_str().unwrap().to_owned()
}

/// Calls a service once; returns the reply.
fn call_once(client: &mut Client, service: &str) -> Result<Vec<u8>, Error> {
    client.call(Request::new(service).body(["x"]).deadline(PATIENCE), |_| {}).map(|body| body.concat())
}

fn forbidden(result: Result<Vec<u8>, Error>) -> String {
    match result {
        Err(Error::Failure(failure)) if failure.code == Code::Forbidden => failure.reason,
        other => panic!("403 was expected, not {other:?}"),
    }
}

/// Waits until a counter of the node's report has at least this value.
fn wait_for_count(node: &Node, name: &str, least: u64) {
    let began = Instant::now();
    while node.report()["counters"][name].as_u64().unwrap() < least {
        assert!(began.elapsed() < PATIENCE, "{}", node.report());
    }
}

#[test]
fn a_trusted_key_calls_what_it_lists_and_is_identified_by_name() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.folder.plugin("web", &component("web"));
    party.trusts(&shop, &["--allow", "web"]);
    let key = party.pair;
    let node = party.start("");
    let mut client = shop.client(&node, &key);
    let see = Request::new("web").body(["GET /see HTTP/1.1\r\n\r\n"]).deadline(PATIENCE);
    let seen = String::from_utf8(client.call(see, |_| {}).unwrap().concat()).unwrap();
    assert!(seen.contains("wasmnode-caller: user:shop\n"), "{seen}");
    let why = forbidden(call_once(&mut client, "echo"));
    assert!(why.contains("shop may not call echo; `allow` of its key would have to list it"), "{why}");
    // The node's own user connects by ipc, and may call everything.
    assert_eq!(node.call("echo", &[b"x"]).unwrap(), ["x"]);
}

/// Returns a party whose node trusts the second but not the third; both have its key.
fn acquainted() -> (Party, Party, Party) {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    let stranger = Party::new("stranger", &[]);
    party.trusts(&shop, &[]);
    for other in [&shop, &stranger] {
        other.trusts(&party, &[]);
    }
    (party, shop, stranger)
}

#[test]
fn the_command_line_presents_its_key_and_reports_one_that_is_not_trusted() {
    let (party, shop, stranger) = acquainted();
    let node = party.start("");
    let named = format!("node1@{}", node.tcp);
    let call = |keys: &str, to: &str| run(&["call", "echo", "hello", "--to", to, "--keys", keys]);
    let called = call(&shop.keys(), &named);
    assert_eq!(called.stdout, b"hello", "{called:?}");
    for (called, exit, why) in [
        (call(&stranger.keys(), &named), 8, "does not trust this client's key"),
        (call(&shop.keys(), &node.tcp), 2, "write --to NAME@tcp://"),
        (call(&shop.keys(), &format!("node2@{}", node.tcp)), 1, "no key of node2 is trusted"),
        (run(&["call", "echo", "hello", "--to", &node.tcp]), 8, "rejects this client: no key was presented"),
    ] {
        let said = String::from_utf8(called.stderr).unwrap();
        assert!(said.contains(why) && called.status.code() == Some(exit), "{said}");
    }
    let config = node.folder.path("node.toml");
    let own = run(&["services", "--config", config.to_str().unwrap(), "--to", &node.tcp]);
    assert!(own.status.success(), "the node's own key: {own:?}");
}

#[test]
fn traffic_is_sent_with_keys_where_nodes_require_them() {
    let (party, shop, stranger) = acquainted();
    let node = party.start("");
    let send = |party: &Party, keys: &str, name: &str| {
        let file = party.folder.path("traffic.toml");
        let sender = format!("endpoint = '{name}{}'\nto = ['echo']\npattern = 'poisson'\nrate = 1000", node.tcp);
        fs::write(&file, format!("requests = 100\ndeadline = '3m'\n{keys}\n[sender.a]\n{sender}\n")).unwrap();
        run(&["traffic", "--strict", "--config", file.to_str().unwrap()])
    };
    let sent = send(&shop, "keys = 'keys'", "node1@");
    let report = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.status.success() && report.contains(": 100 replied to, 0 failed"), "{report}");
    for (refused, exit, why) in [
        (send(&stranger, "keys = 'keys'", "node1@"), 8, "sender a: the node at tcp://"),
        (send(&shop, "", ""), 8, "rejects this client"),
        (send(&shop, "keys = 'keys'", "node2@"), 1, "sender a: no key of node2 is trusted"),
        (send(&shop, "keys = 'keys'", ""), 1, ":5: sender.a.endpoint: its key cannot be checked without its name"),
    ] {
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(why) && refused.status.code() == Some(exit), "{said}");
    }
}

#[test]
fn strangers_are_rejected_counted_and_logged_while_others_are_served() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    let stranger = Party::new("stranger", &[]);
    party.trusts(&shop, &[]);
    let key = party.pair;
    let mut node = party.start("");
    let mut served = shop.client(&node, &key);
    let mut wrong =
        [stranger.client(&node, &key), shop.client(&node, &stranger.pair), Client::connect(&node.tcp).unwrap()];
    for client in &mut wrong {
        let refused = call_once(client, "echo");
        assert!(matches!(refused, Err(Error::Refused { .. } | Error::Unreachable { .. })), "{refused:?}");
        assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    }
    let log = node.wait_for("is not trusted; to trust it: wasmnode trust NAME");
    assert!(log.contains(&stranger.pair.public.to_string()), "{log}");
    node.wait_for("connection from 127.0.0.1 shows no key");
    wait_for_count(&node, "rejected", 3);
    let replied = &node.report()["services"][0]["replied"];
    assert_eq!(*replied, 3, "nothing but what was served while they tried");
}

#[test]
fn trust_begins_and_ends_without_a_restart_and_ends_what_is_under_way() {
    let (party, shop, other) =
        (Party::new("node1", &["echo", "loop"]), Party::new("shop", &[]), Party::new("other", &[]));
    party.trusts(&other, &[]);
    let key = party.pair;
    let mut node = party.start("[defaults]\ndeadline = '3m'\n");
    let mut served = other.client(&node, &key);
    assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
    trust(&keys_of(&node), &shop, &[]);
    node.wait_for("the keys have changed: 2 are trusted");
    let mut client = shop.client(&node, &key);
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x");
    client.send(Request::new("loop").body(["x"]).deadline(PATIENCE)).unwrap();
    node.wait_until_running("loop");
    distrust(&keys_of(&node), "shop");
    node.wait_for("the keys have changed: 1 is trusted");
    // Its requests are cancelled, later ones are dropped, and it cannot connect again.
    node.wait_until_quiet(PATIENCE);
    let before = node.report()["counters"]["accepted"].as_u64().unwrap();
    client.send(Request::new("echo").body(["x"])).unwrap();
    assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    let after = node.report()["counters"]["accepted"].as_u64().unwrap();
    assert_eq!(after - before, 2, "a report and a request of the other");
    wait_for_count(&node, "rejected", 2);
}

#[test]
fn a_key_with_mistakes_leaves_the_others_as_they_were() {
    let (party, shop) = (Party::new("node1", &["echo"]), Party::new("shop", &[]));
    party.trusts(&shop, &[]);
    let key = party.pair;
    let mut node = party.start("");
    fs::write(node.folder.path("keys/trusted/typo.toml"), "key = \"short\"\nrole = \"king\"\n").unwrap();
    let log = node.wait_for("typo is not trusted");
    assert!(log.contains("typo.toml:1: key: \"short\" is not a key"), "{log}");
    assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x");
}

#[test]
fn a_worker_serves_what_its_key_lists_and_nothing_else() {
    let (party, lab) = (Party::new("node1", &[]), Party::new("lab", &[]));
    party.trusts(&lab, &["--work", "resize,node.*"]);
    let key = party.pair;
    let mut node = party.start("");
    let worker = Worker::on(lab.dealer(&node, &key), "resize");
    node.wait_for_workers("resize", 1);
    for (service, why) in [
        ("print", "registers a worker for print, but `work` of its key does not list it"),
        ("node.services", "which the node answers itself"),
    ] {
        Worker::on(lab.dealer(&node, &key), service).expect_disconnect();
        node.wait_for(why);
    }
    wait_for_count(&node, "forbidden", 1);
    let mut client = node.client();
    client.send(Request::new("resize").body(["x"]).deadline(PATIENCE)).unwrap();
    let (asker, body) = worker.request();
    worker.reply(&asker, &body);
    assert!(client.receive(Some(PATIENCE)).is_ok());
}

#[test]
fn a_worker_cannot_answer_requests_of_others() {
    let (party, lab, spoof) = (Party::new("node1", &[]), Party::new("lab", &[]), Party::new("spoof", &[]));
    party.trusts(&lab, &["--work", "resize"]);
    party.trusts(&spoof, &["--work", "other"]);
    let key = party.pair;
    let mut node = party.start("");
    let worker = Worker::on(lab.dealer(&node, &key), "resize");
    let liar = Worker::on(spoof.dealer(&node, &key), "other");
    node.wait_for_workers("resize", 1);
    node.wait_for_workers("other", 1);
    let mut client = node.client();
    let id = client.send(Request::new("resize").body(["x"]).deadline(PATIENCE)).unwrap();
    let (asker, _) = worker.request();
    client.send(Request::new("other").body(["x"]).deadline(PATIENCE)).unwrap();
    liar.request();
    liar.reply(&asker, &["forged".into()]);
    node.wait_for("answers for a client whose request it does not have");
    wait_for_count(&node, "unclaimed", 1);
    worker.reply(&asker, &["true".into()]);
    let (answered, reply) = client.receive(Some(PATIENCE)).unwrap();
    assert_eq!(answered, id);
    match reply {
        Reply::Final(body) => assert_eq!(body, ["true"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_user_takes_over_the_answers_of_another_by_its_routing_id() {
    let (party, shop, thief) = (Party::new("node1", &["echo"]), Party::new("shop", &[]), Party::new("thief", &[]));
    party.trusts(&shop, &["--work", "slow"]);
    party.trusts(&thief, &[]);
    let key = party.pair;
    let node = party.start("");
    let worker = Worker::on(shop.dealer(&node, &key), "slow");
    node.wait_for_workers("slow", 1);
    let context = zmq::Context::new();
    let [asks, steals] = [&shop, &thief].map(|party| party.socket(&context, &key));
    for socket in [&asks, &steals] {
        socket.set_identity(b"same").unwrap();
    }
    asks.connect(&node.tcp).unwrap();
    ask(&asks, "slow", "mine");
    let (asker, body) = worker.request();
    steals.monitor("inproc://thief", zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw().into()).unwrap();
    let is_in = context.socket(zmq::PAIR).unwrap();
    is_in.connect("inproc://thief").unwrap();
    steals.connect(&node.tcp).unwrap();
    is_in.recv_multipart(0).unwrap();
    ask(&steals, "echo", "its own");
    worker.reply(&asker, &body);
    assert_eq!(answer(&asks).last().unwrap(), b"mine");
    // The second connection is served within a second, under another id.
    assert_eq!(steals.poll(zmq::POLLIN, 1_000).unwrap(), 1);
    assert_eq!(answer(&steals).last().unwrap(), b"its own");
    assert_eq!(steals.poll(zmq::POLLIN, 0).unwrap(), 0);
}

#[test]
fn only_an_admin_key_changes_what_the_node_serves() {
    let (party, shop, chief) = (Party::new("node1", &["echo"]), Party::new("shop", &[]), Party::new("chief", &[]));
    party.trusts(&shop, &[]);
    party.trusts(&chief, &["--admin"]);
    let key = party.pair;
    let node = party.start("");
    let roll_back = |party: &Party| {
        let ask = Request::new("node.plugins").body(["rollback", "echo"]).deadline(PATIENCE);
        match party.client(&node, &key).call(ask, |_| {}) {
            Err(Error::Failure(failure)) => failure.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(roll_back(&shop), Code::Forbidden);
    assert_ne!(roll_back(&chief), Code::Forbidden, "there is nothing to go back to, but it may");
}

#[test]
fn the_secret_key_and_the_socket_are_the_users_own() {
    let party = Party::new("node1", &["echo"]);
    let mode = |path: &str| fs::metadata(party.folder.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys"), mode("keys/self.toml")), (0o700, 0o600));
    let again = run(&["keygen", "--keys", &party.keys()]);
    assert!(!again.status.success() && String::from_utf8(again.stderr).unwrap().contains("there are keys already"));
    fs::set_permissions(party.folder.path("keys/self.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = party.folder.configure("name = 'node1'\n[security]\nkeys = 'keys'\n");
    let started = run(&["--config", config.to_str().unwrap()]);
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(!started.status.success() && said.contains("chmod 600"), "{said}");
    fs::set_permissions(party.folder.path("keys/self.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let node = party.start("");
    assert_eq!(fs::metadata(node.folder.path("node.ipc")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_plain_majordomo_client_is_rejected_on_a_port_with_keys() {
    let party = Party::new("node1", &["echo"]);
    let mut node = party.start("");
    let client = dealer(&node.tcp, None);
    client.set_rcvtimeo(200).unwrap();
    ask(&client, "echo", "x");
    node.wait_for("connection from 127.0.0.1 shows no key");
    assert!(client.recv_multipart(0).is_err());
    let by_ipc = dealer(&node.ipc(), None);
    ask(&by_ipc, "echo", "x");
    assert_eq!(answer(&by_ipc).last().unwrap(), b"x");
}

#[test]
fn requests_beyond_the_quota_of_a_key_fail_and_others_are_served() {
    let (party, greedy, shop) = (Party::new("node1", &["echo"]), Party::new("greedy", &[]), Party::new("shop", &[]));
    party.trusts(&greedy, &["--requests-per-second", "50"]);
    party.trusts(&shop, &[]);
    let key = party.pair;
    let node = party.start("");
    let (mut client, mut other) = (greedy.client(&node, &key), shop.client(&node, &key));
    for _ in 0..1_000 {
        client.send(Request::new("echo").body(["x"]).deadline(PATIENCE)).unwrap();
    }
    assert_eq!(call_once(&mut other, "echo").unwrap(), b"x");
    let mut refused = 0;
    for _ in 0..1_000 {
        match client.receive(Some(PATIENCE)).unwrap().1 {
            Reply::Final(body) => assert_eq!(body, ["x"]),
            Reply::Failure(failure) => {
                assert_eq!(failure.code, Code::Overloaded);
                assert!(failure.reason.contains("requests-per-second = 50 of the key of greedy"), "{failure}");
                refused += 1;
            }
            Reply::Partial(body) => panic!("{body:?}"),
        }
    }
    assert!((1..=950).contains(&refused), "{refused}");
    assert_eq!(node.report()["counters"]["failed"]["429 overloaded"], refused);
}
