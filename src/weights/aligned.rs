//! Bytes that begin on a cache line.

use memmap2::MmapMut;

use crate::error::{Error, Result};

const LINE: usize = 64;

/// Blocks from this size on are asked of the system in whole pages: they come zeroed, where a vector would be zeroed again.
/// Not in huge pages: where the page cache fills the memory, as it does after reading a model, making room for them takes
/// longer than the rest of loading.
const MAPPED: usize = 1 << 20;

/// A block of memory whose first byte lies on a cache line, zero at first.
#[derive(Debug)]
pub struct AlignedBytes {
    memory: Memory,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Pages(MmapMut),
    Heap(Vec<u8>),
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when the system has no room for them.
    pub fn zeroed(len: usize) -> Result<Self> {
        if len >= MAPPED
            && let Ok(pages) = MmapMut::map_anon(len)
        {
            return Ok(Self { memory: Memory::Pages(pages), start: 0, len });
        }
        let refused = || Error::memory(format!("{len} bytes for weights could not be had"));
        let whole = len.checked_add(LINE).ok_or_else(refused)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(whole).map_err(|_| refused())?;
        buffer.resize(whole, 0);
        let start = buffer.as_ptr().align_offset(LINE).min(LINE);
        Ok(Self { memory: Memory::Heap(buffer), start, len })
    }

    /// The bytes of `range`, if they exist.
    #[must_use]
    pub fn get(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        let bytes: &[u8] = match &self.memory {
            Memory::Pages(pages) => pages,
            Memory::Heap(buffer) => buffer,
        };
        bytes.get(self.start..self.start + self.len)?.get(range)
    }

    /// All bytes, to fill them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Pages(pages) => pages,
            Memory::Heap(buffer) => buffer,
        };
        &mut bytes[self.start..self.start + self.len]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_blocks_are_zero_aligned_and_of_their_length() -> Result<()> {
        for len in [0, 1, 63, 64, 4097, MAPPED - 1, MAPPED, MAPPED + 1, 3 * MAPPED + 77] {
            let mut block = AlignedBytes::zeroed(len)?;
            assert_eq!((block.len(), block.bytes_mut().len(), block.is_empty()), (len, len, len == 0));
            assert!(block.bytes_mut().iter().all(|byte| *byte == 0));
            assert_eq!(block.bytes_mut().as_ptr().align_offset(LINE), 0);
            block.bytes_mut().iter_mut().zip(0_usize..).for_each(|(byte, i)| *byte = (i % 251) as u8);
            let whole = block.get(0..len).unwrap_or_default();
            assert!(whole.len() == len && whole.iter().zip(0_usize..).all(|(byte, i)| *byte == (i % 251) as u8));
            assert!(block.get(0..len + 1).is_none() && block.get(len..len).is_some());
        }
        Ok(())
    }

    #[test]
    fn more_than_the_address_space_is_refused() {
        for len in [usize::MAX, usize::MAX - LINE, 1 << 60] {
            assert_eq!(AlignedBytes::zeroed(len).map_err(|e| e.kind()).err(), Some(crate::Kind::Memory));
        }
    }
}
