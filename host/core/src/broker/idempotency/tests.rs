use super::*;

fn key_of_user(user: &str, text: &str) -> Key {
    (Owner::at(&[], user), "print".parse().unwrap(), Frame::copy_from_slice(text.as_bytes()))
}

fn key(text: &str) -> Key {
    key_of_user("client:1", text)
}

fn body(bytes: usize) -> Body {
    vec![vec![0; bytes].into()]
}

fn run(replies: &mut ReplyCache, key: &Key, bytes: usize, now: Time) {
    assert!(matches!(replies.start(key.clone(), RequestId(1), now), Start::Leads));
    replies.end(key, RequestId(1), &Ok(body(bytes)), now);
}

fn failed() -> Result<Body, Failure> {
    Err(Failure::new(crate::Code::Failed, ""))
}

fn is_kept(replies: &mut ReplyCache, key: &Key, now: Time) -> bool {
    match replies.start(key.clone(), RequestId(9), now) {
        Start::Has(_) => true,
        Start::Follows => false,
        Start::Leads => {
            replies.end(key, RequestId(9), &failed(), now);
            false
        }
    }
}

#[test]
fn the_oldest_replies_are_evicted_by_number_by_size_and_by_age() {
    let (mut replies, now) = (ReplyCache::new(2, 10_000), Time::ZERO);
    run(&mut replies, &key("a"), 1, now);
    run(&mut replies, &key("b"), 1, now);
    assert!(is_kept(&mut replies, &key("a"), now) && is_kept(&mut replies, &key("b"), now));
    run(&mut replies, &key("c"), 1, now);
    assert!(!is_kept(&mut replies, &key("a"), now) && is_kept(&mut replies, &key("b"), now));
    run(&mut replies, &key("d"), 8_000, now);
    assert!(is_kept(&mut replies, &key("c"), now) && is_kept(&mut replies, &key("d"), now));
    run(&mut replies, &key("e"), 9_000, now);
    assert!(!is_kept(&mut replies, &key("d"), now) && is_kept(&mut replies, &key("e"), now));
    run(&mut replies, &key("f"), 20_000, now);
    assert!(!is_kept(&mut replies, &key("f"), now), "it would not fit");
    assert!(!is_kept(&mut replies, &key("e"), now + LIFETIME));
    assert_eq!((replies.shares.footprint().bytes, replies.by_key.len(), replies.kept.len()), (0, 0, 0));
}

#[test]
fn a_repeated_request_follows_and_leads_if_the_first_fails() {
    let (mut replies, now) = (ReplyCache::new(10, 10_000), Time::ZERO);
    assert!(matches!(replies.start(key("a"), RequestId(1), now), Start::Leads));
    assert!(matches!(replies.start(key("a"), RequestId(2), now), Start::Follows));
    assert!(matches!(replies.start(key("a"), RequestId(3), now), Start::Follows));
    assert_eq!(replies.end(&key("a"), RequestId(2), &failed(), now), [], "it was not the leader");
    assert_eq!(replies.end(&key("a"), RequestId(1), &failed(), now), [RequestId(3)]);
    assert!(matches!(replies.start(key("a"), RequestId(3), now), Start::Leads));
    assert_eq!(replies.end(&key("a"), RequestId(3), &Ok(body(1)), now), []);
    assert!(is_kept(&mut replies, &key("a"), now));
}

#[test]
fn one_user_does_not_evict_the_replies_of_another_by_number_or_by_size() {
    for (limit, bytes) in [((10_000, 1 << 30), 1), ((1 << 20, 10 << 20), 10_000)] {
        let (mut replies, now) = (ReplyCache::new(limit.0, limit.1), Time::ZERO);
        let payment = || key_of_user("user:shop", "payment");
        run(&mut replies, &payment(), 1_000, now);
        for number in 0..10_001 {
            run(&mut replies, &key_of_user("user:other", &number.to_string()), bytes, now);
        }
        assert!(is_kept(&mut replies, &payment(), now));
        assert!(is_kept(&mut replies, &key_of_user("user:other", "10000"), now), "the newest of its own");
        assert!(!is_kept(&mut replies, &key_of_user("user:other", "0"), now), "the oldest of its own");
        let footprint = replies.shares.footprint();
        assert!(footprint.replies <= limit.0 && footprint.bytes <= limit.1, "{footprint:?}");
    }
}

#[test]
fn replies_of_one_service_do_not_evict_those_of_another() {
    let (mut replies, now) = (ReplyCache::new(100, 1 << 20), Time::ZERO);
    let payment = || (Owner::at(&[], "user:shop"), "pay".parse().unwrap(), Frame::from_static(b"payment"));
    run(&mut replies, &payment(), 1, now);
    (0..200).for_each(|number| run(&mut replies, &key_of_user("user:shop", &number.to_string()), 1, now));
    assert!(is_kept(&mut replies, &payment(), now));
}

#[test]
fn a_node_that_invents_users_does_not_evict_replies_of_users_of_other_nodes() {
    let (mut replies, now) = (ReplyCache::new(100, 1 << 20), Time::ZERO);
    let honest = ["user:shop", "node:b/user:shop", "node:b/user:other"];
    honest.iter().for_each(|user| run(&mut replies, &key_of_user(user, "payment"), 1, now));
    (0..500)
        .for_each(|number| run(&mut replies, &key_of_user(&format!("node:liar/user:u{number}"), "payment"), 1, now));
    assert!(honest.iter().all(|user| is_kept(&mut replies, &key_of_user(user, "payment"), now)));
}
