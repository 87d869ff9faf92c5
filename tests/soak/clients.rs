//! The honest clients: each sends at a fixed rate, independent of its earlier requests (open loop), and records the
//! outcome of each request.

use crate::Plant;
use crate::faults::Outages;
use crate::sites::{FAR, NODE, PEER};
use crate::verdict::{Outcome, Receipt};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wasmnode_client::{Client, Error, Reply, Request};

/// Deadline of each request.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Time after its deadline within which a request may still be answered; after that it counts as lost.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// Nodes, each with its number of clients, and the requests that each client sends per second.
const CLIENTS: [(usize, u32, u32); 3] = [(NODE, 8, 90), (PEER, 3, 70), (FAR, 2, 100)];

/// Services that the clients call, in turn.
const SERVICES: [&str; 5] = ["local", "once", "local", "again", "far"];

/// Settings of all clients.
pub(crate) struct Clients<'a> {
    pub(crate) began: Instant,
    pub(crate) duration: Duration,
    pub(crate) plant: Option<Plant>,
    pub(crate) outages: &'a Outages,
    /// Endpoint of each node.
    pub(crate) endpoints: [(usize, String); 3],
}

/// A request without an answer.
struct Open {
    service: &'static str,
    body: String,
    sent: Duration,
}

impl Clients<'_> {
    /// Runs all clients, and returns the receipts of their requests.
    pub(crate) fn run(&self) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        std::thread::scope(|scope| {
            let clients = CLIENTS.iter().flat_map(|(site, count, rate)| (0..*count).map(move |_| (*site, *rate)));
            let threads: Vec<_> = clients
                .enumerate()
                .map(|(number, (site, rate))| scope.spawn(move || self.send_and_receive(number, site, rate)))
                .collect();
            threads.into_iter().for_each(|thread| receipts.extend(thread.join().unwrap()));
        });
        receipts
    }

    fn send_and_receive(&self, client_number: usize, site: usize, rate: u32) -> Vec<Receipt> {
        let endpoint = &self.endpoints.iter().find(|(other, _)| *other == site).unwrap().1;
        let mut client = Client::connect(endpoint).unwrap();
        let (mut open, mut receipts, mut sent) = (BTreeMap::new(), Vec::new(), 0_u32);
        let interval = Duration::from_secs(1) / rate;
        let is_planted = |plant| client_number == 0 && self.plant == Some(plant);
        loop {
            let (now, due) = (self.began.elapsed(), interval * sent);
            let is_time_to_end = due >= self.duration;
            if is_time_to_end && open.is_empty() {
                return receipts;
            }
            if !is_time_to_end && now >= due {
                let service = SERVICES[(sent as usize + client_number) % SERVICES.len()];
                let mark = if is_planted(Plant::Twice) && service == "local" { "!" } else { "" };
                let body = format!("{client_number}-{sent}{mark}");
                let request = Request::new(service).body([body.clone()]).deadline(DEADLINE);
                match client.send(request) {
                    Ok(id) => drop(open.insert(id, Open { service, body, sent: now })),
                    // A dead or frozen node is unreachable.
                    Err(Error::Unreachable { .. }) => {
                        let took = self.began.elapsed().saturating_sub(now);
                        receipts.push(Receipt { service, body, sent: now, took, outcome: Outcome::Unsent });
                    }
                    Err(error) => panic!("a client of {endpoint} cannot send: {error}"),
                }
                sent += 1;
                continue;
            }
            let wait = if is_time_to_end { GRACE } else { due - now };
            match client.receive(Some(wait.max(Duration::from_millis(1)))) {
                Ok((id, reply)) => {
                    // The request was abandoned, so its answer does not count.
                    let Some(request) = open.remove(&id) else { continue };
                    if is_planted(Plant::Loss) && sent % 100 == 50 {
                        let until = request.sent + DEADLINE + GRACE;
                        receipts.push(receipt(request, site, None, until, self.outages));
                        continue;
                    }
                    receipts.push(receipt(request, site, Some(reply), self.began.elapsed(), self.outages));
                }
                Err(Error::Timeout { .. }) => self.abandon(&mut open, &mut receipts, site, DEADLINE + GRACE),
                // None of the requests sent so far is answered.
                Err(Error::Lost { .. }) => self.abandon(&mut open, &mut receipts, site, Duration::ZERO),
                Err(error) => panic!("a client of {endpoint} cannot receive: {error}"),
            }
        }
    }

    /// Abandons the requests that have waited for `waited`. All answers that have arrived have been read.
    fn abandon(&self, open: &mut BTreeMap<u64, Open>, receipts: &mut Vec<Receipt>, site: usize, waited: Duration) {
        let now = self.began.elapsed();
        while let Some(oldest) = open.first_entry()
            && now > oldest.get().sent + waited
        {
            receipts.push(receipt(oldest.remove(), site, None, now, self.outages));
        }
    }
}

fn receipt(request: Open, site: usize, reply: Option<Reply>, at: Duration, outages: &Outages) -> Receipt {
    let Open { service, body, sent } = request;
    let outcome = match reply {
        Some(Reply::Final(answer)) if answer.concat() == body.as_bytes() => Outcome::Served,
        Some(Reply::Failure(failure)) => Outcome::Failed(failure),
        Some(Reply::Final(_) | Reply::Partial(_)) => Outcome::Wrong,
        // The client's own node was dead or frozen for some of that time.
        None if outages.overlaps(site, sent, at) => Outcome::Excused,
        None => Outcome::Lost,
    };
    Receipt { service, body, sent, took: at.saturating_sub(sent), outcome }
}
