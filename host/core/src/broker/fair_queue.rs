//! Order of waiting requests: callers in turn, and the requests of each caller in order of arrival. So a burst of one
//! caller does not delay the others (start-time fair queueing, Goyal, Vin and Cheng 1996, with requests of one size).

use super::request::{RequestId, Requester};
use crate::connection::ConnectionId;
use crate::name::Label;
use std::collections::BTreeMap;

/// Place in a queue: by start tag, then by order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StartTag {
    tag: u64,
    pub(super) request: RequestId,
}

impl StartTag {
    /// The tag before all others.
    pub(super) const FIRST: Self = Self { tag: 0, request: RequestId(0) };

    /// Returns the tag that follows in order.
    pub(super) fn next(self) -> Self {
        Self { request: RequestId(self.request.0 + 1), ..self }
    }
}

/// Caller whose requests are served in order of arrival: a user, or, without keys, a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    User(Label),
    Connection(ConnectionId),
}

/// Start tags of one service.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    /// Largest start tag of a request that was served.
    virtual_time: u64,
    /// Last tag of each caller. Tags before the virtual time have no effect.
    last_tag: BTreeMap<Flow, u64>,
}

impl FairQueue {
    /// Assigns a new request its start tag; `waiting` is the number of requests in the queue.
    pub(super) fn assign(&mut self, requester: &Requester, request: RequestId, waiting: usize) -> StartTag {
        let caller = match requester {
            _ if waiting == 0 => {
                self.last_tag.clear();
                return StartTag { tag: self.virtual_time, request };
            }
            // Calls go first, because a requester waits for the calling run.
            Requester::Call { .. } => return StartTag { tag: self.virtual_time, request },
            Requester::Client { connection, .. } => match connection.principal() {
                Some(user) => Flow::User(user.clone()),
                None => Flow::Connection(connection.clone()),
            },
        };
        if self.last_tag.len() > 2 * waiting + 16 {
            let round = self.virtual_time;
            self.last_tag.retain(|_, last| *last >= round);
        }
        let round = self.last_tag.get(&caller).map_or(self.virtual_time, |last| self.virtual_time.max(last + 1));
        self.last_tag.insert(caller, round);
        StartTag { tag: round, request }
    }

    /// Advances the virtual time to the tag of a request that is served.
    pub(super) fn serve(&mut self, turn: StartTag) {
        self.virtual_time = self.virtual_time.max(turn.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Dialect;
    use std::collections::BTreeSet;

    fn client(name: u8) -> Requester {
        Requester::Client { connection: ConnectionId::new(vec![name]), dialect: Dialect::Native, id: 0, asked: None }
    }

    /// Returns the order in which these requests are served, if all arrive before the first is served.
    fn served(asking: &[u8]) -> Vec<u8> {
        let (mut turns, mut queue) = (FairQueue::default(), BTreeSet::new());
        for (number, name) in (1..).zip(asking) {
            let turn = turns.assign(&client(*name), RequestId(number), queue.len());
            queue.insert((turn, *name));
        }
        let mut served = Vec::new();
        while let Some((turn, name)) = queue.pop_first() {
            turns.serve(turn);
            served.push(name);
        }
        served
    }

    #[test]
    fn a_burst_of_one_caller_does_not_delay_the_others() {
        assert_eq!(served(b"aaaaaabbc"), b"aabcabaaa");
        assert_eq!(served(b"aaaa"), b"aaaa");
    }

    #[test]
    fn a_late_caller_is_not_served_before_its_turn() {
        let mut turns = FairQueue::default();
        let first = turns.assign(&client(b'a'), RequestId(1), 0);
        let [second, third] = [2, 3].map(|number| turns.assign(&client(b'a'), RequestId(number), 5));
        turns.serve(first);
        turns.serve(second);
        turns.serve(third);
        let [late, later] = [4, 5].map(|number| turns.assign(&client(b'b'), RequestId(number), 5));
        assert!(third < late && late < later);
        assert_eq!(late.tag, third.tag, "a late caller gets no credit for the past");
    }

    #[test]
    fn tags_of_former_callers_are_dropped() {
        let mut turns = FairQueue::default();
        for number in 1..10_000 {
            let requester = Requester::Client {
                connection: ConnectionId::new(number_bytes(number)),
                dialect: Dialect::Native,
                id: 0,
                asked: None,
            };
            let turn = turns.assign(&requester, RequestId(number), 3);
            turns.serve(StartTag { tag: turn.tag + 1, ..turn });
        }
        assert!(turns.last_tag.len() < 50, "{}", turns.last_tag.len());
    }

    fn number_bytes(number: u64) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }
}
