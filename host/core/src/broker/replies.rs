//! Replies by idempotency key: who asks again under a key gets the reply that was given, or waits for the one that is on
//! its way. So a request with a key may be sent twice, and runs once at one node, for as long as the reply is kept.

use super::pending::{Pending, Stage};
use super::{Broker, RequestId};
use crate::failure::Failure;
use crate::message::{Body, Frame, size};
use crate::name::ServiceName;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a reply is kept.
const LIFETIME: Duration = Duration::from_secs(600);

/// What a reply counts besides its frames.
const OVERHEAD: usize = 256;

/// On whose behalf, where that is proved; for which service; under which key.
type Key = (Option<String>, ServiceName, Frame);

/// The replies that are kept, and the requests that will make some.
#[derive(Debug)]
pub(super) struct Replies {
    by_key: BTreeMap<Key, Entry>,
    /// Those that are there, oldest first.
    kept: VecDeque<(Time, Key)>,
    bytes: usize,
    max_replies: usize,
    max_bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// One request is under way; others wait for its reply.
    Expected {
        leader: RequestId,
        followers: Vec<RequestId>,
    },
    Kept(Body),
}

/// What is to be done with a request that has a key.
enum Start {
    /// It is the first: it goes its way.
    Leads,
    /// It waits for the reply to the first.
    Follows,
    /// The reply is there.
    Has(Body),
}

impl Replies {
    pub(super) fn new(max_replies: usize, max_bytes: usize) -> Self {
        Self { by_key: BTreeMap::new(), kept: VecDeque::new(), bytes: 0, max_replies, max_bytes }
    }

    fn start(&mut self, key: Key, id: RequestId, now: Time) -> Start {
        while self.kept.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
        match self.by_key.get_mut(&key) {
            Some(Entry::Kept(body)) => Start::Has(body.clone()),
            Some(Entry::Expected { followers, .. }) => {
                followers.push(id);
                Start::Follows
            }
            None => {
                self.by_key.insert(key, Entry::Expected { leader: id, followers: Vec::new() });
                Start::Leads
            }
        }
    }

    /// A request has ended; returns those that waited for its reply.
    fn end(&mut self, key: &Key, id: RequestId, result: &Result<Body, Failure>, now: Time) -> Vec<RequestId> {
        let Some(Entry::Expected { leader, followers }) = self.by_key.get_mut(key) else { return Vec::new() };
        if *leader != id {
            followers.retain(|follower| *follower != id);
            return Vec::new();
        }
        let followers = std::mem::take(followers);
        self.by_key.remove(key);
        if let Ok(body) = result {
            self.keep(key.clone(), body.clone(), now);
        }
        followers
    }

    fn keep(&mut self, key: Key, body: Body, now: Time) {
        let bytes = size(&body) + OVERHEAD;
        if bytes > self.max_bytes || self.max_replies == 0 {
            return;
        }
        while self.kept.len() >= self.max_replies || self.bytes + bytes > self.max_bytes {
            self.drop_oldest();
        }
        self.bytes += bytes;
        self.kept.push_back((now + LIFETIME, key.clone()));
        self.by_key.insert(key, Entry::Kept(body));
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.kept.pop_front()
            && let Some(Entry::Kept(body)) = self.by_key.remove(&key)
        {
            self.bytes -= size(&body) + OVERHEAD;
        }
    }
}

impl Broker {
    /// Lets a new request go its way, unless its key has a reply already or will have one.
    pub(super) fn start(&mut self, id: RequestId, now: Time) {
        let Some(pending) = self.requests.get_mut(&id) else { return };
        let start = match key_of(pending) {
            Some(key) => self.replies.start(key, id, now),
            None => Start::Leads,
        };
        match start {
            Start::Leads if pending.trace.is_some() => self.trace_on(id, now),
            Start::Leads => self.serve_or_queue(id, now),
            Start::Follows => {
                pending.stage = Stage::Following;
                self.rearm(id, now);
            }
            Start::Has(body) => {
                pending.stage = Stage::Following;
                self.answer(id, Ok(body), now);
            }
        }
    }

