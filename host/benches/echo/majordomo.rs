//! Broker of Majordomo 0.1 as described in the ZeroMQ guide, with one worker in a separate process: a worker gets a
//! request only after it has answered the previous one.

use super::Result;
use super::connection::Dialect;
use super::contender::{Contender, Wanted};
use super::stage::{self, Stage};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const NAME: &str = "Majordomo ipc";
const CLIENT: &[u8] = b"MDPC01";
const WORKER: &[u8] = b"MDPW01";
const READY: u8 = 1;
const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const HEARTBEAT: u8 = 4;
const DISCONNECT: u8 = 5;

const HEARTBEAT_EVERY: Duration = Duration::from_millis(2500);
/// Number of heartbeats without a message after which a worker is removed.
const LIVENESS: u32 = 3;

type Frames = Vec<Vec<u8>>;

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    if !wanted.is(NAME) {
        return Ok(Vec::new());
    }
    let endpoint = stage.endpoint("majordomo");
    let (broker, endpoint) = stage.start_role(&["majordomo-broker", &endpoint])?;
    let (worker, _) = stage.start_role(&["majordomo-worker", &endpoint])?;
    let at = (context, endpoint.as_str(), None);
    Ok(vec![Contender::over_zeromq(NAME, vec![broker, worker], at, Dialect::Majordomo1("echo".into()))])
}

#[derive(Default)]
struct Service {
    /// Requests, each with the client's address before its body.
    requests: VecDeque<Frames>,
    waiting: VecDeque<Vec<u8>>,
}

struct Worker {
    service: Vec<u8>,
    expires: Instant,
}

struct Broker {
    socket: zmq::Socket,
    services: HashMap<Vec<u8>, Service>,
    workers: HashMap<Vec<u8>, Worker>,
}

pub(crate) fn broker(endpoint: &str) -> Result<()> {
    let socket = zmq::Context::new().socket(zmq::ROUTER)?;
    socket.set_sndhwm(0)?;
    socket.set_rcvhwm(0)?;
    socket.bind(endpoint)?;
    stage::ready(endpoint);
    let mut broker = Broker { socket, services: HashMap::new(), workers: HashMap::new() };
    let mut next_heartbeat = Instant::now() + HEARTBEAT_EVERY;
    loop {
        let wait = next_heartbeat.saturating_duration_since(Instant::now());
        if broker.socket.poll(zmq::POLLIN, i64::try_from(wait.as_millis())?)? > 0 {
            let frames = broker.socket.recv_multipart(0)?;
            broker.handle(frames)?;
        }
        if Instant::now() >= next_heartbeat {
            broker.heartbeat()?;
            next_heartbeat = Instant::now() + HEARTBEAT_EVERY;
        }
    }
}

impl Broker {
    /// Handles one message: sender, empty frame, dialect, and the frames of the dialect.
    fn handle(&mut self, mut frames: Frames) -> Result<()> {
        if frames.len() < 4 {
            return Ok(());
        }
        let rest = frames.split_off(3);
        let dialect = frames.remove(2);
        let sender = frames.remove(0);
        match dialect.as_slice() {
            CLIENT => self.handle_client(sender, rest),
            WORKER => self.handle_worker(sender, rest),
            _ => Ok(()),
        }
    }

    fn handle_client(&mut self, sender: Vec<u8>, mut frames: Frames) -> Result<()> {
        let service = frames.remove(0);
        let mut request = vec![sender, Vec::new()];
        request.append(&mut frames);
        self.services.entry(service.clone()).or_default().requests.push_back(request);
        self.dispatch(&service)
    }

    fn handle_worker(&mut self, sender: Vec<u8>, mut frames: Frames) -> Result<()> {
        let command = frames.remove(0).first().copied().unwrap_or_default();
        let expires = Instant::now() + HEARTBEAT_EVERY * LIVENESS;
        let known = self.workers.get_mut(&sender).map(|worker| {
            worker.expires = expires;
            worker.service.clone()
        });
        match (command, known) {
            (READY, None) if !frames.is_empty() => {
                let service = frames.remove(0);
                self.workers.insert(sender.clone(), Worker { service: service.clone(), expires });
                self.wait(sender, &service)
            }
            (REPLY, Some(service)) if frames.len() > 2 => {
                // The client's address and an empty frame precede the body.
                let body = frames.split_off(2);
                let mut reply = vec![frames.remove(0), Vec::new(), CLIENT.to_vec(), service.clone()];
                reply.extend(body);
                self.socket.send_multipart(reply, 0)?;
                self.wait(sender, &service)
            }
            (HEARTBEAT, Some(_)) => Ok(()),
            (DISCONNECT, Some(service)) => {
                self.remove_worker(&sender, &service);
                Ok(())
            }
            _ => self.send_command(&sender, DISCONNECT, Vec::new()),
        }
    }

    fn wait(&mut self, worker: Vec<u8>, service: &[u8]) -> Result<()> {
        self.services.entry(service.to_vec()).or_default().waiting.push_back(worker);
        self.dispatch(service)
    }

    /// Sends the service's queued requests to its waiting workers.
    fn dispatch(&mut self, name: &[u8]) -> Result<()> {
        while let Some(service) = self.services.get_mut(name)
            && !service.requests.is_empty()
            && let Some(worker) = service.waiting.pop_front()
            && let Some(request) = service.requests.pop_front()
        {
            self.send_command(&worker, REQUEST, request)?;
        }
        Ok(())
    }

    fn send_command(&self, worker: &[u8], command: u8, rest: Frames) -> Result<()> {
        let mut frames = vec![worker.to_vec(), Vec::new(), WORKER.to_vec(), vec![command]];
        frames.extend(rest);
        Ok(self.socket.send_multipart(frames, 0)?)
    }

    fn heartbeat(&mut self) -> Result<()> {
        let now = Instant::now();
        let expired: Vec<_> = self.workers.iter().filter(|(_, worker)| worker.expires < now).collect();
        let expired: Vec<_> = expired.into_iter().map(|(id, worker)| (id.clone(), worker.service.clone())).collect();
        for (worker, service) in expired {
            self.remove_worker(&worker, &service);
        }
        self.workers.keys().try_for_each(|worker| self.send_command(worker, HEARTBEAT, Vec::new()))
    }

    fn remove_worker(&mut self, worker: &[u8], service: &[u8]) {
        self.workers.remove(worker);
        if let Some(service) = self.services.get_mut(service) {
            service.waiting.retain(|waiting| waiting != worker);
        }
    }
}

/// Serves `echo`.
pub(crate) fn work(endpoint: &str) -> Result<()> {
    let socket = zmq::Context::new().socket(zmq::DEALER)?;
    socket.connect(endpoint)?;
    socket.send_multipart([&b""[..], WORKER, &[READY], b"echo"], 0)?;
    socket.set_rcvtimeo(i32::try_from(HEARTBEAT_EVERY.as_millis())?)?;
    stage::ready(endpoint);
    let mut last_heartbeat = Instant::now();
    loop {
        match socket.recv_multipart(0) {
            Ok(mut frames) if frames.get(2).is_some_and(|command| command == &[REQUEST]) => {
                frames[2] = vec![REPLY];
                socket.send_multipart(frames, 0)?;
            }
            Ok(_) | Err(zmq::Error::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        if last_heartbeat.elapsed() >= HEARTBEAT_EVERY {
            socket.send_multipart([&b""[..], WORKER, &[HEARTBEAT]], 0)?;
            last_heartbeat = Instant::now();
        }
    }
}
