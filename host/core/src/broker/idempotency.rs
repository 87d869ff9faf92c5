//! Replies by idempotency key. A request that repeats a key gets the reply to the first, or waits for it. So a request
//! with a key may be sent twice, and runs once at one node, for as long as the reply is kept: until its lifetime is
//! over, the node stops, or its owner exceeds a fair share of the cache.

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

/// Lifetime of a kept reply.
const LIFETIME: Duration = Duration::from_secs(600);

/// Bytes charged for a reply besides its frames, for its key and its owner in the tables.
const OVERHEAD: usize = 512;

/// Owner, service, and the key that the owner chose.
type Key = (Owner, ServiceName, Frame);

/// Kept replies, and the requests whose replies are expected.
#[derive(Debug)]
pub(super) struct ReplyCache {
    by_key: BTreeMap<Key, Entry>,
    /// Kept replies by number, oldest first, each with the end of its lifetime.
    kept: BTreeMap<u64, (Time, Key)>,
    next_number: u64,
    /// Shares of the cache, by owner and service.
    shares: Share,
    max_replies: usize,
    max_bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// One request runs; others wait for its reply.
    Expected {
        leader: RequestId,
        followers: Vec<RequestId>,
    },
    Kept(Body),
}

/// How a request with a key starts.
enum Start {
    /// As the first with its key.
    Leads,
    /// Waiting for the reply to the first.
    Follows,
    /// With a reply that is kept already.
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

    /// Records the result of a request that has ended; returns the requests that waited for its reply.
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
        // The new reply counts, so that its owner's replies are dropped if that share is the largest.
        while let Some(measure) = self.is_over()
            && let Some(first) = self.shares.next_evicted(measure)
        {
            self.forget(first);
        }
    }

    /// Returns the limit that is exceeded, if one is.
    fn is_over(&self) -> Option<Measure> {
        let footprint = self.shares.footprint();
        let over = [
            (footprint.replies > self.max_replies, Measure::Replies),
            (footprint.bytes > self.max_bytes, Measure::Bytes),
        ];
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
    /// Starts a new request, unless its key has a reply already or will have one.
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

    /// Answers the requests that waited for this one's reply. If there is no reply, the next of them starts.
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
