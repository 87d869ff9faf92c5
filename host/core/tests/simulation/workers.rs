//! Majordomo workers: those that serve, and those that stall, die, send false replies, leave and return.

use crate::actors::{Act, Cue, Errand};
use crate::scenario::{FLOOD, Scenario, chance, frame, pick, up_to};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmnode_core::message::Dialect;
use wasmnode_core::{Body, Frame};

const READY: u8 = 1;
const REQUEST: u8 = 2;

/// A worker.
pub(crate) struct Worker {
    dialect: Dialect,
    service: &'static str,
    heartbeat: Duration,
    /// Longest time that it takes for a request without faults.
    pace: Duration,
    alive: bool,
    /// Number of its processes and registrations: errands of an earlier one are obsolete.
    life: u64,
    /// Prepared messages, by the number of the errand.
    prepared: BTreeMap<u64, Vec<Frame>>,
    spoken: u64,
    /// The last client frame that it got.
    token: Frame,
}

impl Worker {
    pub(crate) fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        Self {
            dialect: pick(rng, &[Dialect::Majordomo01, Dialect::Majordomo02, Dialect::Majordomo02Enveloped]),
            service: if chance(rng, 30) { "mmi.service" } else { pick(rng, &scenario.popular) },
            heartbeat: scenario.settings.majordomo.heartbeat,
            pace: Duration::from_millis(pick(rng, &[5, 60, 400])),
            alive: false,
            life: 0,
            prepared: BTreeMap::new(),
            spoken: 0,
            token: Frame::new(),
        }
    }

    pub(crate) fn connected(&mut self, cue: &mut Cue<'_>) {
        self.end_life();
        self.register_in(Duration::from_millis(300), cue);
    }

    pub(crate) fn woken(&mut self, errand: Errand, cue: &mut Cue<'_>) {
        match errand {
            Errand::Register(life) if life == self.life => {
                self.alive = true;
                let service = Frame::from_static(self.service.as_bytes());
                cue.send(self.frames(READY, [service]));
                cue.wake_in(self.heartbeat, Errand::Beat(self.life));
            }
            Errand::Beat(life) if life == self.life => {
                cue.send(self.frames(self.heartbeat_number(), []));
                cue.wake_in(self.heartbeat, Errand::Beat(self.life));
            }
            Errand::Send(number) => {
                if let Some(frames) = self.prepared.remove(&number) {
                    cue.send(frames);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn receive(&mut self, frames: &[Frame], cue: &mut Cue<'_>) {
        if !self.alive {
            return;
        }
        let rest = &frames[usize::from(frames.first().is_some_and(Frame::is_empty))..];
        match rest {
            [_, command, token, _, body @ ..] if command.as_ref() == [REQUEST] => {
                let earlier = std::mem::replace(&mut self.token, token.clone());
                self.work(earlier, body, cue);
            }
            [_, command] if command.as_ref() == [self.heartbeat_number() + 1] => {
                self.end_life();
                self.register_in(Duration::from_millis(500), cue);
            }
            _ => {}
        }
    }

    fn work(&mut self, earlier: Frame, body: &[Frame], cue: &mut Cue<'_>) {
        let time = up_to(cue.rng, self.pace);
        if !chance(cue.rng, cue.bad_workers) {
            return self.serve(time, body, cue);
        }
        let ready = self.frames(READY, [Frame::from_static(self.service.as_bytes())]);
        let leave = self.frames(self.heartbeat_number() + 1, []);
        match cue.rng.u8(..10) {
            // Stalls, but sends heartbeats.
            0 => {}
            // Dies without a message, and restarts later.
            1 => {
                self.end_life();
                self.register_in(Duration::from_secs(4), cue);
            }
            2 => {
                self.end_life();
                cue.acts.push(Act::HangUp(up_to(cue.rng, Duration::from_secs(1))));
            }
            3 => self.send_in(time, ready, cue),
            4 => {
                self.send_in(time, leave, cue);
                self.end_life_but_send();
                self.register_in(Duration::from_secs(1), cue);
            }
            // Answers another request: its last one, the next one, or one with the identity of a client.
            5 => {
                let next = frame(format!("{:016x}", cue.rng.u64(..40)));
                let other = pick(cue.rng, &[0, 1, 2]);
                let token = [earlier, next, Frame::from_static(&[0, 0, 0, 1])][other].clone();
                self.send_in(time, self.reply(self.final_number(), token, frame("a lie")), cue);
                self.serve(time * 2, body, cue);
            }
            // Answers twice: the second time it has no request, or another one.
            6 => {
                self.serve(time, body, cue);
                self.serve(time, body, cue);
            }
            7 => self.serve(time + Duration::from_secs(1), body, cue),
            8 => {
                let (number, token) = (self.final_number() - cue.rng.u8(..2), self.token.clone());
                self.send_in(time, self.reply(number, token, Frame::from_static(&FLOOD)), cue);
            }
            // Omits the body.
            _ => {
                let token = self.token.clone();
                self.send_in(time, self.frames(self.final_number(), [token, Frame::new()]), cue);
            }
        }
    }

    fn serve(&mut self, time: Duration, body: &[Frame], cue: &mut Cue<'_>) {
        let token = self.token.clone();
        let asked = body.first().cloned().unwrap_or_default();
        if self.dialect != Dialect::Majordomo01 && chance(cue.rng, 300) {
            let part = frame(format!("part {} of {}", self.spoken, String::from_utf8_lossy(&asked)));
            self.send_in(time / 2, self.reply(3, token.clone(), part), cue);
        }
        let done = frame(format!("work {} on {}", self.spoken, String::from_utf8_lossy(&asked)));
        self.send_in(time, self.reply(self.final_number(), token, done), cue);
    }

    fn send_in(&mut self, time: Duration, frames: Vec<Frame>, cue: &mut Cue<'_>) {
        self.spoken += 1;
        self.prepared.insert(self.spoken, frames);
        cue.wake_in(time, Errand::Send(self.spoken));
    }

    fn register_in(&mut self, longest: Duration, cue: &mut Cue<'_>) {
        let pause = up_to(cue.rng, longest);
        cue.wake_in(pause, Errand::Register(self.life));
    }

    fn end_life(&mut self) {
        self.prepared.clear();
        self.end_life_but_send();
    }

    fn end_life_but_send(&mut self) {
        self.alive = false;
        self.life += 1;
    }

    fn heartbeat_number(&self) -> u8 {
        if self.dialect == Dialect::Majordomo01 { 4 } else { 5 }
    }

    fn final_number(&self) -> u8 {
        self.heartbeat_number() - 1
    }

    fn reply(&self, command: u8, token: Frame, body: Frame) -> Vec<Frame> {
        self.frames(command, [token, Frame::new(), body])
    }

    fn frames<const N: usize>(&self, command: u8, rest: [Frame; N]) -> Vec<Frame> {
        let (enveloped, header): (bool, &'static [u8]) = match self.dialect {
            Dialect::Majordomo01 => (true, b"MDPW01"),
            Dialect::Majordomo02Enveloped => (true, b"MDPW02"),
            _ => (false, b"MDPW02"),
        };
        let mut frames: Body = if enveloped { vec![Frame::new()] } else { Vec::new() };
        frames.extend([Frame::from_static(header), Frame::copy_from_slice(&[command])]);
        frames.extend(rest);
        frames
    }
}
