//! Fuzz peers, which send arbitrary frames and mutated messages.

use crate::actors::{Cue, Errand};
use crate::scenario::{chance, frame, pick, up_to};
use fastrand::Rng;
use std::time::Duration;
use wasmnode_core::Frame;
use wasmnode_core::message::{Message, decode};

const HEADERS: [&[u8]; 6] = [b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"WNODC1", b"MDPC03"];

/// Peer that follows no protocol.
#[derive(Default)]
pub(crate) struct Stranger {
    /// Last message of the node to it.
    last_received: Vec<Frame>,
}

impl Stranger {
    pub(crate) fn connected(cue: &mut Cue<'_>) {
        cue.wake_in(Duration::from_millis(10), Errand::Fuzz);
    }

    pub(crate) fn woken(&self, cue: &mut Cue<'_>) {
        if cue.calm {
            return;
        }
        let overheard = cue.overheard.get(cue.rng.usize(..=cue.overheard.len()));
        let frames = match (overheard, cue.rng.u8(..8)) {
            (Some(frames), 0..3) => mutated(frames, cue.rng),
            // Messages of other peers, almost unchanged.
            (Some(frames), 3..5) => frames.clone(),
            (_, 5) => mutated(&self.last_received, cue.rng),
            _ => random(cue.rng),
        };
        let frames = with_unique_body(frames, cue.rng);
        cue.send(frames);
        let pause = up_to(cue.rng, Duration::from_millis(200));
        cue.wake_in(pause, Errand::Fuzz);
    }

    pub(crate) fn receive(&mut self, frames: &[Frame]) {
        self.last_received = frames.to_vec();
    }
}

/// Makes the body of a request unique, because the checker identifies requests by their bodies; leaves other messages
/// unchanged.
fn with_unique_body(mut frames: Vec<Frame>, rng: &mut Rng) -> Vec<Frame> {
    if let Ok(Message::Request { .. }) = decode(frames.clone()) {
        frames.push(frame(format!("stranger {}", rng.u64(..))));
    }
    frames
}

fn random(rng: &mut Rng) -> Vec<Frame> {
    let mut frames = Vec::new();
    if rng.bool() {
        frames.push(Frame::new());
    }
    if rng.bool() {
        frames.push(Frame::from_static(pick(rng, &HEADERS)));
    }
    let more = rng.usize(..5);
    frames.extend((0..more).map(|_| noise(rng)));
    frames
}

fn noise(rng: &mut Rng) -> Frame {
    let length = if rng.bool() { 1 } else { rng.usize(..30) };
    (0..length).map(|_| if rng.bool() { rng.u8(..8) } else { rng.u8(..) }).collect()
}

/// Returns a message that differs slightly from this one, or has far too many frames.
pub(crate) fn mutated(frames: &[Frame], rng: &mut Rng) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    if chance(rng, 50) {
        frames.resize(frames.len() + 300, Frame::from_static(b"more"));
        return frames;
    }
    if frames.is_empty() {
        return vec![noise(rng)];
    }
    let place = rng.usize(..frames.len());
    match rng.u8(..7) {
        0 => drop(frames.remove(place)),
        1 => frames.insert(place, noise(rng)),
        2 => frames.truncate(place),
        3 => frames[place] = frames[place].slice(..rng.usize(..=frames[place].len())),
        4 => frames.swap(0, place),
        _ => {
            let mut bytes = frames[place].to_vec();
            if !bytes.is_empty() {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
            frames[place] = bytes.into();
        }
    }
    frames
}
