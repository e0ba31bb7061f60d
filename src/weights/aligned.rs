//! Bytes that begin on a cache line.

use crate::error::{Error, Result};

const LINE: usize = 64;

/// A block of memory whose first byte lies on a cache line, zero at first.
#[derive(Debug)]
pub struct AlignedBytes {
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when the system has no room for them.
    pub fn zeroed(len: usize) -> Result<Self> {
        let refused = || Error::memory(format!("{len} bytes for weights could not be had"));
        let whole = len.checked_add(LINE).ok_or_else(refused)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(whole).map_err(|_| refused())?;
        buffer.resize(whole, 0);
        let start = buffer.as_ptr().align_offset(LINE).min(LINE);
        Ok(Self { buffer, start, len })
    }

    /// The bytes of `range`, if they exist.
    #[must_use]
    pub fn get(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        self.buffer.get(self.start..self.start + self.len)?.get(range)
    }

    /// All bytes, to fill them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
