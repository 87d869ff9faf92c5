//! Requests that are outstanding at peers, by their number on the wire.

use super::RequestId;
use crate::connection::LinkId;
use crate::name::Address;
use crate::time::Time;
use std::collections::BTreeMap;

/// Requests at peers.
#[derive(Debug)]
pub(super) struct ForwardTable {
    by_number: BTreeMap<u64, Forwarded>,
    next_number: u64,
}

/// A request at a peer.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) request: RequestId,
    pub(super) link: LinkId,
    pub(super) address: Address,
    pub(super) since: Time,
    /// Whether the request may safely run twice: it has an idempotency key, or its service is idempotent there. The
    /// advert at the time of forwarding counts, because a dead peer has none.
    pub(super) is_repeatable: bool,
    /// Whether the request is a trace, which does not measure how long the peer takes to serve.
    pub(super) is_trace: bool,
}

impl ForwardTable {
    pub(super) fn new() -> Self {
        Self { by_number: BTreeMap::new(), next_number: 1 }
    }

    /// Takes a number for a request, which [`Self::insert`] uses.
    pub(super) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    pub(super) fn insert(&mut self, number: u64, forwarded: Forwarded) {
        self.by_number.insert(number, forwarded);
    }

    pub(super) fn get(&self, number: u64) -> Option<&Forwarded> {
        self.by_number.get(&number)
    }

    /// Returns a request if the peer on this link has it.
    pub(super) fn at(&self, link: LinkId, number: u64) -> Option<&Forwarded> {
        self.get(number).filter(|forwarded| forwarded.link == link)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Forwarded> {
        self.by_number.remove(&number)
    }
}
