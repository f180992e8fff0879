//! A window that moves over an input: what was read and not yet used, in one piece.

use std::io::{self, ErrorKind, Read};

/// Large enough that moving a rest to the front costs nothing, small enough for a second-level cache.
const CAPACITY: usize = 256 * 1024;

/// See the module.
pub(super) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, bytes: vec![0; CAPACITY], start: 0, end: 0 }
    }

    /// What was read and not yet used.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Marks the first bytes of [`Self::data`] as used.
    pub(super) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }

    /// Reads until [`Self::data`] has at least `length` bytes; `false` when the input ends before. The caller bounds `length`.
    pub(super) fn fill(&mut self, length: usize) -> io::Result<bool> {
        while self.end - self.start < length {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() < length {
                self.bytes.resize(length, 0);
            }
            let space = self.bytes.get_mut(self.end..).unwrap_or_default();
            match self.input.read(space) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end = (self.end + read).min(self.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
