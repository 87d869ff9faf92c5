//! Reader of an input as numbers and bytes. It never ends: zeros follow the last byte.

use wasmnode_core::{Body, Frame};

/// Remaining bytes of an input.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// Returns a number that is usually small, but may be any.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            small @ ..250 => small.into(),
            250 => u64::MAX,
            bytes => (0..(bytes - 250) + 3).fold(0, |number, _| number << 8 | u64::from(self.u8())),
        }
    }

    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u8) -> u8 {
        self.u8() % end
    }

    /// Returns one of a few values.
    pub fn pick<'b, T>(&mut self, things: &'b [T]) -> Option<&'b T> {
        let place = usize::from(self.u8()).checked_rem(things.len())?;
        things.get(place)
    }

    /// Removes and returns one of a few values.
    pub fn take<T>(&mut self, things: &mut Vec<T>) -> Option<T> {
        let place = usize::from(self.u8()).checked_rem(things.len())?;
        Some(things.remove(place))
    }

    /// Returns up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Returns bytes preceded by their length; a length of 255 stands for all that are left.
    pub fn frame(&mut self) -> Frame {
        let length = match self.u8() {
            u8::MAX => usize::MAX,
            length => length.into(),
        };
        Frame::copy_from_slice(self.bytes(length))
    }

    /// Returns the remaining bytes as frames.
    pub fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !self.is_empty() {
            frames.push(self.frame());
        }
        frames
    }

    /// Returns a few small frames, and sometimes one over a limit of the node.
    pub fn body(&mut self) -> Body {
        match self.u8() {
            255 => vec![vec![0; 2_000].into()],
            254 => vec![Frame::new(); 12],
            count => (0..count % 4).map(|_| Frame::copy_from_slice(&[self.u8()])).collect(),
        }
    }
}
