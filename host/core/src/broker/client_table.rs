//! Outstanding requests of each client, and the clients whose requests are being ended because they are gone.

use super::RequestId;
use crate::connection::ConnectionId;
use crate::message::Dialect;
use std::collections::{BTreeMap, BTreeSet};

/// Clients with requests outstanding.
#[derive(Debug, Default)]
pub(super) struct ClientTable {
    clients: BTreeMap<ConnectionId, Client>,
    /// Clients that are gone, with the number of the first request that came later on the same connection.
    departed: BTreeMap<ConnectionId, RequestId>,
}

/// Outstanding requests of one client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// By the client's own numbers.
    numbered: BTreeMap<u64, RequestId>,
    /// In dialects without numbers.
    unnumbered: BTreeSet<RequestId>,
}

impl Client {
    /// Returns the number of its requests.
    pub(super) fn outstanding(&self) -> usize {
        self.numbered.len() + self.unnumbered.len()
    }

    /// Returns the request with this number, which the client chose.
    pub(super) fn request(&self, id: u64) -> Option<RequestId> {
        self.numbered.get(&id).copied()
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.numbered.values().chain(&self.unnumbered).copied()
    }
}

impl ClientTable {
    pub(super) fn get(&self, connection: &ConnectionId) -> Option<&Client> {
        self.clients.get(connection)
    }

    /// Returns the request with this number, which the client chose.
    pub(super) fn request(&self, connection: &ConnectionId, id: u64) -> Option<RequestId> {
        self.get(connection)?.request(id)
    }

    /// Iterates over the clients with requests outstanding.
    pub(super) fn connections(&self) -> impl Iterator<Item = &ConnectionId> {
        self.clients.keys()
    }

    /// Inserts a client's request; `id` is the client's own number, which dialects without numbers ignore.
    pub(super) fn begin(&mut self, connection: &ConnectionId, dialect: Dialect, id: u64, request: RequestId) {
        let client = match self.clients.get_mut(connection) {
            Some(client) => client,
            None => self.clients.entry(connection.clone()).or_default(),
        };
        if dialect.has_ids() {
            client.numbered.insert(id, request);
        } else {
            client.unnumbered.insert(request);
        }
    }

    /// Removes what [`Self::begin`] inserted.
    pub(super) fn end(&mut self, connection: &ConnectionId, dialect: Dialect, id: u64, request: RequestId) {
        let Some(client) = self.clients.get_mut(connection) else { return };
        if dialect.has_ids() {
            client.numbered.remove(&id);
        } else {
            client.unnumbered.remove(&request);
        }
        if client.outstanding() == 0 {
            self.clients.remove(connection);
        }
    }

    /// Marks a client as gone: [`Self::next_departed`] returns its requests before `next`. Returns `false` if it has
    /// none.
    pub(super) fn depart(&mut self, connection: &ConnectionId, next: RequestId) -> bool {
        let has_requests = self.clients.contains_key(connection);
        if has_requests {
            self.departed.insert(connection.clone(), next);
        }
        has_requests
    }

    /// Returns `true` if a client that is gone may have requests left.
    pub(super) fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// Returns a request of a client that is gone, which the caller ends.
    pub(super) fn next_departed(&mut self) -> Option<RequestId> {
        while let Some(entry) = self.departed.first_entry() {
            let requests = self.clients.get(entry.key()).into_iter().flat_map(Client::requests);
            match requests.into_iter().find(|request| request < entry.get()) {
                Some(request) => return Some(request),
                None => drop(entry.remove()),
            }
        }
        None
    }
}
