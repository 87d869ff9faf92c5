//! Clients: native ones that pipeline, cancel and repeat requests, and Majordomo ones that time out and retry.

use crate::actors::{Act, Cue, Errand};
use crate::scenario::{FLOOD, SERVICES, Scenario, chance, frame, pick, up_to};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmnode_core::message::{Dialect, Request, native};
use wasmnode_core::{Body, Frame, Limits};

/// Names without a service: unknown, reserved or invalid.
const ODD_NAMES: [&[u8]; 11] = [
    b"nobody",
    b"mmi.service",
    b"mmi.service",
    b"mmi.discover",
    b"titanic.request",
    b"node.services",
    b"",
    b"a b",
    b"\xff\xfe",
    b"add@",
    &[b'x'; 256],
];

/// A client.
pub(crate) struct Client {
    number: usize,
    dialect: Dialect,
    popular: Vec<&'static str>,
    limits: Limits,
    /// The longest pause between two requests.
    pause: Duration,
    /// Largest number of its outstanding requests.
    pipeline: usize,
    /// Timeout of a Majordomo client.
    gives_up_after: Duration,
    asked: u64,
    /// Outstanding requests by id, or by a running number if the dialect has none.
    open: BTreeMap<u64, Vec<Frame>>,
    /// Requests that are sent again over the next connection.
    again: Vec<Vec<Frame>>,
}

impl Client {
    pub(crate) fn new(number: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let dialect = match rng.u8(..7) {
            0 => Dialect::Majordomo01,
            1 => Dialect::Majordomo02,
            2 => Dialect::Majordomo02Enveloped,
            3 => Dialect::NativeCompact,
            _ => Dialect::Native,
        };
        // REQ sockets alternate between sending and receiving.
        let pipeline = if dialect == Dialect::Majordomo01 { 1 } else { pick(rng, &[1, 3, 12, 50]) };
        let pause = Duration::from_millis(pick(rng, &[20, 100, 400]));
        let gives_up_after = Duration::from_millis(pick(rng, &[200, 1_000, 2_500]));
        let (open, again) = (BTreeMap::new(), Vec::new());
        let (popular, limits) = (scenario.popular.clone(), scenario.settings.limits.clone());
        Self { number, dialect, popular, limits, pause, pipeline, gives_up_after, asked: 0, open, again }
    }

    pub(crate) fn connected(&mut self, cue: &mut Cue<'_>) {
        if self.asked == 0 {
            let pause = up_to(cue.rng, self.pause);
            cue.wake_in(pause, Errand::Ask);
        }
        // Requests of the lost connection get no answers.
        self.open.clear();
        for frames in std::mem::take(&mut self.again) {
            self.ask(frames, cue);
        }
    }

    pub(crate) fn woken(&mut self, errand: Errand, cue: &mut Cue<'_>) {
        match errand {
            Errand::Ask if cue.calm => {}
            Errand::Ask => {
                if self.open.len() < self.pipeline {
                    let frames = self.compose(cue.rng);
                    self.ask(frames, cue);
                }
                let pause = up_to(cue.rng, self.pause);
                cue.wake_in(pause, Errand::Ask);
            }
            Errand::Cancel(id) => cue.send(native::encode_cancel(id)),
            Errand::GiveUp(number) if cue.calm => drop(self.open.remove(&number)),
            Errand::GiveUp(number) => {
                if let Some(mut frames) = self.open.remove(&number) {
                    // The checker identifies requests by their bodies.
                    frames.push(frame("again"));
                    self.again.push(frames);
                    cue.acts.push(Act::HangUp(up_to(cue.rng, Duration::from_millis(5))));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn receive(&mut self, frames: &[Frame]) {
        if self.dialect.is_native() {
            if let Ok((id, reply)) = native::decode_reply(frames.to_vec())
                && !matches!(reply, wasmnode_core::message::Reply::Partial(_))
            {
                self.open.remove(&id);
            }
            return;
        }
        let is_partial = frames.iter().take(3).any(|frame| frame.as_ref() == [2]);
        if !is_partial {
            self.open.pop_first();
        }
    }

    fn ask(&mut self, frames: Vec<Frame>, cue: &mut Cue<'_>) {
        self.open.insert(self.asked, frames.clone());
        if self.dialect.is_native() {
            if chance(cue.rng, 80) {
                let pause = up_to(cue.rng, Duration::from_millis(400));
                cue.wake_in(pause, Errand::Cancel(self.asked));
            }
            // The client drops a request whose answer was lost, so that it continues.
            cue.wake_in(Duration::from_secs(3), Errand::GiveUp(self.asked));
        } else {
            cue.wake_in(self.gives_up_after, Errand::GiveUp(self.asked));
        }
        cue.send(frames);
        // Sometimes a number is used twice.
        self.asked += u64::from(!chance(cue.rng, 20));
    }

    fn compose(&self, rng: &mut Rng) -> Vec<Frame> {
        let service = self.service(rng);
        let body = if service.as_ref() == b"mmi.service" {
            vec![Frame::from_static(pick(rng, &SERVICES).as_bytes())]
        } else {
            self.body(rng)
        };
        let mut frames = match self.dialect {
            dialect @ (Dialect::Native | Dialect::NativeCompact) => {
                // The header has one byte for the length of a name.
                let service = service.slice(..service.len().min(255));
                return native::encode_request(dialect, &self.native(service, body, rng))
                    .unwrap_or_else(|failure| panic!("{failure}"));
            }
            Dialect::Peer => panic!("no client uses the dialect of peers"),
            Dialect::Majordomo01 => vec![Frame::new(), Frame::from_static(b"MDPC01")],
            Dialect::Majordomo02 => vec![Frame::from_static(b"MDPC02"), Frame::from_static(&[1])],
            Dialect::Majordomo02Enveloped => {
                vec![Frame::new(), Frame::from_static(b"MDPC02"), Frame::from_static(&[1])]
            }
        };
        frames.push(service);
        frames.extend(body);
        frames
    }

    fn native(&self, service: Frame, body: Body, rng: &mut Rng) -> Request {
        // Only one client sends empty bodies, because the checker identifies requests by their bodies.
        let body = if self.number == 0 && chance(rng, 80) { Vec::new() } else { body };
        Request {
            id: self.asked,
            service,
            deadline_ms: chance(rng, 300).then(|| rng.u32(..1_000)),
            wait: chance(rng, 300),
            trace: chance(rng, 50),
            traceparent: chance(rng, 200).then(|| frame(format!("00-{}-{}-01", self.number, self.asked))),
            // Requests with keys are tested in `dialogues/keys.txt`; here, fuzz peers repeat the messages of others,
            // which would share a key.
            idempotency_key: None,
            body,
        }
    }

    fn service(&self, rng: &mut Rng) -> Frame {
        if chance(rng, 100) {
            return Frame::from_static(pick(rng, &ODD_NAMES));
        }
        let service = if chance(rng, 800) { pick(rng, &self.popular) } else { pick(rng, &SERVICES) };
        Frame::from_static(service.as_bytes())
    }

    /// Returns a body that no other request has, except repetitions by a client.
    fn body(&self, rng: &mut Rng) -> Body {
        let mut body = vec![frame(format!("client {} asks {}", self.number, self.asked))];
        if chance(rng, 100) {
            let more = rng.usize(..=self.limits.frames);
            body.extend((0..more).map(|_| Frame::new()));
        }
        if chance(rng, 100) {
            let length = rng.usize(..=self.limits.message + 10).min(FLOOD.len());
            body.push(Frame::from_static(&FLOOD[..length]));
        }
        body
    }
}