    /// Settles what waited for this request's reply: it is theirs too. If there is none, the next of them goes its way.
    pub(super) fn settle_followers(
        &mut self,
        id: RequestId,
        pending: &Pending,
        result: &Result<Body, Failure>,
        now: Time,
    ) {
        let Some(key) = key_of(pending) else { return };
        for follower in self.replies.end(&key, id, result, now) {
            match result {
                Ok(body) => self.answer(follower, Ok(body.clone()), now),
                Err(_) => {
                    if let Some(pending) = self.requests.get_mut(&follower) {
                        pending.stage = Stage::Queued;
                        self.start(follower, now);
                        self.arm_patience(follower, now);
                    }
                }
            }
        }
    }
}

fn key_of(pending: &Pending) -> Option<Key> {
    let key = pending.idempotency_key.clone()?;
    let is_kept = pending.trace.is_none() && !pending.service.is_reserved();
    is_kept.then(|| (pending.on_behalf_of(), pending.service.clone(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Key {
        (None, "print".parse().unwrap(), Frame::from_static(text.as_bytes()))
    }

    fn body(bytes: usize) -> Body {
        vec![vec![0; bytes].into()]
    }

    fn run(replies: &mut Replies, text: &'static str, bytes: usize, now: Time) {
        assert!(matches!(replies.start(key(text), RequestId(1), now), Start::Leads));
        replies.end(&key(text), RequestId(1), &Ok(body(bytes)), now);
    }

    fn failed() -> Result<Body, Failure> {
        Err(Failure::new(crate::Code::Failed, ""))
    }

    fn is_kept(replies: &mut Replies, text: &'static str, now: Time) -> bool {
        match replies.start(key(text), RequestId(9), now) {
            Start::Has(_) => true,
            Start::Follows => false,
            Start::Leads => {
                replies.end(&key(text), RequestId(9), &failed(), now);
                false
            }
        }
    }

    #[test]
    fn the_oldest_replies_give_way_by_number_by_size_and_by_age() {
        let (mut replies, now) = (Replies::new(2, 10_000), Time::ZERO);
        run(&mut replies, "a", 1, now);
        run(&mut replies, "b", 1, now);
        assert!(is_kept(&mut replies, "a", now) && is_kept(&mut replies, "b", now));
        run(&mut replies, "c", 1, now);
        assert!(!is_kept(&mut replies, "a", now) && is_kept(&mut replies, "b", now));
        run(&mut replies, "d", 9_000, now);
        assert!(is_kept(&mut replies, "c", now) && is_kept(&mut replies, "d", now));
        run(&mut replies, "e", 9_000, now);
        assert!(!is_kept(&mut replies, "d", now) && is_kept(&mut replies, "e", now));
        run(&mut replies, "f", 20_000, now);
        assert!(!is_kept(&mut replies, "f", now), "it would not fit");
        assert!(!is_kept(&mut replies, "e", now + LIFETIME));
        assert_eq!((replies.bytes, replies.by_key.len()), (0, 0));
    }

    #[test]
    fn who_comes_meanwhile_follows_and_takes_the_lead_if_the_first_fails() {
        let (mut replies, now) = (Replies::new(10, 10_000), Time::ZERO);
        assert!(matches!(replies.start(key("a"), RequestId(1), now), Start::Leads));
        assert!(matches!(replies.start(key("a"), RequestId(2), now), Start::Follows));
        assert!(matches!(replies.start(key("a"), RequestId(3), now), Start::Follows));
        assert_eq!(replies.end(&key("a"), RequestId(2), &failed(), now), [], "it gave up waiting");
        assert_eq!(replies.end(&key("a"), RequestId(1), &failed(), now), [RequestId(3)]);
        assert!(matches!(replies.start(key("a"), RequestId(3), now), Start::Leads));
        assert_eq!(replies.end(&key("a"), RequestId(3), &Ok(body(1)), now), []);
        assert!(is_kept(&mut replies, "a", now));
    }
}
