//! NATS with its official client on both sides.
//!
//! Both run in the thread that uses them, so that no message has to change threads. The client is written as for many
//! outstanding requests: it has one subscription for all answers, and publishes requests that name it.

use crate::echo::connection::{Connection, PATIENCE, STAMP, stamp_of};
use crate::echo::contender::{Contender, Wanted};
use crate::echo::nats::start_server;
use crate::echo::stage::{self, Stage};
use crate::echo::{Result, Role};
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use rustix::net::{getpeername, getsockname};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const NAME: &str = "NATS tcp, async-nats";
const SUBJECT: &str = "echo";

pub(crate) const RESPONDER: Role = ("async-nats-responder", respond);

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted) -> Result<Vec<Contender>> {
    if !wanted.is(NAME) {
        return Ok(Vec::new());
    }
    let Some((server, address)) = start_server(stage)? else { return Ok(Vec::new()) };
    let (responder, _) = stage.start_role(&[RESPONDER.0, &address.to_string()])?;
    Ok(vec![Contender::new(NAME, vec![server, responder], move |payload| {
        Ok(Box::new(Requester::connect(address, payload)?))
    })])
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_io().enable_time().build()?)
}

/// Connects to a server that may not listen yet.
async fn connect(address: SocketAddr) -> Result<Client> {
    drop(stage::connect(address)?);
    Ok(async_nats::connect(address.to_string()).await?)
}

/// Answers each request with its body.
fn respond(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let client = connect(address.parse()?).await?;
        let mut requests = client.subscribe(SUBJECT).await?;
        // The echo shows that the server has the subscription.
        client.publish(SUBJECT, Bytes::new()).await?;
        requests.next().await.ok_or("no subscription")?;
        stage::ready(address);
        while let Some(Message { reply, payload, .. }) = requests.next().await {
            if let Some(reply) = reply {
                client.publish(reply, payload).await?;
            }
        }
        Err("the subscription has ended".into())
    })
}

struct Requester {
    answers: Subscriber,
    client: Client,
    inbox: async_nats::Subject,
    body: Vec<u8>,
    socket: OwnedFd,
    /// Runtime that drives the client whenever it waits for an answer.
    runtime: Runtime,
}

impl Requester {
    fn connect(address: SocketAddr, payload: usize) -> Result<Self> {
        let before: Vec<SocketAddr> = connections(address)?.into_iter().map(|(own, _)| own).collect();
        let runtime = runtime()?;
        let (client, answers, inbox) = runtime.block_on(async {
            let client = connect(address).await?;
            let inbox = async_nats::Subject::from(client.new_inbox());
            let answers = client.subscribe(inbox.clone()).await?;
            Result::Ok((client, answers, inbox))
        })?;
        let new = connections(address)?.into_iter().find(|(own, _)| !before.contains(own));
        let (_, socket) = new.ok_or("the client has no connection")?;
        Ok(Self { answers, client, inbox, body: vec![b'x'; payload], socket, runtime })
    }

    fn stamp(&self, answer: Option<Message>) -> Result<Option<u64>> {
        let answer = answer.ok_or("the subscription has ended")?;
        stamp_of(&answer.payload, self.body.len()).map(Some)
    }
}

/// Returns this process's connections to a server: local address, and a copy of the descriptor, which the client does
/// not expose.
fn connections(server: SocketAddr) -> Result<Vec<(SocketAddr, OwnedFd)>> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut connections = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().unwrap_or_default().parse()?;
        // Another thread may have closed it meanwhile.
        let Ok(copy) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        if let (Ok(Some(peer)), Ok(own)) = (getpeername(&copy), getsockname(&copy))
            && let (Ok(peer), Ok(own)) = (SocketAddr::try_from(peer), SocketAddr::try_from(own))
            && peer == server
        {
            connections.push((own, copy));
        }
    }
    Ok(connections)
}

impl Connection for Requester {
    fn send(&mut self, stamp: u64) -> Result<()> {
        self.body[..STAMP].copy_from_slice(&stamp.to_be_bytes());
        let body = Bytes::copy_from_slice(&self.body);
        Ok(self.runtime.block_on(self.client.publish_with_reply(SUBJECT, self.inbox.clone(), body))?)
    }

    fn receive(&mut self, wait: bool) -> Result<Option<u64>> {
        if let Some(answer) = self.answers.next().now_or_never() {
            return self.stamp(answer);
        }
        if wait {
            let answer = self.runtime.block_on(async { timeout(PATIENCE, self.answers.next()).await });
            return self.stamp(answer.map_err(|_| "no answer")?);
        }
        // The first round sends the output and polls the network; the second takes in what has arrived.
        for _ in 0..2 {
            self.runtime.block_on(tokio::task::yield_now());
            if let Some(answer) = self.answers.next().now_or_never() {
                return self.stamp(answer);
            }
        }
        Ok(None)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.socket.as_fd())
    }
}
