//! Replies by idempotency key: who asks again under a key gets the reply that was given, or waits for the one that is
//! on its way. So a request with a key may be sent twice, and runs once at one node, for as long as the reply is kept:
//! until its time is over, the node ends, or its owner has more than a fair share of what may be kept.

mod owner;
mod shares;
#[cfg(test)]
mod tests;

use super::pending::{Pending, Stage};
use super::{Broker, RequestId};
use crate::failure::Failure;
use crate::message::{Body, Frame, size};
use crate::name::ServiceName;
use crate::time::Time;
use owner::Owner;
use shares::{Measure, Share};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a reply is kept.
const LIFETIME: Duration = Duration::from_secs(600);

/// What a reply counts besides its frames: its key and its owner, in the tables that they stand in.
const OVERHEAD: usize = 512;

/// Whose it is, for which service, and what its owner calls it.
type Key = (Owner, ServiceName, Frame);

/// The replies that are kept, and the requests that will make some.
#[derive(Debug)]
pub(super) struct ReplyCache {
    by_key: BTreeMap<Key, Entry>,
    /// Those that are there by their numbers, the oldest first, each with the time until which it is kept.
    kept: BTreeMap<u64, (Time, Key)>,
    next_number: u64,
    /// What is kept, by owner and service.
    shares: Share,
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

impl ReplyCache {
    pub(super) fn new(max_replies: usize, max_bytes: usize) -> Self {
        Self {
            by_key: BTreeMap::new(),
            kept: BTreeMap::new(),
            next_number: 0,
            shares: Share::default(),
            max_replies,
            max_bytes,
        }
    }

    fn start(&mut self, key: Key, id: RequestId, now: Time) -> Start {
        while let Some((number, (until, _))) = self.kept.first_key_value()
            && *until <= now
        {
            self.forget(*number);
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
        let (number, shares) = (self.next_number, shares_of(&key));
        self.next_number += 1;
        self.shares.add(&shares, number, bytes);
        self.kept.insert(number, (now + LIFETIME, key.clone()));
        self.by_key.insert(key, Entry::Kept(body));
        // The new one counts, so that its owner gives way if it is the one that has the most.
        while let Some(measure) = self.is_over()
            && let Some(first) = self.shares.first_to_go(measure)
        {
            self.forget(first);
        }
    }

    /// Which limit is exceeded.
    fn is_over(&self) -> Option<Measure> {
        let room = self.shares.room();
        let over = [(room.replies > self.max_replies, Measure::Replies), (room.bytes > self.max_bytes, Measure::Bytes)];
        over.into_iter().find(|(is_over, _)| *is_over).map(|(_, measure)| measure)
    }

    fn forget(&mut self, number: u64) {
        if let Some((_, key)) = self.kept.remove(&number)
            && let Some(Entry::Kept(body)) = self.by_key.remove(&key)
        {
            self.shares.remove(&shares_of(&key), number, size(&body) + OVERHEAD);
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
                        self.reset_timer(follower, now);
                        self.start(follower, now);
                        self.arm_patience(follower, now);
                    }
                }
            }
        }
    }
}

fn key_of(pending: &Pending) -> Option<Key> {
    let key = pending.context.idempotency_key.clone()?;
    let is_kept = pending.trace.is_none() && !pending.context.service.is_reserved();
    is_kept.then(|| (Owner::of(pending), pending.context.service.clone(), key))
}

fn shares_of((owner, service, _): &Key) -> [String; 3] {
    let [source, user] = owner.shares();
    [source, user, service.as_str().to_owned()]
}
