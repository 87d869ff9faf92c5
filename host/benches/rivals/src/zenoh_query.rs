//! zenoh: a queryable in a separate process and queriers, as peers of each other and as clients of a router.
//!
//! Its sessions run in threads of their own, which pass answers to the thread of the querier.

use crate::echo::connection::{Connection, PATIENCE, STAMP, stamp_of};
use crate::echo::contender::{Contender, Wanted};
use crate::echo::stage::{self, Stage};
use crate::echo::{Result, Role};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use zenoh::query::{ConsolidationMode, Querier, Reply};
use zenoh::{Session, Wait as _};

const PEERS: &str = "zenoh tcp";
const ROUTER: &str = "zenoh tcp, router";
const KEY: &str = "echo";

pub(crate) const ROLES: [Role; 3] = [
    ("zenoh-peer", |address| answer(&open("peer", "listen", address)?, address)),
    ("zenoh-client", |address| answer(&open("client", "connect", address)?, address)),
    ("zenoh-router", |address| {
        let _router = open("router", "listen", address)?;
        stage::ready(address);
        forever()
    }),
];

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if wanted.is(PEERS) {
        let (id, address) = stage.start_role(&["zenoh-peer", &stage::free_address()?.to_string()])?;
        contenders.push(Contender::new(PEERS, vec![id], move |payload| {
            Ok(Box::new(Requester::open("peer", &address, payload)?))
        }));
    }
    if wanted.is(ROUTER) {
        let (router, address) = stage.start_role(&["zenoh-router", &stage::free_address()?.to_string()])?;
        let (client, _) = stage.start_role(&["zenoh-client", &address])?;
        contenders.push(Contender::new(ROUTER, vec![router, client], move |payload| {
            Ok(Box::new(Requester::open("client", &address, payload)?))
        }));
    }
    Ok(contenders)
}

/// Opens a session that listens at, or connects to, this address and discovers no others.
fn open(mode: &str, how: &str, address: &str) -> Result<Session> {
    let other = if how == "listen" { "connect" } else { "listen" };
    let config = format!(
        "{{ mode: '{mode}', {how}: {{ endpoints: ['tcp/{address}'] }}, {other}: {{ endpoints: [] }},
            scouting: {{ multicast: {{ enabled: false }}, gossip: {{ enabled: false }} }} }}"
    );
    known(zenoh::open(known(zenoh::Config::from_json5(&config))?).wait())
}

/// Converts a result whose error may not be `Send`.
fn known<T>(result: zenoh::Result<T>) -> Result<T> {
    result.map_err(|error| -> Box<dyn std::error::Error> { error })
}

fn forever() -> Result<()> {
    loop {
        std::thread::park();
    }
}

/// Answers each query with its payload.
fn answer(session: &Session, address: &str) -> Result<()> {
    let queryable = session.declare_queryable(KEY).complete(true).callback(|query| {
        let body = query.payload().cloned().unwrap_or_default();
        let _the_querier_misses_it = query.reply(query.key_expr().clone(), body).wait();
    });
    let _queryable = known(queryable.wait())?;
    stage::ready(address);
    forever()
}

/// Queue of answers from zenoh's threads.
struct Inbox {
    answers: Sender<std::result::Result<u64, String>>,
    /// Set if the next answer has to be signalled.
    is_watched: AtomicBool,
    signal: OwnedFd,
}

impl Inbox {
    fn put(&self, reply: &Reply, payload: usize) {
        let stamp = match reply.result() {
            Ok(sample) => stamp_of(&sample.payload().to_bytes(), payload).map_err(|error| error.to_string()),
            Err(error) => Err(format!("zenoh: {error}")),
        };
        let _nobody_waits_any_more = self.answers.send(stamp);
        if self.is_watched.swap(false, Ordering::SeqCst) {
            let _it_has_room = write(&self.signal, &1_u64.to_ne_bytes());
        }
    }

    /// Requests a signal for the next answer, and clears the earlier ones. There may be answers already.
    fn watch(&self) -> Result<()> {
        match read(&self.signal, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        self.is_watched.store(true, Ordering::SeqCst);
        Ok(())
    }
}

struct Requester {
    querier: Querier<'static>,
    answers: Receiver<std::result::Result<u64, String>>,
    inbox: Arc<Inbox>,
    body: Vec<u8>,
    _session: Session,
}

impl Requester {
    fn open(mode: &str, address: &str, payload: usize) -> Result<Self> {
        let session = open(mode, "connect", address)?;
        // There is only one answer, so there is no reason to hold it back until the end of the query.
        let querier = session.declare_querier(KEY).consolidation(ConsolidationMode::None);
        let querier = known(querier.wait())?;
        let began = Instant::now();
        while !known(querier.matching_status().wait())?.matching() {
            if began.elapsed() > PATIENCE {
                return Err("no queryable".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (sender, answers) = channel();
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Arc::new(Inbox { answers: sender, is_watched: AtomicBool::new(false), signal });
        Ok(Self { querier, answers, inbox, body: vec![b'x'; payload], _session: session })
    }
}

impl Connection for Requester {
    fn send(&mut self, stamp: u64) -> Result<()> {
        self.body[..STAMP].copy_from_slice(&stamp.to_be_bytes());
        let (inbox, payload) = (Arc::clone(&self.inbox), self.body.len());
        let query = self.querier.get().payload(&self.body).callback(move |reply| inbox.put(&reply, payload));
        known(query.wait())
    }

    fn receive(&mut self, wait: bool) -> Result<Option<u64>> {
        let answer = match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(_) if wait => Some(self.answers.recv_timeout(PATIENCE).map_err(|_| "no answer")?),
            Err(_) => {
                self.inbox.watch()?;
                self.answers.try_recv().ok()
            }
        };
        Ok(answer.transpose()?)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.inbox.signal.as_fd())
    }
}
