//! Map of requests by number, for numbers that only grow.

use super::RequestId;
use std::collections::{BTreeMap, VecDeque};

/// Requests in order of their numbers, which is that of arrival. Most are answered before many more arrive, so the
/// latest are in a deque, indexed by number, and only older ones go into a map.
#[derive(Debug)]
pub(super) struct RequestMap<P> {
    old: BTreeMap<RequestId, Box<P>>,
    /// The latest requests, with gaps where requests were removed; the first entry is not a gap.
    latest: VecDeque<Option<Box<P>>>,
    /// Number of the first entry of `latest`.
    first: u64,
    len: usize,
}

/// Largest length of the deque, gaps included.
const LATEST: usize = 4_096;

impl<P> RequestMap<P> {
    pub(super) fn new() -> Self {
        Self { old: BTreeMap::new(), latest: VecDeque::new(), first: 1, len: 0 }
    }

    /// Returns the number that the next request gets.
    pub(super) fn next_id(&self) -> RequestId {
        RequestId(self.first + self.latest.len() as u64)
    }

    /// Inserts a request under [`Self::next_id`].
    pub(super) fn push(&mut self, request: P) {
        self.latest.push_back(Some(Box::new(request)));
        self.len += 1;
        if self.latest.len() > LATEST {
            let (id, request) = (RequestId(self.first), self.latest.pop_front().flatten());
            self.old.extend(request.map(|request| (id, request)));
            self.first += 1;
            self.skip_gaps();
        }
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&P> {
        match self.place(*id) {
            Some(place) => self.latest.get(place)?.as_deref(),
            None => self.old.get(id).map(Box::as_ref),
        }
    }

    pub(super) fn get_mut(&mut self, id: &RequestId) -> Option<&mut P> {
        match self.place(*id) {
            Some(place) => self.latest.get_mut(place)?.as_deref_mut(),
            None => self.old.get_mut(id).map(Box::as_mut),
        }
    }

    pub(super) fn remove(&mut self, id: &RequestId) -> Option<Box<P>> {
        let removed = match self.place(*id) {
            Some(place) => self.latest.get_mut(place)?.take(),
            None => self.old.remove(id),
        };
        self.len -= usize::from(removed.is_some());
        self.skip_gaps();
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Iterates over the requests with this number or a later one, in order.
    pub(super) fn since(&self, id: RequestId) -> impl Iterator<Item = (RequestId, &P)> {
        let latest = (self.first..).map(RequestId).zip(&self.latest).skip(self.place(id).unwrap_or(0));
        let latest = latest.filter_map(|(id, request)| Some((id, request.as_deref()?)));
        self.old.range(id..).map(|(id, request)| (*id, request.as_ref())).chain(latest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &P)> {
        self.since(RequestId(0))
    }

    fn place(&self, id: RequestId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    fn skip_gaps(&mut self) {
        while let Some(None) = self.latest.front() {
            self.latest.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(requests: &RequestMap<u64>) -> Vec<u64> {
        requests.iter().map(|(id, number)| (id.0 == *number).then_some(*number).unwrap()).collect()
    }

    /// Returns a map of `count` requests, each of which is its own number.
    fn requests(count: u64) -> RequestMap<u64> {
        let mut requests = RequestMap::new();
        (1..=count).for_each(|number| {
            assert_eq!(requests.next_id(), RequestId(number));
            requests.push(number);
        });
        requests
    }

    #[test]
    fn a_request_is_found_by_its_number_until_it_is_removed() {
        let mut requests = requests(4);
        assert_eq!(requests.remove(&RequestId(2)), Some(Box::new(2)));
        assert_eq!((requests.remove(&RequestId(2)), requests.get(&RequestId(2))), (None, None));
        assert_eq!(requests.remove(&RequestId(1)), Some(Box::new(1)));
        assert_eq!((requests.len(), ids(&requests)), (2, vec![3, 4]));
        assert_eq!(requests.get_mut(&RequestId(4)), Some(&mut 4));
        assert!(requests.get(&RequestId(5)).is_none() && requests.get_mut(&RequestId(0)).is_none());
        assert_eq!(requests.since(RequestId(4)).map(|(id, _)| id.0).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn numbers_continue_when_the_map_is_empty() {
        let mut requests = requests(2);
        for number in [1, 2] {
            requests.remove(&RequestId(number));
        }
        assert_eq!((requests.len(), requests.next_id()), (0, RequestId(3)));
        requests.push(3);
        assert_eq!(ids(&requests), [3]);
    }

    #[test]
    fn a_long_lived_request_does_not_hold_space_for_later_ones() {
        let many = 3 * LATEST as u64;
        let mut requests = requests(1);
        for number in 2..=many {
            requests.push(number);
            if number < many {
                assert_eq!(requests.remove(&RequestId(number)), Some(Box::new(number)));
            }
        }
        assert_eq!(ids(&requests), [1, many]);
        assert!(requests.latest.len() <= LATEST, "{}", requests.latest.len());
        assert_eq!(requests.get_mut(&RequestId(1)), Some(&mut 1));
        assert_eq!(requests.remove(&RequestId(1)), Some(Box::new(1)));
        assert_eq!((requests.len(), requests.get(&RequestId(1))), (1, None));
    }
}
