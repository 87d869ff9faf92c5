//! Services from components, the purpose of a node.

use crate::node::{Node, PATIENCE};
use wasmnode_client::{Client, Code, Reply, Request};

#[test]
fn print_puts_the_body_on_the_nodes_console_and_answers_with_a_receipt() {
    let mut node = Node::start(&["print"], "");
    assert_eq!(node.call("print", &[b"bonjour\x1b[31m", b"monde"]).unwrap(), ["printed 17 bytes"]);
    let line = node.wait_for("bonjour");
    assert!(!line.contains('\x1b'), "a control character reached the console: {line:?}");
    assert!(line.contains("print"), "{line}");
    node.wait_for("monde");
}

#[test]
fn afficher_answers_with_what_it_displayed() {
    let mut node = Node::start(&["afficher"], "");
    let reply = node.call("afficher", &[b"bonjour\x07"]).unwrap();
    let picture = String::from_utf8(reply[0].to_vec()).unwrap();
    for line in picture.lines() {
        node.wait_for(line);
    }
    assert!(picture.contains("bonjour") && !picture.contains('\x07'), "{picture}");
}

#[test]
fn frames_keep_their_boundaries() {
    let node = Node::start(&["echo"], "");
    let long = vec![0; 100_000];
    let bodies: [&[&[u8]]; 3] = [&[], &[b""], &[b"", b"a", b"", &long]];
    for frames in bodies {
        assert_eq!(node.call("echo", frames).unwrap(), frames);
    }
}

#[test]
fn both_endpoints_serve_and_the_services_are_listed_with_their_state() {
    let node = Node::start(&["echo", "counter"], "");
    let mut client = Client::connect(&node.tcp).unwrap();
    client.call(Request::new("echo").body(["over tcp"]).deadline(PATIENCE), |_| {}).unwrap();
    let report = node.report();
    let services = report["services"].as_array().unwrap();
    assert_eq!(services.iter().map(|service| &service["name"]).collect::<Vec<_>>(), ["counter", "echo"]);
    assert_eq!(services[1]["replied"], 1);
    assert_eq!(services[1]["plugin"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(report["endpoints"][1], node.tcp.as_str());
}

#[test]
fn partial_replies_come_in_order_and_before_the_answer() {
    let node = Node::start(&["partials"], "");
    let mut parts = 0;
    let ask = Request::new("partials").body([vec![200], vec![7]]).deadline(PATIENCE);
    let reply = node.client().call(ask, |body| {
        assert_eq!(body, [&[200][..], &[7]]);
        parts += 1;
    });
    assert_eq!((reply.unwrap(), parts), (vec![vec![200].into(), vec![7].into()], 200));
}

#[test]
fn one_connection_carries_many_requests_at_a_time() {
    let node = Node::start(&["echo"], "");
    let mut client = node.client();
    let mut expected = std::collections::BTreeMap::new();
    for number in 0..500_u32 {
        let id = client.send(Request::new("echo").body([number.to_be_bytes().to_vec()]).deadline(PATIENCE)).unwrap();
        expected.insert(id, number);
    }
    while !expected.is_empty() {
        let (id, reply) = client.receive(Some(PATIENCE)).unwrap();
        let number = expected.remove(&id).expect("an answer to a request that has none yet");
        assert_eq!(reply, Reply::Final(vec![number.to_be_bytes().to_vec().into()]));
    }
}

#[test]
fn a_request_has_a_fresh_instance_unless_configured_otherwise() {
    let settings = "[service.some]\nreuse = 3\n[service.one]\nlifetime = 'singleton'\n";
    let node = Node::start(&["counter", "counter=some", "counter=one"], settings);
    let counts = |service| -> Vec<u8> { (0..5).map(|_| node.call(service, &[]).unwrap()[0][0]).collect() };
    assert_eq!(counts("counter"), [1, 1, 1, 1, 1]);
    assert_eq!(counts("some"), [1, 2, 3, 1, 2]);
    assert_eq!(counts("one"), [1, 2, 3, 4, 5]);
}

#[test]
fn a_singleton_serves_one_request_at_a_time_and_keeps_its_state() {
    let node = Node::start(&["counter"], "[service.counter]\nlifetime = 'singleton'\n");
    let mut client = node.client();
    for _ in 0..100 {
        client.send(Request::new("counter").deadline(PATIENCE)).unwrap();
    }
    let mut counts: Vec<u8> = (0..100)
        .map(|_| match client.receive(Some(PATIENCE)).unwrap() {
            (_, Reply::Final(body)) => body[0][0],
            other => panic!("{other:?}"),
        })
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<u8>>());
}

#[test]
fn services_call_services_that_they_are_allowed_to_call() {
    let settings = "[service.relay]\ncalls = ['echo', 'missing', 'reject']\n[service.sneak]\ncalls = ['relay']\n";
    let node = Node::start(&["echo", "relay", "relay=sneak", "counter", "reject"], settings);
    assert_eq!(node.call("relay", &[b"echo", b"a", b"", b"b"]).unwrap(), ["a", "", "b"]);
    assert_eq!(node.call("sneak", &[b"relay", b"echo", b"deep"]).unwrap(), ["deep"]);
    for (called, reason) in [
        ("counter", "service relay may not call counter"),
        ("missing", "no node offers missing"),
        ("reject", "ask for something else"),
        ("not a name", "name"),
    ] {
        let (code, why) = node.fail("relay", &[called.as_bytes()]);
        assert_eq!(code, Code::Failed);
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_rejection_and_an_unknown_service_are_different_failures() {
    let node = Node::start(&["reject"], "");
    assert_eq!(node.fail("reject", &[b"x"]), (Code::Rejected, "ask for something else".into()));
    let (code, why) = node.fail("nothing", &[]);
    assert_eq!(code, Code::UnknownService);
    assert!(why.contains("no node offers nothing; node under-test searched"), "{why}");
}
