//! All requests without an answer, with the timer of each and the bytes that they hold.
//!
//! No other module inserts or removes a request, or sets a timer.

use super::RequestId;
use super::pending::Pending;
use super::request_map::RequestMap;
use super::timers::RequestTimers;
use crate::message::{Body, size};
use crate::time::Time;

/// The requests without an answer.
#[derive(Debug)]
pub(super) struct RequestTable {
    requests: RequestMap<Pending>,
    timers: RequestTimers,
    held_bytes: usize,
    /// Upper bound of `held_bytes`: `limits.held-bytes`.
    max_held_bytes: usize,
}

impl RequestTable {
    pub(super) fn new(max_held_bytes: usize) -> Self {
        Self { requests: RequestMap::new(), timers: RequestTimers::default(), held_bytes: 0, max_held_bytes }
    }

    /// Returns the number that the next request gets.
    pub(super) fn next_id(&self) -> RequestId {
        self.requests.next_id()
    }

    /// Inserts a request under [`Self::next_id`], holds its bytes, and sets its timer.
    pub(super) fn insert(&mut self, request: Pending, now: Time) {
        self.held_bytes += request.bytes;
        self.timers.insert(request.timer, self.next_id(), now);
        self.requests.push(request);
    }

    /// Removes a request, and releases its bytes.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Box<Pending>> {
        let request = self.requests.remove(&id)?;
        self.timers.remove(request.timer, id);
        if self.requests.len() == 0 {
            self.timers.grow(std::iter::empty(), self.requests.next_id());
        }
        self.held_bytes -= request.bytes;
        Some(request)
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&Pending> {
        self.requests.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &RequestId) -> Option<&mut Pending> {
        self.requests.get_mut(id)
    }

    pub(super) fn contains(&self, id: &RequestId) -> bool {
        self.requests.get(id).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Iterates over the requests, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Pending)> {
        self.requests.iter()
    }

    /// Returns the oldest request.
    pub(super) fn first(&self) -> Option<(RequestId, &Pending)> {
        self.requests.iter().next()
    }

    /// Sets the time from which [`Self::overdue`] returns a request.
    pub(super) fn set_timer(&mut self, id: RequestId, time: Time, now: Time) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.timer != time {
            self.timers.remove(request.timer, id);
            request.timer = time;
            self.timers.insert(time, id, now);
        }
    }

    /// Returns when [`Self::wake`] is due.
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Sets the timers of requests that have become old enough to need one.
    pub(super) fn wake(&mut self, now: Time) {
        if let Some(first) = self.timers.grown(now) {
            let timers = self.requests.since(first).map(|(id, request)| (request.timer, id));
            self.timers.grow(timers, self.requests.next_id());
        }
    }

    /// Returns a request whose timer has run out.
    pub(super) fn overdue(&self, now: Time) -> Option<RequestId> {
        self.timers.overdue(now)
    }

    /// Returns `true` if `bytes` more can be held.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.held_bytes.saturating_add(bytes) <= self.max_held_bytes
    }

    /// Counts bytes that are held for a client, but not by a request.
    pub(super) fn hold(&mut self, bytes: usize) {
        self.held_bytes += bytes;
    }

    /// Releases bytes that [`Self::hold`] counted.
    pub(super) fn release(&mut self, bytes: usize) {
        self.held_bytes -= bytes;
    }

    /// Keeps a partial reply of a request. The caller has checked [`Self::has_room`].
    pub(super) fn keep_part(&mut self, id: RequestId, body: &Body) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let bytes = size(body);
        request.bytes += bytes;
        request.parts.extend(body);
        self.held_bytes += bytes;
    }

    /// Drops the kept partial replies of a request, because it runs again or because they exceed a limit.
    pub(super) fn drop_parts(&mut self, id: RequestId, is_incomplete: bool) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let bytes = request.parts.bytes();
        request.parts.clear(is_incomplete);
        request.bytes -= bytes;
        self.held_bytes -= bytes;
    }
}
